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
    if variant.predictions is not None and rows < asked:
        return f"{ran} until what some rows can decide was decided; then the others, for what needs every row."
    text = f"{ran}: {clean(sample.stopped)}{_decided(judged)}."
    if sample.twin is None or not 0 < rows < asked:
        return text
    same = int((sample.twin.decisions[sample.order] == sample.decisions).sum())
    twin = f"The same file on this host decides {same:,} of them alike"
    return f"{text} {twin}, and stands for the others as far as that shows."


def _decided(judged: VariantJudgement | None) -> str:
    """``; accuracy is broken``, ``, and slices stays undecided``: requirements on rows, by id, that are not met."""
    findings = [each for each in (judged.findings if judged else ()) if each.metric in _OF_ROWS]
    broken, undecided = (
        list(dict.fromkeys(clean(each.requirement, 40) for each in findings if each.verdict is verdict))
        for verdict in (Verdict.FAIL, Verdict.INCONCLUSIVE)
    )
    told = f"; {listed(broken[:4])} {'is' if len(broken) == 1 else 'are'} broken" if broken else ""
    left = [each for each in undecided if each not in broken]
    return told + (f", and {listed(left[:4])} {'stays' if len(left) == 1 else 'stay'} undecided" if left else "")
