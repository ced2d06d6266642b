"""A secret is planted wherever one can be written, and then looked for in all that is kept or printed."""

from __future__ import annotations

import secrets
import subprocess
import sys
from pathlib import Path

import pytest
from loopback_server import Loopback, Reply, chat, error
from text_cases import rows, write_jsonl

FEDSIM = Path(sys.executable).with_name("fedsim")

ICL = """
name = "planted"

[algorithm]
kind = "asyndbt"
wait_for = 1
tau = 3
cuts = false

[problem]
kind = "icl"
n_samples = 2
batch = 1

[problem.task]
kind = "text"
file = "reviews.jsonl"
prompt = "sst2"
n_words = 2
n_candidates = 3
n_demonstrations = 2
train_per_class = 1
validation_per_class = 1
test_counts = [1, 1]
vocabulary = { min_count = 1, pmi_threshold = 100.0 }

[problem.model]
kind = "endpoint"
model = "m"
retries = 0

[[workers]]
count = 2
compute = { kind = "constant", value_s = 1.0 }

[llm]
kind = "independent"
latency = { kind = "constant", value_s = 0.5 }

[budget]
server_steps = 2

[record]
answers = true
spans = true
"""


@pytest.fixture
def planted(monkeypatch) -> str:
    """A text that is nowhere else."""
    return "Zq" + secrets.token_hex(12)


@pytest.fixture
def places(tmp_path, monkeypatch) -> tuple[Path, Path]:
    """Where anything may be written: the folder where one works, and that of answers."""
    cache = tmp_path / "kept"
    monkeypatch.setenv("FEDSIM_CACHE", str(cache))
    work = tmp_path / "work"
    work.mkdir()
    (work / "icl.toml").write_text(ICL)
    write_jsonl(work, rows())
    return work, cache


def found(secret: str, *folders: Path) -> list[str]:
    """Return the files that hold a secret, or have it in their names."""
    files = [file for folder in folders for file in folder.rglob("*")]
    return [
        str(file)
        for file in files
        if secret in str(file) or (file.is_file() and secret.encode() in file.read_bytes())
    ]


def called(work: Path, *words: object, code: int | None = 0) -> str:
    """Run the command in a process of its own, as a person does, and return all that it printed."""
    done = subprocess.run(
        [FEDSIM, *map(str, words)], cwd=work, capture_output=True, text=True, timeout=600, check=False
    )
    assert code in (None, done.returncode), done.stdout + done.stderr
    return done.stdout + done.stderr


IN_A_SCENARIO = {
    "a password in an address": 'problem.model.base_url="http://bob:{}@127.0.0.1:9/v1"',
    "a user in an address": 'problem.model.base_url="http://{}@127.0.0.1:9/v1"',
    "a password in an address without its scheme": 'problem.model.base_url="bob:{}@127.0.0.1:9/v1"',
    "a key in an address": 'problem.model.base_url="http://127.0.0.1:9/v1?api_key={}"',
    "a token in an address": 'problem.model.base_url="http://127.0.0.1:9/v1?x=1&access_token={}"',
    "a field of a request": 'problem.model.extra_body={{ api_key = "{}" }}',
    "an inner field": 'problem.model.extra_body={{ a = [{{ Authorization = "Bearer {}" }}] }}',
    "a header": 'problem.model.extra_headers={{ X-Api-Key = "{}" }}',
    "a field of any name": 'problem.model.extra_body={{ user = "Bearer {}" }}',
    "a field named by it": 'problem.model.extra_body={{ "Bearer {}" = 1 }}',
    "the key itself": 'problem.model.api_key_env="{}"',
    "a list with the key": 'problem.model.api_key_env=["{}"]',
    "a setting that does not exist": 'problem.model.api_key="{}"',
    "half a table": 'problem.model.extra_body={{ api_key = "{}"',
    "the value of a variable": 'description="as {} says"',
}


@pytest.mark.parametrize("text", IN_A_SCENARIO.values(), ids=IN_A_SCENARIO)
def test_a_scenario_with_a_secret_is_refused(command, places, planted, monkeypatch, text):
    work, cache = places
    monkeypatch.chdir(work)
    if "says" in text:
        monkeypatch.setenv("THEIR_API_KEY", planted)
    setting = text.format(planted)
    key, _, value = setting.partition("=")
    sweep = work / "sweep.toml"
    sweep.write_text(f'extends = "icl.toml"\n[sweep.grid]\n"{key}" = [{value}]\n')
    calls = [("check", "icl.toml", "--set", setting), ("run", "icl.toml", "--set", setting)]
    calls += [("prompt", "icl.toml", "--set", setting), ("sweep", sweep, "--dry-run"), ("check", sweep)]
    for words in calls:
        answer = command(*words)
        assert answer.code == 2, words
        assert planted not in answer.out + answer.err
        if "half" not in str(setting) and words[0] == "run":
            assert key in answer.err or "model" in answer.err
    sweep.unlink()
    assert found(planted, work, cache) == []


