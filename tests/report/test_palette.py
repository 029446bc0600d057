"""Contrast as WCAG 2.2 counts it: no tool judges it inside SVG, so it is computed here."""

import pytest

from kit.report.palette import DARK, LIGHT, contrast, css_variables

TEXTS = ("ink", "soft", "pass", "fail", "inconclusive", "warn", "mark")


def test_contrast_of_known_pairs() -> None:
    assert contrast("#000000", "#FFFFFF") == pytest.approx(21.0)
    assert contrast("#777777", "#FFFFFF") == pytest.approx(4.48, abs=0.01)
    assert contrast("#123456", "#123456") == 1.0


def test_verdict_colours_have_the_contrast_they_were_chosen_for() -> None:
    found = [round(contrast(LIGHT[c], "#FFFFFF"), 1) for c in ("pass", "fail", "inconclusive")]
    assert found == [5.9, 6.5, 7.0]


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("ground", ["paper", "raised"])
def test_text_is_readable(colours: dict[str, str], text: str, ground: str) -> None:
    assert contrast(colours[text], colours[ground]) >= 4.5


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
def test_signs_and_warnings_are_readable(colours: dict[str, str]) -> None:
    for ground in ("pass", "fail", "inconclusive", "soft"):
        assert contrast(colours["paper"], colours[ground]) >= 4.5
    assert contrast(colours["warn"], colours["warn-soft"]) >= 4.5
    assert contrast(colours["ink"], colours["warn-soft"]) >= 4.5
    assert contrast(colours["mark"], colours["mark-soft"]) >= 3.0


def test_both_palettes_name_the_same_colours() -> None:
    assert LIGHT.keys() == DARK.keys()
    assert "--pass:#00706B;" in css_variables(LIGHT)
