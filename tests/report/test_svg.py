import xml.etree.ElementTree as ET

import pytest

from kit.report import svg
from kit.report.charts.requirement import against_limit, change
from kit.report.sections.requirements import Dot
from kit.report.sections.slices import SliceRow


@pytest.mark.parametrize(
    ("value", "text"), [(1.0, "1"), (1.04, "1"), (1.25, "1.2"), (-0.04, "0"), (-1.06, "-1.1"), (100.0, "100")]
)
def test_coordinates_are_rounded_to_a_tenth(value: float, text: str) -> None:
    assert svg.number(value) == text


def test_attributes_and_texts_are_escaped() -> None:
    mark = svg.element("text", svg.tip("<b>&"), class_="a", stroke_width=2, fill='"><script>')
    assert mark == (
        '<text class="a" stroke-width="2" fill="&quot;&gt;&lt;script&gt;"><title>&lt;b&gt;&amp;</title></text>'
    )


def test_marks_have_a_colour_without_a_stylesheet() -> None:
    assert svg.line(0, 0, 1, 1, "pass") == (
        '<line x1="0" y1="0" x2="1" y2="1" fill="none" stroke="#00706B" stroke-width="1" class="s-pass"/>'
    )


def test_paths() -> None:
    assert svg.path([(0, 0), (1, 2)]) == "M0 0L1 2"
    assert svg.path([(0, 0), (1, 2)], step=True) == "M0 0H1V2"
    assert svg.path([(0, 0), (1, 2), (3, 4)], close=True) == "M0 0L1 2L3 4Z"
    assert svg.path([]) == ""


def test_axis_clamps_and_maps() -> None:
    axis = svg.Axis(0.0, 10.0, 100.0, 200.0)
    assert [axis.at(v) for v in (-5, 0, 5, 10, 99)] == [100, 100, 150, 200, 200]
    log = svg.Axis(1.0, 100.0, 0.0, 100.0, log=True)
    assert log.at(10.0) == pytest.approx(50.0)
    assert svg.Axis(3.0, 3.0, 0.0, 10.0).at(3.0) == 0.0


def test_ticks_are_round_and_inside() -> None:
    assert svg.linear_ticks(0.0, 10.0, 5) == [0, 2, 4, 6, 8, 10]
    assert svg.linear_ticks(-0.08, 0.02, 5) == [-0.08, -0.06, -0.04, -0.02, 0, 0.02]
    assert svg.linear_ticks(1.0, 1.0, 5) == [1.0]
    assert svg.log_ticks(1.0, 1e6, 4) == [1, 100, 1e4, 1e6]
    assert svg.log_ticks(0.09, 0.17, 4) == [0.1, 0.12, 0.14, 0.16]
    assert svg.log_ticks(1.0, 12.0, 8) == [1, 2, 5, 10]


@pytest.mark.parametrize(("value", "shown"), [(5.0, "limit<"), (50.0, "limit →<"), (-1.0, "← limit<")])
def test_a_limit_beyond_the_axis_is_an_arrow(value: float, shown: str) -> None:
    mark = svg.limit_mark(svg.Axis(0.0, 10.0, 0.0, 100.0), value, 0.0, 50.0, "limit", 10.0)
    assert shown in mark
    assert ("<line" in mark) is (value == 5.0)


def test_a_halo_keeps_lines_from_letters_and_follows_the_paper() -> None:
    mark = svg.label(0, 10, "name", colour="ink", halo=True)
    assert 'class="f-ink s-paper"' in mark
    assert 'stroke="#FFFFFF"' in mark
    assert 'paint-order="stroke"' in mark
    assert "stroke" not in svg.label(0, 10, "name", colour="ink")


def test_what_is_cut_to_fit_fits() -> None:
    for room in (40.0, 100.0, 333.0):
        assert svg.room_for(svg.fitted("x" * 99, room, bold=True), bold=True) <= room


GOLD_REQUIREMENT = (
    '<svg xmlns="http://www.w3.org/2000/svg" role="img" width="200" height="26" viewBox="0 0 200 26" '
    'font-family="system-ui, sans-serif"><title>p99 holds.</title>'
    "<desc>Right of the bar is better than the limit, left is worse.</desc>"
    '<line x1="8" y1="13" x2="192" y2="13" fill="none" stroke="#DDE1E6" stroke-width="1" class="s-rule"/>'
    '<line x1="100" y1="3" x2="100" y2="23" fill="none" stroke="#1B1F24" stroke-width="1.5" class="s-ink"/>'
    '<line x1="109.2" y1="13" x2="127.6" y2="13" fill="none" stroke="#00706B" stroke-width="3" class="s-pass" '
    'stroke-linecap="round"/><circle cx="118.4" cy="13" r="4.5" fill="#00706B" class="f-pass"/></svg>'
)


def test_gold_requirement_cell() -> None:
    assert against_limit(Dot(0.2, 0.1, 0.3), "PASS", "p99 holds.") == GOLD_REQUIREMENT


def test_a_figure_far_out_is_an_arrow_and_an_absent_one_is_nothing() -> None:
    far = against_limit(Dot(-32.0, -40.0, -30.0), "FAIL", "worthless")
    assert "<circle" not in far
    assert far.count("<path") == 1
    nothing = against_limit(None, "INCONCLUSIVE", "absent")
    assert "<circle" not in nothing
    assert "<path" not in nothing


GOLD_CHANGE = (
    '<line x1="8" y1="13" x2="192" y2="13" fill="none" stroke="#DDE1E6" stroke-width="1" class="s-rule"/>'
    '<line x1="130.7" y1="0" x2="130.7" y2="26" fill="none" stroke="#59626D" stroke-width="1" class="s-soft"/>'
    '<line x1="69.3" y1="0" x2="69.3" y2="26" fill="none" stroke="#B3261E" stroke-width="1.5" class="s-fail" '
    'stroke-dasharray="3 2"/>'
    '<line x1="100" y1="13" x2="161.3" y2="13" fill="none" stroke="#6A3FB5" stroke-width="3" class="s-inconclusive" '
    'stroke-linecap="round"/><circle cx="115.3" cy="13" r="4.5" fill="#6A3FB5" class="f-inconclusive"/>'
)


def test_gold_slice_cell() -> None:
    row = SliceRow(
        status="INCONCLUSIVE", sign="?", name="side: left", reference="84.5", optimized="84.0", change="−0.5",
        interval="[−1.0, +1.0]", at=-0.005, low=-0.01, high=0.01, allowed=-0.02, rows="937", clusters="28",
        sentence="", reason="", drop="", whole=False,
    )  # fmt: skip
    drawn = change(row, (-0.04, 0.02))
    assert GOLD_CHANGE in drawn
    assert "<title>side: left: −0.5 points [−1.0, +1.0]</title>" in drawn


def test_drawings_are_well_formed_with_hostile_names() -> None:
    drawn = against_limit(Dot(0.2, 0.1, 0.3), "PASS", '</title><script>alert("x")</script>')
    root = ET.fromstring(drawn)
    assert root.attrib["role"] == "img"
    assert [child.tag.rpartition("}")[2] for child in root][:2] == ["title", "desc"]
    assert root[0].text == '</title><script>alert("x")</script>'
