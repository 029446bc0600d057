from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from kit.records import Obtained
from kit.report import View, render_text, sentences
from kit.report.sections.energy import above_idle_j
from kit.report.sections.numerics import processor_flips
from kit.spec.types import EmulateSpec, LineSpec
from kit.task.decisions import changed_rows
from tests import builders
from tests.report import scenes


def test_an_undecided_run_names_what_is_undecided_and_what_would_decide() -> None:
    view = scenes.ordinary()
    assert view.banner.status == "INCONCLUSIVE"
    assert view.banner.sentence.startswith("int8-channel-reduced breaks nothing of wearable on local, but ")
    assert all(row.next_step for row in view.attention)
    rows = sum(int(part.split()[0]) for part in view.banner.counts.partition(": ")[2].split(", "))
    assert rows == len(view.requirements)


def test_requirements_of_the_same_words_are_named_by_their_ids() -> None:
    evidence = builders.evidence()
    evidence = replace(evidence, variants=tuple(replace(each, predictions=None) for each in evidence.variants))
    drops = [builders.requirement("accuracy.drop", limit, id=name) for name, limit in (("few", 0.01), ("some", 0.05))]
    view = scenes.view_of(evidence, builders.profile(drops))
    assert view.banner.sentence.endswith("but few and some are undecided.")
    alone = builders.requirement("accuracy.value", 0.5, id="right")
    view = scenes.view_of(evidence, builders.profile([drops[0], alone]))
    assert view.banner.sentence.endswith("but accuracy lost and accuracy are undecided.")


def test_a_broken_run_says_what_the_nearest_variant_breaks() -> None:
    view = scenes.broken()
    assert view.banner.status == "FAIL"
    assert view.banner.sentence.startswith("No variant meets wearable on local; the nearest, ")
    assert "latency p99" in view.banner.sentence
    assert view.requirements[0].status == "FAIL"
    assert view.slices is not None
    worst = next(row for row in view.slices.rows if not row.whole)
    assert worst.name == "exercise: row"
    assert worst.at is not None
    assert worst.at < -0.2


def test_a_passing_run() -> None:
    view = scenes.certified()
    assert view.banner.status == "PASS"
    assert view.banner.sentence == f"{view.variant} meets every requirement of wearable on local."
    assert view.attention == ()
    assert view.banner.emulated == ""


def test_estimated_energy_never_passes_and_is_named() -> None:
    view = scenes.ordinary()
    battery = next(row for row in view.requirements if row.id == "battery-share")
    assert (battery.status, battery.obtained) == ("INCONCLUSIVE", "estimated")
    assert any("Estimated from a declared model" in text for text in view.warnings)
    assert view.energy is not None
    assert "(estimated)" in view.energy.headline


def test_an_emulated_part_makes_it_a_rehearsal() -> None:
    view = scenes.broken(emulated=("meter",))
    assert view.banner.emulated == "Rehearsal: certifies no hardware. Emulated: meter."
    assert view.summary["emulated"] == ["meter"]


def test_an_emulated_record_is_named_even_where_the_device_file_is_silent() -> None:
    plans = [replace(plan, energy_obtained="emulated") for plan in builders.PLANS]
    assert "Emulated: energy." in scenes.view_of(builders.evidence(plans)).banner.emulated


def test_an_emulated_processor_has_no_latency() -> None:
    device = builders.device(emulated=("processor",), timing_is_real=False)
    view = scenes.view_of(builders.evidence(emulated=("processor",)), device=device)
    assert any("no latency of any hardware" in text for text in view.warnings)


def test_slices_with_too_few_rows_are_not_tested() -> None:
    view = scenes.untested()
    assert view.slices is not None
    few = [row for row in view.slices.rows if row.status == "NOT TESTED"]
    assert few
    for row in few:
        assert row.reason.endswith("minimum 280.")
        assert row.sentence.startswith("NOT TESTED: ")
    assert all(row.status != "PASS" for row in view.slices.rows)
    assert any("too few rows" in text for text in view.warnings)


