"""What could be done without training again, and how many rows a run needed: sentences, ready to show."""

from collections.abc import Iterable
from dataclasses import dataclass

from kit.records import Evidence, VariantEvidence, VariantJudgement, Verdict
from kit.report.figures import clean, listed, percent
from kit.words import count

_OF_ROWS = ("accuracy.drop", "accuracy.value", "agreement.flips")
"""Metrics that are judged on as many rows as were run."""


@dataclass(frozen=True, slots=True)
class Remedy:
    """One mitigation: its name, what it changes in a sentence, and what speaks against it."""

    name: str
    sentence: str
    caution: str


def build_remedies(told: Iterable[tuple[str, str, str]]) -> tuple[Remedy, ...]:
    """Remedies of (name, sentence, caution)."""
    return tuple(Remedy(clean(name, 60), clean(text, 600), clean(but, 300)) for name, text, but in told)


def sampling_text(evidence: Evidence, variant: VariantEvidence | None, judged: VariantJudgement | None) -> str:
    """How many rows crossed the link where a run stopped early, and what they leave open; empty where all did."""
    if variant is None or (sample := variant.sample) is None:
        return ""
    rows, asked = len(sample.order), evidence.dataset.rows
    ran = f"{rows:,} of {count(asked, 'row')} ({percent(rows / asked)}) were run on the device"
    rest = "; then the others were, since not all is decided by some rows" * (variant.predictions is not None)
    text = f"{ran}: {clean(sample.stopped)}{_undecided(judged)}{rest}."
    if sample.twin is None or not rows:
        return text
    same = int((sample.twin.decisions[sample.order] == sample.decisions).sum())
    twin = f"The same file on this host decides {same:,} of them alike"
    return f"{text} {twin}, and stands for the others as far as that shows."


def _undecided(judged: VariantJudgement | None) -> str:
    """``, and accuracy stays undecided``: requirements, by id, that no row left could decide."""
    findings = judged.findings if judged else ()
    found = [f.requirement for f in findings if f.metric in _OF_ROWS and f.verdict is Verdict.INCONCLUSIVE]
    names = [clean(each, 40) for each in dict.fromkeys(found)]
    return f", and {listed(names[:4])} {'stays' if len(names) == 1 else 'stay'} undecided" if names else ""
