"""What `edgeproof quantize` says: a table of variants, then what is to be known of each."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kit import __version__
from kit.cli.figures import bytes_text, duration
from kit.cli.output import columns, emulated_lines, say, tell
from kit.judge.gaps import Untested
from kit.judge.sentences import slice_name
from kit.records import Finding, SearchGap, VariantRecord
from kit.spec.measures import USUAL_MEASURES
from kit.stats.gap import excess, is_met
from kit.words import count, interval, percent, quantity

if TYPE_CHECKING:
    from kit.pipeline.quantize import Assessment, Made, Outcome

_COLUMNS = f"  {'variant':<26} {'size':>8} {'ratio':>5} {'int8/float':>10} {'lost':>7}  worst slice"
_LABEL = 14


def products(record: VariantRecord) -> tuple[int, int] | None:
    """Products in int8, and those that were left in float (``Gemm name: why``); None for what is no int8 recipe."""
    from kit.model.graph import PRODUCTS

    if record.recipe.precision not in ("int8", "int8-dynamic"):
        return None
    left = sum(line.split(" ", 1)[0] in PRODUCTS for line in record.left_in_float)
    return record.saturation.quantized_nodes, left


def tell_outcome(outcome: "Outcome", files: Mapping[str, Path]) -> None:
    """One screen: what was looked at, the table, and a few lines a variant."""
    from kit.pipeline.quantize import rows_used

    for line in emulated_lines(outcome.device.emulated) if outcome.device else ():
        say(line)
    rows = rows_used(outcome.material)
    looked = f", looked at with {outcome.target} on {count(rows, 'row')}" if rows else ""
    tell(f"{outcome.reference.name}: {bytes_text(outcome.reference.size_bytes)}{looked}")
    say("")
    say(_COLUMNS)
    for made in outcome.variants:
        _row(made)
    for made in outcome.variants:
        say("")
        say(made.record.recipe.name)
        for label, text in _lines(outcome, made, files):
            tell(text, f"  {label:<{_LABEL}}")
    for name, why in outcome.not_made.items():
        say("")
        tell(f"{name} was not made: {why}")
    if any(made.assessment for made in outcome.variants):
        say("")
        tell("Estimates on rows, without a verdict: edgeproof certify decides on a device, with stated confidence.")
    if outcome.not_made:
        say("")
        asked = len(outcome.variants) + len(outcome.not_made)
        say(f"{len(outcome.variants)} of {asked} made; not made: {', '.join(outcome.not_made)}")


def _row(made: "Made") -> None:
    record, assessment = made.record, made.assessment
    inside = "/".join(map(str, products(record) or ()))
    share = record.model.size_bytes / (record.parent_size_bytes or record.model.size_bytes)
    lost = _short(assessment.drop) if assessment else ""
    worst = assessment.worst_slice if assessment else None
    slices = f"{slice_name(worst.subject)} {_short(worst)}" if worst else ""
    size = bytes_text(record.model.size_bytes)
    table_row("  ", record.recipe.name, 26, f" {size:>8} {100 * share:>3.0f} % {inside:>10} {lost:>7}  ", slices)


def _short(found: Finding) -> str:
    """A loss in the width of a column: points, or the measure's own unit."""
    if found.estimate is None:
        return "-"
    text = f"{100 * found.estimate:.1f} pp" if found.unit == "points" else f"{found.estimate:.3g}"
    return text.replace("-", "−")


def table_row(mark: str, name: str, width: int, figures: str, last: str) -> None:
    """A row of a table: a name too long has a line of its own, and so has what does not fit at the end."""
    if len(name) > width:
        say(mark + name)
        name, mark = "", " " * len(mark)
    line = f"{mark}{name:<{width}}{figures}"
    if len(line + last) <= columns():
        say((line + last).rstrip())
    else:
        say(line.rstrip())
        tell(last, " " * (len(mark) + 2))


