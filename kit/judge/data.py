"""data.missing, data.wrong, data.duplicates, data.leaked, data.shifted, data.lagged: faults of the data, as limited.

Shares are of the very rows that the verdict rests on, all or drawn: nothing is inferred beyond them. Where the same
look would find something in sound data too, the share has to exceed that before it breaks a limit.
"""

from kit.judge.base import Case, Measured, absent, explained, finding
from kit.records import DataCheck, Finding
from kit.words import quantity

CENSUS = "census of the rows looked at: the share is exact for them"
AGAINST_CHANCE = "as found in the rows looked at; from 0, unless it exceeds what chance gives in sound data"


def judge_data(case: Case) -> tuple[Finding, ...]:
    """One finding for each look that the metric has; a look that could not be taken leaves it undecided."""
    record, metric = case.evidence.data, case.requirement.metric
    checks = [] if record is None else [check for check in record.checks if check.check == metric]
    if not checks:
        return (absent(case, "share", "the data was not looked through.", "look through the data"),)
    return tuple(_finding(case, check) for check in checks)


def _finding(case: Case, check: DataCheck) -> Finding:
    if check.share is None:
        return absent(case, "share", f"{check.subject}: {check.sentence}", _NEED, check.subject)
    explainable = check.chance is not None and check.share <= check.chance
    assert case.evidence.data is not None
    measured = Measured(
        check.share, 0.0 if explainable else check.share, check.share, "share",
        CENSUS if check.chance is None else AGAINST_CHANCE, check.rows, "computed",
        evidence=(case.evidence.data.data_digest,),
        details={} if check.chance is None else {"chance": check.chance},
    )  # fmt: skip
    found = finding(case, measured, subject=check.subject)
    reason = f"{check.subject}: {check.sentence} Allowed {quantity(case.requirement.limit, 'share')}."
    return explained(found, reason, "more rows from more clusters, so that chance explains less")


_NEED = "give the part or the rows that are missing, or take the requirement out"
