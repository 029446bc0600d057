"""What could be done without training again, and how many rows a run needed: sentences, ready to show."""

from collections.abc import Iterable
from dataclasses import dataclass

from kit.records import Evidence, VariantEvidence
from kit.report.figures import clean, count, percent


@dataclass(frozen=True, slots=True)
class Remedy:
    """One mitigation: its name, what it changes in a sentence, and what speaks against it."""

    name: str
    sentence: str
    caution: str


def build_remedies(told: Iterable[tuple[str, str, str]]) -> tuple[Remedy, ...]:
    """Remedies of (name, sentence, caution)."""
    return tuple(Remedy(clean(name, 60), clean(text, 600), clean(but, 300)) for name, text, but in told)


def sampling_text(evidence: Evidence, variant: VariantEvidence | None) -> str:
    """How many rows crossed the link where a run stopped early; empty where all did."""
    sample = None if variant is None else variant.sample
    if sample is None:
        return ""
    rows, asked = len(sample.order), evidence.dataset.rows
    text = (
        f"{rows:,} of {count(asked, 'row')} ({percent(rows / asked)}) were run on the device: {clean(sample.stopped)}."
    )
    if sample.twin is None or not rows:
        return text
    same = int((sample.twin.decisions[sample.order] == sample.decisions).sum())
    twin = f"The same file on this host decides {same:,} of them alike"
    return f"{text} {twin}, and stands for the others as far as that shows."