def _lines(outcome: "Outcome", made: "Made", files: Mapping[str, Path]) -> list[tuple[str, str]]:
    from kit.pipeline.variant_files import record_path

    record, lines = made.record, list[tuple[str, str]]()
    if made.assessment:
        dataset = outcome.material.dataset
        lines += _accuracy(made.assessment, USUAL_MEASURES.get(dataset.task, "accuracy") if dataset else "accuracy")
    if made.agreement:
        lines.append(("agreement", _agreement(made)))
    if made.latency_s is not None:
        lines.append(("latency", _latency(outcome, made)))
    if made.is_larger:
        lines.append(("larger", f"{bytes_text(record.model.size_bytes)} is no less than its parent's "
                                f"{bytes_text(record.parent_size_bytes)}: nothing is gained in size"))  # fmt: skip
    lines += [("in float", text) for text in grouped(record.left_in_float)]
    lines += [("note", text) for text in record.notes if not text.startswith("larger than its parent")]
    if record.saturation.can_saturate:
        lines.append(("processors", _processors(record, made.assessment)))
    if made.assessment and made.assessment.state is not None:
        lines.append(("profile", _profile(outcome, made.assessment)))
    path = files[record.recipe.name]
    return [*lines, ("file", str(path)), ("record", str(record_path(path)))]


def _accuracy(assessment: "Assessment", name: str) -> list[tuple[str, str]]:
    drop, worst = assessment.drop, assessment.worst_slice
    sure = f"(each end at {percent(drop.confidence)})"
    lines = [(name, drop.reason if drop.estimate is None else f"{_lost(drop)} {sure}")]
    if worst is not None:
        lines.append(("worst slice", f"{slice_name(worst.subject)} {_lost(worst)}"))
    return lines


def _lost(found: Finding) -> str:
    drop = found.estimate or 0.0
    moved = f"lost {quantity(drop, found.unit)}" if drop > 0 else f"gained {quantity(-drop, found.unit)}"
    known = found.clusters not in (None, 0, found.rows)
    rows = count(found.rows, "row") + (f", {count(found.clusters or 0, 'cluster')}" if known else "")
    return f"{moved if drop else 'did not change'}, as a drop {interval(found.lower, found.upper, found.unit)}, {rows}"


def _agreement(made: "Made") -> str:
    compared = made.agreement
    assert compared is not None
    text = f"largest difference of an output {compared.largest.max_abs_difference:.3g} ({compared.largest.output})"
    if compared.differing_rows is None:
        return f"{text} over {count(compared.rows, 'row')}"
    same = compared.rows - len(compared.differing_rows)
    return f"decides as the reference on {same:,} of {count(compared.rows, 'row')}; {text}; no labels, so no accuracy"


def _latency(outcome: "Outcome", made: "Made") -> str:
    where = outcome.device.name if outcome.device else "this host"
    text = f"median {duration(made.latency_s)}, its parent {duration(made.parent_latency_s)}, on {where}"
    return f"SLOWER than its parent: {text}" if made.is_slower else text


def grouped(left: tuple[str, ...]) -> list[str]:
    """What stayed in float, by operator and reason: ``3 LSTM: onnxruntime has no int8 form of it (a, b, c)``."""
    split = [(line.partition(": ")[0].partition(" "), line.partition(": ")[2]) for line in left]
    counts = Counter((head[0], why) for head, why in split)
    names = {key: [head[2] for head, why in split if (head[0], why) == key] for key in counts}
    return [
        f"{number} {operator}: {why} ({', '.join(names[operator, why][:3])}{', …' if number > 3 else ''})"
        for (operator, why), number in counts.items()
    ]


def _processors(record: VariantRecord, assessment: "Assessment | None") -> str:
    """What x86 without VNNI makes of a variant whose sums can saturate there."""
    where, rule = "on x86 without VNNI, where int8 sums saturate,", "+reduced in the recipe rules it out"
    known = assessment.flips.details if assessment else {}
    flips = known.get("flips_saturating")
    if flips is None:
        return f"{count(len(record.saturation.nodes_at_risk), 'operator')} may decide otherwise {where[:-1]}; {rule}"
    if not flips:
        return f"none of these decisions changes {where} and others may: {rule}"
    accuracy = quantity(known["accuracy_saturating"], "share")
    exact = quantity(known["accuracy_exact"], "share")
    return f"{where} {count(flips, 'decision')} change: {accuracy} right instead of {exact}; {rule}"


