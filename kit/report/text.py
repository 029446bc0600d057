"""The same view on one terminal screen: verdicts, needs, slices, the processor, variants side by side."""

import textwrap
import unicodedata
from collections.abc import Iterable

from kit.report import sentences
from kit.report.sections.data import data_lines
from kit.report.sections.requirements import RequirementRow
from kit.report.sections.variants import VariantRow
from kit.report.view import View
from kit.words import count

_COLOURS = {"PASS": "32", "FAIL": "31", "INCONCLUSIVE": "35"}
_ASCII = str.maketrans(
    {"✓": "+", "✕": "x", "–": "-", "—": "-", "≤": "<=", "≥": ">=", "−": "-", "µ": "u", "→": "->",
     "…": "...", "≈": "~", "∞": "inf", "×": "x", "›": ">",
     "°": "", "’": "'"}
)  # fmt: skip
_INDENT = 9
_REMEDIES = 2
"""How many are told; a report has all."""


def render_text(view: View, *, width: int = 80, color: bool = False, ascii: bool = False) -> str:
    """One screen of at most `width` columns a line, without an ending newline.

    `color` colours verdicts only (ANSI); `ascii` replaces every sign outside ASCII.
    """
    width = max(40, width)
    lines = [
        *_requirements(view.requirements, width),
        *_labelled(view.banner.status, view.banner.counts.partition(": ")[2] or view.banner.counts, width),
        *_labelled("", view.banner.sentence, width),
        *(line for need in _needs(view) for line in _labelled("need", need, width)),
        *(_labelled("slices", view.slices.headline, width) if view.slices else ()),
        *(line for text in (view.slices.worst[1:] if view.slices else ()) for line in _labelled("", text, width)),
        *(_labelled("rows", view.sampling, width) if view.sampling else ()),
        *(line for text in _stories(view) for line in _labelled("numbers", text, width)),
        *_variants(view, width),
        *(line for label, text in _beyond(view) for line in _labelled(label, text, width)),
        *(_labelled("front", view.front.headline, width) if view.front else ()),
        *(line for text in _warnings(view) for line in _labelled("warning", text, width)),
    ]
    shown = [_to_ascii(line) if ascii else line for line in lines]
    return "\n".join(_coloured(line) if color else line for line in shown)


def _requirements(rows: tuple[RequirementRow, ...], width: int) -> list[str]:
    """Sign, verdict, requirement, limit and measured, in columns as wide as their widest text."""
    body = [(r.sign, r.status, r.label, r.limit, _measured(r)) for r in rows]
    table = [(" ", "verdict", "requirement", "limit", "measured [interval]"), *body]
    sizes = [max(_cells(row[i]) for row in table) for i in range(4)]
    sizes[2] = max(12, min(sizes[2], width - sizes[1] - sizes[3] - 31))
    return [_cut("  ".join([*(_fit(row[i], sizes[i]) for i in range(4)), row[4]]), width) for row in table]


def _measured(row: RequirementRow) -> str:
    """Figure, interval, how it was obtained when not measured, and the slice (its column is named below)."""
    origin = f"({row.obtained})" if row.obtained in {"emulated", "estimated"} else ""
    where = row.subject if " & " in row.subject else row.subject.rpartition(": ")[2]
    if where and row.label.endswith(where):  # the measure, which the label names: the groups are what is new
        where = row.subject.partition(": ")[0]
    return " ".join(part for part in (row.estimate, row.interval, origin, where) if part)


def _variants(view: View, width: int) -> list[str]:
    """A line a variant, cheapest first: verdict, size, accuracy, its change, and what it breaks or leaves undecided."""
    names = min(28, max([len("variant"), *(_cells(row.name) for row in view.variants.rows)]))
    right = f"  {'accuracy':>8}  {'change':>8}" if _has_accuracy(view) else ""
    head = f"  {_fit('variant', names)}  {'':<14}  {'size':>8}{right}"
    lines = [head, *(line for row in view.variants.rows for line in _variant(row, view, names, width))]
    return [_cut(line, width).rstrip() for line in lines] if view.variants.rows else []


def _needs(view: View) -> list[str]:
    """What to do about each requirement, once where several need the same."""
    return list(dict.fromkeys(f"{row.label}: {row.next_step}" for row in view.attention))