def test_slice_accuracies_are_those_of_the_records() -> None:
    evidence = builders.evidence()
    view = scenes.view_of(evidence)
    known = next(v for v in evidence.variants if v.variant.recipe.name == view.variant)
    assert known.predictions is not None
    mask = builders.slice_mask(evidence.dataset, "side=left")
    right = (known.predictions.decisions == evidence.dataset.labels)[mask]
    assert view.slices is not None
    row = next(row for row in view.slices.rows if row.name == "side: left")
    assert row.optimized == f"{100 * right.mean():.1f}"
    assert row.rows == f"{mask.sum():,}"


def test_the_processor_story_counts_what_the_records_hold() -> None:
    evidence = builders.evidence()
    view = scenes.view_of(evidence)
    risky = next(v for v in evidence.variants if v.variant.recipe.name == "int8-channel")
    depends = changed_rows(evidence.dataset, risky.exact_predictions, risky.saturating_predictions)
    assert depends is not None
    told = next(text for text in view.numerics.story if text.startswith("int8-channel: "))
    assert f"{depends.sum():,} decisions depend on the processor alone" in told
    assert "52,000, over 32,767 (2 operators of 6 at risk)" in told
    safe = next(text for text in view.numerics.story if text.startswith("int8-channel-reduced: "))
    assert "none can depend on the processor" in safe
    assert "16,000, within 32,767 (proved from its weights)" in safe


def test_processor_flips_are_unknown_where_nothing_was_computed_and_zero_where_proved() -> None:
    plans = [
        replace(builders.INT8_CHANNEL, saturating_flips=None),
        replace(builders.INT8_REDUCED, saturating_flips=None),
    ]
    evidence = builders.evidence(plans)
    unknown, proved = evidence.variants
    assert processor_flips(unknown, evidence.dataset) is None
    found = processor_flips(proved, evidence.dataset)
    assert found is not None
    assert not found.any()
    view = scenes.view_of(builders.evidence(plans))
    assert [row.depends for row in view.numerics.rows] == ["not computed", "0"]
    assert "what that does was not computed" in view.numerics.story[0]


def test_no_flip_so_far_is_no_pass_where_the_variant_can_saturate() -> None:
    plans = [builders.INT8_REDUCED, replace(builders.INT8_CHANNEL, saturating_flips=0.0)]
    view = scenes.view_of(builders.evidence(plans))
    rows = {row.variant: row for row in view.numerics.rows}
    risky, safe = rows["int8-channel"], rows["int8-channel-reduced"]
    assert (risky.depends_status, risky.depends_sign, risky.depends) == ("INCONCLUSIVE", "?", "0 so far; can saturate")
    assert (safe.depends_status, safe.depends) == ("PASS", "0")
    column = view.variants.columns.index("processor flips")
    cell = next(row for row in view.variants.rows if row.name == "int8-channel").cells[column]
    assert (cell.status, cell.subject) == ("INCONCLUSIVE", risky.depends)
    assert any("No decision so far depends on the processor, but one may" in text for text in view.numerics.story)


def test_why_each_other_variant_does_not_pass() -> None:
    view = scenes.certified()
    others = {other.name: other for other in view.variants.others}
    failing = {row.name for row in view.variants.rows if row.status != "PASS"}
    assert set(others) == failing - {view.variant}
    risky = others["int8-channel"]
    assert (risky.status, risky.label) == ("FAIL", "processor flips")
    assert risky.reasons[0].startswith("On x86 without VNNI, whose 16-bit pair sums saturate, ")
    assert risky.reasons[0].endswith("none is allowed.")


def test_many_broken_slices_are_told_in_few_sentences() -> None:
    plans = [replace(p, to_wrong=0.5) if p.name != "fp32" else p for p in builders.PLANS]
    asked = builders.requirement("accuracy.drop", 0.02, id="slices", by=("exercise", "side", "subject"))
    others = scenes.view_of(builders.evidence(plans), builders.profile([asked])).variants.others
    assert others
    for other in others:
        assert len(other.reasons) == 4
        assert other.reasons[-1].endswith("more slices.")
        assert all("=" not in text for text in other.reasons)


def test_the_worst_slice_has_one_sign_in_every_sentence() -> None:
    view = scenes.broken()
    assert view.slices is not None
    row = next(row for row in view.requirements if row.id == "slices")
    lost = f"{row.estimate.removeprefix('+').removesuffix(' pp')} points {row.interval}"
    assert f"The worst is {row.subject}: lost {lost}." in view.slices.headline
    assert f"{row.subject} lost {lost.partition(' [')[0]}" in row.sentence


