"""slices.found."""

from kit.judge.base import Case, absent
from kit.records import Finding


def judge_found(case: Case) -> tuple[Finding, ...]:
    """Not judged yet."""
    return (absent(case, "points", f"{case.requirement.metric} was not obtained.", "measure it"),)
