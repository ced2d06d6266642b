"""What a table [sweep] means: which runs, in which order, with which seeds; and what is said of a bad one."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fedsim
from fedsim import sweep
from fedsim.errors import InputError
from fedsim.results import run_id
from fedsim.scenario import dump, load_scenario, load_variants
from fedsim.scenario.schema import json_schema
from fedsim.scenario.sweep_table import Draw, RandomPoints, Sweep
from fedsim.sweep.plan import Plan, read_plan
from fedsim.sweep.sampling import random_points, value_at
from fedsim.sweep.seeds import own_seed, with_seed

DRAWN_FILES = """
[sweep.random]
samples = 2
method = "latin_hypercube"
[sweep.random.keys]
"llm.latency.file" = { choices = ["../a.csv", "../b.csv"] }
"""
TWO_VARIANTS = "[variants.b]\nbudget.server_steps = 5\n[variants.a]\nbudget.server_steps = 6\n"


def plan_of(file: Path, text: str, *overrides: str, only: tuple[str, ...] = ()) -> Plan:
    file.write_text(file.read_text() + text)
    return read_plan(file, overrides, only)


def rows(plan: Plan) -> list[tuple]:
    """Return variant, settings and seed of each run, in order."""
    return [(one.point.variant, tuple(one.point.settings.values()), one.scenario.seed) for one in plan.runs()]


def test_a_grid_is_all_combinations_the_last_key_fastest(small):
    plan = plan_of(small, '[sweep.grid]\n"algorithm.cuts.every" = [3, 4]\n"algorithm.wait_for" = [1, 2, 3]\n')
    assert plan.keys == ["algorithm.cuts.every", "algorithm.wait_for"]
    assert [settings for _, settings, _ in rows(plan)] == [(3, 1), (3, 2), (3, 3), (4, 1), (4, 2), (4, 3)]
    assert plan.count() == 6
    first = next(plan.runs()).scenario
    assert first == load_scenario(small, overrides=["algorithm.cuts.every=3", "algorithm.wait_for=1"])


def test_everything_is_combined_with_everything_variants_first_replicates_last(small):
    plan = plan_of(
        small,
        TWO_VARIANTS
        + '[sweep]\nreplicates = 2\n[sweep.grid]\n"algorithm.cuts.every" = [3, 4]\n'
        + '[sweep.zip]\n"algorithm.cuts.rounds" = [1, 2]\n"algorithm.tau" = [5, 6]\n'
        + '[[sweep.list]]\n"algorithm.wait_for" = 1\n[[sweep.list]]\n"algorithm.wait_for" = 3\n'
        + '[sweep.random]\nsamples = 1\n[sweep.random.keys]\n"llm.latency.value_s" = { choices = [0.25] }\n',
    )
    found = rows(plan)
    assert len(found) == 2 * 2 * 2 * 2 * 1 * 2
    assert found[:5] == [
        ("b", (3, 1, 5, 1, 0.25), 0),
        ("b", (3, 1, 5, 1, 0.25), 1),
        ("b", (3, 1, 5, 3, 0.25), 0),
        ("b", (3, 1, 5, 3, 0.25), 1),
        ("b", (3, 2, 6, 1, 0.25), 0),
    ]
    assert found[16][0] == "a"
    assert {settings[1:3] for _, settings, _ in found} == {(1, 5), (2, 6)}


def test_keys_may_be_nested_tables_and_places_in_lists(small):
    quoted = plan_of(small, '[sweep.grid]\n"workers.0.count" = [3, 4]\n"algorithm.cuts.every" = [2]\n')
    nested = small.with_name("nested.toml")
    nested.write_text(
        'extends = "small.toml"\nname = "small"\n[sweep.grid]\nworkers.0.count = [3, 4]\n'
        "algorithm.cuts.every = [2]\n"
    )
    assert [one.scenario for one in quoted.runs()] == [one.scenario for one in read_plan(nested).runs()]
    assert [one.scenario.n_workers for one in quoted.runs()] == [3, 4]


def test_a_value_may_be_a_whole_part(small):
    latency = "{ kind = 'exponential', mean_s = 1.0 }"
    plan = plan_of(
        small, f"[[sweep.list]]\nllm.latency = {latency}\n[[sweep.list]]\nalgorithm.cuts = false\n"
    )
    first, second = [one.scenario for one in plan.runs()]
    assert first == load_scenario(small, overrides=[f"llm.latency={latency}"])
    assert second == load_scenario(small, overrides=["algorithm.cuts=false"])


def test_a_point_may_name_its_variant_and_then_variants_are_no_axis(small):
    plan = plan_of(
        small, TWO_VARIANTS + '[sweep.zip]\nvariant = ["a", "b", "a"]\n"algorithm.cuts.every" = [2, 3, 4]\n'
    )
    assert [row[:2] for row in rows(plan)] == [("a", (2,)), ("b", (3,)), ("a", (4,))]
    assert [one.scenario.budget.server_steps for one in plan.runs()] == [6, 5, 6]
    assert [row[:2] for row in rows(read_plan(small, only=["a"]))] == [("a", (2,)), ("a", (4,))]


def test_only_keeps_variants(small):
    plan = plan_of(small, TWO_VARIANTS + '[sweep.grid]\n"algorithm.cuts.every" = [2, 3]\n', only=("a",))
    assert [row[0] for row in rows(plan)] == ["a", "a"]


def test_equal_runs_are_run_once(small):
    points = "".join(
        f"[[sweep.list]]\n{setting}\n" for setting in ("seed = 0", "seed = 1", "algorithm.cuts.every = 4")
    )
    plan = plan_of(small, f"[sweep]\nreplicates = 2\n{points}")
    # Seeds 0, 1; then 1, 2; then what the file says already.
    assert [row[2] for row in rows(plan)] == [0, 1, 2]


def test_paired_points_share_seeds_and_others_have_their_own(small):
    text = '[sweep]\nreplicates = 3\npaired = {}\n[sweep.grid]\n"algorithm.cuts.every" = [2, 3]\n'
    paired = plan_of(small, text.format("true"), "seed=7")
    assert [row[2] for row in rows(paired)] == [7, 8, 9, 7, 8, 9]
    own = read_plan(small, ["seed=7", "sweep.paired=false"])
    # By hand, Cantor's pairs: point 0 has 0, 2, 5; point 1 has 1, 4, 8.
    assert [row[2] for row in rows(own)] == [7, 9, 12, 8, 11, 15]
    more = {row[1:] for row in rows(read_plan(small, ["seed=7", "sweep.paired=false", "sweep.replicates=5"]))}
    assert more > {row[1:] for row in rows(own)}


def test_no_two_runs_share_an_own_seed():
    seeds = [own_seed(3, point, replicate) for point, replicate in itertools.product(range(60), range(40))]
    assert len(set(seeds)) == len(seeds)
    assert min(seeds) == 3


def test_points_with_seeds_of_their_own_are_paired(small):
    with pytest.raises(
        InputError, match=r"sweep\.paired: found false, expected true where points or variants"
    ):
        plan_of(small, "[sweep]\npaired = false\n[sweep.grid]\nseed = [1, 2]\n").count()


def test_another_seed_is_another_scenario_with_other_attackers(small):
    """Who attacks is drawn from the seed: a mere copy would keep those of the old one."""
    attacked = load_scenario(
        small, overrides=["workers.0.count=40", "attacks=[{ kind = 'zero', fraction = 0.5 }]"]
    )
    assert attacked.malicious  # worked out once, and kept
    for one in sweep.replicates([attacked], 3):
        loaded = load_scenario(
            small,
            overrides=[
                "workers.0.count=40",
                "attacks=[{ kind = 'zero', fraction = 0.5 }]",
                f"seed={one.seed}",
            ],
        )
        assert one == loaded
        assert one.malicious == loaded.malicious
    assert with_seed(attacked, 1).malicious != attacked.malicious


def test_overrides_go_over_points_and_over_the_sweep_itself(small):
    plan = plan_of(
        small,
        '[sweep.grid]\n"algorithm.cuts.every" = [3, 4]\n',
        "sweep.replicates=2",
        "budget.server_steps=7",
    )
    assert plan.count() == 4
    assert {one.scenario.budget.server_steps for one in plan.runs()} == {7}
    assert read_plan(small, ["algorithm.cuts.every=9"]).count() == 1


def test_a_file_without_one_may_get_a_sweep_from_the_command(small):
    assert read_plan(small, ["sweep.replicates=3"]).count() == 3
    with pytest.raises(InputError, match=r"no table \[sweep\]; `fedsim run` runs a scenario without one"):
        read_plan(small)


def test_a_sweep_is_inherited_whole_or_not_at_all(small):
    small.write_text(
        small.read_text() + '[sweep]\nreplicates = 3\n[sweep.grid]\n"algorithm.cuts.every" = [3, 4]\n'
    )
    heir, own = small.with_name("heir.toml"), small.with_name("own.toml")
    heir.write_text('extends = "small.toml"\n[algorithm]\nwait_for = 1\n')
    own.write_text('extends = "small.toml"\n[sweep.grid]\n"algorithm.cuts.rounds" = [3]\n')
    assert read_plan(heir).count() == 6
    assert {one.scenario.algorithm.wait_for for one in read_plan(heir).runs()} == {1}
    assert [row[1:] for row in rows(read_plan(own))] == [((3,), 0)]


def test_files_that_a_sweep_names_lie_beside_it(small):
    for name, value in (("a", 1.0), ("b", 3.0)):
        (small.parent / f"{name}.csv").write_text(f"x_s\n{value}\n")
    small.write_text(
        small.read_text().replace(
            'kind = "constant", value_s = 0.5', "kind = 'empirical', file = 'a.csv', column = 'x_s'"
        )
    )
    upper = small.parent / "upper"
    upper.mkdir()
    for text in (
        '[sweep.grid]\n"llm.latency.file" = ["../a.csv", "../b.csv"]\n',
        '[sweep.grid]\nllm.latency.file = ["../a.csv", "../b.csv"]\n',
        DRAWN_FILES,
    ):
        (upper / "upper.toml").write_text(f'extends = "../small.toml"\n{text}')
        found = {one.scenario.llm.latency.samples_s for one in read_plan(upper / "upper.toml").runs()}
        assert found == {(1.0,), (3.0,)}


def test_who_loads_the_scenario_of_a_sweep_gets_the_scenario(small):
    before = load_variants(small)
    small.write_text(small.read_text() + '[sweep.grid]\n"algorithm.cuts.every" = [3, 4]\n')
    assert load_variants(small) == before


AT_MOST_2 = "algorithm.wait_for: found 3, expected at most 2, the number of workers"
BAD = {
    "unknown key": (
        "[sweep]\nreplicate = 3",
        "{file}: sweep.replicate: unknown key; did you mean 'replicates'?",
    ),
    "unknown table": ("[sweep.gird]\na = [1]", "{file}: sweep.gird: unknown key; did you mean 'grid'?"),
    "no table": ("[variants.x]\nsweep = 3\n[sweep]", "{file}: variants.x.sweep: found 3, expected a table"),
    "replicates": ("[sweep]\nreplicates = 0", "{file}: sweep.replicates: found 0, expected at least 1"),
    "no list": (
        '[sweep.grid]\n"algorithm.cuts.every" = 3',
        "{file}: sweep.grid: algorithm.cuts.every: found 3, expected a list",
    ),
    "empty list": (
        '[sweep.zip]\n"algorithm.cuts.every" = []',
        "{file}: sweep.zip: algorithm.cuts.every: found [], expected a list",
    ),
    "unequal lists": (
        '[sweep.zip]\n"algorithm.cuts.every" = [1, 2]\n"algorithm.cuts.rounds" = [1]',
        (
            "{file}: sweep: zip: expected lists of equal length, found 2 for algorithm.cuts.every, 1 for "
            "algorithm.cuts.rounds"
        ),
    ),
    "twice": (
        '[sweep.grid]\n"algorithm.cuts.every" = [1]\n[[sweep.list]]\nalgorithm.cuts.every = 2',
        "{file}: sweep: found algorithm.cuts.every in grid and in list, expected it in one of them",
    ),
    "misspelt setting": (
        '[sweep.grid]\n"algorithm.cuts.evry" = [1, 2]',
        "{file}, point algorithm.cuts.evry = 1: algorithm.cuts.evry: unknown key; did you mean 'every'?",
    ),
    "impossible point": (
        '[sweep.grid]\n"workers.0.count" = [3, 2]\n"algorithm.wait_for" = [2, 3]',
        f"{{file}}, point workers.0.count = 2, algorithm.wait_for = 3: {AT_MOST_2}",
    ),
    "no such place": (
        '[sweep.grid]\n"workers.1.count" = [3]',
        "{file}, point workers.1.count = 3: workers.1.count: expected a place from 0 to 0 in the list, got",
    ),
    "an empty step": (
        '[sweep.grid]\n"algorithm.cuts..every" = [3]',
        "{file}, point algorithm.cuts..every = 3: algorithm.cuts..every: found",
    ),
    "no such variant": (
        TWO_VARIANTS + '[sweep.grid]\nvariant = ["a", "bb"]',
        "{file}: no variant 'bb'; did you mean 'b'? (variants: b, a)",
    ),
    "variant is no name": (
        TWO_VARIANTS + "[sweep.grid]\nvariant = [3]",
        "{file}, point variant = 3: found 3, exp",
    ),
    "no samples": ("[sweep.random]\n[sweep.random.keys]", "{file}: sweep.random.samples: missing"),
    "method": (
        "[sweep.random]\nsamples = 3\nmethod = 'sobol'\n[sweep.random.keys]",
        "{file}: sweep.random.method: found 'sobol', expected 'random' or 'latin_hypercube'",
    ),
    **{
        f"range {number}": (
            f'[sweep.random]\nsamples = 3\n[sweep.random.keys]\n"algorithm.cuts.every" = {draw}',
            f"{{file}}: sweep.random.keys.algorithm.cuts.every{sentence}",
        )
        for number, (draw, sentence) in enumerate(
            {
                "{ low = 3 }": ": expected low and high, or choices",
                "{ low = 3, high = 3 }": ": high: found 3, expected more than low = 3",
                "{ low = 0, high = 3, log = true }": ": low: found 0, expected more than 0 with log = true",
                "{ low = 0.5, high = 3, integer = true }": ": expected whole low and high with integer",
                "{ choices = [1], low = 3 }": ": found choices and an interval, expected one of them",
                "{ low = 1, hihg = 3 }": ".hihg: unknown key; did you mean 'high'?",
            }.items()
        )
    },
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_is_a_sentence_before_anything_runs(name, command, small, tmp_path):
    text, sentence = BAD[name]
    small.write_text(f"{small.read_text()}{text}\n")
    for words in (("sweep", small), ("check", small)):
        answer = command(*words)
        assert (answer.code, answer.out) == (2, "")
        assert answer.err.startswith("fedsim: " + sentence.format(file=small))
        assert answer.err.count("\n") == 1
    assert not (tmp_path / "results").exists()


def test_sweep_must_be_a_table(command, small):
    small.write_text("sweep = 3\n" + small.read_text())
    assert (
        command("sweep", small).err
        == f"fedsim: {small}: sweep: found 3, expected a table, as in [sweep.grid]\n"
    )


def test_editors_are_told_of_it():
    schema = jsonschema.Draft202012Validator(json_schema())
    for table, right in (
        ({"grid": {"algorithm.cuts.every": [1], "workers": {"0": {"count": [2]}}}, "replicates": 2}, True),
        ({"random": {"samples": 2, "keys": {"a": {"low": 1, "high": 2}}}}, True),
        ({"list": [{"cuts": False}], "paired": False}, True),
        ({"grid": {"algorithm.cuts.every": 3}}, False),
        ({"replicates": 0}, False),
        ({"gird": {}}, False),
        ({"random": {"samples": 2, "method": "sobol", "keys": {}}}, False),
    ):
        assert schema.is_valid({"sweep": table}) == right, table


def settings_of(draw: dict, samples: int = 1000, method: str = "random", seed: int = 0) -> RandomPoints:
    return RandomPoints.model_validate(
        {"samples": samples, "method": method, "seed": seed, "keys": {"a": draw, "b": {"low": 0, "high": 1}}}
    )


@pytest.mark.parametrize(
    ("draw", "at", "value"),
    [
        ({"low": 2, "high": 6}, 0.25, 3.0),
        ({"low": 2, "high": 6}, 0.0, 2.0),
        ({"low": 1, "high": 100, "log": True}, 0.5, 10.0),
        ({"low": 1, "high": 3, "integer": True}, 0.33, 1),  # a third of [0, 1) for each of 1, 2, 3
        ({"low": 1, "high": 3, "integer": True}, 0.34, 2),
        ({"low": 1, "high": 3, "integer": True}, math.nextafter(1, 0), 3),
        ({"low": 1, "high": 7, "log": True, "integer": True}, 0.5, 2),  # sqrt(1 * 8) = 2.83
        ({"choices": ["x", "y", "z"]}, 0.65, "y"),
    ],
)
def test_a_value_by_hand(draw, at, value):
    found = value_at(Draw.model_validate(draw), at)
    assert found == pytest.approx(value) if isinstance(value, float) else found == value
    assert type(found) is type(value)


@given(st.floats(0, 1, exclude_max=True), st.booleans(), st.booleans())
def test_values_stay_in_their_range(at, log, integer):
    value = value_at(Draw(low=3, high=11, log=log, integer=integer), at)
    assert 3 <= value <= 11


def test_random_points_are_the_same_each_time_and_more_of_them_keep_the_first():
    draw = {"low": 0, "high": 10}
    few, many = random_points(settings_of(draw, 5)), random_points(settings_of(draw, 50))
    assert few == many[:5]
    assert few != random_points(settings_of(draw, 5, seed=1))
    values = np.array([point["a"] for point in random_points(settings_of(draw))])
    # Uniform on [0, 10): mean 5, standard deviation 10 / sqrt(12), so a standard error of 0.091.
    assert abs(values.mean() - 5) < 4 * 0.091


def test_a_latin_hypercube_has_one_value_in_each_part_of_every_range():
    points = random_points(settings_of({"low": 0, "high": 40}, 40, "latin_hypercube"))
    assert sorted(int(point["a"]) for point in points) == list(range(40))
    assert sorted(int(40 * point["b"]) for point in points) == list(range(40))
    assert [int(point["a"]) for point in points] != [int(40 * point["b"]) for point in points]
    plain = random_points(settings_of({"low": 0, "high": 40}, 40))
    assert len({int(point["a"]) for point in plain}) < 40


def test_a_plan_is_made_as_it_is_asked_for(small):
    """A hundred thousand runs are not held in memory: the first comes before the others are made."""
    values = list(range(1, 1001))
    plan = Plan(
        read_plan(small, ["sweep.replicates=100"]).file,
        Sweep(grid={"algorithm.cuts.every": values}, replicates=100),
    )
    runs = plan.runs()
    assert [next(runs).scenario.seed for _ in range(101)] == [*range(100), 0]


TWO = """
[sweep]
replicates = 2
[sweep.grid]
"llm.latency.value_s" = [0.1, 0.2]
[variants.sdbt]
algorithm = { kind = "sdbt", unset = ["wait_for", "tau"] }
[variants.mine]
[variants.mine.sweep.grid]
"algorithm.wait_for" = [1, 2]
"algorithm.tau" = [4, 6]
"""
LATENCY = "llm.latency.value_s"


def counted(plan: Plan) -> dict[str, int]:
    """Return the number of runs of each variant."""
    variants = [planned.point.variant for planned in plan.runs()]
    return {name: variants.count(name) for name in dict.fromkeys(variants)}


def test_a_variant_varies_what_is_its_own_with_what_is_common(small):
    plan = plan_of(small, TWO)
    assert plan.keys == [LATENCY, "algorithm.wait_for", "algorithm.tau"]
    assert counted(plan) == {"sdbt": 2 * 2, "mine": 2 * 2 * 2 * 2}
    mine = [tuple(point.settings.values()) for point in plan.points() if point.variant == "mine"]
    assert mine[:5] == [(0.1, 1, 4), (0.1, 1, 6), (0.1, 2, 4), (0.1, 2, 6), (0.2, 1, 4)]
    heir = small.with_name("heir.toml")
    heir.write_text('extends = "small.toml"\n[variants.mine.sweep.grid]\n"algorithm.tau" = [7]\n')
    assert counted(read_plan(heir)) == {"sdbt": 4, "mine": 4}  # its own grid takes the place of the other
    heir.write_text('extends = "small.toml"\n[variants.mine.sweep]\nunset = true\n')
    assert counted(read_plan(heir)) == {"sdbt": 4, "mine": 4}


@pytest.mark.parametrize(
    ("text", "runs"),
    [
        ('unset = ["sweep"]\n[sweep]\nreplicates = 3', {"sdbt": 3, "mine": 3}),
        ("[sweep]\nunset = true\nreplicates = 3", {"sdbt": 3, "mine": 3}),
        ("[sweep]\nreplicates = 3", {"sdbt": 3, "mine": 12}),  # it goes with the variant
        ("[variants.mine]\nunset = true\nseed = 0", {"sdbt": 4, "mine": 4}),
        ('[variants]\nunset = ["mine"]\n[variants.mine]\n', {"sdbt": 4, "mine": 4}),
        ("[variants]\nunset = true\n[variants.mine]\n", {"mine": 4}),
    ],
)
def test_what_a_variant_varies_goes_with_the_variant_and_with_the_whole_sweep(small, text, runs):
    small.write_text(small.read_text() + TWO)
    heir = small.with_name("heir.toml")
    heir.write_text(f'extends = "small.toml"\n{text}\n')
    assert counted(read_plan(heir)) == runs


def test_a_file_whose_sweep_is_taken_away_is_none(small):
    small.write_text(small.read_text() + TWO)
    heir = small.with_name("heir.toml")
    heir.write_text('extends = "small.toml"\nunset = ["sweep"]\n')
    with pytest.raises(InputError, match=r"no table \[sweep\]"):
        read_plan(heir)


@pytest.mark.parametrize(
    ("override", "runs"),
    [
        ("sweep.grid={}", {"sdbt": 2, "mine": 8}),
        (f"sweep.grid.{LATENCY}={{unset=true}}", {"sdbt": 2, "mine": 8}),
        (f"sweep.grid.{LATENCY}=[0.3]", {"sdbt": 2, "mine": 8}),
        (f'sweep.grid."{LATENCY}"=[0.1,0.2,0.3]', {"sdbt": 6, "mine": 24}),
        ("variants.mine.sweep.grid={}", {"sdbt": 4, "mine": 4}),
        ("variants.mine.sweep.grid.algorithm.tau={unset=true}", {"sdbt": 4, "mine": 8}),
        ("variants.mine.sweep={}", {"sdbt": 4, "mine": 4}),
        ("sweep={}", {"sdbt": 1, "mine": 4}),
        ("sweep.replicates={unset=true}", {"sdbt": 2, "mine": 8}),
        (f"sweep.grid.'{LATENCY}'=[0.3]", {"sdbt": 2, "mine": 8}),
    ],
)
def test_axes_are_changed_from_the_command_line(small, override, runs):
    assert counted(plan_of(small, TWO, override)) == runs


EVERYWHERE = """
[sweep]
replicates = 2
{known}
[sweep.grid]
"algorithm.wait_for" = [1, 2]
"algorithm.tau" = [4, 6]
[variants.sdbt]
algorithm = {{ kind = "sdbt", unset = ["wait_for", "tau"] }}
[variants.mine]
"""


def test_a_key_that_a_method_does_not_have_is_skipped_where_the_file_says_so(small):
    before = small.read_text()
    with pytest.raises(
        InputError, match=r"(?s)variant = 'sdbt'.*sdbt has no wait_for.*only_where_known = \[\"alg"
    ):
        list(plan_of(small, EVERYWHERE.format(known="")).runs())
    small.write_text(before)
    known = 'only_where_known = ["algorithm.wait_for", "algorithm.tau"]'
    assert counted(plan_of(small, EVERYWHERE.format(known=known))) == {"sdbt": 2, "mine": 8}
    # Of an override as well: SDBT has no tau, and is run without it.
    no_axis = "sweep.grid.algorithm.tau={unset=true}"
    assert counted(read_plan(small, ["algorithm.tau=3", no_axis])) == {"sdbt": 2, "mine": 4}
    with pytest.raises(InputError, match=r"only_where_known: found 'algorithm.tau', expected a key that"):
        read_plan(small, [no_axis])


def test_nobody_malicious_is_one_run_whatever_the_attack(small):
    attacks = "[[{ kind = 'sign_flip', fraction = 0.0 }], [{ kind = 'rushing', fraction = 0 }], []]"
    (planned,) = plan_of(small, f"[sweep.grid]\nattacks = {attacks}\n").runs()
    nobody, noone = planned.scenario, load_scenario(small)
    assert nobody.attacks
    assert dump(nobody) == dump(noone)
    assert run_id(nobody) == run_id(noone)
    assert fedsim.run(nobody).steps.equals(fedsim.run(noone).steps)


def test_groups_of_workers_have_names(small):
    small.write_text(small.read_text().replace("[[workers]]", '[[workers]]\nname = "slow"'))
    assert plan_of(small, '[sweep.grid]\n"workers.slow.slow_down" = [2, 3]\n').count() == 2
    for name, said in (("slwo", "did you mean 'slow'"), ("7", "expected a place from 0 to 0")):
        with pytest.raises(InputError, match=said):
            load_variants(small, [f"workers.{name}.slow_down=2"])
    (scenario,) = load_variants(small, ["workers.slow.slow_down=2"])
    assert scenario.workers[0].slow_down == 2
    assert scenario.replace("workers.slow.slow_down", 3).workers[0].slow_down == 3


def test_an_override_that_suits_one_variant_alone_names_the_other(small):
    small.write_text(small.read_text() + EVERYWHERE.format(known=""))
    with pytest.raises(InputError, match=r"small\.toml, variant sdbt: algorithm\.tau: sdbt has no tau"):
        load_variants(small, ["algorithm.tau=3"])
    with pytest.raises(InputError, match=r"sdbt has no tau; .*; variant mine has it: use --only mine$"):
        load_variants(small, ["algorithm.tau=3"])
    (mine,) = load_variants(small, ["algorithm.tau=3"], ["mine"])
    assert mine.algorithm.tau == 3
    overrides = ["algorithm.tau=3", "sweep.grid={}"]
    with pytest.raises(
        InputError, match=r"(?s)variant = 'sdbt'.*use --only mine\n.*_known = \[\"algorithm.tau"
    ):
        list(read_plan(small, overrides).runs())
    left_out = read_plan(small, [*overrides, 'sweep.only_where_known=["algorithm.tau"]'])
    assert counted(left_out) == {"sdbt": 2, "mine": 2}


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (
            ["sweep.grid.algorithm.tua=[3]", 'sweep.only_where_known=["algorithm.tua"]'],
            "sweep.only_where_known: found 'algorithm.tua', which no run has; did you mean 'algorithm.tau'?",
        ),
        (
            ['sweep.grid={"workers.0.slow_down"=[2],"workers.slow.slow_down"=[3]}'],
            "sweep: found workers.0.slow_down and workers.slow.slow_down, which are one setting",
        ),
        (["variants.mien.sweep.grid={}"], "no variant 'mien'; did you mean 'mine'?"),
        (["sweep.gird={}"], "sweep.gird: unknown key; did you mean 'grid'?"),
        (
            ["variants.mine.sweep.replicates=3"],
            "variants.mine: sweep.replicates: found here, expected in [sweep]",
        ),
    ],
)
def test_what_a_sweep_cannot_mean_is_said(small, overrides, said):
    small.write_text(small.read_text().replace("[[workers]]", '[[workers]]\nname = "slow"') + TWO)
    with pytest.raises(InputError) as error:
        read_plan(small, overrides)
    assert said in str(error.value)


def test_an_axis_has_one_name_whatever_it_is_called(small):
    small.write_text(small.read_text().replace("[[workers]]", '[[workers]]\nname = "slow"'))
    plan = plan_of(
        small, '[sweep.grid]\n"workers.0.slow_down" = [2, 3]\n', 'sweep.grid."workers.slow.slow_down"=[4]'
    )
    assert plan.keys == ["workers.0.slow_down"]
    assert [one.scenario.workers[0].slow_down for one in plan.runs()] == [4]
    (scenario,) = load_variants(small, ['workers."slow".slow_down=2'])
    assert scenario.workers[0].slow_down == 2


def test_a_variant_that_states_nothing_but_a_sweep_is_no_misspelt_one(small):
    small.write_text(small.read_text() + "[variants.mine]\n")
    heir = small.with_name("heir.toml")
    heir.write_text('extends = "small.toml"\n[variants.mime.sweep.grid]\n"algorithm.tau" = [7]\n')
    with pytest.raises(InputError, match=r"variants.mime.sweep: no variant 'mime'; did you mean 'mine'\?"):
        read_plan(heir)
    heir.write_text('extends = "small.toml"\n[variants.other.sweep.grid]\n"algorithm.tau" = [7, 8]\n')
    assert read_plan(heir).count() == 1 + 2


def test_a_key_without_its_table_is_told_where_it_belongs(small):
    for place, said in (("tau", "algorithm.tau"), ("horizon_s", "budget.horizon_s")):
        with pytest.raises(InputError, match=rf": {place}: unknown key; did you mean '{said}'\?"):
            load_variants(small, [f"{place}=3"])
