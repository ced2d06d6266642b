"""Networks as graphs: places by hand, colours and widths of links, roles, many workers, many runs."""

import math
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection
from tiny_tables import assert_inside

from fedsim.errors import InputError
from fedsim_analysis.figures import topology
from fedsim_analysis.graphs import places

COLUMNS = ["run_id", "source", "target", "mbps", "n_bytes", "busy_s", "utilisation"]


def both_ways(run_id, one, other, mbps, there, back):
    return [(run_id, one, other, mbps, 1e6, 1.0, there), (run_id, other, one, mbps, 1e6, 1.0, back)]


def star(run_id="a", n_workers=3, server="server"):
    """Return a star whose server link is busy 90 % one way and 20 % the other, its spokes 10 and 30 %."""
    rows = both_ways(run_id, "hub", server, 5.0, 0.9, 0.2)
    for worker in range(n_workers):
        rows += both_ways(run_id, f"worker {worker}", "hub", 0.05, 0.1, 0.3)
    return rows


def recorded(*networks, **settings):
    links = pd.DataFrame([row for rows in networks for row in rows], columns=COLUMNS)
    names = {"scenario": "star", "variant": "", "algorithm": "asyndbt"}
    runs = [
        {"run_id": run_id, **names, "seed": seed, **settings}
        for seed, run_id in enumerate(links["run_id"].unique())
    ]
    return pd.DataFrame(runs), links


def polar(at):
    return math.hypot(*at), math.degrees(math.atan2(at[1], at[0])) % 360


def test_a_star_by_hand():
    """Four leaves at equal angles around the hub, the server first, on top and half a link further out."""
    found = places([row[1:3] for row in star()], "server")
    assert {node: polar(at) for node, at in found.items() if node != "hub"} == {
        "server": pytest.approx((1.5, 90)),
        "worker 0": pytest.approx((1.0, 0)),
        "worker 1": pytest.approx((1.0, 270)),
        "worker 2": pytest.approx((1.0, 180)),
    }
    assert found["hub"] == pytest.approx((0, 0))


def test_a_tree_by_hand():
    """Two nodes with two workers each: leaves at 90, 0, 270 and 180 degrees, their parents in between."""
    links = [("node 0", "server"), ("node 1", "server")]
    links += [(f"worker {worker}", f"node {worker // 2}") for worker in range(4)]
    found = places(links, "server")
    assert found["server"] == pytest.approx((0, 0))
    assert polar(found["node 0"]) == pytest.approx((1.0, 45))
    assert polar(found["node 1"]) == pytest.approx((1.0, 225))
    assert [polar(found[f"worker {worker}"])[1] % 360 for worker in range(4)] == pytest.approx(
        [90, 0, 270, 180]
    )
    assert polar(found["worker 3"])[0] == pytest.approx(2.0)


def test_workers_stand_in_the_order_of_their_numbers():
    found = places([row[1:3] for row in star(n_workers=11)], "server")
    turns = [polar(found[f"worker {worker}"])[1] for worker in range(11)]
    assert turns[0] == pytest.approx(60)
    assert [(before - after) % 360 for before, after in pairwise(turns)] == pytest.approx([30] * 10)


def test_a_ring_is_round_and_always_the_same():
    names = ["server", *(f"worker {worker}" for worker in range(5))]
    ring = list(zip(names, [*names[1:], names[0]], strict=True))
    found = places(ring, "server")
    radii = [math.dist(at, np.mean(list(found.values()), axis=0)) for at in found.values()]
    assert radii == pytest.approx([radii[0]] * 6, rel=0.01)
    assert found == places(ring, "server")


def test_a_large_graph_is_always_the_same():
    names = [f"worker {worker}" for worker in range(250)]
    ring = list(zip(names, [*names[1:], names[0]], strict=True))
    assert places(ring, "server") == places(ring, "server")


def test_table_by_hand():
    table = topology.table(*recorded(star()))
    assert table["utilisation_percent"].tolist() == pytest.approx([90, 20, *[10, 30] * 3])
    assert table["drawn_percent"].tolist() == pytest.approx([90, 90, *[30] * 6])


def lines(axes, coloured=True):
    return [
        one
        for one in axes.collections
        if isinstance(one, LineCollection) and (one.get_array() is not None) == coloured
    ]


def test_colours_and_widths_of_links():
    picture = topology.figure(*recorded(star()))
    axes, bar = picture.axes
    (drawn,) = lines(axes)
    # One line per link, the busier direction's utilisation, the busiest on top.
    assert drawn.get_array().tolist() == pytest.approx([30, 30, 30, 90])
    assert drawn.get_clim() == (0, 100)
    assert list(drawn.get_linewidths()) == [0.5, 0.5, 0.5, 1.5]
    assert [segment.tolist() for segment in drawn.get_segments()][-1] == [
        pytest.approx([0, 0]),
        pytest.approx([0, 1.5]),
    ]
    assert bar.get_ylabel() == "Utilisation of the busier direction (%)"
    shade = drawn.cmap(drawn.norm([0, 50, 100])) @ [0.2126, 0.7152, 0.0722, 0]
    assert shade[0] > shade[1] > shade[2]  # told apart in print as well
    words = [text.get_text() for text in picture.legends[0].get_texts()]
    assert words == ["server", "worker", "other node", "0 to 0.1 Mbit/s", "1 to 10 Mbit/s"]
    assert_inside(picture)


