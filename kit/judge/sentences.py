"""Clauses that the sentences of findings share."""

from kit.records import Finding, Obtained
from kit.spec.subjects import in_words


def how(obtained: Obtained) -> str:
    """A clause for what was not measured on the real thing; empty otherwise."""
    return {"emulated": " (emulated)", "estimated": " (estimated)"}.get(obtained, "")


def slice_name(subject: str) -> str:
    """A slice as people read it: "exercise=row & side=left" is "exercise: row & side: left"."""
    return in_words(subject)


def headline(finding: Finding) -> str:
    """The finding as one line: verdict and reason; an untested slice's reason speaks for itself."""
    return finding.reason if finding.reason.startswith("NOT TESTED") else f"{finding.verdict}: {finding.reason}"
