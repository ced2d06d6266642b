"""The report in a real browser, opened from a file and without a network."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from report_cases import HOSTILE, results
from waiting import LIMIT_S

from fedsim_analysis import report
from fedsim_analysis.report import material
from fedsim_analysis.statistics import estimate

playwright = pytest.importorskip("playwright.sync_api", reason="needs the package playwright")

pytestmark = pytest.mark.browser

NAMES = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = (
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 360, "height": 740}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        there = next(filter(None, map(shutil.which, NAMES)), None) or driver.chromium.executable_path
        if not Path(there).exists():
            pytest.skip(f"no Chromium: none of {', '.join(NAMES)} is installed, nor playwright's own")
        # Chromium has no sandbox for the user root, as whom containers run.
        unsafe = ["--no-sandbox"] if os.geteuid() == 0 else []
        opened = driver.chromium.launch(
            executable_path=there, args=[*ARGUMENTS, *unsafe], timeout=1000 * LIMIT_S
        )
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return results(tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="module")
def file(folder) -> Path:
    return report.write(folder, folder.parent / "report.html")


class Sight:
    """A page as a person has it before them; everything that the browser complains of is kept."""

    def __init__(self, browser, file: Path, **settings) -> None:
        settings = {"viewport": DESKTOP, "color_scheme": "light", **settings}
        self.context = browser.new_context(offline=True, **settings)
        self.context.set_default_timeout(1000 * LIMIT_S)  # in milliseconds
        self.page = self.context.new_page()
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(file.as_uri())
        self.page.wait_for_selector("#explore-chart .main-svg")

    def data(self, chart: str) -> list[dict[str, Any]]:
        """Return the traces of a chart, as plotly has them."""
        return self.page.evaluate(
            "name => document.getElementById(name).data.map((trace) => JSON.parse(JSON.stringify(trace)))",
            chart,
        )

    def window(self) -> list[float]:
        """Return the first and the last second that the timeline shows."""
        return self.page.evaluate("document.getElementById('timeline-chart').layout.xaxis.range.map(Number)")

    def background(self) -> str:
        return self.page.evaluate("getComputedStyle(document.body).backgroundColor")


@pytest.fixture(scope="module")
def shared(browser, file) -> Iterator[Sight]:
    sight = Sight(browser, file, permissions=["clipboard-read", "clipboard-write"])
    yield sight
    # Over all that the tests have done to it.
    assert sight.complaints == []
    assert sight.requests == [file.as_uri()]
    assert sight.page.evaluate("window.stolen") is None
    sight.context.close()


@pytest.fixture
def sight(shared) -> Sight:
    """The shared page, as it is when it is opened."""
    shared.page.reload()
    shared.page.wait_for_selector("#explore-chart .main-svg")
    shared.requests[1:] = []
    return shared


def test_another_metric_shows_other_numbers(sight):
    before = sight.data("explore-chart")
    assert [trace["name"] for trace in before] == ["SDBT", "AsynDBT"]
    sight.page.select_option("#explore-metric", "loss")
    after = sight.data("explore-chart")
    assert [trace["x"] for trace in after] == [trace["x"] for trace in before] == [[1, 4], [1, 4]]
    assert all(one["y"] != other["y"] for one, other in zip(before, after, strict=True))
    assert "Loss across workers.1.slow_down by Method: 12 runs." in sight.page.inner_text("#explore-note")


def test_means_and_intervals_are_those_of_the_statistics(sight, folder):
    runs = material.read(folder).runs
    sight.page.select_option("#explore-group", "method")
    for trace, method in zip(sight.data("explore-chart"), ("sdbt", "asyndbt"), strict=True):
        for place, slow_down in enumerate((1, 4)):
            group = runs[(runs["method"] == method) & (runs["workers.1.slow_down"] == slow_down)]
            found = estimate(group["simulated_time_s"])
            assert trace["y"][place] == pytest.approx(found.mean)
            assert trace["error_y"]["array"][place] == pytest.approx(found.high - found.mean)
            half = 4.302653 * group["simulated_time_s"].std() / math.sqrt(3)  # t table: 0.975, two degrees
            assert trace["error_y"]["array"][place] == pytest.approx(half, rel=1e-6)


def test_what_is_on_no_axis_is_averaged_within_a_seed_or_held(sight, folder):
    runs = material.read(folder).runs
    sight.page.select_option("#explore-x", "method")
    sight.page.select_option("#explore-group", "")
    (trace,) = sight.data("explore-chart")
    by_seed = runs.groupby(["method", "seed"])["simulated_time_s"].mean()
    found = [estimate(by_seed[method]) for method in ("sdbt", "asyndbt")]
    assert trace["x"] == ["SDBT", "AsynDBT"]
    assert trace["y"] == pytest.approx([one.mean for one in found])
    assert trace["error_y"]["array"] == pytest.approx([one.high - one.mean for one in found])
    assert "Averaged over workers.1.name, workers.1.slow_down" in sight.page.inner_text("#explore-note")
    filters = sight.page.locator("#explore-filters label", has_text="workers.1.slow_down")
    filters.locator("select").select_option(label="4")
    (trace,) = sight.data("explore-chart")
    slow = runs[runs["workers.1.slow_down"] == 4].groupby("method")["simulated_time_s"].mean()
    assert trace["y"] == pytest.approx(slow[["sdbt", "asyndbt"]].tolist())


def test_a_measurement_across_has_a_point_a_setting_and_runs_can_be_seen_one_by_one(sight, folder):
    runs = material.read(folder).runs
    sight.page.select_option("#explore-x", "loss")
    sdbt = sight.data("explore-chart")[0]
    means = runs[runs["method"] == "sdbt"].groupby("place")[["loss", "simulated_time_s"]].mean()
    assert sorted(sdbt["y"]) == pytest.approx(sorted(means["simulated_time_s"]))
    assert sdbt["error_x"]["visible"]
    sight.page.select_option("#explore-draw", "runs")
    assert sum(len(trace["x"]) for trace in sight.data("explore-chart")) == len(runs)


def test_runs_that_never_reached_the_target_are_told(sight):
    sight.page.select_option("#explore-metric", "time_to_target_s")
    assert "never reached the target" in sight.page.inner_text("#explore-note")


def test_names_are_text_in_the_plot_too(sight):
    sight.page.select_option("#explore-group", "workers.1.name")
    # Plotly takes some tags in a name for its own.
    assert len(sight.data("explore-chart")) == 2
    assert HOSTILE in sight.page.inner_text("#explore-chart")
    assert sight.page.evaluate("document.images.length") == 0


def test_the_timeline_zooms_moves_and_comes_back(sight):
    page = sight.page
    start, end = sight.window()
    assert start == 0
    page.click("#timeline-in")
    near = sight.window()
    assert near == pytest.approx([end / 4, 3 * end / 4])
    assert float(page.input_value("#timeline-from")) == pytest.approx(near[0], rel=1e-4)
    page.click("#timeline-later")
    assert sight.window()[0] > near[0]
    page.click("#timeline-earlier")
    assert sight.window() == pytest.approx(near)
    page.click("#timeline-out")
    assert sight.window() == pytest.approx([0, end])
    page.click("#timeline-whole")
    whole = sight.window()
    page.click("#timeline-reset")
    assert sight.window() == pytest.approx([0, end])
    page.fill("#timeline-to", "3")
    page.keyboard.press("Enter")
    assert sight.window() == pytest.approx([0, 3])
    page.select_option("#timeline-run", index=1)
    assert sight.window()[1] != 3
    assert whole[1] >= end


def test_the_timeline_is_zoomed_by_hand_and_says_what_is_under_the_pointer(sight):
    chart = sight.page.locator("#timeline-chart .draglayer .nsewdrag").first
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()
    before = sight.window()
    mouse, middle = sight.page.mouse, box["y"] + box["height"] / 2
    mouse.move(box["x"] + box["width"] * 0.25, middle)
    mouse.down()
    mouse.move(box["x"] + box["width"] * 0.75, middle, steps=5)
    mouse.up()
    after = sight.window()
    assert after == pytest.approx([before[1] / 4, 3 * before[1] / 4], rel=0.05)
    mouse.move(box["x"] + box["width"] * 0.5, middle + box["height"] / 8, steps=3)  # the middle of a row
    sight.page.wait_for_selector("#timeline-chart .hovertext")
    assert "worker" in sight.page.text_content("#timeline-chart .hovertext")


def test_dark_and_light(sight, browser, file):
    light = sight.background()
    blue = sight.data("explore-chart")[1]["line"]["color"]
    sight.page.click("#theme")
    dark = sight.background()
    assert dark != light
    assert sight.data("explore-chart")[1]["line"]["color"] != blue
    sight.page.click("#theme")
    assert sight.background() == light
    other = Sight(browser, file, color_scheme="dark")
    assert other.background() == dark
    assert other.complaints == []
    other.context.close()


def test_a_heading_sorts_the_table(sight):
    def column() -> list[float]:
        cells = sight.page.locator("#headline tbody tr td:nth-child(5)").all()
        return [float(cell.get_attribute("data-key")) for cell in cells]

    heading = sight.page.locator("#headline th", has_text="Simulated time")
    heading.locator("button").click()
    assert heading.get_attribute("aria-sort") == "ascending"
    assert column() == sorted(column())
    heading.locator("button").click()
    assert column() == sorted(column(), reverse=True)
    assert len(set(column())) == 4
    assert heading.get_attribute("aria-sort") == "descending"


def test_the_commands_are_copied(sight):
    sight.page.click("#copy")
    playwright.expect(sight.page.locator("#copied")).to_have_text("Copied.")
    copied = sight.page.evaluate("navigator.clipboard.readText()")
    assert copied == sight.page.text_content("#commands")
    assert copied.splitlines()[-1].startswith("fedsim report ")


def test_where_the_clipboard_is_refused_the_commands_are_selected(sight):
    sight.page.evaluate(
        "() => { navigator.clipboard.writeText = () => Promise.reject(new Error('refused')); }"
    )
    sight.page.click("#copy")
    playwright.expect(sight.page.locator("#copied")).to_contain_text("Selected")
    assert sight.page.evaluate("getSelection().toString()").strip() == sight.page.text_content("#commands")


def test_the_tabulator_reaches_every_control_in_order(sight):
    page = sight.page
    wanted = page.evaluate(
        "document.querySelectorAll('main button, main select, main input:not(:disabled)').length"
    )
    seen: list[str] = []
    outlined = 0
    for _ in range(wanted + 60):
        page.keyboard.press("Tab")
        now = page.evaluate(
            "(() => { const each = document.activeElement; const all = [...document.querySelectorAll('*')];"
            " return [all.indexOf(each), each.matches('main button, main select, main input'),"
            " getComputedStyle(each).outlineStyle, each.tagName]; })()"
        )
        if now[3] == "BODY":
            break
        seen.append(now[0])
        outlined += now[2] != "none"
        wanted -= now[1]
    assert wanted == 0
    assert seen == sorted(seen)
    assert outlined == len(seen)


def test_a_desk_never_scrolls_sideways(sight):
    assert sight.page.evaluate("document.documentElement.scrollWidth") <= DESKTOP["width"]


def test_a_view_has_a_link_and_can_be_taken_away(sight, browser, file, tmp_path):
    page = sight.page
    page.select_option("#explore-metric", "loss")
    page.select_option("#explore-draw", "points")
    shown = sight.data("explore-chart")
    with page.expect_download() as csv:
        page.click("#explore-csv")
    rows = Path(csv.value.path()).read_text().splitlines()
    assert rows[0].split(",")[2] == "loss"
    points = [point for trace in shown for point in trace["customdata"]]
    halves = [row.rsplit(",", 2)[1] for row in rows[1:]]
    assert halves == [str(point["yHalf"]) if point["yHalf"] is not None else "" for point in points]
    assert len(rows) == 1 + sum(len(trace["x"]) for trace in shown)
    with page.expect_download() as svg:
        page.click("#explore-svg")
    assert Path(svg.value.path()).read_text().startswith("<svg")
    address = page.evaluate("document.getElementById('explore-address').textContent")
    other = sight.context.new_page()
    other.goto(address)
    other.wait_for_selector("#explore-chart .main-svg")
    assert (other.input_value("#explore-metric"), other.input_value("#explore-draw")) == ("loss", "points")
    # A value is found by what it says, and what is no address ends nothing.
    other.evaluate(
        "location.hash = '#explore?x=50%&metric=loss&only.workers.1.slow_down=4&group=method&x=method'"
    )
    other.wait_for_function(
        "document.getElementById('explore-address').textContent.includes('only.workers.1.slow_down=4')"
    )
    other.close()
    with page.expect_download() as numbers:
        page.click("button[data-csv]")
    assert Path(numbers.value.path()).read_text().count("\n") > 2


def test_a_phone_never_scrolls_sideways(browser, file):
    sight = Sight(browser, file, viewport=PHONE, has_touch=True, is_mobile=True)
    page = sight.page
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    page.select_option("#explore-group", "workers.1.name")
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    # A wide table scrolls in a box of its own.
    assert page.evaluate(
        "document.querySelector('.tall').scrollWidth > document.querySelector('.tall').clientWidth"
    )
    # The first column stays, and the numbers begin beside it.
    first, number = (
        page.evaluate(f"document.querySelector('#headline tbody {which}').getBoundingClientRect().left")
        for which in ("td", "td.number:nth-of-type(4)")
    )
    assert first < number < PHONE["width"] - 40
    assert page.input_value("#timeline-drag") == ""
    assert sight.complaints == []
    sight.context.close()
