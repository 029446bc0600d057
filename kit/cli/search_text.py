"""What a search says: the front, the choice and why, what other rows say of it, and what it took."""

import shlex
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kit import __version__
from kit.cli.figures import bytes_text, duration
from kit.cli.output import emulated_lines, say, tell
from kit.cli.quantize_text import gap_text, table_row, untested_text
from kit.judge.sentences import slice_name
from kit.records import Finding, SearchGap, SearchPoint, Verdict
from kit.stats.gap import excess, is_met
from kit.words import count, interval, percent, quantity

if TYPE_CHECKING:
    from kit.pipeline.material import Request
    from kit.pipeline.search import Found
    from kit.pipeline.search_folder import SearchFolder

_VERDICTS = {
    "met": "MEETS the profile by estimate, on the rows that confirm too",
    "untested": "INCONCLUSIVE: within every limit that could be tested, and some could not",
    "unconfirmed": "UNCONFIRMED: met where it was chosen; on the other rows an estimate is beyond its limit",
    "contradicted": "CONTRADICTED: met where it was chosen, and broken on the other rows with confidence",
    "nothing meets it": "NOTHING MEETS the profile",
    "not known": "NOT KNOWN: no variant was evaluated within the budget",
}
_STOPPED = {
    "met": "nothing cheaper is left to try",
    "budget": "the budget is spent",
    "exhausted": "everything was tried",
    "interrupted": "interrupted",
}


def tell_search(found: "Found", folder: "SearchFolder", request: "Request") -> None:
    """One screen."""
    from kit.pipeline.search_folder import BEST

    asked, record = found.asked, found.record
    for line in emulated_lines(found.device.emulated) if found.device else ():
        say(line)
    tell(f"{asked.material.reference.record.name} for profile {asked.profile.name} and {found.target}")
    tell(asked.rows.said)
    say("")
    if record.points:
        _table(found)
        say("")
    tell(_headline(found))
    tell(record.why, "why          ")
    for text in _confirmation(found):
        tell(text, "other rows   ")
    if found.not_estimated:
        tell(f"{', '.join(found.not_estimated)}: certify tells", "not looked at ")
    for each in found.not_tested:
        tell(untested_text(each), "not tested   ")
    for note in _notes(found):
        tell(note, "note         ")
    if found.record.chosen is None:
        tell(_next_step(found), "next         ")
    if folder.is_put_back:
        tell("the search that --force was to replace is still there", "kept         ")
    tell(f"{count(record.full_evaluations, 'variant')} tried on all rows that choose; {record.partial_rows:,} rows "
         f"simulated besides; quantized {count(record.quantizer_calls, 'time')}; {duration(record.seconds)}; "
         f"{_STOPPED[record.stopped]}",
         "took         ")  # fmt: skip
    say(f"folder       {folder.path}")
    if record.chosen is not None:
        say(f"file         {folder.path / BEST}")
        if again := remake(record.points[record.chosen], request):
            say(f"again        {again}")
            say(f"certify      {_certify(request, folder.path / BEST)}")


def _notes(found: "Found") -> list[str]:
    """What was decided for the user, and what an estimate alone may hide."""
    from kit.pipeline.search import HALVED

    notes = [each for each in found.asked.notes if each != HALVED or found.record.chosen is not None]
    wide = [each for each in found.confirmation if each.verdict is Verdict.INCONCLUSIVE]
    if found.verdict == "met" and wide:
        names = ", ".join(dict.fromkeys(each.requirement for each in wide))
        notes.append(f"certify may be inconclusive on {names}: the intervals reach beyond the limits; more rows help")
    return notes


def _next_step(found: "Found") -> str:
    if not found.record.points:
        return "a longer --time-limit; --resume goes on where this ended"
    if found.record.stopped == "budget":
        return "the same command with --resume and more --evaluations (or a longer --time-limit), or ease the limit"
    return "ease the limit that binds, give more calibration rows, or train the model to bear less precision"


def _headline(found: "Found") -> str:
    record = found.record
    if record.chosen is not None and record.points[record.chosen].variant.recipe.precision == "fp32":
        return f"ONLY THE FLOAT MODEL: nothing quantized was found that meets the profile; {_VERDICTS[found.verdict]}"
    if found.verdict == "nothing meets it" and record.stopped == "budget":
        return "NOTHING MEETS the profile, of what was tried within the budget"
    return _VERDICTS[found.verdict]