def _has_accuracy(view: View) -> bool:
    """Of a task that decides nothing there is none to be told."""
    return any(row.change is not None for row in view.variants.rows)


def _variant(row: VariantRow, view: View, names: int, width: int) -> list[str]:
    """The variant's line; its note follows under the verdict where it does not fit beside."""
    mark = "›" if row.chosen else " "
    verdict = f"{row.sign} {_fit(row.status, 12)}"
    right = f"  {row.accuracy:>8}  {row.change_text:>8}" if _has_accuracy(view) else ""
    line = f"{mark} {_fit(row.name, names)}  {verdict}  {row.size:>8}{right}"
    note = _note(row, view)
    if not note or _cells(f"{line}  {note}") <= width:
        return [f"{line}  {note}"]
    return [line, f"{'':<{names + 6}}{note}"]


def _note(row: VariantRow, view: View) -> str:
    """What the variant breaks, else what it leaves undecided; of one that passes, whether it is the chosen one."""
    words = ("FAIL", "INCONCLUSIVE", sentences.NOT_TESTED)
    found = [[view.variants.columns[i] for i, cell in enumerate(row.cells) if cell.status == word] for word in words]
    names = found[0] or [*found[1], *found[2]]
    more = f" +{len(names) - 1}" if len(names) > 1 else ""
    tag = view.variants.tag if row.chosen else ""
    return ", ".join(part for part in (tag, f"{names[0]}{more}" if names else "") if part)


def _stories(view: View) -> list[str]:
    """The processor's story: the chosen variant's, and that of the variant that depends on it most."""
    risky = [r for r in view.numerics.rows if r.depends_status == "FAIL"]
    worst = max(risky, key=lambda r: int(r.depends.replace(",", "")), default=None)
    names = [r.variant for r in view.numerics.rows if r.chosen] + ([worst.variant] if worst else [])
    return [text for text in view.numerics.story if any(text.startswith(f"{name}: ") for name in names)]


def _beyond(view: View) -> Iterable[tuple[str, str]]:
    """What else was looked at, a label and a sentence each: faults of the data, members told, features, remedies."""
    if view.data is not None and len(lines := data_lines(view.data)) > 1:
        yield from (("data" if number == 0 else "", text) for number, text in enumerate(lines[:4]))
    if view.membership is not None:
        yield "members", view.membership.headline
    if view.explanations is not None:
        yield "looks at", view.explanations.headline
    for each in view.remedies[:_REMEDIES]:
        yield "remedy", each.sentence
    if len(view.remedies) > _REMEDIES:
        yield "", f"The report has {count(len(view.remedies) - _REMEDIES, 'more remedy', 'more remedies')}."


def _warnings(view: View) -> list[str]:
    return [*([view.banner.emulated] if view.banner.emulated else []), *view.warnings]


def _labelled(label: str, text: str, width: int) -> list[str]:
    """`text` wrapped beside a label that stands left of its first line."""
    indent = max(_INDENT, len(label) + 2)
    wrapped = textwrap.wrap(text, max(20, width - indent), break_on_hyphens=False) or [""]
    return [f"{label if i == 0 else '':<{indent}}{part}" for i, part in enumerate(wrapped)]


def _cells(text: str) -> int:
    """Columns of `text` in a terminal: wide characters take two, combining ones none."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def _cut(text: str, width: int) -> str:
    """`text` in at most `width` columns, an ellipsis where something was cut."""
    if _cells(text) <= width:
        return text
    kept = text
    while kept and _cells(kept) > width - 1:
        kept = kept[:-1]
    return kept.rstrip() + "…"


def _fit(text: str, columns: int) -> str:
    """`text` cut or padded to exactly `columns`."""
    cut = _cut(text, columns)
    return cut + " " * (columns - _cells(cut))


def _to_ascii(text: str) -> str:
    return text.translate(_ASCII).encode("ascii", "replace").decode("ascii")


def _coloured(line: str) -> str:
    """The line with its first verdict word coloured."""
    found: Iterable[tuple[int, str]] = ((line.find(word), word) for word in _COLOURS)
    at, word = min(((i, w) for i, w in found if i >= 0), default=(-1, ""))
    if at < 0 or at > 60:
        return line
    return f"{line[:at]}\x1b[1;{_COLOURS[word]}m{word}\x1b[0m{line[at + len(word) :]}"
