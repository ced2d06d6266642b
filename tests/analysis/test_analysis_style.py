"""One colour per method, one colour per activity, and no global state."""

import subprocess
import sys

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.text import Text

from fedsim.timing.activities import Activity
from fedsim_analysis import style


def test_every_method_and_activity_has_its_own_colour():
    colours = [method.colour for method in style.METHODS.values()]
    colours += [activity.colour for activity in style.ACTIVITIES.values()]
    colours += style.SPARE_COLOURS
    assert len(set(colours)) == len(colours)


def test_every_activity_of_the_simulator_has_a_look():
    assert {activity.label for activity in Activity} | {"cutting"} == set(style.ACTIVITIES)


def test_the_three_main_methods_are_apart_without_red_or_green():
    # Vienot, Brettel and Mollon 1999: what a deuteranope sees, in linear RGB.
    deuteranope = np.array([[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]])
    seen = []
    for name in ("cendbt", "sdbt", "asyndbt"):
        colour = style.method(name).colour
        rgb = np.array([int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)])
        seen.append(deuteranope @ rgb**2.2)
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert np.abs(seen[one] - seen[other]).max() > 0.1


def test_an_unknown_method_keeps_its_colour_and_name():
    assert style.method("my_method") == style.method("my_method")
    assert style.method_name("my_method") == "my method"
    assert style.method("my_method").colour in style.SPARE_COLOURS


VARIANTS = ["asyndbt", "sdbt", *(f"asyndbt_s{number}" for number in (1, 2, 4, 10)), "mine", "other", "krum"]


def test_variants_are_shades_of_their_method_and_all_are_told_apart():
    looks = style.methods(VARIANTS)
    assert list(looks) == ["sdbt", "asyndbt", *VARIANTS[2:6], "krum", "mine", "other"]
    assert [looks[name].label for name in VARIANTS[2:4]] == ["AsynDBT, s1", "AsynDBT, s2"]
    assert len({look.colour for look in looks.values()}) == len({look.label for look in looks.values()}) == 9
    assert looks["asyndbt"] == style.METHODS["asyndbt"]
    assert looks["krum"].colour == style.DEFENCES["krum"].colour
    for name in VARIANTS[2:6]:  # still a blue
        red, green, blue = (int(looks[name].colour[at : at + 2], 16) for at in (1, 3, 5))
        assert red < green < blue


def test_a_look_is_the_same_whoever_else_is_there_if_nobody_looks_like_it():
    alone = style.method("asyndbt_s4")
    assert style.methods(["asyndbt_s4"])["asyndbt_s4"] == alone
    assert style.methods(["asyndbt_s4", "sdbt", "mine"])["asyndbt_s4"] == alone


def test_as_many_methods_as_there_are_looks():
    looks = style.methods(f"asyndbt_{number}" for number in range(20))
    assert len({(look.colour, look.line) for look in looks.values()}) == 20
    assert len(style.methods(map(str, range(50)))) == 50


def test_names_that_would_be_written_alike_are_quoted():
    looks = style.methods(["a_b", "a-b", "_a_b"])
    assert {name: look.label for name, look in looks.items()} == {
        "a-b": "a-b",
        "_a_b": "'_a_b'",
        "a_b": "'a_b'",
    }


@pytest.mark.parametrize(
    "name", ["a$b$", r"a\$b", "$", "_x", "___", "$\\alpha$", "x\x1b[31m\u202e", "[/x]", "a\nb"]
)
def test_a_name_is_drawn_letter_by_letter(name):
    for written in (style.text(name), style.literal(name)):
        drawn = Text(0, 0, written)
        shown, is_formula = drawn._preprocess_math(written)
        assert is_formula is False
        assert shown.isprintable()
        assert shown.count("$") == name.count("$")
    assert not style.text(name).startswith("_")  # a legend leaves those out


def test_names_as_the_paper_writes_them():
    methods = [style.method_name(name) for name in ("cendbt", "sdbt", "asyndbt")]
    assert methods == ["cenDBT", "SDBT", "AsynDBT"]
    tasks = [style.task_name(name) for name in ("5g", "cola", "sst2", "mrpc", "qqp", "qnli")]
    assert tasks == ["5G", "CoLA", "SST-2", "MRPC", "QQP", "QNLI"]


def test_the_look_ends_with_its_block_and_overrides_the_users():
    with mpl.rc_context({"axes.facecolor": "red", "font.size": 20}):
        with style.look():
            assert mpl.rcParams["font.size"] == 7
            assert mpl.rcParams["axes.facecolor"] == "white"
        assert mpl.rcParams["font.size"] == 20
        assert mpl.rcParams["axes.facecolor"] == "red"


def test_the_list_of_figures_costs_no_matplotlib():
    code = "import sys, fedsim_analysis.figures, fedsim_analysis.tables.figure1"
    code += "; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
