"""fairness.gap, fairness.ratio."""

from kit.judge.base import Case, absent
from kit.records import Finding


def judge_gap(case: Case) -> tuple[Finding, ...]:
    """Not judged yet."""
    return (absent(case, "points", f"{case.requirement.metric} was not obtained.", "measure it"),)
