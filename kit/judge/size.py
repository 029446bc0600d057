"""model.size: the file's bytes, exact."""

from dataclasses import replace

from kit.judge.base import Case, Measured, explained, finding
from kit.records import Finding
from kit.words import quantity


def judge_size(case: Case) -> tuple[Finding, ...]:
    """The variant's file against the limit: counted, so without uncertainty (confidence 1)."""
    size_bytes = float(case.variant.variant.model.size_bytes)
    certain = replace(case, candidates=1)
    measured = Measured(size_bytes, size_bytes, size_bytes, "B", "exact: bytes of the file", 1, "computed")
    found = replace(finding(certain, measured), confidence=1.0)
    limit = quantity(case.requirement.limit, "B")
    return (explained(found, f"the model file is {quantity(size_bytes, 'B')}; limit {limit}."),)