def test_the_drawing_speaks_of_a_limit_only_where_one_is_drawn() -> None:
    assert "right of the dashed line is allowed" in scenes.ordinary().variants.chart_note
    assert "dashed" not in scenes.certified().variants.chart_note
    assert scenes.certified().variants.allowed is None


def test_an_interval_speaks_of_this_run_only() -> None:
    view = scenes.ordinary()
    assert view.latency is not None
    assert view.energy is not None
    assert view.latency.note == view.energy.note == sentences.ONE_RUN
    unbounded = scenes.untested()
    assert unbounded.latency is not None
    assert unbounded.latency.note == ""


@pytest.mark.parametrize(
    ("peak_w", "obtained", "told"), [(2.0, "emulated", True), (0.9, "emulated", False), (2.0, "measured", False)]
)
def test_peaks_of_late_bookkeeping_are_explained(peak_w: float, obtained: Obtained, told: bool) -> None:
    evidence = builders.evidence()
    declared = {"idle_power_w": 0.4, "active_power_w": 0.5}
    variants = []
    for variant in evidence.variants:
        assert variant.energy is not None
        meter = replace(variant.energy.meter, obtained=obtained, parameters=declared)
        power = variant.energy.trace_power_w.clip(max=0.9)
        power[len(power) // 2] = peak_w
        energy = replace(variant.energy, meter=meter, obtained=obtained, trace_power_w=power)
        variants.append(replace(variant, energy=energy))
    energy_view = scenes.view_of(replace(evidence, variants=tuple(variants))).energy
    assert energy_view is not None
    assert ("booked late" in energy_view.peaks_note) is told


def test_flips_add_up() -> None:
    view = scenes.ordinary()
    for flips in view.numerics.flips:
        (kept, lost), (gained, wrong) = ([int(cell.replace(",", "")) for cell in row] for row in flips.table)
        assert kept + lost + gained + wrong == 2008
        total = int(flips.total.split()[0].replace(",", ""))
        assert lost + gained <= total
        assert sum(number for _, number in flips.pairs) <= total


def test_latency_curve_is_an_empirical_distribution() -> None:
    latency = scenes.ordinary().latency
    assert latency is not None
    values, shares = np.array(latency.curve).T
    assert len(latency.curve) <= 280
    assert np.all(np.diff(values) >= 0)
    assert np.all(np.diff(shares) > 0)
    assert shares[-1] == 1.0
    assert latency.warmup == 50
    p99 = latency.marks[-1]
    assert p99.lower_s is not None
    assert p99.upper_s is not None
    assert p99.lower_s <= p99.value_s <= p99.upper_s


def test_energy_above_idle_is_what_the_builder_put_in() -> None:
    record = builders.evidence().variants[2].energy
    assert record is not None
    assert np.median(above_idle_j(record)) == pytest.approx(4e-4, rel=0.02)


def test_a_meter_without_a_first_power_is_drawn_without_it() -> None:
    evidence = builders.evidence()
    first = evidence.variants[0]
    assert first.energy is not None
    power = first.energy.trace_power_w.copy()
    power[0] = np.nan
    variants = [replace(v, energy=replace(v.energy, trace_power_w=power)) for v in evidence.variants if v.energy]
    energy = scenes.view_of(replace(evidence, variants=tuple(variants))).energy
    assert energy is not None
    assert np.all(np.isfinite(energy.trace))
    assert energy.trace[0][0] == 0.0


def test_what_was_not_obtained_has_no_section_and_no_zero() -> None:
    absent = frozenset({"latency", "memory", "energy"})
    view = scenes.view_of(builders.evidence([replace(plan, absent=absent) for plan in builders.PLANS]))
    assert (view.latency, view.memory, view.energy) == (None, None, None)
    row = next(row for row in view.requirements if row.id == "latency-p99")
    assert (row.status, row.estimate, row.obtained, row.dot) == ("INCONCLUSIVE", "not obtained", "absent", None)
    assert next(r for r in view.conditions if r.name == "latency samples").observed == "not obtained"


def test_without_predictions_there_is_still_a_report() -> None:
    absent = frozenset({"predictions", "exact_predictions", "saturating_predictions"})
    view = scenes.view_of(builders.evidence([replace(plan, absent=absent) for plan in builders.PLANS]))
    assert view.fairness == ()
    assert {row.accuracy for row in view.variants.rows} == {"not obtained"}


def test_fairness_groups_before_and_after() -> None:
    (fairness,) = scenes.ordinary().fairness
    assert fairness.column == "side"
    (part,) = fairness.parts
    assert part.name == "Accuracy"
    assert {group.name for group in part.groups} == {"left", "right"}
    assert sum(group.rows for group in part.groups) == 2008


def test_conditions_that_differ_come_first() -> None:
    conditions = scenes.ordinary().conditions
    flags = [row.differs for row in conditions]
    assert flags == sorted(flags, reverse=True)
    assert flags[0] is True


def test_the_time_of_the_loop_is_not_held_against_the_sum_of_calls() -> None:
    assert "latency, time measured" not in {row.name for row in scenes.ordinary().conditions}
    assert "latency samples" in {row.name for row in scenes.ordinary().conditions}


def test_lineage_runs_from_source_to_certificate() -> None:
    view = scenes.ordinary()
    steps = [box.step for box in view.lineage]
    made = ["source model", "reference", "calibration", "variant", "device", "records", "report", "certificate"]
    assert steps == made
    assert [box.step for box in view.inputs] == ["dataset", "profile"]
    assert dict(view.artifacts)["judgement"] == builders.digest_of("judgement")


def test_a_conversion_that_changed_decisions_is_a_warning() -> None:
    evidence = builders.evidence()
    assert evidence.conversion is not None
    changed = replace(evidence.conversion, decisions_agree=2005, differing_rows=(3, 14, 15))
    view = scenes.view_of(replace(evidence, conversion=changed))
    assert any("decides 3 rows differently" in text for text in view.warnings)
    assert view.conversion is not None
    assert view.conversion.sentence == "Compared on 2,008 rows: 3 decisions differ."
    assert ("rows that differ", "3, 14, 15") in view.conversion.readings


def test_an_onnx_source_has_no_conversion() -> None:
    view = scenes.view_of(replace(builders.evidence(), conversion=None))
    assert view.conversion is None
    assert "reference" not in [box.step for box in view.lineage]


LIMITS = ("256 MiB of memory (cgroup v1)", "0.5 of a core (cgroup v1 cfs quota)")


def _limited(limits: tuple[str, ...], **emulate: Any) -> View:
    parts = ("device", "memory", "link")
    seen = builders.evidence(emulated=parts)
    spec = EmulateSpec(256 << 20, 0.5, None, LineSpec(115200, 0.001))
    device = builders.device(emulated=parts, emulate=replace(spec, **emulate))
    return scenes.view_of(replace(seen, device=replace(seen.device, limits=limits)), device=device)


def test_what_an_emulated_device_is_held_to_is_beside_what_was_asked() -> None:
    view = _limited(LIMITS)
    assert view.banner.emulated.endswith(f"Held to: {LIMITS[0]}; {LIMITS[1]}.")
    row = next(row for row in view.conditions if row.name == "limits")
    assert row.planned == "268 MB of memory, 50 % of a core, a line of 115200 baud"
    assert (row.observed, row.differs) == ("; ".join(LIMITS), False)
    assert view.summary["conditions"]["limits"] == list(LIMITS)
    assert LIMITS[0] in " ".join(render_text(view).split())


def test_limits_that_were_not_enforced_are_told_as_a_difference() -> None:
    row = next(row for row in _limited(()).conditions if row.name == "limits")
    assert (row.observed, row.differs) == ("none", True)
    assert "limits" not in {row.name for row in scenes.ordinary().conditions}


def test_a_board_is_named() -> None:
    seen = builders.evidence()
    view = scenes.view_of(replace(seen, device=replace(seen.device, board="nucleo <b>l4r5</b>\x1b[2J")))
    row = next(row for row in view.conditions if row.name == "board")
    assert row.observed.startswith("nucleo")
    assert "\x1b" not in row.observed
