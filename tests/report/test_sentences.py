import pytest

from kit.records import Verdict
from kit.report import sentences
from tests.report.scenes import finding


def test_the_judges_reason_stands_after_one_verdict_word() -> None:
    assert sentences.sentence(finding(reason="p99 holds.")) == "PASS: p99 holds."
    assert sentences.sentence(finding(reason="PASS: p99 holds")) == "PASS: p99 holds."


def test_without_a_reason_figure_and_limit_speak() -> None:
    assert sentences.sentence(finding()) == "PASS: latency p99 is 14.9 ms [14.7, 15.1]; limit 16 ms."


def test_a_slice_is_named_in_words() -> None:
    lost = finding(
        metric="accuracy.drop", subject="side=left", verdict=Verdict.FAIL, unit="points", limit=0.02, estimate=0.036,
        lower=0.028, upper=0.043, reason="side: left lost 3.6 points [+2.8, +4.3]; allowed 2.0 points.",
    )  # fmt: skip
    assert sentences.sentence(lost) == "FAIL: side: left lost 3.6 points [+2.8, +4.3]; allowed 2.0 points."
    assert sentences.subject_text(lost) == "side: left"


@pytest.mark.parametrize(
    ("drop", "lower", "upper", "text"),
    [
        (0.006, -0.078, 0.093, "lost 0.6 points [−7.8, +9.3]"),
        (-0.006, -0.093, 0.078, "gained 0.6 points, as a drop −0.6 [−9.3, +7.8]"),
        (0.0, -0.051, 0.051, "lost 0.0 points [−5.1, +5.1]"),
    ],
)
def test_a_drop_keeps_the_sign_of_its_requirement(drop: float, lower: float, upper: float, text: str) -> None:
    found = finding(metric="accuracy.drop", unit="points", limit=0.1, estimate=drop, lower=lower, upper=upper)
    assert sentences.drop_text(found) == text


def test_a_loss_in_another_unit_is_no_points() -> None:
    found = finding(metric="quality.loss", unit="1", limit=0.1, estimate=0.15, lower=-0.12, upper=0.4)
    assert sentences.drop_text(found) == "lost 0.15 [−0.12, 0.40]"
    assert sentences.drop_text(finding(metric="quality.loss", unit="1", estimate=-0.15)).startswith("gained 0.15 [")


def test_what_the_data_break_no_variant_mends() -> None:
    found = finding(metric="data.shifted", unit="share", limit=0.0, estimate=0.3, verdict=Verdict.FAIL)
    assert sentences.next_step(found, []).startswith("Mend the data")


def test_what_is_certain_names_no_confidence() -> None:
    assert sentences.sureness(finding()) == "95 %"
    assert sentences.sureness(finding(confidence=1.0, method="exact: bytes of the file")) == "exact"
    same: dict[str, object] = {"estimate": 0.0, "lower": 0.0, "upper": 0.0}
    proof = "pair sums bounded from the weights (a proof for every input)"
    assert sentences.sureness(finding(obtained="computed", method=proof, **same)) == "proof"
    assert sentences.sureness(finding(obtained="computed", method="no quantized operator", **same)) == "exact"
    assert sentences.sureness(finding(obtained="measured", **same)) == "95 %"


def test_rows_that_are_their_own_clusters_are_independent() -> None:
    assert sentences.rows_text(finding(rows=797, clusters=797)) == "797 independent rows"
    assert sentences.rows_text(finding(rows=2008, clusters=56)) == "2,008 rows, 56 clusters"
    assert sentences.rows_text(finding(rows=46722)) == "n = 46,722"


def test_an_untested_slice_is_not_called_inconclusive() -> None:
    reason = "NOT TESTED: age: 75+ has 12 images; minimum 100."
    few = finding(subject="age=75+", verdict=Verdict.INCONCLUSIVE, estimate=None, lower=None, upper=None, reason=reason)
    assert sentences.status(few) == "NOT TESTED"
    assert sentences.sentence(few) == "NOT TESTED: age: 75+ has 12 images; minimum 100."


