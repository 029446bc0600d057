"""What was measured: frozen records with units in their names, and no behaviour.

A record is raw and immutable; every summary can be recomputed from it. Arrays keep their
dtype and shape; a field that was not obtained is None, never zero.
"""

from kit.records.base import Arithmetic, Float32Array, Float64Array, Int64Array, Obtained
from kit.records.data import ColumnRecord, DatasetRecord
from kit.records.device import Conditions, DeviceRecord
from kit.records.health import HealthFinding, HealthJudgement, HealthRecord, LinkTrial
from kit.records.judged import Evidence, Finding, Judgement, VariantEvidence, VariantJudgement, Verdict
from kit.records.measured import EnergyRecord, LatencyRecord, MemoryRecord, MeterRecord, PredictionRecord
from kit.records.model import (
    CalibrationMethod,
    ConversionRecord,
    ModelRecord,
    OutputDifference,
    Precision,
    Recipe,
    SaturationRecord,
    SearchGap,
    SearchPoint,
    SearchRecord,
    TensorInfo,
    VariantRecord,
)
from kit.records.run import RunRecord

__all__ = [
    "Arithmetic",
    "CalibrationMethod",
    "ColumnRecord",
    "Conditions",
    "ConversionRecord",
    "DatasetRecord",
    "DeviceRecord",
    "EnergyRecord",
    "Evidence",
    "Finding",
    "Float32Array",
    "Float64Array",
    "HealthFinding",
    "HealthJudgement",
    "HealthRecord",
    "Int64Array",
    "Judgement",
    "LatencyRecord",
    "LinkTrial",
    "MemoryRecord",
    "MeterRecord",
    "ModelRecord",
    "Obtained",
    "OutputDifference",
    "Precision",
    "PredictionRecord",
    "Recipe",
    "RunRecord",
    "SaturationRecord",
    "SearchGap",
    "SearchPoint",
    "SearchRecord",
    "TensorInfo",
    "VariantEvidence",
    "VariantJudgement",
    "VariantRecord",
    "Verdict",
]
