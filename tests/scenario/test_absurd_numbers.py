"""Numbers that no run could count to are refused before it; what is fine under one seed is so under each."""

from __future__ import annotations

import pytest

ICL = 'problem={kind="icl", task={kind="calibrated", name="sst2"}, tokens={TOKENS}}'
LIMITED = (
    'llm={kind="shared", over_limit="reject", ttft={kind="constant", value_s=1.0}, tokens_per_minute=RATE}'
)
ABSURD = {
    (
        ICL.replace("TOKENS", "tokens_out=1000000000000000000000000000000"),
    ): "tokens_out in a job, expected at most 1,000,000,000,000: their sum over a run would fit no table",
    (ICL.replace("TOKENS", "template_tokens=9223372036854775808"),): "tokens_in in a job, expected at most",
    ("problem.bytes_up=9223372036854775808",): "bytes_up in a job, expected at most",
    (
        ICL.replace("TOKENS", "text_tokens=100000"),
        LIMITED.replace("RATE", "0.5"),
    ): "llm.tokens_per_minute: found a wait of",
    (
        "algorithm.cuts.rounds=9007199254740993",
    ): "algorithm.cuts.rounds: found 9007199254740993, expected at most",
}


@pytest.mark.parametrize("settings", ABSURD)
def test_an_absurd_number_is_one_sentence(command, small, settings):
    answer = command("check", small, *(word for setting in settings for word in ("--set", setting)))
    sentences = [line for line in answer.err.splitlines() if not line.startswith("fedsim: note: ")]
    assert answer.code == 2
    assert len(sentences) == 1
    assert ABSURD[settings] in sentences[0]


def test_a_default_that_one_machine_does_not_read_is_no_setting_of_its_replicates(command, small):
    small.write_text(
        small.read_text()
        .replace('kind = "asyndbt"\nwait_for = 2\ntau = 3', 'kind = "cendbt"')
        .replace(
            'kind = "quadratic"\ndimension = 3', 'kind = "icl"\ntask = { kind = "calibrated", name = "5g" }'
        )
        + '[[attacks]]\nkind = "flipped_labels"\nworkers = [1]\n'
    )
    assert command("check", small).code == 0
    answer = command("run", small, "--timing-only", "--replicates", "2")
    assert (answer.code, answer.err) == (0, "")
