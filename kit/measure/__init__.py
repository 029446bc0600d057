"""Measuring: drive an opened device and return records."""

from kit.measure.energy import measure_energy
from kit.measure.latency import measure_latency
from kit.measure.memory import measure_memory
from kit.measure.predictions import predict_part

__all__ = ["measure_energy", "measure_latency", "measure_memory", "predict_part"]
