"""What looking through the dataset found: every check, faults first."""

from dataclasses import dataclass

from kit.records import DataCheck, Evidence, Finding, VariantJudgement
from kit.report.figures import clean, percent
from kit.report.sections.requirements import SIGNS
from kit.words import count

_ORDER = {"FAIL": 0, "INCONCLUSIVE": 1, "found": 2, "not looked at": 3, "PASS": 4, "": 5}


@dataclass(frozen=True, slots=True)
class CheckRow:
    """One check; `status` is the verdict where a requirement limits it, "found" or "not looked at", or empty."""

    status: str
    sign: str
    name: str
    subject: str
    share: str
    chance: str
    sentence: str
    nothing: bool


@dataclass(frozen=True, slots=True)
class DataView:
    """All checks, the worst first."""

    headline: str
    rows: tuple[CheckRow, ...]

    @property
    def told(self) -> tuple[CheckRow, ...]:
        """Looks that found something, could not be taken, or whose verdict is none of PASS."""
        return tuple(row for row in self.rows if not row.nothing)

    @property
    def silent(self) -> tuple[CheckRow, ...]:
        """Looks that found nothing, which are folded away."""
        return tuple(row for row in self.rows if row.nothing)


def build_data(evidence: Evidence, judged: VariantJudgement | None) -> DataView | None:
    """Every check of the dataset; None where it was not looked through."""
    if evidence.data is None:
        return None
    findings = {(f.metric, f.subject): f for f in (judged.findings if judged else ()) if f.metric.startswith("data.")}
    rows = [_row(check, findings.get((check.check, check.subject))) for check in evidence.data.checks]
    rows.sort(key=lambda row: _ORDER[row.status])
    return DataView(_headline(evidence.data.checks), tuple(rows))


def _headline(checks: tuple[DataCheck, ...]) -> str:
    found = sum(map(is_fault, checks))
    unseen = sum(check.share is None for check in checks)
    more = f"; {count(unseen, 'look')} could not be taken" if unseen else ""
    return f"{count(found, 'fault')} in {count(len(checks), 'look')} at the data{more}."


def is_fault(check: DataCheck) -> bool:
    """Whether something was found, beyond what chance gives in sound data."""
    return check.share is not None and check.share > (check.chance or 0.0)


def _row(check: DataCheck, finding: Finding | None) -> CheckRow:
    if finding is not None:
        status = finding.verdict.value
    else:
        status = "not looked at" if check.share is None else "found" if is_fault(check) else ""
    return CheckRow(
        status=status,
        sign=SIGNS.get(status, ""),
        name=check.check.removeprefix("data."),
        subject=clean(check.subject, 60),
        share=percent(check.share, 2),
        chance="" if check.chance is None else percent(check.chance, 2),
        sentence=clean(check.sentence, 600),
        nothing=status in ("", "PASS") and not is_fault(check),
    )


def data_lines(view: DataView) -> list[str]:
    """The same for a terminal: the headline, and a line for every fault that was found."""
    told = [row for row in view.rows if row.status not in ("", "PASS", "not looked at")]
    return [view.headline, *(f"{row.name}, {row.subject}: {row.sentence}" for row in told)]
