import re
import unicodedata
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from kit.cli import certify
from kit.judge import judge
from kit.report import View, render_text
from kit.report.sections.remedies import Remedy
from tests import builders
from tests.report import scenes


def cells(line: str) -> int:
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in line)


@pytest.mark.parametrize("width", [40, 80, 132])
@pytest.mark.parametrize("scene", [scenes.ordinary, scenes.broken, scenes.certified, scenes.untested])
def test_no_line_is_wider_than_the_terminal(scene: object, width: int) -> None:
    view = scene()  # type: ignore[operator]
    assert max(cells(line) for line in render_text(view, width=width).splitlines()) <= width


def test_the_table_has_every_requirement_with_sign_word_and_limit() -> None:
    view = scenes.broken()
    lines = render_text(view).splitlines()[1 : len(view.requirements) + 1]
    for line, row in zip(lines, view.requirements, strict=True):
        assert line.startswith(f"{row.sign}  {row.status}")
        assert row.limit in line
        assert row.estimate in line


def test_how_a_figure_was_obtained_is_on_its_line() -> None:
    line = next(line for line in render_text(scenes.ordinary()).splitlines() if "battery share" in line)
    assert line.endswith("(estimated)")


def test_need_story_variants_and_warnings_are_told() -> None:
    view = scenes.broken(emulated=("meter",))
    text = render_text(view)
    flat = " ".join(text.split())
    assert "FAIL" in text.split("verdict", 1)[1]
    assert "need" in text
    assert "on x86 without VNNI" in flat
    assert "none can depend on the processor" in flat
    assert all(row.name in text for row in view.variants.rows)
    assert "Rehearsal: certifies no hardware." in flat
    assert f"› {view.variant}" in text


@pytest.mark.parametrize("width", [80, 132])
def test_a_variant_that_does_not_pass_says_which_requirement(width: int) -> None:
    plan = replace(builders.INT8_CHANNEL, saturating_flips=0.0)
    wanted = ("model.size", "numerics.processor_flips")
    asked = [r for r in builders.REQUIREMENTS if r.metric in wanted]
    view = scenes.view_of(builders.evidence([builders.INT8_REDUCED, plan]), builders.profile(asked))
    lines = render_text(view, width=width).splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("  int8-channel ") and "INCONCLUSIVE" in line)
    assert "processor flips" in " ".join(lines[at : at + 2])


def test_every_broken_variant_names_what_it_breaks_however_narrow() -> None:
    view = scenes.broken()
    for width in (60, 80, 132):
        lines = render_text(view, width=width).splitlines()
        for row in view.variants.rows:
            at = next(i for i, line in enumerate(lines) if line[2:].startswith(f"{row.name} ") and "FAIL" in line)
            assert "latency p99" in " ".join(lines[at : at + 2])


def test_colour_is_for_verdicts_only_and_off_by_default() -> None:
    view = scenes.broken()
    plain, coloured = render_text(view), render_text(view, color=True)
    assert "\x1b" not in plain
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == plain
    painted = set(re.findall(r"\x1b\[1;\d+m(.*?)\x1b\[0m", coloured))
    assert painted == {"FAIL", "PASS", "INCONCLUSIVE"}


@pytest.mark.parametrize("scene", [scenes.ordinary, scenes.broken, scenes.untested])
def test_ascii_has_nothing_else(scene: object) -> None:
    text = render_text(scene(), ascii=True)  # type: ignore[operator]
    assert text.isascii()
    assert "?" not in text.replace("?  INCONCLUSIVE", "").replace("? INCONCLUSIVE", "")


def test_a_hostile_name_cannot_move_the_cursor() -> None:
    view = _named("\x1b[2J\x1b]0;owned\x07\r\n\u202eevil")
    text = render_text(view)
    assert not any(unicodedata.category(c) in {"Cc", "Cf"} for c in text.replace("\n", ""))


def _named(name: str) -> View:
    return scenes.view_of(builders.evidence(), builders.profile(name=name), replace(builders.device(), name=name))


def test_accuracy_is_no_column_where_nothing_is_decided() -> None:
    """A regression has none; an accuracy that is missing for one variant alone is said to be."""
    view = scenes.broken()
    assert "accuracy    change" in render_text(view)
    rows = tuple(
        replace(row, accuracy="not obtained", change=None, change_text="not obtained") for row in view.variants.rows
    )
    none = render_text(replace(view, variants=replace(view.variants, rows=rows)))
    assert "not obtained" not in none
    assert f"  {rows[0].size}" in none
    some = replace(view.variants, rows=(rows[0], *view.variants.rows[1:]))
    assert "not obtained" in render_text(replace(view, variants=some))


@pytest.mark.parametrize(("terminal", "widest"), [(40, 40), (80, 80), (110, 110), (400, 120)])
def test_a_result_takes_the_columns_that_the_terminal_has(
    terminal: int, widest: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(certify, "columns", lambda: terminal)
    view = scenes.broken()
    certify.show(SimpleNamespace(view=view, certificate=None, report=Path("r")), as_json=False)
    shown = capsys.readouterr().out.splitlines()
    assert widest - 12 < max(map(cells, shown)) <= widest
    assert shown[-1] == "report r"


def test_remedies_that_are_not_told_are_counted() -> None:
    four = tuple(Remedy(name, f"{name} helps.", "") for name in ("one", "two", "three", "four"))
    text = render_text(replace(scenes.broken(), remedies=four))
    assert "remedy   two helps." in text
    assert "three helps" not in text
    assert "         The report has 2 more remedies." in text
    assert "more remed" not in render_text(replace(scenes.broken(), remedies=four[:2]))


def test_accuracy_is_by_weight_in_every_part_of_the_result() -> None:
    evidence = builders.evidence()
    weights = np.where(evidence.dataset.columns["side"].codes == 0, 9.0, 1.0)
    weighted = replace(evidence, dataset=replace(evidence.dataset, weights=weights))
    view = scenes.view_of(weighted)
    known = next(each for each in weighted.variants if each.variant.recipe.name == view.variant)
    assert known.predictions is not None
    right = np.average(known.predictions.decisions == evidence.dataset.labels, weights=weights)
    assert view.front is not None
    row = next(each for each in view.variants.rows if each.chosen)
    assert row.accuracy == f"{100 * right:.1f} %"
    before = np.average(evidence.reference_predictions.decisions == evidence.dataset.labels, weights=weights)
    assert row.change == pytest.approx(right - before)
    judged = judge(weighted, builders.profile(), builders.device()).variants
    drops = {each.variant: found.estimate for each in judged for found in each.findings
             if found.metric == "accuracy.drop" and not found.subject}  # fmt: skip
    assert drops[view.variant] == pytest.approx(before - right)
