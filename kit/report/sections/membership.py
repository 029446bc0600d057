"""The membership audit: how well an attack tells who was trained on, from the reference and from each variant."""

from dataclasses import dataclass

from kit.records import Evidence, Finding, Judgement
from kit.report import sentences
from kit.report.figures import clean, percent, points
from kit.report.sections.requirements import SIGNS

NOTE = (
    "An attack is chosen on one half of the rows and measured on the other. Advantage: share of members that it "
    "guesses to be members, less that of others. A better attack than those tried may find more."
)


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One model's audit as text; `at` and its ends are the advantage as a share."""

    name: str
    attack: str
    advantage: str
    change: str
    area: str
    low_rate: str
    status: str
    sign: str
    at: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class MembershipView:
    """The reference first, then each variant that was attacked."""

    headline: str
    note: str
    rows: tuple[AuditRow, ...]


def build_membership(evidence: Evidence, judgement: Judgement) -> MembershipView | None:
    """Every audit that was judged; None where there is none."""
    found: list[tuple[str, Finding]] = [
        (variant.variant, finding)
        for variant in judgement.variants
        for finding in variant.findings
        if finding.metric == "privacy.membership" and "advantage" in finding.details
    ]
    if not found or evidence.reference_membership is None:
        return None
    attacks = {
        each.variant.recipe.name: each.membership.attack for each in evidence.variants if each.membership is not None
    }
    rows = [_reference(found[0][1], evidence.reference_membership.attack)]
    rows += [_row(name, finding, attacks.get(name, "")) for name, finding in found]
    chosen = next((finding for name, finding in found if name == judgement.chosen), found[0][1])
    return MembershipView(sentences.capitalized(sentences.reason(chosen)), NOTE, tuple(rows))


def _reference(of: Finding, attack: str) -> AuditRow:
    at, low, high = (of.details[f"reference_advantage{end}"] for end in ("", "_lower", "_upper"))
    return AuditRow("reference", clean(attack, 60), _with_ends(at, low, high), "", "", "", "", "", at, low, high)


def _row(name: str, of: Finding, attack: str) -> AuditRow:
    details = of.details
    at, low, high = (details[f"advantage{end}"] for end in ("", "_lower", "_upper"))
    return AuditRow(
        name=clean(name, 40),
        attack=clean(attack, 60),
        advantage=_with_ends(at, low, high),
        change=f"{points(of.estimate)} {sentences.interval_text(of)}".strip(),
        area=f"{details['auc']:.3f} [{details['auc_lower']:.3f}, {details['auc_upper']:.3f}]",
        low_rate=percent(details["members_at_1_percent_of_others"]),
        status=of.verdict.value,
        sign=SIGNS[of.verdict.value],
        at=at,
        low=low,
        high=high,
    )


def _with_ends(at: float, low: float, high: float) -> str:
    return f"{points(at)} [{points(low)}, {points(high)}]"


def membership_lines(view: MembershipView) -> list[str]:
    """The same for a terminal."""
    return [view.headline, *(f"{row.name}: advantage {row.advantage} by {row.attack}" for row in view.rows)]
