"""The front in the report: headline, rows and drawing, hostile names and figures that are not there."""

import json
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from kit.judge import judge
from kit.judge.front import front
from kit.records import AxisFigure, Front, FrontPoint, Verdict
from kit.report import render_html, render_text
from kit.report.charts.front import front as draw
from kit.report.machine import front_object
from kit.report.sections.front import FrontView, build_front
from tests import builders
from tests.report import scenes

FULL = AxisFigure(0.846, 0.83, 0.86, "measured")
SIZE = AxisFigure(70_000.0, 70_000.0, 70_000.0, "computed")


def point(name: str, **changes: object) -> FrontPoint:
    plain = FrontPoint(name, Verdict.PASS, False, FULL, AxisFigure(0.02, 0.0, 0.05, "emulated"), SIZE, "front", (), "")
    return replace(plain, **changes)  # type: ignore[arg-type]


def made(*points: FrontPoint, gap_of: str = "accuracy over side") -> FrontView:
    found = build_front(Front(points, gap_of, "size", "B", 0.95, 0.005, "pairs"))
    assert found is not None
    return found


def test_a_headline_says_who_is_where() -> None:
    found = made(
        point("a"), point("b", standing="dominated", by=("a",)), point("c", standing="doubtful", by=("a", "b"))
    )
    assert found.headline == "On the front: a; perhaps dominated: c; dominated: b."
    assert [row.by for row in found.rows] == ["", "a", "a and b"]
    assert made(point("a"), point("b")).headline.startswith("No variant is dominated: each of the 2")


def test_figures_have_their_interval_and_origin() -> None:
    (row, missing) = made(point("a"), point("b", accuracy=None, gap=None, cost=None, standing="not measured")).rows
    assert row.accuracy_text == "84.6 % [83.0, 86.0]"
    assert row.gap_text == "2.0 pp [0.0, 5.0] (emulated)"
    assert row.cost_text == "70.0 kB"
    assert (missing.accuracy_text, missing.cost_text, missing.standing) == (
        "not obtained",
        "not obtained",
        "not placed",
    )


@pytest.mark.parametrize("width", [336.0, 688.0, 1008.0])
@pytest.mark.parametrize("points", [
    [point("a"), point("b", cost=replace(SIZE, estimate=7e7, lower=7e7, upper=7e7))],
    [point("<b>&\"'", chosen=True), point("x" * 300, standing="dominated", by=("a",))],
    [point("a", gap=None), point("b", accuracy=None)],
    [point(f"v{n}", accuracy=AxisFigure(0.5, None, None, "measured")) for n in range(16)],
], ids=["wide costs", "hostile", "absent", "many alike"])  # fmt: skip
def test_the_drawing_is_well_formed_and_within_its_width(points: list[FrontPoint], width: float) -> None:
    root = ElementTree.fromstring(draw(made(*points), width))
    circles = [each for each in root.iter() if each.tag.endswith("circle")]
    assert len(circles) >= sum(each.accuracy is not None and each.cost is not None for each in points)
    assert all(0 <= float(each.attrib["cx"]) <= width for each in circles)


def test_page_terminal_and_machine_have_it() -> None:
    view = scenes.ordinary()
    page = render_html(view)
    assert 'id="front"' in page
    assert view.front is not None
    assert view.front.headline in render_text(view, width=200)
    said = json.loads(json.dumps(view.summary["front"], allow_nan=False))
    assert [each["variant"] for each in said["points"]] == [row.name for row in view.front.rows]
    assert said["points"][0]["cost"]["obtained"] == "computed"


def test_without_predictions_there_is_none() -> None:
    plans = [replace(plan, absent=frozenset({"predictions"})) for plan in builders.PLANS[:2]]
    evidence, profile = builders.evidence(plans), builders.profile()
    assert front(evidence, judge(evidence, profile, builders.device()), profile) is None
    view = scenes.view_of(evidence)
    assert view.front is None
    assert view.summary["front"] is None
    assert 'id="front"' not in render_html(view)
    assert front_object(None) is None
