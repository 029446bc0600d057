"""The report as a browser shows it: nothing fetched, nothing complained, nothing outside its page."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from kit.report import render_html
from tests.browser.devtools import EXECUTABLE, Page, chromium
from tests.report import scenes
from tests.report.test_html import HOSTILE, hostile_view

pytestmark = pytest.mark.skipif(
    EXECUTABLE is None and os.environ.get("CI") != "true", reason="no chromium here: install it to run the page's tests"
)

OUTSIDE = """
(() => {
  const edge = document.documentElement.clientWidth + 0.5, found = [];
  for (const e of document.querySelectorAll('body *')) {
    const box = e.getBoundingClientRect();
    if (!box.width || e.closest('svg *') || e.closest('.wide, .at, .sr')) continue;
    if (box.right > edge || box.left < -1.5) found.push(e.tagName + '.' + e.className + ' ' + box.right);
  }
  return found.slice(0, 5);
})()
"""
SMALL_CHART_TEXT = """
[...document.querySelectorAll('svg text')].filter(t => t.getBoundingClientRect().width > 0)
  .filter(t => parseFloat(getComputedStyle(t).fontSize) * t.getScreenCTM().a < 11.99).length
"""
CUT_CHART_TEXT = """
(() => {
  const found = [];
  for (const t of document.querySelectorAll('svg text')) {
    const box = t.getBoundingClientRect(), frame = t.ownerSVGElement.getBoundingClientRect();
    if (box.width && (box.left < frame.left - 1 || box.right > frame.right + 1)) found.push(t.textContent);
  }
  return found;
})()
"""


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with chromium() as opened:
        yield opened


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("reports")
    views = {
        "ordinary": scenes.ordinary(),
        "broken": scenes.broken(("meter",)),
        "certified": scenes.certified(),
        "untested": scenes.untested(),
        "hostile": hostile_view(HOSTILE[2]),
        "long": hostile_view(HOSTILE[4]),
    }
    paths = {name: folder / f"{name}.html" for name in views}
    for name, view in views.items():
        paths[name].write_text(render_html(view), encoding="utf-8")
    return paths


@pytest.mark.parametrize("name", ["ordinary", "broken", "certified", "untested", "hostile", "long"])
@pytest.mark.parametrize("width", [390, 820, 1280])
def test_page_is_whole(page: Page, reports: dict[str, Path], name: str, width: int) -> None:
    page.open(reports[name], width=width)
    assert page.value("document.documentElement.scrollWidth") <= width
    assert page.value(OUTSIDE) == []
    assert page.value(SMALL_CHART_TEXT) == 0
    assert page.value(CUT_CHART_TEXT) == []
    assert page.requests() == [reports[name].as_uri()]
    assert page.complaints() == []


def test_on_a_phone_every_cell_has_room_for_its_text(page: Page, reports: dict[str, Path]) -> None:
    narrow = """
    [...document.querySelectorAll('table.cards td, table.cards tbody th')].filter(c => {
      const width = c.getBoundingClientRect().width;
      return width > 0 && width < 250;
    }).map(c => c.textContent)
    """
    page.open(reports["broken"], width=390)
    assert page.value(narrow) == []


def test_no_chart_text_covers_another(page: Page, reports: dict[str, Path]) -> None:
    covered = """
    [...document.querySelectorAll('svg')].flatMap(s => {
      const texts = [...s.querySelectorAll('text')].map(t => [t.textContent, t.getBoundingClientRect()]);
      return texts.flatMap(([one, a], i) => texts.slice(i + 1).filter(([, b]) =>
        Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1 &&
        Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 4
      ).map(([two]) => one + ' | ' + two));
    })
    """
    for name in ("ordinary", "broken", "certified"):
        for width in (390, 820, 1280):
            page.open(reports[name], width=width)
            assert page.value(covered) == []


def test_no_line_runs_through_the_name_of_a_variant(page: Page, reports: dict[str, Path]) -> None:
    """Under each letter of a name lies paper: an element of the drawing below the text may only be its band."""
    crossed = """
    (() => {
      const chart = [...document.querySelectorAll('#variants figure svg')].find(s => s.getBoundingClientRect().width);
      chart.scrollIntoView({block: 'center'});
      return [...chart.querySelectorAll('text')].filter(t => /^[✓✕?] /.test(t.textContent)).flatMap(t => {
        const box = t.getBoundingClientRect(), y = (box.top + box.bottom) / 2, found = [];
        for (let x = box.left + 1; x < box.right; x += 1) {
          const below = document.elementsFromPoint(x, y).filter(e => e !== t)[0];
          if (below === chart || below.classList.contains('f-paper')) continue;
          found.push(t.textContent + ': ' + below.outerHTML);
        }
        return found;
      }).slice(0, 3);
    })()
    """
    for name in ("ordinary", "broken", "certified"):
        for width in (390, 820, 1280):
            page.open(reports[name], width=width)
            assert page.value(crossed) == []


def test_p99_stands_near_its_dot(page: Page, reports: dict[str, Path]) -> None:
    far = """
    (() => {
      const chart = [...document.querySelectorAll('#latency figure svg')].find(s => s.getBoundingClientRect().width);
      const text = [...chart.querySelectorAll('text')].find(t => t.textContent.startsWith('p99 ')
        && !t.textContent.includes('limit')).getBoundingClientRect();
      const dot = [...chart.querySelectorAll('circle')].find(c => c.textContent.startsWith('p99 '))
        .getBoundingClientRect();
      return [text.top - dot.bottom, Math.max(text.left - dot.right, dot.left - text.right)];
    })()
    """
    for width in (390, 820, 1280):
        page.open(reports["ordinary"], width=width)
        below, beside = page.value(far)
        assert 0 <= below < 90
        assert beside <= 0


def test_no_arrow_of_the_lineage_dangles(page: Page, reports: dict[str, Path]) -> None:
    """An arrow stands before its step, so that what a row's first one has is outside and clipped."""
    rows = """
    [...document.querySelectorAll('.chain li')].map(li => [li.getBoundingClientRect().top,
      getComputedStyle(li, '::before').content, getComputedStyle(li, '::after').content])
    """
    for width in (820, 1280):
        page.open(reports["ordinary"], width=width)
        found = page.value(rows)
        assert [after for _, _, after in found] == ["none"] * len(found)
        assert [before for _, before, _ in found] == ["none"] + ['"→"'] * (len(found) - 1)
        assert page.value("getComputedStyle(document.querySelector('.chain')).overflowX") == "clip"


