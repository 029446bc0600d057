"""Measuring: drive an opened device and return records."""

from kit.measure.audit import audit
from kit.measure.cold_start import measure_cold_start
from kit.measure.energy import measure_energy
from kit.measure.latency import measure_latency
from kit.measure.memory import measure_memory
from kit.measure.operators import measure_operators
from kit.measure.predictions import predict_part

__all__ = [
    "audit",
    "measure_cold_start",
    "measure_energy",
    "measure_latency",
    "measure_memory",
    "measure_operators",
    "predict_part",
]
