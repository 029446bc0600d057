"""The search: limits met overall and on every slice, with few evaluations, the same each time, resumed, in budgets."""

import warnings
from dataclasses import replace

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

from kit.model.convert import Converted
from kit.model.quantize import Variant
from kit.model.search import Budget, Evaluation, SearchOutcome, Target, search
from kit.model.search.course import Aim, strain
from kit.model.search.estimate import Estimator
from kit.model.search.front import GUARD, PRICE, choose, meets, pareto_front, worst_excess
from kit.model.search.sensitivity import LOST, row_losses, spread_subset
from kit.model.search.treatment import Ground
from kit.model.session import HostSession, score_output
from kit.records import Arithmetic, ModelRecord, SaturationRecord, SearchGap, SearchPoint, VariantRecord
from kit.spec.recipe import BASES
from kit.stats.gap import excess
from tests.model.search_nets import DATA, Asked, Layers, network

EXACT = Target("exact", "a processor with exact sums")
INT8 = Target("exact", "a processor with exact sums", ("int8-per-tensor", "int8-per-channel"))


@pytest.fixture(scope="module")
def layers(digits) -> Layers:
    model = MLPClassifier((16, 48, 48), max_iter=40, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(digits.train, digits.train_labels)
    return list(zip(model.coefs_, model.intercepts_, strict=True))


def asked(layers: Layers, digits, sigma: float = 0.0, *, fixed: bool = False, **limits: float) -> Asked:
    model = network(layers, sigma, fixed=fixed)
    return Asked(model, digits.train[:150], digits.test[:450], digits.test_labels[:450], **limits)


def run(of: Asked, target: Target = EXACT, budget: Budget | None = None, **more: object) -> SearchOutcome:
    return search(of.maker(), of.selection(), of.evaluate, target, budget or Budget(), **more)


CASES = {"plain": (0.0, False), "uneven": (1.2, False), "very uneven": (2.5, False), "mixed": (2.5, True)}


@pytest.mark.parametrize(("sigma", "fixed"), CASES.values(), ids=list(CASES))
def test_every_limit_is_met_with_few_evaluations(sigma: float, fixed: bool, layers: Layers, digits) -> None:
    of = asked(layers, digits, sigma, fixed=fixed)
    outcome = run(of, INT8)
    assert outcome.stopped == "met"
    assert outcome.chosen is not None
    chosen = outcome.points[outcome.chosen]
    assert meets(chosen.gaps)
    assert outcome.full_evaluations == len(outcome.points) == len(of.evaluated) <= 5
    assert outcome.partial_rows < 12_000
    assert chosen.cost == chosen.variant.model.size_bytes < of.model.record.size_bytes
    if fixed:
        assert 0 < chosen.nodes_in_float < 4
        assert all(each.startswith("name:") for each in chosen.variant.recipe.keep_float)
    else:
        assert chosen.nodes_in_float == 0


def test_plain_int8_does_not_meet_them_where_channels_are_uneven(layers: Layers, digits) -> None:
    of = asked(layers, digits, 2.5)
    plain = of.evaluate(of.maker().make(BASES["int8-per-tensor"]))
    assert worst_excess(plain.gaps) > 1


def names(outcome: SearchOutcome) -> list[str]:
    return [point.variant.recipe.name for point in outcome.points]


def test_the_same_seed_gives_the_same_points(layers: Layers, digits) -> None:
    first, second = (run(asked(layers, digits, 2.5, fixed=True), seed=3) for _ in range(2))
    assert names(first) == names(second)
    assert [point.variant.model.digest for point in first.points] == [p.variant.model.digest for p in second.points]
    assert (first.front, first.chosen, first.why) == (second.front, second.chosen, second.why)
    assert first.partial_rows == second.partial_rows


def test_it_resumes_without_evaluating_again(layers: Layers, digits) -> None:
    kept: list[SearchPoint] = []
    stopped_after = 1

    def interrupted(variant: Variant) -> Evaluation:
        if len(kept) == stopped_after:
            raise KeyboardInterrupt
        return whole.evaluate(variant)

    whole = asked(layers, digits, 2.5, fixed=True)
    with pytest.raises(KeyboardInterrupt):
        search(
            whole.maker(), whole.selection(), interrupted, INT8, Budget(),
            remember=lambda point, data: kept.append(point),
        )  # fmt: skip
    assert len(kept) == stopped_after
    again, fresh = asked(layers, digits, 2.5, fixed=True), asked(layers, digits, 2.5, fixed=True)
    resumed, uninterrupted = run(again, INT8, known=tuple(kept)), run(fresh, INT8)
    assert names(resumed) == names(uninterrupted)
    assert len(again.evaluated) == len(fresh.evaluated) - stopped_after
    assert resumed.full_evaluations == uninterrupted.full_evaluations
    assert (resumed.chosen, resumed.why) == (uninterrupted.chosen, uninterrupted.why)


def test_every_point_is_handed_over_with_its_bytes(layers: Layers, digits) -> None:
    handed: dict[str, bytes] = {}
    of = asked(layers, digits, 1.2)
    outcome = run(of, remember=lambda point, data: handed.update({point.variant.model.digest: data}))
    assert set(handed) == {point.variant.model.digest for point in outcome.points}
    assert all(onnx.ModelProto.FromString(data).graph.node for data in handed.values())


@pytest.mark.parametrize("evaluations", [1, 2])
def test_a_budget_of_evaluations_gives_the_best_so_far(evaluations: int, layers: Layers, digits) -> None:
    of = asked(layers, digits, 2.5, fixed=True)
    outcome = run(of, budget=Budget(evaluations))
    assert outcome.full_evaluations <= evaluations
    assert outcome.points
    if outcome.stopped == "budget" and outcome.chosen is None:
        assert "nothing meets the profile" in outcome.why


def test_a_spent_budget_of_time_ends_it_at_once(layers: Layers, digits) -> None:
    of = asked(layers, digits)
    outcome = run(of, budget=Budget(seconds=0.0))
    assert (outcome.stopped, outcome.points, outcome.chosen) == ("budget", (), None)
    assert outcome.why == "nothing was evaluated"


def test_what_cannot_be_met_is_named_with_amounts(layers: Layers, digits) -> None:
    of = asked(layers, digits, max_drop=-0.05)
    outcome = run(of)
    assert outcome.chosen is None
    assert outcome.stopped in ("budget", "exhausted")
    assert outcome.full_evaluations <= 5
    assert "drop binds" in outcome.why
    assert "allowed -5.0 points" in outcome.why


def test_a_size_that_nothing_has_binds(layers: Layers, digits) -> None:
    of = asked(layers, digits)

    def evaluate(variant: Variant) -> Evaluation:
        found = of.evaluate(variant)
        return replace(found, gaps=(*found.gaps, SearchGap("size", "", found.cost, 1000.0, "B")))

    outcome = search(of.maker(), of.selection(), evaluate, EXACT, Budget())
    assert outcome.chosen is None
    assert "size binds" in outcome.why
    assert "allowed 1,000 B" in outcome.why


@pytest.mark.parametrize("arithmetic", ["saturating", "default"])
def test_for_a_saturating_target_nothing_that_saturates_is_tried(
    arithmetic: Arithmetic, layers: Layers, digits
) -> None:
    outcome = run(asked(layers, digits, 1.2), Target(arithmetic, "x86 without VNNI"))
    assert outcome.points
    if arithmetic == "saturating":
        assert not any(point.variant.saturation.can_saturate for point in outcome.points)


def test_a_model_without_products_comes_out_as_it_is(converted: dict[str, Converted], digits) -> None:
    model = converted["forest"].model
    of = Asked.__new__(Asked)
    of.model, of.rows, of.labels = model, digits.test[:100], digits.test_labels[:100]
    of.max_drop, of.max_slice_drop, of.evaluated, of.calibration = 0.01, 0.05, [], digits.train[:50]
    session = HostSession(model.data)
    output = score_output(session.outputs, None)
    of.reference = session.predict(of.rows)
    of.right = of.reference.argmax(axis=1) == of.labels

    def evaluate(variant: Variant) -> Evaluation:
        scores = HostSession(variant.data).predict(of.rows)
        return Evaluation(scores, of.gaps(scores.argmax(axis=1), np.arange(100)), float(len(variant.data)), "B")

    selection = replace(of.selection(), feeds={session.inputs[0].name: of.rows}, output=output)
    outcome = search(of.maker(), selection, evaluate, EXACT, Budget())
    assert [point.variant.recipe.name for point in outcome.points] == ["fp32"]
    assert outcome.chosen == 0
    assert "the reference itself" in outcome.why
    assert "nothing can be quantized" in outcome.why


def test_a_single_layer_is_searched(layers: Layers, digits) -> None:
    weights = layers[0][0][:, :10] * 0.1
    of = asked([(weights, np.zeros(10))], digits)
    assert run(of).chosen is not None


def test_on_a_device_the_cost_is_what_it_tells(layers: Layers, digits) -> None:
    of = asked(layers, digits, 2.5, fixed=True)

    def evaluate(variant: Variant) -> Evaluation:
        seconds = 1e-3 * (1 + len(variant.record.recipe.keep_float))
        return replace(of.evaluate(variant), cost=seconds, cost_unit="s", latency_s=seconds)

    outcome = search(of.maker(), of.selection(), evaluate, EXACT, Budget())
    assert outcome.chosen is not None
    chosen = outcome.points[outcome.chosen]
    assert chosen.cost_unit == "s"
    assert chosen.latency_s == chosen.cost


def test_progress_is_told_by_phase(layers: Layers, digits) -> None:
    told: list[tuple[str, int, int]] = []
    run(asked(layers, digits, 2.5, fixed=True), progress=lambda *each: told.append(each))
    assert {phase for phase, _, _ in told} >= {"treatments", "nodes", "evaluations"}
    assert all(0 <= done <= total for _, done, total in told)


# Parts


def point(cost: float, losses: tuple[float, ...], name: str = "int8-per-tensor") -> SearchPoint:
    record = ModelRecord(name, f"sha256:{cost}{losses}", int(cost), "onnx")
    none = SaturationRecord(can_saturate=False, worst_pair=0, limit=0, nodes_at_risk=(), quantized_nodes=0)
    gaps = tuple(SearchGap("drop", f"slice={i}", loss, 0.02, "points", 0.006) for i, loss in enumerate(losses))
    variant = VariantRecord(BASES[name], record, DATA, None, 0, (), none)
    return SearchPoint(variant, gaps, cost, "B", 0, None, None, 0.0)


POINTS = st.lists(
    st.builds(
        point, st.integers(100, 10_000).map(float), st.tuples(*[st.integers(-10, 60).map(lambda each: each / 1000)] * 2)
    ),
    max_size=7,
)


@settings(deadline=None)
@given(points=POINTS)
def test_the_front_has_what_nothing_beats(points: list[SearchPoint]) -> None:
    front = pareto_front(points)
    worst = [worst_excess(each.gaps) for each in points]
    for i, each in enumerate(points):
        beaten = any(
            other.cost <= each.cost and worst[j] <= worst[i] and (other.cost < each.cost or worst[j] < worst[i])
            for j, other in enumerate(points)
        )
        assert beaten == (i not in front) or any(
            points[j].cost == each.cost and worst[j] == worst[i] for j in front if j != i
        )
    assert list(front) == sorted(front, key=lambda i: points[i].cost)


@settings(deadline=None)
@given(points=POINTS)
def test_a_choice_meets_everything_and_none_is_made_where_nothing_does(points: list[SearchPoint]) -> None:
    chosen, why = choose(points)
    assert why
    assert (chosen is None) == (not any(meets(each.gaps) for each in points))
    if chosen is not None:
        assert meets(points[chosen].gaps)
        cheapest_safe = min((each.cost for each in points if meets(each.gaps, GUARD)), default=float("inf"))
        assert points[chosen].cost <= PRICE * cheapest_safe


def test_a_guard_is_worth_somewhat_more_and_not_twice_as_much() -> None:
    tight, safe, dear = point(1000, (0.014,)), point(1100, (0.005,)), point(2500, (0.0,))
    assert choose([tight, safe, dear])[0] == 1
    assert choose([tight, dear])[0] == 0
    assert choose([point(900, (0.02,)), dear])[0] == 1  # at the limit: other rows would fail it half of the time
    assert choose([point(900, (0.02,))])[0] == 0


@pytest.mark.parametrize(
    ("gap", "beyond"),
    [
        (SearchGap("a", "", 0.02, 0.01, "points"), 1.0),
        (SearchGap("a", "", 0.01, 0.01, "points"), 0.0),
        (SearchGap("a", "", 0.01, 0.0, "points"), 1.0),
        (SearchGap("a", "", 3000.0, 2000.0, "B"), 0.5),
        (SearchGap("a", "", 0.0, -0.01, "points"), 1.0),
    ],
    ids=["twice", "at the limit", "nothing allowed", "bytes", "a gain asked for"],
)
def test_excess_is_in_parts_of_what_is_allowed(gap: SearchGap, beyond: float) -> None:
    assert excess(gap) == pytest.approx(beyond)


def test_half_precision_is_taken_where_int8_would_cost_more(layers: Layers, digits) -> None:
    outcome = run(asked(layers, digits, 2.5, fixed=True))
    assert outcome.chosen is not None
    chosen, mixed = outcome.points[outcome.chosen], run(asked(layers, digits, 2.5, fixed=True), INT8)
    assert chosen.variant.recipe.precision == "fp16"
    assert mixed.chosen is not None
    assert chosen.cost <= mixed.points[mixed.chosen].cost
    assert outcome.why.endswith("everything in half precision")


def test_what_may_be_feared_grows_with_the_rows_that_changed() -> None:
    sure, unsure, gained = (
        SearchGap("a", "", loss, 0.02, "points", spread)
        for loss, spread in ((0.01, 0.001), (0.01, 0.02), (-0.05, 0.02))
    )
    assert [meets((each,), GUARD) for each in (sure, unsure, gained)] == [True, False, False]
    assert all(meets((each,)) for each in (sure, unsure, gained))


def test_an_aim_falls_after_a_failure_and_rises_after_a_success() -> None:
    aim = Aim()
    aim.learn(0.1, (SearchGap("drop", "", 0.04, 0.01, "points"),))
    assert aim.target == pytest.approx(0.1 / 4**2)
    aim.learn(0.002, (SearchGap("drop", "", 0.0, 0.01, "points"),))
    assert 0.002 < aim.target < 0.1
    assert strain(()) == pytest.approx(1 / 6)


@settings(deadline=None, max_examples=50)
@given(
    counts=st.lists(st.integers(1, 60), min_size=1, max_size=6),
    few=st.integers(1, 40),
    more=st.integers(0, 60),
    seed=st.integers(0, 5),
)
def test_subsets_are_nested_and_have_their_share_of_each_stratum(
    counts: list[int], few: int, more: int, seed: int
) -> None:
    strata = np.repeat(np.arange(len(counts)), counts)
    small, large = spread_subset(strata, few, seed), spread_subset(strata, few + more, seed)
    assert set(small) <= set(large)
    assert len(small) == min(few, len(strata))
    share = len(small) / len(strata)
    for number, count in enumerate(counts):
        assert abs((strata[small] == number).sum() - share * count) <= 1 + 1e-9


def test_losses_of_rows() -> None:
    logits = np.array([[2.0, 0.0, -1.0], [0.0, 1.0, 0.0]], np.float32)
    assert row_losses(logits, logits) == pytest.approx([0.0, 0.0], abs=1e-9)
    shifted = row_losses(logits + 5, logits)
    assert shifted == pytest.approx([0.0, 0.0], abs=1e-6)  # what softmax does not see
    softmax = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    other = logits * np.float32(0.5)
    other_softmax = np.exp(other) / np.exp(other).sum(axis=1, keepdims=True)
    assert row_losses(other, logits) == pytest.approx(row_losses(other_softmax, softmax), rel=1e-4)
    broken = row_losses(np.array([[np.nan, 0.0, 0.0], [0.0, 1.0, 0.0]], np.float32), logits)
    assert broken == pytest.approx([LOST, 0.0], abs=1e-6)
    single = row_losses(np.array([[1.0], [2.0]], np.float32), np.array([[0.0], [2.0]], np.float32))
    assert single == pytest.approx([1.0, 0.0])


def test_an_estimator_runs_nothing_twice(layers: Layers, digits) -> None:
    of = asked(layers, digits)
    ground = Ground(of.maker(), "int8-per-tensor", "logits", equalize=True)
    estimator = Estimator(of.selection(), 0, lambda: None)
    first = estimator.divergence(ground, ground.first, frozenset())
    rows = ground.rows_run
    assert estimator.divergence(ground, ground.first, frozenset()) == first > 0
    assert ground.rows_run == rows
    everything = frozenset(ground.units)
    assert estimator.divergence(ground, ground.first, everything) < 1e-6 * first