def _table(found: "Found") -> None:
    """Every point by cost, those on the front marked; the worst gap as what is lost of what may be."""
    record = found.record
    say(f"  {'variant':<34} {'cost':>8} {'float':>5}  {'meets':<5}  tightest limit")
    for index in sorted(range(len(record.points)), key=lambda index: record.points[index].cost):
        point = record.points[index]
        mark = "›" if index == record.chosen else "·" if index in record.front else " "
        meets = "yes" if all(map(is_met, point.gaps)) else "no"
        cost = bytes_text(point.cost) if point.cost_unit == "B" else quantity(point.cost, point.cost_unit)
        table_row(
            f"{mark} ", _base(point), 34, f" {cost:>8} {point.nodes_in_float:>5}  {meets:<5}  ", _tightest(point.gaps)
        )
    tell("› chosen, · on the front: no other is both cheaper and further inside its limits; float: how many products "
         "(Conv, MatMul, Gemm) stay in float")  # fmt: skip


def _tightest(gaps: tuple[SearchGap, ...]) -> str:
    worst = max(gaps, key=excess, default=None)
    if worst is None:
        return ""
    who = slice_name(worst.subject) or worst.requirement
    return f"{who} {_short(worst.loss, worst.unit)} of {_short(worst.allowed, worst.unit)}"


def _short(value: float, unit: str) -> str:
    return f"{100 * value:.1f}".replace("-", "−") if unit in ("points", "share") else quantity(value, unit)


def _confirmation(found: "Found") -> Iterable[str]:
    """Each requirement on the other rows: its worst subject, with the interval."""
    record = found.record
    if record.chosen is None:
        return
    rows = count(record.confirmation_rows, "row")
    by_subject = {(each.requirement, each.subject): each for each in found.confirmation}
    for name in dict.fromkeys(gap.requirement for gap in record.confirmation):
        gaps = [gap for gap in record.confirmation if gap.requirement == name]
        worst = max(gaps, key=excess)
        finding = by_subject.get((worst.requirement, worst.subject))
        state = "within" if is_met(worst) else "BEYOND its limit"
        of = f", the worst of {len(gaps)}" if len(gaps) > 1 else ""
        yield f"{state}: {gap_text(worst, found.confirmation)}{of}{_ends(finding)} ({rows})"
    told = {gap.requirement for gap in record.confirmation}
    for each in found.confirmation:
        if each.metric == "numerics.processor_flips" and each.requirement not in told:
            yield f"within: {each.requirement}: {each.reason}"


def _ends(finding: Finding | None) -> str:
    if finding is None or finding.lower is None or finding.lower == finding.upper:
        return ""
    ends = interval(finding.lower, finding.upper, finding.unit)
    return f", interval of the figure {ends}, each end at {percent(finding.confidence)}"


def remake(point: SearchPoint, request: "Request") -> str:
    """The command that makes a point's variant again; nothing for the float model itself."""
    recipe = point.variant.recipe
    if recipe.precision == "fp32":
        return ""
    words = ["edgeproof", "quantize", str(request.model), "--data", str(request.data)]
    words += ["--recipe", _base(point)]
    words += [word for each in recipe.keep_float for word in ("--keep-float", each)]
    return shlex.join([*words, "-o", f"{request.model.stem}.again.onnx"])


def _certify(request: "Request", best: Path) -> str:
    """The command that certifies the variant that was chosen."""
    given = {"--data": request.data, "--profile": request.profile, "--device": request.device, "--recipe-from": best}
    options = [word for name, value in given.items() if value is not None for word in (name, str(value))]
    return shlex.join(["edgeproof", "certify", str(request.model), *options])


def _base(point: SearchPoint) -> str:
    """A point's recipe without what it keeps in float, which is told beside it."""
    return point.variant.recipe.name.partition("+float=")[0]


def search_object(found: "Found", folder: "SearchFolder", request: "Request") -> dict[str, Any]:
    """All of it, of the schema edgeproof/search/1: SearchRecord's fields, and what belongs to them.

    Sizes in B, times in s, shares and points 0 to 1. `file` of a point is relative to the folder.
    """
    from kit.pipeline.search import EXIT_CODES
    from kit.pipeline.search_folder import BEST

    record, asked = found.record, found.asked
    digests = {point.variant.model.digest: file for point, file in zip(folder.points(), folder.files(), strict=True)}
    points = [
        asdict(point)
        | {
            "file": digests[point.variant.model.digest],
            "meets": all(map(is_met, point.gaps)),
            "command": remake(point, request) or None,
        }
        for point in record.points
    ]
    return {
        "schema": "edgeproof/search/1",
        "tool_version": __version__,
        **asdict(record),
        "points": points,
        "verdict": found.verdict,
        "exit_code": EXIT_CODES[found.verdict],
        "target": found.target,
        "device": asdict(found.device) if found.device else None,
        "profile": asked.profile.name,
        "dataset": asked.dataset.name,
        "rows": asked.rows.said,
        "notes": _notes(found),
        "not_estimated": list(found.not_estimated),
        "not_tested": [asdict(each) for each in found.not_tested],
        "confirmation_findings": [asdict(each) for each in found.confirmation],
        "folder": str(folder.path),
        "best": BEST if record.chosen is not None else None,
    }
