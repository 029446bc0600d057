"""What an earlier run of a search left in its folder is held against the files themselves before it counts."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from kit.errors import ModelError, StoreError
from kit.model.load import LoadedModel, load_onnx_bytes
from kit.model.quantize import Variant
from kit.model.saturation import saturation_record
from kit.model.search import Evaluation, SearchOutcome
from kit.model.search.front import choose, pareto_front
from kit.pipeline.search_folder import SearchFolder
from kit.records import SearchGap, SearchPoint
from kit.stats.gap import is_met


@dataclass(slots=True)
class Trust:
    """Points of the folder: checked against their files, and the one that is chosen evaluated again.

    Args:
        folder: where they lie.
        reference: the model that they must be variants of.
        evaluate: scores a variant on the selection rows.
        stated: requirements of which the same file gives the same on the same rows; others are measured anew.
    """

    folder: SearchFolder
    reference: LoadedModel
    evaluate: Callable[[Variant], Evaluation]
    stated: frozenset[str]
    _old: dict[str, SearchPoint] = field(default_factory=dict)

    def known(self) -> tuple[SearchPoint, ...]:
        """Every point of the folder. Raises StoreError for one that is not what its file is."""
        points = self.folder.points()
        for point in points:
            self._check_file(point)
        self.folder.mend()
        self._old = {point.variant.model.digest: point for point in points}
        return points

    def settled(self, outcome: SearchOutcome) -> SearchOutcome:
        """The outcome over all points of the folder, those too that this run's budget did not come to.

        Raises:
            StoreError: the chosen one's gaps are not those of its file.
        """
        points = list(self.folder.points())
        while True:
            chosen, why = choose(points)
            old = None if chosen is None else self._old.pop(points[chosen].variant.model.digest, None)
            if chosen is None or old is None:
                break
            points[chosen] = self._again(old)
        same = len(points) == len(outcome.points)
        return replace(
            outcome,
            points=tuple(points),
            front=pareto_front(points),
            chosen=chosen,
            why=outcome.why if same and chosen is None else why,
            full_evaluations=len(points),
        )

    def _check_file(self, point: SearchPoint) -> None:
        stated, data = point.variant, self.folder.data_of(point)
        try:
            proto = load_onnx_bytes(data, stated.model.name).proto
        except ModelError as error:
            raise self._forged(f"is no model: {error.what}", point) from error
        is_reference = stated.model.digest == self.reference.record.digest
        if stated.parent_digest != self.reference.record.digest and not is_reference:
            raise self._forged("is a variant of another model", point)
        if stated.model.size_bytes != len(data) or (point.cost_unit == "B" and point.cost != len(data)):
            raise self._forged(f"has {len(data):,} B, which its record does not say", point)
        if stated.saturation != saturation_record(proto):
            raise self._forged("saturates otherwise than its record says", point)

    def _again(self, old: SearchPoint) -> SearchPoint:
        """A point with the gaps and costs that its file has now."""
        found = self.evaluate(Variant(self.folder.data_of(old), old.variant))
        if self._of_file(found.gaps) != self._of_file(old.gaps) or (old.cost_unit, found.cost_unit).count("B") == 1:
            raise self._forged("does not lose what its record says", old)
        if all(map(is_met, found.gaps)) == all(map(is_met, old.gaps)) and found.cost == old.cost:
            return old
        return replace(
            old, gaps=found.gaps, cost=found.cost, cost_unit=found.cost_unit,
            latency_s=found.latency_s, energy_j=found.energy_j,
        )  # fmt: skip

    def _forged(self, what: str, point: SearchPoint) -> StoreError:
        return StoreError(
            f"the file of {point.variant.recipe.name[:80]} {what}",
            where=str(self.folder.path),
            next_step="do not trust this folder; --force in place of --resume starts anew",
        )

    def _of_file(self, gaps: tuple[SearchGap, ...]) -> list[SearchGap]:
        return [gap for gap in gaps if gap.requirement in self.stated]
