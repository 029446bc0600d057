"""What was measured: frozen records with units in their names, and no behaviour.

A record is raw and immutable; every summary can be recomputed from it. Arrays keep their
dtype and shape; a field that was not obtained is None, never zero.
"""

from kit.records.base import Arithmetic, Float32Array, Float64Array, Int64Array, Obtained
from kit.records.data import ColumnRecord, DatasetRecord, RaggedRecord, ScoreRule, TaskName
from kit.records.device import Conditions, DeviceRecord, Telemetry
from kit.records.front import AxisFigure, Front, FrontPoint, Standing
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
from kit.records.measured import LossRecord, MemoryRecord, PredictionRecord, SampleRecord
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
from kit.records.trust import DataCheck, DataRecord, ExplanationRecord, FlippedRow, MembershipRecord

__all__ = [
    "SINGLE_STREAM",
    "AlignmentMethod",
    "AlignmentRecord",
    "Arithmetic",
    "AuditRecord",
    "AxisFigure",
    "CalibrationMethod",
    "ColdStartRecord",
    "ColumnRecord",
    "Conditions",
    "ConversionRecord",
    "DataCheck",
    "DataRecord",
    "DatasetRecord",
    "DeviceRecord",
    "EnergyRecord",
    "Evidence",
    "ExplanationRecord",
    "Finding",
    "FlippedRow",
    "Float32Array",
    "Float64Array",
    "Front",
    "FrontPoint",
    "HealthFinding",
    "HealthJudgement",
    "HealthRecord",
    "Int64Array",
    "Judgement",
    "LatencyRecord",
    "LinkTrial",
    "LossRecord",
    "MembershipRecord",
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
    "RaggedRecord",
    "Recipe",
    "RunRecord",
    "SampleRecord",
    "SaturationRecord",
    "Scenario",
    "ScoreRule",
    "SearchGap",
    "SearchPoint",
    "SearchRecord",
    "Standing",
    "TaskName",
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