def test_an_absent_figure_of_the_whole_is_inconclusive() -> None:
    nothing = finding(verdict=Verdict.INCONCLUSIVE, estimate=None, lower=None, upper=None, obtained="absent")
    assert sentences.sentence(nothing) == "INCONCLUSIVE: latency p99 was not obtained."
    assert sentences.measured_text(nothing) == "not obtained"


@pytest.mark.parametrize(("obtained", "word"), [("estimated", "cannot pass"), ("emulated", "certifies no hardware")])
def test_how_a_figure_was_obtained_is_said(obtained: str, word: str) -> None:
    assert word in sentences.sentence(finding(obtained=obtained))


def test_margin_is_positive_on_the_better_side() -> None:
    assert sentences.margin(finding(), 0.008) == pytest.approx(0.5)
    assert sentences.margin(finding(), 0.032) == pytest.approx(-1.0)
    at_least = finding(direction="at_least", limit=0.8, unit="share")
    assert sentences.margin(at_least, 0.9) == pytest.approx(0.125)


def test_a_zero_limit_is_scaled_by_its_tolerance() -> None:
    zero = finding(limit=0.0, unit="share")
    assert sentences.margin(zero, 0.005) == pytest.approx(-0.5)
    declared = finding(limit=0.0, unit="share", details={"tolerance": 0.05})
    assert sentences.margin(declared, 0.005) == pytest.approx(-0.1)


def test_worst_first() -> None:
    fail_far, fail_near = (finding(verdict=Verdict.FAIL, estimate=e) for e in (0.05, 0.017))
    undecided = finding(verdict=Verdict.INCONCLUSIVE, estimate=0.016)
    untested = finding(verdict=Verdict.INCONCLUSIVE, estimate=None)
    ordered = sorted([finding(), untested, fail_near, undecided, fail_far], key=sentences.worst_first)
    assert ordered == [fail_far, fail_near, undecided, untested, finding()]


def test_a_limit_far_away_does_not_blur_the_figure() -> None:
    fast = finding(limit=0.005, estimate=0.000143, lower=0.000141, upper=0.000148)
    assert (sentences.limit_text(fast), sentences.measured_text(fast)) == ("≤ 5 ms", "143 µs [141, 148]")


def test_an_exact_figure_has_no_interval() -> None:
    size = finding(metric="model.size", unit="B", limit=300e3, estimate=71e3, lower=71e3, upper=71e3)
    assert sentences.measured_text(size) == "71 kB"


def test_next_step_takes_the_need_first_then_what_others_show() -> None:
    need = finding(verdict=Verdict.INCONCLUSIVE, need="about 5,900 more rows")
    assert sentences.next_step(need, []) == "About 5,900 more rows."
    assert sentences.next_step(finding(verdict=Verdict.FAIL), ["fp32", "int8-tensor"]) == "Met by fp32 and int8-tensor."
    assert "change the model" in sentences.next_step(finding(verdict=Verdict.FAIL), [])
    assert "power meter" in sentences.next_step(finding(verdict=Verdict.INCONCLUSIVE, obtained="estimated"), [])
    assert sentences.next_step(finding(), ["fp32"]) == ""


def test_nothing_is_proposed_that_cannot_be_certified() -> None:
    flips = finding(metric="numerics.processor_flips", verdict=Verdict.FAIL, unit="share", limit=0.0)
    assert sentences.next_step(flips, []) == "Use a recipe with reduced range."


@pytest.mark.parametrize(
    ("limit", "unit", "text"),
    [(86_400.0, "s", "1 day"), (172_800.0, "s", "2 days"), (31_557_600.0, "s", "1 year"), (1.0, "s", "1 s"),
     (1.5 * 86_400, "s", "1.5 days"), (0.01, "points", "1 pp"), (1e6, "B", "1 MB")],
)  # fmt: skip
def test_a_limit_of_one_day_is_said_so(limit: float, unit: str, text: str) -> None:
    assert sentences.limit_figure(finding(limit=limit, unit=unit)) == text
