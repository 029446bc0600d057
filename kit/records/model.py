"""Model files: interface, conversion, recipes and variants."""

from dataclasses import dataclass
from typing import Literal

from kit.records.base import Arithmetic


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """Name, dtype (numpy's name) and shape of a model's input or output; a named dimension is dynamic."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True, slots=True)
class ModelRecord:
    """A model file: its name for people, digest, size, format and interface."""

    name: str
    digest: str
    size_bytes: int
    format: str
    opset: int | None = None
    inputs: tuple[TensorInfo, ...] = ()
    outputs: tuple[TensorInfo, ...] = ()


@dataclass(frozen=True, slots=True)
class OutputDifference:
    """How far one output of an ONNX model is from its source's, over all rows and values.

    Relative differences are against the source's magnitude, of values of at least 1/1000 of the output's largest.
    """

    output: str
    max_abs_difference: float
    max_rel_difference: float
    mean_abs_difference: float


@dataclass(frozen=True, slots=True)
class ConversionRecord:
    """A source model and its ONNX reference, compared on the same rows.

    Differences are over the output that decides, `outputs` has them for each. `decisions_agree` counts rows with the
    same decision and `differing_rows` are the others; without decisions (no output of rank 2 with scores) it is None.
    `row_source` says whether the rows were the user's, or generated from the interface.
    """

    source: ModelRecord
    model: ModelRecord
    converter: str
    converter_version: str
    rows: int
    max_abs_difference: float
    max_rel_difference: float
    decisions_agree: int | None
    differing_rows: tuple[int, ...]
    outputs: tuple[OutputDifference, ...] = ()
    row_source: Literal["dataset", "generated"] = "dataset"


Precision = Literal["fp32", "fp16", "int8", "int8-dynamic", "int8-weights", "int4-weights", "given"]
"""fp16: half precision inside, float32 at the interface. int8: static, weights and activations, QDQ. int8-dynamic:
activation ranges are found at run time. int8-weights, int4-weights: weights of matrix products in blocks, activations
in float. given: a file that was made elsewhere."""

CalibrationMethod = Literal["minmax", "moving-average", "percentile", "entropy", "mse"]
"""How a tensor's range is found from what it held on calibration rows."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a variant is made from the reference.

    `percentile` is the share of values, in %, inside the range (calibration "percentile"). `block_size` is how many
    weights share a scale. `equalize`: scales move between neighbouring layers first (cross-layer equalization);
    `correct_bias`: biases make up for the mean error afterwards. `keep_float` selects nodes that stay in float:
    a node's name, ``type:LSTM`` or ``name:/head/*``.
    """

    name: str
    precision: Precision
    per_channel: bool = False
    reduce_range: bool = False
    activation_dtype: str = ""
    weight_dtype: str = ""
    calibration: CalibrationMethod | Literal[""] = ""
    percentile: float | None = None
    block_size: int | None = None
    equalize: bool = False
    correct_bias: bool = False
    keep_float: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SaturationRecord:
    """Static bound on 16-bit pair sums over all inputs: from the weights alone, so a proof."""

    can_saturate: bool
    worst_pair: int
    limit: int
    nodes_at_risk: tuple[str, ...]
    quantized_nodes: int


@dataclass(frozen=True, slots=True)
class VariantRecord:
    """A variant of the reference: recipe, file, lineage, and what stayed in float with the reason.

    `left_in_float` has ``operator name: why`` each; `notes` say what else a user should know (larger than its parent,
    a layer that could not be equalized).
    """

    recipe: Recipe
    model: ModelRecord
    parent_digest: str
    calibration_digest: str | None
    calibration_rows: int
    left_in_float: tuple[str, ...]
    saturation: SaturationRecord
    parent_size_bytes: int | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SearchGap:
    """One requirement, or one slice of it, on one variant: what it loses and what it may lose, in `unit`.

    `spread` is the standard error of the loss, from the rows whose outcome changed, taken as independent; 0 for what is
    not estimated from rows.
    """

    requirement: str
    subject: str
    loss: float
    allowed: float
    unit: str
    spread: float = 0.0


@dataclass(frozen=True, slots=True)
class SearchPoint:
    """A variant that a search evaluated in full: its recipe and file, what it costs, and every gap.

    `latency_s` and `energy_j` are medians on the device, None where none was attached. `seconds` is what making and
    evaluating it took. `nodes_in_float` counts products that were not quantized.
    """

    variant: VariantRecord
    gaps: tuple[SearchGap, ...]
    cost: float
    cost_unit: str
    nodes_in_float: int
    latency_s: float | None
    energy_j: float | None
    seconds: float


@dataclass(frozen=True, slots=True)
class SearchRecord:
    """A search for the cheapest variant that meets a profile.

    `front` indexes the points that no other beats in both cost and worst gap; `chosen` is the index of the chosen
    one, None if nothing met the profile, and `why` says why, or which requirement binds and by how much.
    `full_evaluations` counts variants scored on all `selection_rows`; `partial_rows` counts rows scored besides (the
    sensitivity pass), and `quantizer_calls` how often a model was quantized. `arithmetic` is the target's.
    `confirmation` has the chosen one's gaps on `confirmation_rows` other rows.
    """

    reference_digest: str
    profile_digest: str
    dataset_digest: str
    seed: int
    arithmetic: Arithmetic
    selection_rows: int
    confirmation_rows: int
    points: tuple[SearchPoint, ...]
    front: tuple[int, ...]
    chosen: int | None
    why: str
    confirmation: tuple[SearchGap, ...]
    full_evaluations: int
    partial_rows: int
    quantizer_calls: int
    seconds: float
    stopped: Literal["met", "budget", "exhausted", "interrupted"]
