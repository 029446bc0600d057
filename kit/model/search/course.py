"""How far from the reference a variant may be, learned from full evaluations, and one base recipe's way there."""

from dataclasses import dataclass, field

from kit.model.graph import PRODUCTS
from kit.model.quantize import Variant
from kit.model.search.front import GUARD, guarded_loss, meets
from kit.model.search.ladder import Ladder
from kit.model.search.treatment import Ground, Treatment
from kit.records import SearchGap
from kit.stats.gap import SAMPLED

STEP = 4.0
"""A failure at least quarters the divergence that is aimed at: that halves the scores' errors."""

MOST_STRAIN = 6.0
"""A single evaluation moves the divergence that is aimed at by no more than the square of this."""


@dataclass(slots=True)
class Aim:
    """The divergence that is aimed at.

    The share of rows whose decision changes grows with the size of the scores' errors, and their divergence with its
    square. So a configuration that loses t times what it may, at divergence d, suggests to aim at d / t**2; the next
    evaluation corrects that.
    """

    target: float = float("inf")
    held: list[float] = field(default_factory=list)
    failed: list[float] = field(default_factory=list)

    def learn(self, divergence: float, gaps: tuple[SearchGap, ...]) -> None:
        """Take note of gaps at a divergence; with a guard, see `GUARD`."""
        suggested = divergence / strain(gaps) ** 2
        if not meets(gaps, GUARD):
            self.failed.append(divergence)
            self.target = min(self.target, suggested, divergence / STEP)
            return
        self.held.append(divergence)
        above = [each for each in self.failed if each > divergence]
        self.target = min([suggested, *((each * divergence) ** 0.5 for each in above)])


def strain(gaps: tuple[SearchGap, ...]) -> float:
    """The largest share of what may be lost that is lost, or feared to be; between 1/6 and 6."""
    shares = [_share(gap) for gap in gaps if gap.unit in SAMPLED]
    return min(MOST_STRAIN, max(1 / MOST_STRAIN, *shares, 0.0))


def _share(gap: SearchGap) -> float:
    if gap.allowed <= 0:
        return MOST_STRAIN if gap.loss > gap.allowed else 0.0
    return guarded_loss(gap, GUARD) / gap.allowed


@dataclass(frozen=True, slots=True)
class Course:
    """One base recipe with its best treatment; `guess` has the gaps with nothing in float, guessed on some rows."""

    ground: Ground
    treatment: Treatment
    ladder: Ladder
    guess: tuple[SearchGap, ...]

    @property
    def divergence(self) -> float:
        """With nothing in float."""
        return self.ladder.divergence(frozenset())


@dataclass(frozen=True, slots=True)
class Whole:
    """A variant of the whole model in one precision, made already, and how far it is from the reference."""

    variant: Variant
    divergence: float

    @property
    def name(self) -> str:
        """The recipe's name."""
        return self.variant.record.recipe.name

    @property
    def nodes_in_float(self) -> int:
        """Products that it left as they were."""
        return sum(line.startswith(PRODUCTS) for line in self.variant.record.left_in_float)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A configuration to evaluate."""

    course: Course
    kept: frozenset[str]

    @property
    def name(self) -> str:
        """The recipe's name."""
        return self.course.treatment.recipe(self.kept).name

    def cost(self, *, in_bytes: bool) -> float:
        """Predicted: the file's bytes, or the work of a run."""
        ground = self.course.ground
        return ground.size_bytes(self.kept) if in_bytes else ground.work(self.kept)
