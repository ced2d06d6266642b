"""What a run needs of the model and reveals of the workers, as its problem and its algorithm say."""

from pathlib import Path

import pytest

from fedsim.scenario import load_scenario
from fedsim.simulation import run

SMALL = Path(__file__).parents[2] / "scenarios" / "features" / "readme.toml"


@pytest.mark.parametrize(
    ("overrides", "access", "reveals"),
    [
        ([], "probabilities", "distributions"),
        (["algorithm.kind=fedbdpl"], "probabilities", "distributions"),
        (["algorithm.kind=cendbt", "algorithm.machine=normal"], "probabilities", "texts"),
        (["algorithm.kind=bdpl", "workers.0.unset=['upload']"], "probabilities", "nothing"),
    ],
)
def test_what_is_needed_and_revealed(overrides, access, reveals):
    summary = run(load_scenario(SMALL, "", overrides), timing_only=True).summary
    assert (summary["access"], summary["reveals"]) == (access, reveals)
