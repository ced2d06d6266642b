"""One colour per method, one colour per activity, and no global state."""

import subprocess
import sys

import matplotlib as mpl
import numpy as np

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
    assert style.method_name("my_method") == "my_method"
    assert style.method("my_method").colour in style.SPARE_COLOURS


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
