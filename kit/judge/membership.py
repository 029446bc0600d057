"""privacy.membership."""

from kit.judge.base import Case, absent
from kit.records import Finding


def judge_membership(case: Case) -> tuple[Finding, ...]:
    """Not judged yet."""
    return (absent(case, "points", f"{case.requirement.metric} was not obtained.", "measure it"),)