def _profile(outcome: "Outcome", assessment: "Assessment") -> str:
    profile = outcome.material.profile
    assert profile is not None
    rest = f"; not estimated here: {', '.join(assessment.not_estimated)}" if assessment.not_estimated else ""
    if assessment.not_tested:
        rest = f"; not tested: {'; '.join(map(untested_text, assessment.not_tested))}{rest}"
    if assessment.state == "met":
        return f"{profile.name}: met by these estimates{rest}"
    if assessment.state == "not shown":
        unproved = "; ".join(gap_text(gap, assessment.requirements) for gap in assessment.unproved)
        return f"{profile.name}: not shown by these estimates{': ' if unproved else ''}{unproved}{rest}"
    broken = sorted((gap for gap in assessment.gaps if not is_met(gap)), key=excess, reverse=True)
    more = f" and {count(len(broken) - 1, 'other')}" if len(broken) > 1 else ""
    return f"{profile.name}: NOT met by these estimates: {gap_text(broken[0], assessment.requirements)}{more}{rest}"


def untested_text(each: Untested) -> str:
    """``subjects part=rare: 9 rows, minimum 30``."""
    return f"{each.requirement} {slice_name(each.subject)}: {count(each.found, each.unit)}, minimum {each.minimum}"


def gap_text(gap: SearchGap, findings: Iterable[Finding] = ()) -> str:
    """``slices subject: 9 is 12 points, allowed 10 points``; what was counted though no row showed it is said so."""
    who = f"{gap.requirement} {slice_name(gap.subject)}".strip()
    same = [each for each in findings if (each.requirement, each.subject) == (gap.requirement, gap.subject)]
    if any(each.metric == "numerics.processor_flips" and each.estimate == 0.0 < gap.loss for each in same):
        return f"{who}: no decision of these rows changes, others may, and only a proof from the weights passes"
    if any(each.direction == "at_least" for each in same):
        return f"{who} is {quantity(1 - gap.loss, gap.unit)}, at least {quantity(1 - gap.allowed, gap.unit)}"
    return f"{who} is {quantity(gap.loss, gap.unit)}, allowed {quantity(gap.allowed, gap.unit)}"


def outcome_object(outcome: "Outcome", made: "tuple[Made, ...]", files: Mapping[str, Path]) -> dict[str, Any]:
    """All that is known of `made`, of the schema edgeproof/quantize/1; times in s, sizes in B, shares 0 to 1."""
    from kit.pipeline.quantize import rows_used

    material = outcome.material
    dataset, profile = material.dataset, material.profile
    return {
        "schema": "edgeproof/quantize/1",
        "tool_version": __version__,
        "reference": asdict(outcome.reference),
        "target": outcome.target,
        "device": asdict(outcome.device) if outcome.device else None,
        "dataset": {"name": dataset.name, "digest": dataset.digest} if dataset else None,
        "rows": rows_used(material),
        "profile": {"name": profile.name, "digest": profile.digest} if profile else None,
        "variants": [_variant_object(each, files) for each in made],
        "not_made": dict(outcome.not_made),
    }


def _variant_object(made: "Made", files: Mapping[str, Path]) -> dict[str, Any]:
    inside = products(made.record)
    assessment, compared = made.assessment, made.agreement
    return {
        "variant": asdict(made.record),
        "file": str(files[made.record.recipe.name]),
        "products": {"int8": inside[0], "float": inside[1]} if inside else None,
        "is_larger": made.is_larger,
        "is_slower": made.is_slower if made.latency_s and made.parent_latency_s else None,
        "latency": {"median_s": made.latency_s, "parent_median_s": made.parent_latency_s},
        "accuracy": None if assessment is None else {
            "drop": asdict(assessment.drop),
            "slices": [asdict(each) for each in assessment.slices],
            "processors": asdict(assessment.flips),
        },
        "profile": None if assessment is None or assessment.state is None else {
            "meets": {"met": True, "not met": False, "not shown": None}[assessment.state],
            "state": assessment.state,
            "gaps": [asdict(each) for each in assessment.gaps],
            "findings": [asdict(each) for each in assessment.requirements],
            "not_estimated": list(assessment.not_estimated),
            "not_tested": [asdict(each) for each in assessment.not_tested],
        },
        "agreement": None if compared is None else {
            "rows": compared.rows,
            "differing_rows": None if compared.differing_rows is None else compared.differing_rows.tolist(),
            "outputs": [asdict(each) for each in compared.outputs],
        },
    }  # fmt: skip
