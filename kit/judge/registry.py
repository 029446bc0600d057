"""Which function judges which metric. A new metric is one file and one row here."""

from collections.abc import Callable

from kit.judge.accuracy import judge_drop, judge_value
from kit.judge.agreement import judge_flips
from kit.judge.base import Case
from kit.judge.battery_life import judge_battery_life
from kit.judge.data import judge_data
from kit.judge.energy import judge_battery
from kit.judge.explanation import judge_explanation
from kit.judge.fairness import judge_gap_change
from kit.judge.fairness_gap import judge_gap
from kit.judge.found import judge_found
from kit.judge.latency import judge_latency
from kit.judge.membership import judge_membership
from kit.judge.memory import judge_memory
from kit.judge.numerics import judge_processor_flips
from kit.judge.quality import judge_quality
from kit.judge.size import judge_size
from kit.records import Finding
from kit.spec.types import Metric

JUDGES: dict[Metric, Callable[[Case], tuple[Finding, ...]]] = {
    "latency.p50": judge_latency,
    "latency.p90": judge_latency,
    "latency.p95": judge_latency,
    "latency.p99": judge_latency,
    "latency.p99.9": judge_latency,
    "memory.peak": judge_memory,
    "model.size": judge_size,
    "battery.share": judge_battery,
    "battery.life": judge_battery_life,
    "accuracy.value": judge_value,
    "accuracy.drop": judge_drop,
    "fairness.gap_change": judge_gap_change,
    "numerics.processor_flips": judge_processor_flips,
    "quality.value": judge_quality,
    "quality.loss": judge_quality,
    "agreement.flips": judge_flips,
    "slices.found": judge_found,
    "data.missing": judge_data,
    "data.wrong": judge_data,
    "data.duplicates": judge_data,
    "data.leaked": judge_data,
    "data.shifted": judge_data,
    "data.lagged": judge_data,
    "privacy.membership": judge_membership,
    "explanation.agreement": judge_explanation,
    "fairness.gap": judge_gap,
    "fairness.ratio": judge_gap,
}
