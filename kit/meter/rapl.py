"""Intel and AMD processors' own energy counters (RAPL), as Linux tells them (ABI/testing/sysfs-class-powercap).

A counter holds 32 bits of an energy unit, so it starts again every few minutes, one unit above the highest that it
shows. The package holds its cores: they are never added to it. Memory is beside it on servers, and is added there.
Updates come about each ms (Intel SDM, volume 3B, 15.10.3). Intel states no accuracy.
"""

from dataclasses import dataclass

import numpy as np

from kit.files import Files, FileSamples
from kit.meter.base import PowerTrace, Watched
from kit.meter.counters import CounterKind, trace_of_counters
from kit.meter.polling import PollingMeter, Source, files_of, nothing_found, rate_hz, readable, text_or
from kit.meter.series import numbers, whole
from kit.records import Float64Array
from kit.spec.types import MeterSpec

_ROOT_ONLY = "only root may read it on most systems: run as root, or let a group read energy_uj by a udev rule"
_RATE_HZ = 100.0
_HIGHEST_W, _UPDATE_S = 2000.0, 1e-3  # of one domain; no socket draws so much


@dataclass(frozen=True, slots=True)
class Domain:
    """A counter: its name (package-0, core, dram), the folder, the file, and where it starts again, uJ."""

    name: str
    folder: str
    path: str
    modulus_uj: float


class RaplMeter(PollingMeter):
    """words: part (package, core, dram, psys, or one package as package-0); without it all packages and memory."""

    def __init__(self, spec: MeterSpec, watched: Watched) -> None:
        files = files_of(spec, watched)
        domains = choose_domains(spec, find_domains(files))
        for domain in domains:
            readable(spec, files, domain.path, _ROOT_ONLY)
        rate, paths = rate_hz(spec, _RATE_HZ), [domain.path for domain in domains]
        moduli_uj = tuple(domain.modulus_uj for domain in domains)
        source = Source(
            description=f"RAPL energy counters: {' + '.join(domain.name for domain in domains)}",
            begin=lambda: files.sample(paths, period_s=1 / rate),
            trace_of=lambda samples: trace_of(samples, moduli_uj),
            parameters={"sample_rate_hz": rate, "counters": float(len(domains)), "wraps_at_j": min(moduli_uj) / 1e6},
        )
        super().__init__(spec, source)


def modulus_uj(range_uj: float) -> float:
    """Where a counter starts again: one unit above its range, of 2**32 - 1 units (262143328850 uJ has 61.035 uJ)."""
    return range_uj + range_uj / (2**32 - 1)


def find_domains(files: Files) -> list[Domain]:
    """Domains of the processor's own registers, else of the memory-mapped ones, which count the same again."""
    for kind in ("intel-rapl", "intel-rapl-mmio"):
        domains = []
        for path in files.glob(f"/sys/class/powercap/{kind}:*/energy_uj"):
            folder = path.rsplit("/", 1)[0]
            range_uj = whole(text_or(files, f"{folder}/max_energy_range_uj"))
            modulus = modulus_uj(range_uj) if range_uj > 0 else np.inf
            domains.append(Domain(text_or(files, f"{folder}/name", folder), folder, path, modulus))
        if domains:
            return domains
    return []


def choose_domains(spec: MeterSpec, domains: list[Domain]) -> list[Domain]:
    """The counters whose sum is asked for. Raises MeasurementError where they are not there."""
    if not domains:
        step = "RAPL needs an x86 processor, the module intel_rapl_msr and no virtual machine; use another meter"
        raise nothing_found(spec, "there are no RAPL counters below /sys/class/powercap", step)
    part = spec.words.get("part", "")
    packages = [each for each in domains if each.name.startswith("package")]
    memory = [each for each in domains if each.name == "dram"]
    if not part:
        return packages + memory or domains[:1]
    found = packages if part == "package" else [each for each in domains if each.name == part]
    if not found:
        names = ", ".join(dict.fromkeys(each.name for each in domains))
        raise nothing_found(spec, f"there is no RAPL domain {part!r}", f"here are: {names}")
    return found


def trace_of(samples: FileSamples, moduli_uj: tuple[float, ...]) -> PowerTrace:
    """The sum of some counters in uJ, one a file, as power. Raises MeasurementError where they did not move."""
    values_j: Float64Array = np.stack([numbers(samples, k, 1e-6) for k in range(len(moduli_uj))], axis=1)
    kind = CounterKind(tuple(modulus / 1e6 for modulus in moduli_uj), _HIGHEST_W, _UPDATE_S)
    return trace_of_counters(samples, values_j, kind)
