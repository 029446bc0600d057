"""Models that others made: each loads, runs and quantizes, or is refused with the true reason."""

import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from skl2onnx import to_onnx
from sklearn.neural_network import MLPClassifier

from kit.errors import ConversionError, EdgeproofError, ModelError
from kit.model.graph import keep_output
from kit.model.load import LoadedModel, load_onnx, load_onnx_bytes
from kit.model.quantize import VariantMaker, make_variant
from kit.model.session import HostSession
from kit.records import VariantRecord
from kit.spec.recipe import parse_recipe
from tests.model.zoo import ROWS, ZOO

DATA = "sha256:" + "a" * 64
SLOW = ("ocr-detector", "ocr-recogniser", "basic-pitch")
"""Several seconds each: their static variants are in tests/proofs."""

FAST = [name for name in ZOO if name not in SLOW]


@dataclass(frozen=True)
class Tried:
    """A model, rows for it, and what it makes of them."""

    model: LoadedModel
    rows: dict[str, NDArray[np.generic]]
    outputs: dict[str, NDArray[np.generic]]
    maker: VariantMaker


@cache
def tried(name: str) -> Tried:
    model = load_onnx(ZOO[name].path)
    rows = ZOO[name].rows(model.record.inputs)
    return Tried(model, rows, HostSession(model.data).run(rows), VariantMaker(model, rows, DATA))


def check(name: str, recipe: str, expected: float | str) -> VariantRecord | None:
    """Make it, and hold it to what is expected: a share of its parent's size, or a refusal."""
    known = tried(name)
    if isinstance(expected, str):
        with pytest.raises(ConversionError, match=expected) as caught:
            known.maker.make(parse_recipe(recipe))
        assert caught.value.where == known.model.record.name
        return None
    variant = known.maker.make(parse_recipe(recipe))
    record = variant.record
    share = record.model.size_bytes / known.model.record.size_bytes
    assert 0.2 < share < expected
    assert any(note.startswith("larger than its parent: ") for note in record.notes) == (share > 1)
    outputs = HostSession(variant.data, exact=True).run(known.rows)
    assert {key: value.shape for key, value in outputs.items()} == {k: v.shape for k, v in known.outputs.items()}
    assert all(np.isfinite(value).all() for value in outputs.values())
    return record


@pytest.mark.parametrize("name", ZOO)
def test_each_loads_and_runs_on_rows_of_its_inputs(name: str) -> None:
    known = tried(name)
    assert all(len(values) == ROWS for values in known.outputs.values())
    assert all(np.isfinite(values).all() for values in known.outputs.values())
    assert {each.name for each in known.model.record.outputs} == set(known.outputs)


@pytest.mark.parametrize("name", ZOO)
def test_each_is_prepared_whole(name: str) -> None:
    """What is prepared computes the same, and is not much larger."""
    known = tried(name)
    prepared = known.maker.prepared()
    assert prepared.skipped == ()
    assert prepared.proto.ByteSize() < 1.2 * known.model.record.size_bytes
    after = HostSession(prepared.proto.SerializeToString()).run(known.rows)
    for key, before in known.outputs.items():
        np.testing.assert_allclose(after[key], before, rtol=1e-3, atol=1e-3 * float(np.abs(before).max()))


@pytest.mark.parametrize("name", FAST)
def test_static_int8_or_the_reason_why_not(name: str) -> None:
    record = check(name, "int8-per-tensor", ZOO[name].static)
    if record is not None:
        assert record.saturation.quantized_nodes > 0
        assert record.calibration_rows == ROWS


@pytest.mark.parametrize("name", ZOO)
def test_dynamic_int8_or_the_reason_why_not(name: str) -> None:
    record = check(name, "int8-dynamic", ZOO[name].dynamic)
    if record is not None:
        assert record.calibration_digest is None
        products = ("Conv ", "ConvTranspose ", "Gemm ", "MatMul ", "LSTM ")
        assert all(line.startswith(products) for line in record.left_in_float)