def test_dark_recolours_page_and_drawings(page: Page, reports: dict[str, Path]) -> None:
    def colours() -> list[str]:
        curve = "document.querySelector('#latency path.s-mark')"
        return page.value(f"[getComputedStyle(document.body).backgroundColor, getComputedStyle({curve}).stroke]")  # type: ignore[no-any-return]

    page.open(reports["ordinary"])
    light = colours()
    page.open(reports["ordinary"], dark=True)
    assert light == ["rgb(255, 255, 255)", "rgb(47, 93, 140)"]
    assert colours() == ["rgb(20, 22, 26)", "rgb(141, 184, 232)"]


def test_without_style_the_drawings_keep_their_colours(page: Page, reports: dict[str, Path]) -> None:
    page.open(reports["ordinary"])
    page.value("document.querySelector('style').remove()")
    stroke = page.value("getComputedStyle(document.querySelector('#latency path.s-mark')).stroke")
    assert stroke == "rgb(47, 93, 140)"


def test_without_script_nothing_is_missing(page: Page, reports: dict[str, Path]) -> None:
    page.open(reports["ordinary"])
    height = page.value("document.documentElement.scrollHeight")
    page.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        page.open(reports["ordinary"])
        metrics = page.call("Page.getLayoutMetrics")
    finally:
        page.call("Emulation.setScriptExecutionDisabled", value=False)
    assert metrics["cssContentSize"]["height"] == height


def test_one_size_of_each_drawing_is_shown(page: Page, reports: dict[str, Path]) -> None:
    each = "[...f.querySelectorAll('svg')].filter(s => s.getBoundingClientRect().width > 0).length"
    count = f"[...document.querySelectorAll('figure')].map(f => {each})"
    for width in (390, 820, 1280):
        page.open(reports["ordinary"], width=width)
        shown = page.value(count)
        assert set(shown) == {1}


def test_paper_has_every_section_and_nothing_cut(page: Page, reports: dict[str, Path]) -> None:
    page.open(reports["broken"], width=688)
    page.call("Emulation.setEmulatedMedia", media="print", features=[])
    assert page.value("document.documentElement.scrollWidth") <= 688
    assert page.value(OUTSIDE) == []
    assert page.pdf().startswith(b"%PDF")


def test_screenshots_are_not_blank(page: Page, reports: dict[str, Path], tmp_path: Path) -> None:
    for width, dark in ((1280, False), (1280, True), (390, False), (390, True)):
        page.open(reports["broken"], width=width, dark=dark)
        picture = page.screenshot()
        (tmp_path / f"{width}-{'dark' if dark else 'light'}.png").write_bytes(picture)
        assert picture.startswith(b"\x89PNG")
        assert len(picture) > 20_000
