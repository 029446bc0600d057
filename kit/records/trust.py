"""What else is known of data and models: faults of the data, who was trained on, what the model looks at."""

from dataclasses import dataclass

from kit.records.base import Float64Array, Int64Array


@dataclass(frozen=True, slots=True)
class DataCheck:
    """One thing that can be wrong with a dataset: `share` of `rows` rows, as found; `examples` are row numbers from 0.

    `check` is the metric that may gate on it (``data.leaked``); none gates on ``data.split``. `share` is None where it
    could not be looked at, and `sentence` says why. `chance` is what the same look finds where there is no fault (None:
    it finds nothing then).
    """

    check: str
    subject: str
    share: float | None
    rows: int
    examples: tuple[int, ...]
    sentence: str
    chance: float | None = None


@dataclass(frozen=True, slots=True)
class DataRecord:
    """What looking through a dataset's parts found, every check that was made."""

    data_digest: str
    checks: tuple[DataCheck, ...]


@dataclass(frozen=True, slots=True)
class MembershipRecord:
    """An attack that tells rows the model was trained on: its score of each row, the higher the more likely a member.

    member_scores float64 [m] of rows that were trained on, other_scores float64 [n] of rows that were not; clusters
    int64 beside each. Both of one model. others_left_out: test rows that copy a row of the train part, so that they are
    no others. Where too few others are left nothing is attacked: the arrays are empty.
    """

    model_digest: str
    data_digest: str
    attack: str
    member_scores: Float64Array
    other_scores: Float64Array
    member_cluster: Int64Array
    other_cluster: Int64Array
    others_left_out: int = 0


@dataclass(frozen=True, slots=True)
class FlippedRow:
    """A row whose decision the optimization changed, and the nearest change of its input found that changes it back.

    features: what is changed, from and to (in the input's unit); `distance` in standard deviations of the features,
    None where none was found.
    """

    row: int
    reference: int
    optimized: int
    features: tuple[str, ...]
    from_values: tuple[float, ...]
    to_values: tuple[float, ...]
    distance: float | None


@dataclass(frozen=True, slots=True)
class ExplanationRecord:
    """What reference and variant look at: loss of accuracy when a feature is permuted, and attributions of some rows.

    reference_importance, optimized_importance: float64 [repeats, features]; reference_local, optimized_local: float64
    [rows, features] of `local_rows` int64 [rows], None where inputs are too large for them.
    """

    model_digest: str
    data_digest: str
    features: tuple[str, ...]
    reference_importance: Float64Array
    optimized_importance: Float64Array
    local_rows: Int64Array
    reference_local: Float64Array | None
    optimized_local: Float64Array | None
    flipped: tuple[FlippedRow, ...]
    seed: int
