"""quality.value, quality.loss."""

from kit.judge.base import Case, absent
from kit.records import Finding


def judge_quality(case: Case) -> tuple[Finding, ...]:
    """Not judged yet."""
    return (absent(case, "share", f"{case.requirement.metric} was not obtained.", "measure it"),)
