"""A key that nothing reads is refused, with its place and the reason: in files, by --set and in sweeps."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from fedsim.errors import InputError
from fedsim.scenario import dump, load_scenario, load_variants, parse
from fedsim.scenario.overrides import Table, merged, overridden
from fedsim.scenario.schema import json_schema
from fedsim.scenario.settled import settled

TINY = """
name = "tiny"
[algorithm]
kind = "asyndbt"
wait_for = 2
tau = 3
[problem]
kind = "quadratic"
dimension = 3
[[workers]]
name = "some"
count = 3
[llm]
kind = "independent"
latency = { kind = "constant", value_s = 0.5 }
[budget]
server_steps = 3
"""
FEDBDPL = "algorithm.kind=fedbdpl"
CENDBT = "algorithm.kind=cendbt"
SHARED = "llm={kind='shared', ttft={kind='constant', value_s=1.0}}"
TASK = "task={kind='calibrated', name='sst2'}"
ICL = f"problem={{kind='icl', {TASK}}}"
NO_WORDS = f"problem={{kind='icl', {TASK}, use_fragment=false}}"
NOTHING = f"problem={{kind='icl', {TASK}, use_fragment=false, use_demonstrations=false}}"
RULE = "algorithm.aggregation={inner={kind='mean'}}"
EDGES = "format='edge_list', text=\"a b {'mbps': 1}\", server='a', workers=['b', 'b', 'b']"
GRAPH = f"network={{kind='graph_file', {EDGES}}}"
FILTER = "{kind='kardam', f=0, dampening='none', decay=1.0}"
ARRIVALS = '{csv="time_s,tokens_in,tokens_out\\n1.0,1,1\\n"}'


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    file = tmp_path / "tiny.toml"
    file.write_text(TINY)
    return file


def lie(kind: str, **settings: str) -> str:
    """Return an override that lets a worker attack."""
    more = "".join(f", {key}={value}" for key, value in settings.items())
    return f"attacks=[{{kind='{kind}', workers=[0]{more}}}]"


def has_none(key: str, of: str) -> str:
    return f"algorithm.{key}: fedbdpl has no {key}; it is a setting of {of}"


MOVED = "unknown key: an algorithm's settings are its own now; write"
# Overrides, of which the last is the mistake, and what is said of it; of what has no effect, without what
# stands in all these sentences.
REFUSED: dict[tuple[str, ...], str] = {
    (FEDBDPL, "algorithm.cuts.every=3"): has_none("cuts", "asyndbt, sdbt, cendbt"),
    (FEDBDPL, "algorithm.polyhedron.epsilon=0.1"): has_none("polyhedron", "asyndbt, sdbt, cendbt"),
    (FEDBDPL, "algorithm.z_rate=0.1"): has_none("z_rate", "asyndbt, sdbt"),
    (
        CENDBT,
        "algorithm.z_rate=0.1",
    ): "algorithm.z_rate: cendbt has no z_rate; it is a setting of asyndbt, sdbt",
    (
        CENDBT,
        "workers=[{count=1}, {count=1, slow_down=2.0}]",
    ): "algorithm.machine: missing; cendbt runs on one "
    "machine: expected the name of the group that it is from (workers, workers), whose speed alone counts",
    ("learning.z_rate=0.1",): f"learning: {MOVED} algorithm.z_rate",
    ("learning={}",): f"learning: {MOVED} algorithm",
    ("cuts.every=3",): f"cuts: {MOVED} algorithm.cuts.every",
    ("cuts=false",): f"cuts: {MOVED} algorithm.cuts",
    ("algorithm.cuts.evry=3",): "algorithm.cuts.evry: unknown key; did you mean 'every'?",
    ("algorithm.cuts.every=0",): "algorithm.cuts.every: found 0, expected at least 1",
    ("algorithm.cuts=true",): "algorithm.cuts: found true, expected a table or false",
    (
        "problem={kind='icl', task={kind='text', glue='sst2', prompt=3}}",
    ): "problem.task.prompt: found 3, expected a table",
    (
        NOTHING,
        lie("flipped_labels"),
    ): "attacks.0: 'flipped_labels' attacks demonstrations, but prompts show none "
    "(use_demonstrations = false)",
}
WITHOUT_EFFECT: dict[tuple[str, ...], str] = {
    (
        "algorithm.cuts.every_updates=9",
        "algorithm.cuts.every=3",
    ): "algorithm.cuts.every: worker updates are counted (every_updates)",
    (
        "algorithm.tau=1",
        "algorithm.adapt={ gain = 0.1 }",
    ): "algorithm.adapt: with tau = 1 every step waits for all",
    (
        "algorithm.cuts.participation=active",
        "algorithm.cuts.restart=before",
    ): 'algorithm.cuts.restart: there is no barrier (participation = "active")',
    (
        CENDBT,
        "network={kind='star', link={mbps=0.001}}",
    ): "network: the one machine of cendbt sits beside its server and sends nothing",
    (
        CENDBT,
        "problem.bytes_up=9",
    ): "problem.bytes_up: the one machine of cendbt sits beside its server and sends nothing",
    (CENDBT, "evaluation.max_workers=2"): "evaluation.max_workers: cendbt has one machine",
    (CENDBT, ICL, "problem.pool.sharing=shared"): "problem.pool: cendbt merges the pools of all workers",
    (
        "algorithm.kind=sdbt",
        "algorithm.cuts.participation=active",
    ): "algorithm.cuts.participation: all workers take part in every step of sdbt",
    (
        "algorithm.inner.realisation=fixed",
    ): "algorithm.inner.realisation: the problem has no demonstrations to draw",
    (
        RULE,
        "algorithm.inner.z_rate=0.1",
    ): "algorithm.inner.z_rate: aggregation.inner takes the place of its step",
    (
        "algorithm.polyhedron.drop=never",
        "algorithm.polyhedron.drop_below=0.1",
    ): 'algorithm.polyhedron.drop_below: no cut is dropped (drop = "never")',
    (
        "algorithm.cuts=false",
        "algorithm.robust={outer='R0', psi=0.1}",
    ): "algorithm.robust.psi: psi pulls nowhere: not "
    'in a step (robust.outer = "R0"), and there are no cuts (cuts = false)',
    (
        FEDBDPL,
        f"algorithm.aggregation={{outer={{kind='mean'}}, filter={FILTER}}}",
    ): 'algorithm.aggregation.filter.decay: dampening = "none" has none',
    ("target={metric='accuracy', value=0.5}",): "target.metric: problem 'quadratic' has no accuracy",
    ("target={metric='loss_sampled', value=0.5}",): "target.metric: problem 'quadratic' measures no drawn "
    'prompts ("sampled" in problem.also_measured)',
    ("record.answers=true",): "record.answers: no real model is asked",
    (
        "workers.0.compute_speed=2.0",
    ): "workers.0.compute_speed: the workers' arithmetic takes no time (compute)",
    ("workers.0.on_return=restart",): "workers.0.on_return: the workers are always on (no availability)",
    (
        "workers.0.availability={kind='lifetime'}",
        "workers.0.on_return=rejoin",
    ): "workers.0.on_return: nobody comes back under availability 'lifetime'",
    ("workers.0.upload_mbps=1.0",): "workers.0.upload_mbps: jobs send no bytes up",
    ("workers.0.download_mbps=1.0",): "workers.0.download_mbps: jobs send no bytes down",
    ("workers.0.own_model={token_s=1.0}",): "workers.0.own_model: no job asks the workers' own model",
    ("problem.calls=0", "unset=['llm']", "workers.0.lanes=3"): "workers.0.lanes: no job makes an LLM call",
    (SHARED, "llm.burst_s=1.0"): "llm.burst_s: there is no limit (requests_per_minute, tokens_per_minute)",
    (
        SHARED,
        "llm.over_limit=queue",
    ): "llm.over_limit: there is no limit (requests_per_minute, tokens_per_minute)",
    (
        SHARED,
        "llm.queue_limit=3",
    ): "llm.queue_limit: no request ever waits (no concurrency, and nothing is held)",
    (
        SHARED,
        "llm.background={requests_per_minute=3.0}",
    ): "llm.background: there are no places that others could take (no concurrency)",
    (SHARED, "llm.backoff.factor=3.0"): "llm.backoff: no request is refused, and none fails",
    (
        SHARED,
        "llm.concurrency=1",
        "llm.background={requests_per_minute=3.0, tokens_in=3}",
    ): "llm.background.tokens_in: reading a prompt takes no time of its own (prefill_tokens_per_s)",
    (
        SHARED,
        f"llm={{concurrency=1, background={{arrivals={ARRIVALS}, tokens_out=3}}}}",
    ): "llm.background.tokens_out: arrivals tell it, request by request",
    (GRAPH, "network.link.mbps=3.0"): "network.link.mbps: every edge of the graph tells its own",
    (
        ICL,
        "problem.evaluation_samples=3",
        "problem.also_measured=[]",
    ): "problem.evaluation_samples: one prompt a worker is measured "
    '(evaluation = "modal", no "sampled" in also_measured)',
    (
        ICL,
        "problem.pool.offered_per_class=3",
    ): 'problem.pool.offered_per_class: nobody offers anything (sharing = "private")',
    (
        NO_WORDS,
        "problem.task.n_words=3",
    ): "problem.task.n_words: prompts have no fragment (use_fragment = false)",
    (
        NO_WORDS,
        "problem.tokens.tokens_per_word=3",
    ): "problem.tokens.tokens_per_word: prompts have no fragment (use_fragment = false)",
    (
        NOTHING,
        "problem.task.n_demonstrations=3",
    ): "problem.task.n_demonstrations: prompts show no demonstration (use_demonstrations = false)",
    (
        NOTHING,
        "problem.estimator=code",
    ): "problem.estimator: nothing is drawn for a prompt (use_fragment = false, use_demonstrations = false)",
    (
        ICL,
        "problem.also_measured=[]",
        "problem.task.validation_per_class=3",
    ): "problem.task.validation_per_class: nothing asks validation queries (also_measured)",
    (lie("zero", knowledge="'all'"),): "attacks.0.knowledge: 'zero' looks at nobody's messages",
    (
        ICL,
        lie("worst_word", word="1", knowledge="'all'"),
    ): "attacks.0.knowledge: with `word` it looks at nobody's messages",
    (ICL, lie("backdoor", trigger="'x'")): "attacks.0.trigger: task 'calibrated' gives features",
    (
        lie("sleeper", wakes_at_s="1.0", skip_calls="true"),
    ): "attacks.0.skip_calls: once awake it does nothing at all",
}
"""Each with the place, a colon and the reason alone."""


def said(sentence: str) -> str:
    """Return the whole sentence on a setting without effect."""
    place, _, reason = sentence.partition(": ")
    *steps, last = place.split(".")
    unset = ".".join([*steps, "unset"])
    return f'{place}: has no effect: {reason}; leave it out, or take it away by {unset} = ["{last}"]'


ALL = REFUSED | {overrides: said(sentence) for overrides, sentence in WITHOUT_EFFECT.items()}


@pytest.mark.parametrize("overrides", ALL, ids=lambda overrides: overrides[-1])
def test_it_is_one_sentence(tiny: Path, overrides: tuple[str, ...]) -> None:
    with pytest.raises(InputError) as error:
        load_scenario(tiny, overrides=overrides)
    assert str(error.value).splitlines()[-1] == f"{tiny}: {ALL[overrides]}"


@pytest.mark.parametrize("overrides", WITHOUT_EFFECT, ids=lambda overrides: overrides[-1])
def test_without_it_nothing_is_wrong(tiny: Path, overrides: tuple[str, ...]) -> None:
    place = WITHOUT_EFFECT[overrides].partition(": ")[0]
    *steps, last = place.split(".")
    unset = f"{'.'.join([*steps, 'unset'])}=['{last}']"
    scenario = load_scenario(tiny, overrides=[*overrides, unset])
    again = tiny.with_name("again.toml")
    again.write_text(dump(scenario))
    assert dump(load_scenario(again)) == dump(scenario)


SPOKEN = said("workers.0.on_return: the workers are always on (no availability)")


def test_in_a_file_by_set_and_in_a_sweep(command: Any, tiny: Path) -> None:
    override = "workers.0.on_return=restart"
    for words in (("check", tiny), ("run", tiny)):
        assert command(*words, "--set", override) == (2, "", f"fedsim: {tiny}: {SPOKEN}\n")
    swept = tiny.with_name("swept.toml")
    swept.write_text(TINY + '[sweep.grid]\n"workers.0.on_return" = ["restart"]\n')
    place = f"{swept}, point workers.0.on_return = 'restart'"
    assert command("check", swept) == (2, "", f"fedsim: {place}: {SPOKEN}\n")
    tiny.write_text(TINY.replace("count = 3", 'count = 3\non_return = "restart"'))
    assert command("check", tiny) == (2, "", f"fedsim: {tiny}: {SPOKEN}\n")


def test_every_one_has_its_sentence(command: Any, tiny: Path) -> None:
    overrides = ("workers.0.on_return=restart", "record.answers=true")
    answer = command("check", tiny, *(word for override in overrides for word in ("--set", override)))
    assert answer.err.splitlines() == [
        f"fedsim: {tiny}: {SPOKEN}",
        f"fedsim: {tiny}: {said('record.answers: no real model is asked')}",
    ]


UNSET: dict[str, str] = {
    "algorithm.unset=['z_rat']": "algorithm.unset: found 'z_rat', expected a key that is set",
    "algorithm.unset=['tua']": "algorithm.unset: found 'tua', expected a key that is set; did you mean "
    "'tau'?",
    "algorithm.unset='tau'": "algorithm.unset: found 'tau', expected a list of names, or true",
    "algorithm.robust.unset=['psi']": "algorithm.robust.unset: found 'psi', expected a key that is set",
    "workers=[{count=1, unset=['name']}]": "workers.0.unset: found 'name', expected a key that is set",
}


@pytest.mark.parametrize("override", UNSET)
def test_what_is_not_there_cannot_be_taken_away(tiny: Path, override: str) -> None:
    with pytest.raises(InputError) as error:
        load_scenario(tiny, overrides=[override])
    assert str(error.value) == f"--set {override!r}: {UNSET[override]}"


def test_a_key_that_is_taken_away_stays_away() -> None:
    table = tomllib.loads(TINY)

    def left(override: str) -> Table:
        return settled(overridden(table, override))

    assert left("algorithm.unset=['tau']")["algorithm"] == {"kind": "asyndbt", "wait_for": 2}
    assert left("workers.0.unset=['name']")["workers"] == [{"count": 3}]
    assert left("llm.latency={unset=['value_s'], mean_s=1}")["llm"]["latency"] == {
        "kind": "constant",
        "mean_s": 1,
    }
    assert left("llm.latency={unset=true, mean_s=1}")["llm"]["latency"] == {"mean_s": 1}
    for override in ("unset=['llm']", "llm={unset=true}", "llm.unset=true"):
        assert "llm" not in left(override)
    assert table == tomllib.loads(TINY)


def test_a_whole_table_is_replaced_by_taking_it_away() -> None:
    base: Table = {"inner": {"p_rate": 1, "z_rate": 2}}
    assert merged(base, {"unset": ["inner"], "inner": {"mu": 3}}) == {"inner": {"mu": 3}}
    assert merged(base, {"inner": {"mu": 3}}) == {"inner": {"p_rate": 1, "z_rate": 2, "mu": 3}}


def test_another_kind_keeps_what_both_have_from_a_common_base() -> None:
    old: Table = {
        "kind": "asyndbt",
        "wait_for": 2,
        "tau": 3,
        "z_rate": 1,
        "cuts": False,
        "robust": {"psi": 1},
    }
    kept = {"z_rate": 1, "cuts": False, "robust": {"psi": 1}}
    assert merged({"algorithm": old}, {"algorithm": {"kind": "sdbt"}})["algorithm"] == {
        "kind": "sdbt",
        **kept,
    }

    def changed(old: Table, over: Table) -> Table:
        return settled(merged({"algorithm": old}, {"algorithm": over}))["algorithm"]

    # The settings that cendbt has of its own base, and none of the distributed forms'.
    assert changed(old, {"kind": "cendbt"}) == {"kind": "cendbt", "cuts": False}
    assert changed(old, {"kind": "cendbt", "unset": ["cuts"]}) == {"kind": "cendbt"}
    assert changed(old, {"kind": "asyndbt"}) == old
    assert changed({"tau": 3}, {"kind": "sdbt"}) == {"kind": "sdbt", "tau": 3}, "settings of whichever kind"


def test_what_variants_take_away(tmp_path: Path) -> None:
    """A variant in two files is laid over twice, each time over what the settings are by then."""
    low, high = tmp_path / "low.toml", tmp_path / "high.toml"
    low.write_text(TINY + "[variants.v.algorithm]\ntau = 4\n[variants.w]\n")
    high.write_text(
        'extends = "low.toml"\n[variants.v.algorithm]\nunset = ["tau", "wait_for"]\n'
        '[variants.w.budget]\nunset = ["server_steps"]\nepochs = 1\n'
    )
    v, w = load_variants(high)
    assert (v.algorithm.tau, v.algorithm.wait_for) == (5, 2)
    assert (w.budget.server_steps, w.budget.epochs) == (None, 1)
    high.write_text('extends = "low.toml"\n[variants.v.algorithm]\nunset = ["tua"]\n')
    with pytest.raises(InputError, match=r"high.toml: variants.v.algorithm.unset: found 'tua', .* 'tau'\?"):
        load_variants(high)
    high.write_text('unset = ["name"]\n')
    with pytest.raises(InputError, match=r"high.toml: unset: found 'name', expected a key that is set"):
        load_scenario(high)


def test_editors_know_unset_in_every_table() -> None:
    schema = json_schema()
    tables = [schema, *(one for one in schema["$defs"].values() if one.get("type") == "object")]
    assert all("unset" in one["properties"] for one in tables)
    assert parse(tomllib.loads(TINY)).algorithm.kind == "asyndbt"