def test_the_busiest_link_is_on_top_and_two_widths_are_one():
    rows = star()
    rows[2] = ("a", "worker 0", "hub", 20.0, 1e6, 1.0, 0.5)
    (drawn,) = lines(topology.figure(*recorded(rows)).axes[0])
    assert drawn.get_array().tolist() == pytest.approx([30, 30, 50, 90])
    assert list(drawn.get_linewidths()) == [0.5, 0.5, 2.2, 1.5]


@pytest.mark.parametrize(
    ("mbps", "words", "width"),
    [
        (0.1, "0.1 to 1 Mbit/s", 0.9),
        (99.0, "10 to 100 Mbit/s", 2.2),
        (100.0, "100 Mbit/s or more", 3.0),
        (math.inf, "no limit", 0.9),
    ],
)
def test_classes_of_bandwidth(mbps, words, width):
    picture = topology.figure(*recorded(both_ways("a", "worker 0", "server", mbps, 0.0, 0.0)))
    legend = picture.legends[0]
    assert legend.get_texts()[-1].get_text() == words
    assert legend.get_lines()[-1].get_linewidth() == width
    outline = lines(picture.axes[0], coloured=False)[0]
    assert list(outline.get_linewidths()) == [width + 0.5]


def test_a_link_without_a_limit_has_no_colour():
    rows = star() + both_ways("a", "worker 3", "hub", math.inf, 0.0, 0.0)
    axes = topology.figure(*recorded(rows)).axes[0]
    assert sum(len(one.get_segments()) for one in lines(axes)) == 4
    (dashed,) = [one for one in lines(axes, coloured=False) if len(one.get_segments()) == 1]
    assert dashed.get_linestyles()[0][1] is not None


def test_a_half_duplex_link_has_one_row():
    rows = [*star(), ("a", "worker 3", "hub", 1.0, 1.0, 1.0, 0.5)]
    table = topology.table(*recorded(rows))
    assert table["drawn_percent"].iloc[-1] == 50
    assert len(lines(topology.figure(*recorded(rows)).axes[0])[0].get_segments()) == 5


def markers(axes):
    return {line.get_marker(): len(line.get_xdata()) for line in axes.lines}


def test_roles_and_names():
    axes = topology.figure(*recorded(star())).axes[0]
    assert markers(axes) == {"s": 1, "o": 3, "D": 1}
    assert sorted(text.get_text() for text in axes.texts) == ["0", "1", "2", "hub", "server"]


def test_servers_and_workers_with_names_of_their_own():
    rows = both_ways("a", "hub", "gateway", 5.0, 0.9, 0.2) + both_ways("a", "hub", "library", 5.0, 0.9, 0.2)
    runs, links = recorded(rows, star("b"), **{"network.server": None, "network.workers": None})
    runs.at[0, "network.server"], runs.at[0, "network.workers"] = "gateway", ["library"]
    runs.at[1, "network.workers"] = math.nan  # as in a table of runs of which some have no such setting
    panels = topology.figure(runs, links).axes
    assert markers(panels[0]) == {"s": 1, "o": 1, "D": 1}
    assert sorted(text.get_text() for text in panels[0].texts) == ["gateway", "hub", "library"]
    assert markers(panels[1]) == {"s": 1, "o": 3, "D": 1}


def test_a_server_that_nobody_names_is_a_node_like_others():
    assert markers(topology.figure(*recorded(star(server="gateway"))).axes[0]) == {"o": 3, "D": 2}


def test_a_thousand_workers_have_no_names():
    axes = topology.figure(*recorded(star(n_workers=1000))).axes[0]
    assert list(axes.texts) == []
    assert markers(axes) == {"s": 1, "o": 1000, "D": 1}
    assert len(lines(axes)[0].get_segments()) == 1001


def test_a_panel_a_run():
    picture = topology.figure(*recorded(*(star(name) for name in "abcd")))
    drawn = [axes.get_title(loc="left") for axes in picture.axes]
    assert [title for title in drawn if title] == [f"star, seed {seed}" for seed in range(4)]
    assert_inside(picture)


def test_a_panel_is_called_by_what_tells_it_apart():
    runs, links = recorded(star("a"), star("b"))
    runs = runs.assign(seed=0, variant=["half_duplex", ""])
    titles = [axes.get_title(loc="left") for axes in topology.figure(runs, links).axes]
    assert titles[:2] == ["AsynDBT", "half duplex"]
    titles = [
        axes.get_title(loc="left")
        for axes in topology.figure(runs.assign(scenario=["star", "other"]), links).axes
    ]
    assert titles[:2] == ["other", "star, half duplex"]


def test_seven_runs_are_too_many():
    seven = recorded(*(star(name) for name in "abcdefg"))
    with pytest.raises(
        InputError, match=r"hold 7 runs with links, and at most 6 fit .* give the folder of one"
    ):
        topology.table(*seven)
    assert set(topology.table(*seven, seed=4)["run_id"]) == {"e"}
    with pytest.raises(InputError, match=r"seed 9: no run that can be drawn has it \(seeds: 0, 1"):
        topology.table(*seven, seed=9)


def test_no_links():
    runs, links = recorded(star())
    with pytest.raises(InputError, match='of kind "simple", which has none'):
        topology.figure(runs, links.head(0))