def test_a_network_of_digits_quantizes_both_ways(digits) -> None:
    classifier = MLPClassifier((64,), max_iter=10, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        classifier.fit(digits.train, digits.train_labels)
        proto = to_onnx(classifier, digits.train[:1], options={"zipmap": False}, target_opset=17)
    model = load_onnx_bytes(proto.SerializeToString(), "digits.onnx")
    keep_output(proto, "probabilities")
    scores = HostSession(proto.SerializeToString()).predict(digits.test)
    for name in ("int8-per-tensor", "int8-dynamic"):
        variant = make_variant(model, parse_recipe(name), digits.train[:50], DATA)
        assert variant.record.model.size_bytes < 0.5 * model.record.size_bytes
        again = HostSession(variant.data, exact=True).predict(digits.test, "probabilities")
        assert (again.argmax(axis=1) == scores.argmax(axis=1)).mean() > 0.97


def test_what_stays_in_float_in_real_models_has_true_reasons() -> None:
    """Products of two activations, an LSTM without a static form, filter banks that are computed."""
    recogniser = check("ocr-recogniser", "int8-dynamic", 0.3)
    assert recogniser is not None
    assert {line.split(": ")[1] for line in recogniser.left_in_float} == {"its weights are made at run time"}
    voice = check("silero-sequence", "int8-per-tensor", 0.6)
    assert voice is not None
    assert any(re.match(r"LSTM .*: the quantizer has no int8 form", line) for line in voice.left_in_float)
    pitch = check("swift-f0", "int8-dynamic", 0.8)
    assert pitch is not None
    assert "its weights are made at run time" in " ".join(pitch.left_in_float)


def test_a_loop_over_branches_is_no_silent_success() -> None:
    """onnxruntime's own quantizer returns this voice model as it is, and larger."""
    known = tried("silero")
    reasons = []
    for name in ("int8-per-channel", "int8-dynamic"):
        with pytest.raises(ConversionError) as caught:
            known.maker.make(parse_recipe(name))
        reasons.append(str(caught.value))
    assert all("it is inside If" in reason for reason in reasons)
    half = known.maker.make(parse_recipe("fp16"))
    assert half.record.model.size_bytes < 0.7 * known.model.record.size_bytes, "fp16 enters branches"


CASES = Path(onnx.__file__).parent / "backend" / "test" / "data"
TRUE_REASONS = (
    r"Could not find an implementation for \w+\(\d+\)",  # an opset that the runtime has no kernels of any more
    r"is of the unknown domain 'ai\.onnx\.preview\.training'",
    r"StringNormalizer|the rows are object, the model wants string",
    r"(static int8|dynamic int8) is for .*, and this model has only|int8 is for .*, and this model has only",
    r"its weights are made at run time",
    r"has no (int8|dynamic) form",
    r"nothing can be quantized: \w+ .*: it is inside",
    r"not finite",
    r"does not take rows of shape|is not one value a row",
)


def cases(folder: str) -> Iterator[Path]:
    return (case / "model.onnx" for case in sorted((CASES / folder).iterdir()))


def outcome(path: Path, recipe: str) -> str:
    """ "made", or the reason why not."""
    try:
        model = load_onnx(path)
        HostSession(model.data)
        rng = np.random.default_rng(0)
        rows = {}
        for each in model.record.inputs:
            shape = (2, *(size if isinstance(size, int) else 2 for size in each.shape[1:]))
            rows[each.name] = rng.uniform(0.1, 1, size=shape).astype(each.dtype if each.dtype != "object" else "O")
        make_variant(model, parse_recipe(recipe), rows, DATA)
    except EdgeproofError as error:
        return str(error)
    return "made"


@pytest.mark.parametrize(
    ("folder", "count", "made"), [("pytorch-converted", 82, 20), ("pytorch-operator", 35, 1), ("simple", 23, 0)]
)
def test_operator_cases_are_made_or_refused_with_a_true_reason(folder: str, count: int, made: int) -> None:
    paths = list(cases(folder))
    assert len(paths) == count
    found = {f"{path.parent.name}, {recipe}": outcome(path, recipe) for path in paths for recipe in _BOTH}
    untrue = {
        case: reason
        for case, reason in found.items()
        if reason != "made" and not any(re.search(known, reason) for known in TRUE_REASONS)
    }
    assert untrue == {}
    assert sum(reason == "made" for reason in found.values()) >= made


_BOTH = ("int8-per-tensor", "int8-dynamic")


@pytest.mark.parametrize("name", ["squeezenet", "shufflenet"])
def test_light_networks_whose_weights_are_computed(name: str) -> None:
    """Their weights are made of one number each at run time: stored, they would be 100 times the file."""
    model = load_onnx(CASES / "light" / f"light_{name}.onnx")
    (wanted,) = model.record.inputs
    rows = np.random.default_rng(0).uniform(size=(2, *wanted.shape[1:])).astype(np.float32)
    maker = VariantMaker(model, rows, DATA)
    record = maker.make(parse_recipe("int8-per-tensor")).record
    assert record.model.size_bytes < 1.2 * model.record.size_bytes
    with pytest.raises(ConversionError, match=r"nothing can be quantized: Conv .*: its weights are made at run time"):
        maker.make(parse_recipe("int8-dynamic"))


def test_rows_for_another_model_are_refused_by_name() -> None:
    rows = tried("rnet").rows
    with pytest.raises(ModelError, match="no rows for input 'bytes'"):
        VariantMaker(tried("magika").model, rows, DATA)
