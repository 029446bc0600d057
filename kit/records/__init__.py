"""What was measured: frozen records with units in their names, and no behaviour.

A record is raw and immutable; every summary can be recomputed from it. Arrays keep their
dtype and shape; a field that was not obtained is None, never zero.
"""

from kit.records.base import Arithmetic, Float32Array, Float64Array, Int64Array, Obtained
from kit.records.data import ColumnRecord, DatasetRecord
from kit.records.device import Conditions, DeviceRecord, Telemetry
from kit.records.health import HealthFinding, HealthJudgement, HealthRecord, LinkTrial
from kit.records.judged import Evidence, Finding, Judgement, VariantEvidence, VariantJudgement, Verdict
from kit.records.latency import (
    SINGLE_STREAM,
    AuditRecord,
    ColdStartRecord,
    LatencyRecord,
    OperatorProfile,
    OperatorTime,
    Scenario,
    Workload,
)
from kit.records.measured import MemoryRecord, PredictionRecord
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
from kit.records.power import (
    AlignmentMethod,
    AlignmentRecord,
    EnergyRecord,
    MeterAccuracy,
    MeterRecord,
    PhaseRecord,
    TraceRecord,
    UncertaintyRecord,
)
from kit.records.run import RunRecord

__all__ = [
    "SINGLE_STREAM",
    "AlignmentMethod",
    "AlignmentRecord",
    "Arithmetic",
    "AuditRecord",
    "CalibrationMethod",
    "ColdStartRecord",
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
    "MeterAccuracy",
    "MeterRecord",
    "ModelRecord",
    "Obtained",
    "OperatorProfile",
    "OperatorTime",
    "OutputDifference",
    "PhaseRecord",
    "Precision",
    "PredictionRecord",
    "Recipe",
    "RunRecord",
    "SaturationRecord",
    "Scenario",
    "SearchGap",
    "SearchPoint",
    "SearchRecord",
    "Telemetry",
    "TensorInfo",
    "TraceRecord",
    "UncertaintyRecord",
    "VariantEvidence",
    "VariantJudgement",
    "VariantRecord",
    "Verdict",
    "Workload",
]
