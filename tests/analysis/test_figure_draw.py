"""Writing a figure: three files or none, the same bytes each time, and clear refusals."""

import importlib

import pandas as pd
import pytest
from tiny_tables import study

from fedsim.errors import InputError
from fedsim.results import TABLES
from fedsim_analysis.figures import FIGURES, draw


def load(name):
    return {"runs": study()}[name]


def test_three_files_beside_each_other(tmp_path):
    paths = draw("figure1", load, tmp_path / "pictures" / "mine.pdf")
    assert [path.name for path in paths] == ["mine.pdf", "mine.png", "mine.csv"]
    assert {path.parent for path in paths} == {tmp_path / "pictures"}
    assert sorted((tmp_path / "pictures").iterdir()) == sorted(paths)
    assert paths[0].read_bytes().startswith(b"%PDF")
    assert paths[1].read_bytes().startswith(b"\x89PNG")
    table = pd.read_csv(paths[2])
    assert list(table["saving_percent"].round(6)) == [0, 20, 50] * 2


def test_a_folder_takes_the_name_of_the_figure_and_a_dot_is_no_suffix(tmp_path):
    assert draw("figure1", load, tmp_path)[0] == tmp_path / "figure1.pdf"
    assert draw("figure1", load, tmp_path / "v1.2")[1] == tmp_path / "v1.2.png"


def test_the_same_tables_give_the_same_bytes(tmp_path):
    once, again = (draw("figure1", load, tmp_path / name) for name in ("a", "b"))
    assert [path.read_bytes() for path in once] == [path.read_bytes() for path in again]


def test_an_unknown_figure_suggests_the_nearest():
    with pytest.raises(
        InputError, match=r"unknown figure 'figur1'; did you mean 'figure1'\? \(known: grid, figure1"
    ):
        draw("figur1", load, None)


def test_a_refused_table_writes_nothing(tmp_path):
    with pytest.raises(InputError, match="is empty"):
        draw("figure1", lambda name: study().head(0), tmp_path / "new" / "picture")
    assert list(tmp_path.iterdir()) == []


def test_an_unwritable_output(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot write .*picture.pdf: "):
        draw("figure1", load, tmp_path / "file" / "picture")


def test_a_failure_half_way_leaves_the_old_files(tmp_path, full_disk):
    paths = draw("figure1", load, tmp_path / "mine")
    before = [path.read_bytes() for path in paths]

    with full_disk(20_000), pytest.raises(InputError, match=r"cannot write .*mine\.\w+: File too large"):
        draw("figure1", lambda name: study().query("seed < 2"), tmp_path / "mine")
    assert [path.read_bytes() for path in paths] == before
    assert sorted(tmp_path.iterdir()) == sorted(paths)


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_of_the_list_has_the_three_public_names(name):
    module = importlib.import_module(FIGURES[name].module)
    public = {
        thing for thing, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__
    }
    assert {thing for thing in public if not thing.startswith("_")} == {"figure", "table"}
    of_results = set(module.NEEDS) <= set(TABLES)
    assert of_results == (not FIGURES[name].study)
    assert module.__doc__
    assert FIGURES[name].summary


def test_a_figure_of_a_study_says_who_draws_it(command, tmp_path):
    answer = command("figure", "surrogate_validation", tmp_path)
    assert answer.code == 2
    assert "`python -m fedsim_analysis.studies.surrogate_validation` draws it" in answer.err
