"""Energy to battery life, tier 1: average power, without voltage, temperature or ageing."""

from dataclasses import dataclass

from kit.spec.types import BatterySpec, Duty

TIER = "average power (tier 1)"


@dataclass(frozen=True, slots=True)
class BatteryLife:
    """What a model costs a battery: its mean power (W), share of the drain (0 to 1), and lives (s)."""

    model_power_w: float
    share: float
    life_s: float
    life_without_model_s: float


def battery_life(energy_per_inference_j: float, duty: Duty, battery: BatterySpec) -> BatteryLife:
    """Life when the model's energy above idle adds to the other load: t = C (1 - reserve) / (P_model + P_other).

    `energy_per_inference_j` is above idle; a negative one counts as zero. The model's share of the drain is also the
    share of life that it costs: 1 - life / life without it. Self-discharge belongs in `other_load_w`.
    """
    model_power_w = max(0.0, energy_per_inference_j) * duty.inferences_per_s
    usable_j = battery.capacity_j * (1.0 - battery.reserve_share)
    total_w = model_power_w + battery.other_load_w
    return BatteryLife(
        model_power_w=model_power_w,
        share=model_power_w / total_w if total_w > 0 else 0.0,
        life_s=usable_j / total_w if total_w > 0 else float("inf"),
        life_without_model_s=usable_j / battery.other_load_w if battery.other_load_w > 0 else float("inf"),
    )
