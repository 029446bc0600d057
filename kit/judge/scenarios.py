"""Scenarios: a handful of rows that somebody named. So few are seldom a proof, so every row that changed is told."""

from dataclasses import replace

from kit.judge.base import Case
from kit.records import Finding
from kit.spec.types import SliceSpec
from kit.stats.outcomes import BoolArray, Outcomes

MOST_TOLD = 20
"""Rows that a sentence lists, in each direction."""


def told(case: Case, rows: Outcomes, found: Finding) -> Finding:
    """A scenario's finding with the numbers of its rows that changed; any other finding as it is."""
    spec = next((each for each in case.profile.slices if each.rows and each.name == found.subject), None)
    return found if spec is None else replace(found, reason=f"{found.reason} {_changes(rows, spec)}")


def _changes(rows: Outcomes, spec: SliceSpec) -> str:
    before, after, changed = rows.reference_right, rows.optimized_right, rows.decision_changed
    directions = {
        "turned wrong": before & ~after,
        "turned right": ~before & after,
        "changed from wrong to wrong": ~before & ~after & changed,
    }
    parts = [text for words, mask in directions.items() if (text := _listed(spec.rows, mask, words))]
    text = "; ".join(parts)
    return f"{text[:1].upper()}{text[1:]}." if parts else "None of its rows changed."


def _listed(rows: tuple[int, ...], mask: BoolArray, words: str) -> str:
    """ "rows 3, 17 turned wrong", numbered from 0; nothing where there are none."""
    numbers = sorted(row for row in rows if mask[row])
    if not numbers:
        return ""
    more = f" and {len(numbers) - MOST_TOLD:,} more" if len(numbers) > MOST_TOLD else ""
    shown = ", ".join(str(number) for number in numbers[:MOST_TOLD])
    return f"{'row' if len(numbers) == 1 else 'rows'} {shown}{more} {words}"
