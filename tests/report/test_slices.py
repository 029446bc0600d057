"""Slices in the report and as exported rows: worst first, the rest folded away, every kind of figure, hostile names."""

import csv
import io
import json
from dataclasses import replace

import numpy as np
import pytest

from kit.judge import judge
from kit.records import ColumnRecord, Evidence, Judgement
from kit.report import render_html, render_text
from kit.report.export import ExportRow, rows_table, to_csv, to_json
from kit.report.sections.slice_table import SHOWN
from kit.report.view import View
from kit.spec.types import Profile, SliceSpec
from tests import builders
from tests.report import scenes

SPECS = (SliceSpec("falls", rows=(1, 5, 900)),)


def many(values: tuple[str, ...] = tuple("abcdefghij")) -> tuple[Evidence, Profile]:
    """More slices than are shown at once, one of which is harmed."""
    plans = [replace(p, slices={"exercise=row": (0.35, 0.0)}) for p in builders.PLANS]
    evidence = builders.evidence(plans)
    codes = np.random.default_rng(1).integers(0, len(values), evidence.dataset.rows)
    columns = {**evidence.dataset.columns, "device": ColumnRecord(values, codes)}
    asked = [
        builders.requirement("accuracy.drop", 0.02, limit_text="2 points"),
        builders.requirement(
            "accuracy.drop", 0.06, id="slices", by=("exercise", "device"), cross=2, slices=("falls",),
            limit_text="6 points",
        ),
        builders.requirement("accuracy.value", 0.7, id="value", by=("side",), limit_text="70 %"),
    ]  # fmt: skip
    profile = builders.profile(asked, slices=SPECS)
    return replace(evidence, dataset=replace(evidence.dataset, columns=columns)), profile


@pytest.fixture(scope="module")
def view() -> View:
    return scenes.view_of(*many())


@pytest.fixture(scope="module")
def judged() -> Judgement:
    return judge(*many(), builders.device())


def test_the_worst_come_first_and_the_rest_is_folded(view: View) -> None:
    assert view.slices is not None
    drops, values = view.slices.tables
    assert len(drops.shown) == SHOWN
    assert len(drops.rest) == 1 + 7 + 10 + 70 + 1 - SHOWN
    assert drops.shown[0].whole
    order = {"FAIL": 0, "INCONCLUSIVE": 1, "PASS": 3, "NOT TESTED": 2}
    words = [row.status for row in drops.rows if not row.whole]
    tested = [order[word] for word in words if word != "NOT TESTED"]
    assert tested == sorted(tested)
    assert drops.shown[1].name.startswith("exercise: row")
    assert [row.whole for row in values.rows] == [False, False]
    page = render_html(view)
    assert f"The other {len(drops.rest)} slices" in page
    assert page.count('data-label="slice"') == len(drops.rows) + len(values.rows)


def test_a_row_has_flips_both_ways_and_both_intervals(view: View) -> None:
    assert view.slices is not None
    row = next(row for row in view.slices.tables[0].rows if row.name == "exercise: row")
    assert int(row.to_wrong) > int(row.to_right) >= 0
    assert row.low is not None
    assert row.all_low is not None
    assert row.all_low < row.low < row.at < row.high < row.all_high  # type: ignore[operator]
    assert row.together.startswith("[−")
    crossed = next(row for row in view.slices.rows if " & " in row.name)
    assert "=" not in crossed.name


def test_a_share_is_shown_as_it_is(view: View) -> None:
    assert view.slices is not None
    values = view.slices.tables[1]
    assert values.figure == "measured, %"
    assert not values.has_reference
    assert not values.has_flips
    assert all(row.at is not None and 0.5 < row.at < 1 and row.allowed == 0.7 for row in values.rows)
    assert "left is worse" in values.legend


def test_the_terminal_names_the_worst_ones(view: View) -> None:
    assert view.slices is not None
    text = render_text(view, width=100)
    assert view.slices.worst[1].partition(":")[0] in text
    assert all(len(line) <= 100 for line in text.splitlines())
    assert "90 slices" in text


def test_a_row_for_every_slice_of_every_variant(judged: Judgement) -> None:
    rows = rows_table(judged)
    assert {row.variant for row in rows} == {plan.name for plan in builders.PLANS}
    one = rows_table(judged, "fp32")
    assert len(rows) == len(builders.PLANS) * len(one)
    assert len(one) == 7 + 10 + 70 + 1 + 2
    row = next(row for row in rows if row.variant == "int8-channel" and row.slice == "exercise=row")
    assert row.change == pytest.approx(-row.estimate)  # type: ignore[operator]
    assert row.optimized == pytest.approx(row.reference + row.change)  # type: ignore[operator]
    assert row.right_to_wrong is not None
    assert row.wrong_to_right is not None
    assert row.estimate == pytest.approx((row.right_to_wrong - row.wrong_to_right) / row.rows)
    assert row.simultaneous_low < row.low < row.estimate < row.high < row.simultaneous_high  # type: ignore[operator]
    falls = next(row for row in one if row.slice == "falls")
    assert (falls.tested, falls.verdict, falls.simultaneous_low) == (False, "NOT TESTED", None)


def test_csv_and_json_hold_the_same(judged: Judgement) -> None:
    rows = rows_table(judged)
    table = list(csv.DictReader(io.StringIO(to_csv(rows))))
    objects = json.loads(to_json(rows))
    assert len(table) == len(objects) == len(rows)
    assert list(table[0]) == list(objects[0])
    for line, thing, row in zip(table, objects, rows, strict=True):
        assert ExportRow(**thing) == row
        assert line["slice"] == row.slice
        assert line["estimate"] == ("" if row.estimate is None else repr(row.estimate))
        assert line["tested"] == ("true" if row.tested else "false")
    assert to_json([]) == "[]\n"
    assert to_csv([]).startswith("variant,requirement,metric,slice,verdict")


HOSTILE = ('=cmd|"/c calc"!A1', "</td><script>alert(1)</script>", 'a"b,c\nd', "x & side=left", "", "\u202eevil")


def test_hostile_names_stay_names() -> None:
    evidence, profile = many(HOSTILE)
    page = render_html(scenes.view_of(evidence, profile))
    assert "<script>alert" not in page
    assert "\u202e" not in page
    rows = rows_table(judge(evidence, profile, builders.device()))
    assert any(HOSTILE[0] in row.slice for row in rows)
    read = list(csv.DictReader(io.StringIO(to_csv(rows), newline="")))
    assert [line["slice"] for line in read] == [row.slice for row in rows]


def test_a_formula_is_text_in_a_spreadsheet(judged: Judgement) -> None:
    row = replace(rows_table(judged)[0], slice="=1+1", reason="@evil", estimate=-0.5)
    (line,) = csv.DictReader(io.StringIO(to_csv([row])))
    assert (line["slice"], line["reason"], line["estimate"]) == ("'=1+1", "'@evil", "-0.5")
    assert json.loads(to_json([row]))[0]["slice"] == "=1+1"
