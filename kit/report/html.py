"""The report as one self-contained page: no script to run, nothing to fetch, drawings inline."""

import json
from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kit.report.charts import comparison, front, latency, requirement, resources
from kit.report.palette import DARK, LIGHT, css_variables
from kit.report.view import View
from kit.resources import resource_dir

if TYPE_CHECKING:
    from jinja2 import Environment

FULL = (1008.0, 688.0, 336.0)
HALF = (488.0, 336.0, 336.0)
_SIZE_CLASSES = ("at-large", "at-medium", "at-small")
Draw = Callable[[float], str]


def render_html(view: View) -> str:
    """The page; equal views give equal bytes. Names in the view are hostile: everything is escaped by the template."""
    folder = resource_dir("reports")
    page = templates(folder).get_template("report.html.j2")
    style = _markup(stylesheet((folder / "report.css").read_text(encoding="utf-8")))
    return page.render(v=view, style=style, charts=charts(view), machine_json=_markup(embedded_json(view.summary)))


@cache
def templates(folder: Path) -> "Environment":
    """The templates of this folder, each translated once in a process, which takes longer than to fill it in."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["against_limit"] = _cell(requirement.against_limit)
    environment.globals["change"] = _cell(requirement.change)
    return environment


def _markup(text: str) -> Any:
    """Text that the template may not escape: only our own drawings, styles and escaped JSON."""
    from markupsafe import Markup

    return Markup(text)


def _cell(draw: Callable[..., str]) -> Callable[..., Any]:
    return lambda *arguments: _markup(draw(*arguments))


def embedded_json(summary: Mapping[str, Any]) -> str:
    """JSON that can stand inside ``<script type="application/json">``: no ``<``, ``>`` or ``&`` is left in it."""
    text = json.dumps(summary, ensure_ascii=True, sort_keys=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def stylesheet(rules: str) -> str:
    """The stylesheet with the palette before it: light, and dark where the reader's system asks for it."""
    marks = "".join(f".f-{n}{{fill:var(--{n})}}.s-{n}{{stroke:var(--{n})}}" for n in LIGHT)
    light = f":root{{color-scheme:light dark;{css_variables(LIGHT)}}}"
    dark = f"@media screen and (prefers-color-scheme:dark){{:root{{{css_variables(DARK)}}}}}"
    return "\n".join((light, dark, marks, rules))


def charts(view: View) -> dict[str, Any]:
    """Every drawing by name, each at three widths of which the stylesheet shows one: text is never scaled."""
    found: dict[str, Any] = {}
    if view.latency is not None:
        found["distribution"] = _sizes(partial(latency.distribution, view.latency), HALF)
        found["tail"] = _sizes(partial(latency.tail, view.latency), HALF)
        found["over_time"] = _sizes(partial(latency.over_time, view.latency), FULL)
    if view.memory is not None:
        found["memory"] = _sizes(partial(resources.memory, view.memory), HALF)
    if view.energy is not None and view.energy.trace:
        found["power"] = _sizes(partial(resources.power, view.energy), FULL)
    if view.energy is not None and view.energy.battery is not None:
        found["battery"] = _sizes(partial(resources.battery, view.energy.battery), HALF)
    if any(row.change is not None for row in view.variants.rows):
        found["variants"] = _sizes(partial(comparison.variants, view.variants), FULL)
    if view.front is not None and any(row.accuracy and row.cost for row in view.front.rows):
        found["front"] = _sizes(partial(front.front, view.front), FULL)
    found["fairness"] = [[_sizes(partial(comparison.groups, part), HALF) for part in of.parts] for of in view.fairness]
    return found


def _sizes(draw: Draw, widths: tuple[float, ...]) -> Any:
    """One drawing a distinct width, each in a box with the classes of the screens that it serves."""
    classes: dict[float, list[str]] = {}
    for width, name in zip(widths, _SIZE_CLASSES, strict=True):
        classes.setdefault(width, []).append(name)
    boxes = (f'<div class="at {" ".join(names)}">{draw(width)}</div>' for width, names in classes.items())
    return _markup("".join(boxes))
