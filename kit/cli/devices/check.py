"""`edgeproof devices check`: are a device and its link fit to be measured? PASS, FAIL or INCONCLUSIVE."""

import secrets
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from kit.cli.options import common_options, quiet_option
from kit.cli.output import VERDICT_EXIT_CODES, emulated_lines, print_json, say, wrapped
from kit.errors import InterruptError, SpecError, UsageError

if TYPE_CHECKING:
    from kit.records import HealthFinding, HealthJudgement, HealthRecord

EXAMPLES = """\b
Examples:
  edgeproof devices check local
  edgeproof devices check /dev/ttyUSB0?baud=921600 --duration 20s
"""
NOT_TOLD = "not told"
_INDENT = " " * 13


@click.command("check", epilog=EXAMPLES)
@click.argument("device")
@click.option("--duration", default="2 min", show_default=True, help="How long to test, such as 20s or 10min.")
@click.option("--seed", type=click.IntRange(0, 2**32), help="Of the random bytes; a new one each time if left out.")
@quiet_option
@common_options
@click.pass_context
def check(
    ctx: click.Context, /, device: str, duration: str, seed: int | None, quiet: bool, as_json: bool, verbose: bool
) -> int:
    """Test DEVICE and its link for two minutes: bytes, speed, clock, storage, memory, heat, known answers.

    The exit code is the verdict: 0 pass, 1 fail, 3 inconclusive. A required check that cannot be told is no pass.
    """
    from kit.cli.progress import Progress
    from kit.judge.health import judge_health
    from kit.pipeline.check import check as try_device
    from kit.pipeline.check import phases
    from kit.spec import load_device

    duration_s, spec = _duration_s(duration), load_device(device)
    seed = secrets.randbits(32) if seed is None else seed
    expected_s = {name: share * duration_s for name, share in phases(spec).items()}
    progress = Progress(expected_s, ends_after_s=duration_s, quiet=quiet)
    try:
        record = try_device(spec, duration_s=duration_s, seed=seed, watcher=progress)
    except KeyboardInterrupt as interrupt:
        what, shorter = "interrupted; a test keeps nothing", "a shorter one: --duration 20s"
        raise InterruptError(what, next_step=shorter) from interrupt
    finally:
        progress.close()
    judgement = judge_health(record)
    if as_json or (ctx.parent is not None and ctx.parent.params["as_json"]):
        findings = [asdict(each) for each in judgement.findings]
        verdict = judgement.verdict.value
        facts = {"device": asdict(record.device), "verdict": verdict, "duration_s": record.duration_s, "seed": seed}
        print_json({"schema": "edgeproof/health/1"} | facts | {"findings": findings})
    else:
        for line in _lines(record, judgement, verbose=verbose):
            say(line)
    return VERDICT_EXIT_CODES[judgement.verdict.value]


def _duration_s(text: str) -> float:
    from kit.pipeline.check import DURATIONS
    from kit.spec.units import parse

    try:
        return parse(text, "time", "--duration")
    except SpecError as error:
        raise UsageError(error.what, next_step=DURATIONS) from None


def _lines(record: "HealthRecord", judgement: "HealthJudgement", *, verbose: bool) -> Iterator[str]:
    name, link = record.device.name, record.device.link
    yield name if link in name else f"{name}  {link}"
    yield from emulated_lines(record.device.emulated)
    yield ""
    shown = [each for each in judgement.findings if _mark(each) != NOT_TOLD]
    width = max(len(each.name) for each in shown)
    for each in shown:
        yield from wrapped(_figure(each), first=f"{_mark(each):<11}  {each.name:<{width}}  ", rest=" " * (15 + width))
        if each.status != "ok" or verbose:
            yield from wrapped(f"why: {each.why}", first=_INDENT, rest=_INDENT + " " * 5)
        if each.follows_from:
            yield from wrapped(f"may follow from: {', '.join(each.follows_from)}", first=_INDENT, rest=_INDENT)
        if each.status != "ok":
            yield from wrapped(f"fix: {each.next_step}", first=_INDENT, rest=_INDENT + " " * 5)
    for why, names in _not_told(judgement).items():
        yield from wrapped(f"{', '.join(names)}: {why}", first=f"{NOT_TOLD:<11}  ", rest=_INDENT)
    yield ""
    first, rest = f"{judgement.verdict.value}  ", " " * (2 + len(judgement.verdict.value))
    yield from wrapped(f"{_counts(judgement)}; tested for {record.duration_s:.0f} s", first=first, rest=rest)


def _not_told(judgement: "HealthJudgement") -> dict[str, list[str]]:
    """The optional checks that this device has no figure for, by reason."""
    found: dict[str, list[str]] = {}
    for each in judgement.findings:
        if _mark(each) == NOT_TOLD:
            found.setdefault(each.detail, []).append(each.name)
    return found


def _mark(finding: "HealthFinding") -> str:
    if finding.status == "cannot tell":
        return "CANNOT TELL" if finding.required else NOT_TOLD
    return "BAD" if finding.status == "bad" else "ok"


def _figure(finding: "HealthFinding") -> str:
    """Figure, limit, and what it was seen from; one that is only right or wrong speaks for itself."""
    if finding.value is None or not finding.unit:
        return finding.detail
    if finding.limit == 0:
        return f"{finding.value:,.0f} wrong {finding.detail}".rstrip()
    words = finding.direction.replace("_", " ")
    limit = f"{_quantity(finding.value, finding.unit)} ({words} {_quantity(finding.limit, finding.unit)})"
    return f"{limit}: {finding.detail}" if finding.detail else limit


def _quantity(value: float, unit: str) -> str:
    from kit.words import quantity

    return f"{value:.1f} °C" if unit == "celsius" else quantity(value, unit)


def _counts(judgement: "HealthJudgement") -> str:
    marks = [_mark(each) for each in judgement.findings]
    words = {"BAD": "bad", "CANNOT TELL": "that cannot be told", NOT_TOLD: "not told (optional)", "ok": "ok"}
    return ", ".join(f"{marks.count(mark)} {word}" for mark, word in words.items() if mark in marks)
