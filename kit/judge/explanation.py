"""explanation.agreement."""

from kit.judge.base import Case, absent
from kit.records import Finding


def judge_explanation(case: Case) -> tuple[Finding, ...]:
    """Not judged yet."""
    return (absent(case, "share", f"{case.requirement.metric} was not obtained.", "measure it"),)