def test_nor_does_a_stack_trace_show_it(places, planted):
    work, _ = places
    setting = IN_A_SCENARIO["half a table"].format(planted)
    said = called(work, "--debug", "check", "icl.toml", "--set", setting, code=1)
    assert "Traceback" in said
    assert planted not in said


def test_a_password_in_an_address_without_its_scheme_makes_no_folder(command, places, planted, small):
    work, cache = places
    answer = command("run", small, "--log", f"mlflow:bob:{planted}@127.0.0.1:9")
    assert (answer.code, planted in answer.out + answer.err) == (2, False)
    assert found(planted, work, cache, small.parent) == []


def test_the_sentence_names_the_place_and_what_to_do(command, places, planted, monkeypatch):
    work, _ = places
    monkeypatch.chdir(work)
    setting = IN_A_SCENARIO["a field of a request"].format(planted)
    assert command("check", "icl.toml", "--set", setting).err == (
        "fedsim: --set problem.model.extra_body.api_key: must not hold a secret; scenarios are written into "
        "results: keep it in an environment variable (`api_key_env` names that of a server's key)\n"
    )


def echoing(secret: str, fail_at: int | None = None):
    """Return what a server does that repeats the key it is sent wherever it can."""

    def script(request, number):
        if number == fail_at:
            failed = error(400, f"wrong key {secret}", param=secret, code=secret, type=secret)
            return failed._replace(headers={"X-Request-Id": secret, "WWW-Authenticate": f"Bearer {secret}"})
        whole = chat(text=f"{secret} positive", model=secret, system_fingerprint=secret, id=secret)
        return Reply(whole.body, 200, {"X-Request-Id": secret})

    return script


@pytest.mark.parametrize(("variable", "fail_at"), [("MY_SERVER", None), ("OPENAI_API_KEY", 2)])
def test_a_server_repeats_the_key_that_it_is_sent(command, places, planted, monkeypatch, variable, fail_at):
    work, cache = places
    monkeypatch.chdir(work)
    monkeypatch.setenv(variable, planted)
    with Loopback(echoing(planted, fail_at)) as server:
        settings = (
            f"base_url={server.base_url}",
            f"api_key_env={variable}",
            "when_unlisted=text",
            "max_unnamed_share=1",
        )
        model = [word for setting in settings for word in ("--set", f"problem.model.{setting}")]
        first = command("run", "icl.toml", *model)
        assert first.code == (1 if fail_at else 0), first.err
        assert server.keys[0] == f"Bearer {planted}"
        said = str(first)
        (work / "grid.toml").write_text('extends = "icl.toml"\n[sweep]\nreplicates = 2\n')
        jobs = 2 if fail_at else 1  # it fails once alone
        more = [("sweep", "grid.toml", "--jobs", jobs, *model), ("results", "results", "--format", "csv")]
        more += [("report", "results"), ("verify", "results"), ("prompt", "icl.toml", *model)]
        said += "".join(str(command(*words)) for words in more)
        if fail_at:
            said += called(work, "--debug", "run", "icl.toml", *model, code=None)
    assert planted not in said
    assert found(planted, work, cache) == []


RAISING = """
import os, sys
from fedsim.timing.delays.constant import Constant


class Late(Constant):
    kind: str = "raising:Late"

    def sample(self, generator, size):
        raise ValueError(f"{os.environ} {sys.argv}")
"""


def test_an_address_on_the_command_line(places, planted, small_text, monkeypatch):
    """The one place where a password is let in, because MLflow takes it so; and what a part raises."""
    work, cache = places
    monkeypatch.setenv("HTTPS_PROXY", f"http://me:{planted}@127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", planted)
    (work / "quick.toml").write_text(small_text)
    (work / "raising.py").write_text(RAISING)
    (work / "grid.toml").write_text('extends = "quick.toml"\n[sweep.grid]\nseed = [0, 1]\n')
    log = ("--log", f"mlflow:http://bob:{planted}@127.0.0.1:9")
    part = ("--set", "llm.latency={ kind = 'raising:Late', value_s = 0.5 }")
    said = called(work, "run", "quick.toml", *log, code=None)
    said += called(work, "sweep", "grid.toml", *part, *log, code=1)
    said += called(work, "--debug", "run", "quick.toml", *part, *log, code=1)
    said += called(work, "report", "results")
    (note, _) = work.rglob("*.failed.json")
    assert "mlflow:http://***@127.0.0.1:9" in note.read_text()
    assert "mlflow:http://***@127.0.0.1:9" in (work / "report.html").read_text()
    assert "MLFLOW_TRACKING_PASSWORD" in said
    assert planted not in said
    assert found(planted, work, cache) == []
