"""TensorFlow Lite files: every form of quantization, real streaming models, and flatbuffers that nobody vouches for."""

import importlib
import json
import random
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kit.errors import ConversionError, EdgeproofError, MissingExtraError, ModelError, UsageError
from kit.model.convert import Options, Source, convert, converter_for
from kit.model.convert.tflite import TFLiteConverter
from kit.model.convert.tflite.operators import HANDLERS
from kit.model.convert.tflite.reader import MAX_ARGUMENTS, parse
from kit.model.convert.tflite.state import NEXT, rewritten, states_of
from kit.model.load import load_onnx_bytes
from kit.model.metadata import properties
from kit.model.session import HostSession
from tests.model.tensorflow_fixtures import (
    PITCH,
    WAKE_WORDS,
    arrays,
    needs_interpreter,
    needs_pitch,
    needs_tensorflow,
    needs_wake_words,
    nets,
    sound,
)

__all__ = ["nets"]  # a fixture

pytestmark = needs_interpreter

FLOAT = ["cnn.f32", "cnn.f16", "separable.f32", "two.f32"]
DYNAMIC = ["cnn.dynamic", "mlp.dynamic", "two.dynamic"]
INTEGER = ["cnn.int8", "cnn.inside", "separable.int8", "unrolled.int8"]
WORDS = ["alexa", "hey_jarvis", "hey_mycroft", "okay_nabu"]
FRAMES = 200


def source_of(path: Path, **options: Any) -> Source:
    return TFLiteConverter().read(path, Options(**options))


def rows_of(nets: Path, name: str, source: Source, count: int) -> dict[str, np.ndarray]:
    """Rows of the network, quantized where its input is."""
    rows = {key: values[:count] for key, values in arrays(nets / f"{name.split('.')[0]}.rows.npz").items()}
    if source.record.inputs[0].dtype == "int8":
        rows = {key: np.round(values * 255 - 128).astype(np.int8) for key, values in rows.items()}
    return rows if len(rows) > 1 else {source.record.inputs[0].name: next(iter(rows.values()))}


# --- networks made here --------------------------------------------------------------------------------------------


@needs_tensorflow
@pytest.mark.parametrize("rows", [1, 2, 7])
@pytest.mark.parametrize("name", FLOAT + DYNAMIC)
def test_float_models_agree_with_the_interpreter(name: str, rows: int, nets: Path) -> None:
    source = source_of(nets / f"{name}.tflite")
    given = rows_of(nets, name, source, rows)
    expected, found = source.predict(given), HostSession(source.export()).run(given)
    assert found.keys() == expected.keys() == {each.name for each in source.record.outputs}
    for key, values in expected.items():
        np.testing.assert_allclose(found[key], values, atol=2e-5, rtol=1e-5)


@needs_tensorflow
@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("name", INTEGER[:3])
def test_integer_models_agree_within_one_step(name: str, exact: bool, nets: Path) -> None:
    source = source_of(nets / f"{name}.tflite")
    given = rows_of(nets, name, source, 64)
    expected, found = source.predict(given), HostSession(source.export(), exact=exact).run(given)
    (key,) = expected
    difference = np.abs(expected[key].astype(np.float64) - found[key])
    assert difference.max() <= source.tolerances[key]
    assert len(np.unique(expected[key])) > 5
    assert np.count_nonzero(difference.max(axis=1)) <= 2


@needs_tensorflow
@pytest.mark.parametrize("name", ["cnn.dynamic", "cnn.int8", "two.f32"])
def test_a_conversion_is_verified_end_to_end(name: str, nets: Path) -> None:
    path = nets / f"{name}.tflite"
    given = rows_of(nets, name, source_of(path), 64)
    done = convert(path, rows=given if len(given) > 1 else next(iter(given.values())), options=Options())
    record = done.conversion
    assert record is not None
    assert record.rows == 64
    assert "ai-edge-litert" in record.converter_version
    assert record.decisions_agree in (64, 63, None)
    assert done.reference.inputs == record.source.inputs


@needs_tensorflow
def test_integers_stay_integers_between_quantize_and_dequantize(nets: Path) -> None:
    source = source_of(nets / "cnn.int8.tflite")
    assert (source.record.inputs[0].dtype, source.record.outputs[0].dtype) == ("int8", "int8")
    graph = load_onnx_bytes(source.export(), "cnn").proto.graph
    constants = {proto.name: proto for proto in graph.initializer}
    producers = {name: node for node in graph.node for name in node.output}
    products = [node for node in graph.node if node.op_type in ("Conv", "Gemm")]
    assert len(products) == 4
    for node in products:
        weights = producers[node.input[1]]
        assert weights.op_type == "DequantizeLinear"
        assert constants[weights.input[0]].data_type == onnx.TensorProto.INT8
        assert constants[producers[node.input[2]].input[0]].data_type == onnx.TensorProto.INT32
    assert any(note.startswith("the input 'image' is int8: real = 0.0039") for note in source.notes)


@needs_tensorflow
def test_layouts_change_only_where_they_must(nets: Path) -> None:
    graph = load_onnx_bytes(source_of(nets / "cnn.f32.tflite").export(), "cnn").proto.graph
    assert [node.op_type for node in graph.node].count("Transpose") == 2
    assert any("channels last" in note for note in source_of(nets / "cnn.f32.tflite").notes)


@needs_tensorflow
def test_halves_and_rounded_weights_become_floats(nets: Path) -> None:
    for form in ("f16", "dynamic"):
        graph = load_onnx_bytes(source_of(nets / f"cnn.{form}.tflite").export(), "cnn").proto.graph
        kinds = {proto.data_type for proto in graph.initializer}
        assert kinds <= {onnx.TensorProto.FLOAT, onnx.TensorProto.INT64, onnx.TensorProto.INT32}


@needs_tensorflow
@pytest.mark.parametrize("opset", [13, 15, 18, 21])
def test_other_opsets_compute_the_same(opset: int, nets: Path) -> None:
    source = (
        source_of(nets / "operators.tflite", opset=opset)
        if opset >= 14
        else source_of(nets / "cnn.f32.tflite", opset=13)
    )
    model = load_onnx_bytes(source.export(), "model")
    assert model.record.opset == opset
    given = {each.name: _noise(each.shape, 3) for each in source.record.inputs}
    expected, found = source.predict(given), HostSession(model.data).run(given)
    for key, values in expected.items():
        np.testing.assert_allclose(found[key], values, atol=2e-5, rtol=1e-5)


def _noise(shape: tuple[int | str, ...], rows: int) -> np.ndarray:
    return np.random.default_rng(5).normal(size=(rows, *shape[1:])).astype(np.float32)


@needs_tensorflow
def test_every_operator_agrees(nets: Path) -> None:
    source = source_of(nets / "operators.tflite")
    used = {operator.name for operator in parse((nets / "operators.tflite").read_bytes()).main.operators}
    assert len(used) > 50
    given = {"x": _noise((0, 6, 6, 4), 20)}
    expected, found = source.predict(given), HostSession(source.export()).run(given)
    assert len(expected) == 41
    wrong = [key for key in expected if not np.allclose(found[key], expected[key], atol=2e-5, rtol=1e-5)]
    assert wrong == []


@needs_tensorflow
def test_operators_in_integers_agree_within_one_step(nets: Path) -> None:
    source = source_of(nets / "operators.int8.tflite")
    given = {"x": _noise((0, 6, 6, 4), 20)}
    expected, found = source.predict(given), HostSession(source.export()).run(given)
    assert source.tolerances.keys() == expected.keys()
    for key, values in expected.items():
        assert np.abs(values - found[key]).max() <= source.tolerances[key], key


@needs_tensorflow
def test_operators_without_a_form_are_named(nets: Path) -> None:
    with pytest.raises(ConversionError, match="CUMSUM"):
        source_of(nets / "cumulative.tflite")
    with pytest.raises(ConversionError, match=r"QUANTIZE \(.*\): its values are quantized to 16 bits"):
        source_of(nets / "cnn.16x8.tflite")
    assert "CUMSUM" not in HANDLERS


@needs_tensorflow
def test_opsets_without_axes_of_scales_are_refused(nets: Path) -> None:
    with pytest.raises(UsageError, match="opset 13 or newer"):
        source_of(nets / "cnn.f32.tflite", opset=12)


# --- a real network in two forms -----------------------------------------------------------------------------------


@needs_pitch
def test_a_real_network_computes_what_its_makers_onnx_file_does() -> None:
    source = source_of(PITCH / "nmp.tflite")
    rows = sound(2, 43844)
    expected, found = source.predict({"input_2": rows}), HostSession(source.export()).run(rows)
    twin = HostSession((PITCH / "nmp.onnx").read_bytes()).run(rows)
    theirs = dict(zip(("onset", "note", "contour"), twin.values(), strict=True))
    for key in ("contour", "note", "onset"):
        np.testing.assert_allclose(found[key], expected[key], atol=1e-5)
        np.testing.assert_allclose(found[key], theirs[key], atol=1e-6)
    assert expected["note"].max() > 0.3


@needs_pitch
def test_a_real_network_is_verified_end_to_end() -> None:
    done = convert(PITCH / "nmp.tflite", rows=sound(2, 43844))
    assert done.conversion is not None
    assert [each.output for each in done.conversion.outputs] == ["onset", "note", "contour"]
    assert max(each.max_abs_difference for each in done.conversion.outputs) < 1e-5


# --- real streaming models: their state comes out ------------------------------------------------------------------


@cache
def frames(count: int) -> np.ndarray:
    """int8 [count, 1, 3, 40]: 40 bands of a voice-like sound, logarithmic, in steps of 10 ms, three a frame."""
    rate, noise = 16000, np.random.default_rng(0)
    time = np.arange(count * 480 + 320) / rate
    pitch = 120 * 2 ** (0.5 * np.sin(2 * np.pi * 0.7 * time))
    phase, formant = 2 * np.pi * np.cumsum(pitch) / rate, 700 + 500 * np.sin(2 * np.pi * 1.3 * time)
    voice = sum(np.sin(k * phase) / k * np.exp(-(((k * pitch - formant) / 600) ** 2)) for k in range(1, 20))
    wave = voice * np.clip(np.sin(2 * np.pi * 2.1 * time), 0, 1) ** 2 * 9000 + noise.normal(0, 60, time.size)
    windows = np.lib.stride_tricks.sliding_window_view(wave, 480)[::160][: 3 * count] * np.hanning(480)
    power = np.abs(np.fft.rfft(windows, 512)) ** 2
    edges = np.geomspace(4, 240, 42).astype(int)
    bands = np.stack(
        [power[:, low : high + 1].sum(axis=1) for low, high in zip(edges[:-2], edges[2:], strict=True)], axis=1
    )
    loud = np.log1p(bands)
    return np.clip(np.round(loud / loud.max() * 255 - 128), -128, 127).astype(np.int8).reshape(count, 1, 3, 40)


def interpreter(path: Path) -> Any:
    made = importlib.import_module("ai_edge_litert.interpreter").Interpreter(model_path=str(path), num_threads=1)
    made.allocate_tensors()
    return made


@needs_wake_words
@pytest.mark.parametrize("word", WORDS)
def test_a_stream_of_frames_gives_what_the_file_gives(word: str) -> None:
    """The file as it is, with variables of its own, against ONNX whose state is fed back."""
    path = WAKE_WORDS / f"{word}.tflite"
    theirs, source = interpreter(path), source_of(path)
    data = source.export()
    ours, state = HostSession(data), json.loads(properties(load_onnx_bytes(data, word).proto)["edgeproof.state"])
    held = {each.name: np.full(each.shape, state[each.name]["initial"], each.dtype) for each in ours.inputs[1:]}
    into, out = theirs.get_input_details()[0]["index"], theirs.get_output_details()[0]["index"]
    differences = []
    for frame in frames(FRAMES):
        theirs.set_tensor(into, frame)
        theirs.invoke()
        found = ours.run({ours.inputs[0].name: frame, **held})
        held = {name: found[each["output"]] for name, each in state.items()}
        differences.append(abs(int(theirs.get_tensor(out)[0, 0]) - int(found[ours.outputs[0].name][0, 0])))
    assert max(differences) <= 1
    assert sum(difference > 0 for difference in differences) <= FRAMES // 50
    assert all(len(np.unique(values)) > 10 for values in held.values())


@needs_wake_words
def test_a_streaming_model_is_verified_end_to_end() -> None:
    done = convert(WAKE_WORDS / "hey_mycroft.tflite")
    assert done.conversion is not None
    assert done.conversion.row_source == "generated"
    assert len(done.reference.inputs) == len(done.reference.outputs) == 7
    assert [each.name + NEXT for each in done.reference.inputs[1:]] == [
        each.name for each in done.reference.outputs[1:]
    ]
    assert all(each.max_abs_difference <= 1 for each in done.conversion.outputs)
    assert sum("is an input now" in note for note in done.notes) == 6


@needs_wake_words
def test_the_file_with_its_state_outside_computes_the_same() -> None:
    """What conversions are compared with is the file itself: the same kernels, with variables as inputs."""
    path = WAKE_WORDS / "hey_mycroft.tflite"
    data = path.read_bytes()
    states = states_of(parse(data))
    opened = importlib.import_module("ai_edge_litert.interpreter").Interpreter(model_content=rewritten(data, states))
    opened.allocate_tensors()
    theirs = interpreter(path)
    details = opened.get_input_details()
    held = [np.broadcast_to(state.initial, details[1 + index]["shape"]) for index, state in enumerate(states)]
    for frame in frames(60):
        for each, value in zip(details, [frame, *held], strict=True):
            opened.set_tensor(each["index"], np.ascontiguousarray(value))
        opened.invoke()
        theirs.set_tensor(theirs.get_input_details()[0]["index"], frame)
        theirs.invoke()
        score, *held = [opened.get_tensor(each["index"]).copy() for each in opened.get_output_details()]
        np.testing.assert_array_equal(score, theirs.get_tensor(theirs.get_output_details()[0]["index"]))


# --- flatbuffers that nobody vouches for ---------------------------------------------------------------------------


@needs_wake_words
@pytest.mark.parametrize("share", [0.0001, 0.01, 0.3, 0.6, 0.9, 0.999])
def test_cut_files_are_refused(share: float, tmp_path: Path) -> None:
    data = (WAKE_WORDS / "alexa.tflite").read_bytes()
    path = tmp_path / "cut.tflite"
    path.write_bytes(data[: max(1, int(len(data) * share))])
    with pytest.raises(ModelError) as caught:
        source_of(path)
    assert caught.value.next_step


@needs_wake_words
@pytest.mark.parametrize("seed", range(12))
def test_flipped_bytes_never_raise_anything_else(seed: int, tmp_path: Path) -> None:
    """Structure is at the end of the file: most flips hit it. What still parses is converted or refused."""
    data = (WAKE_WORDS / "hey_jarvis.tflite").read_bytes()
    chance = random.Random(seed)
    path = tmp_path / "flipped.tflite"
    for _ in range(12):
        changed = bytearray(data)
        for _ in range(chance.choice((1, 4, 40))):
            changed[chance.randrange(len(data) - 12000, len(data))] = chance.choice((0, 1, 0x7F, 0x80, 0xFF))
        path.write_bytes(changed)
        try:
            load_onnx_bytes(source_of(path).export(), "flipped")
        except EdgeproofError as error:
            assert error.what  # noqa: PT017 - either outcome is right


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=400))
def test_random_bytes_are_refused(tail: bytes) -> None:
    with pytest.raises(ModelError):
        parse(b"\x10\x00\x00\x00TFL3" + tail)


def _packed(change: Any) -> bytes:
    """A real file, unpacked, changed and packed again."""
    schema = importlib.import_module("ai_edge_litert.schema_py_generated")
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs((WAKE_WORDS / "alexa.tflite").read_bytes(), 0))
    change(model)
    builder = importlib.import_module("flatbuffers").Builder(1 << 16)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _first_constant(model: Any) -> Any:
    tensors = model.subgraphs[0].tensors
    return next(each for each in tensors if model.buffers[each.buffer].data is not None and len(each.shape) == 4)


def _absurd_shape(model: Any) -> None:
    found = _first_constant(model)
    found.shape, found.quantization = np.array([1 << 30, 1 << 30, 1 << 30, 3], np.int32), None


def _many_dimensions(model: Any) -> None:
    _first_constant(model).shape = np.ones(3000, np.int32)


def _negative_shape(model: Any) -> None:
    _first_constant(model).shape = np.array([-2, 5], np.int32)


def _outside_tensor(model: Any) -> None:
    model.subgraphs[0].operators[5].inputs = np.array([99999], np.int32)


def _outside_buffer(model: Any) -> None:
    model.subgraphs[0].tensors[3].buffer = 1 << 20


def _outside_code(model: Any) -> None:
    model.subgraphs[0].operators[0].opcodeIndex = 4096


def _wrong_scales(model: Any) -> None:
    model.subgraphs[0].tensors[0].quantization.scale = np.array([0.1, 0.2, 0.3], np.float32)


def _infinite_scale(model: Any) -> None:
    model.subgraphs[0].tensors[0].quantization.scale = np.array([np.inf], np.float32)


def _no_graph(model: Any) -> None:
    model.subgraphs = []


def _many_inputs(model: Any) -> None:
    model.subgraphs[0].operators[0].inputs = np.zeros(MAX_ARGUMENTS + 1, np.int32)


HOSTILE = {
    _absurd_shape: "bytes, its shape",
    _many_dimensions: "dimensions of",
    _negative_shape: "has the shape [-2, 5]",
    _outside_tensor: "a reference to tensor 99999",
    _outside_buffer: "a reference to buffer 1048576",
    _outside_code: "a reference to operator 4096",
    _wrong_scales: "scales or zero points that do not fit",
    _infinite_scale: "scales or zero points that do not fit",
    _no_graph: "has no graph",
    _many_inputs: "numbers in one list",
}


@needs_wake_words
@pytest.mark.parametrize("change", HOSTILE, ids=lambda change: change.__name__)
def test_references_and_sizes_are_checked(change: Any) -> None:
    with pytest.raises(ModelError) as caught:
        parse(_packed(change))
    assert HOSTILE[change] in caught.value.what


@needs_wake_words
def test_a_variable_read_twice_is_refused(tmp_path: Path) -> None:
    def twice(model: Any) -> None:
        operators = model.subgraphs[0].operators
        codes = [max(code.builtinCode, code.deprecatedBuiltinCode) for code in model.operatorCodes]
        read = next(each for each in operators if codes[each.opcodeIndex] == 143)
        operators.append(read)

    path = tmp_path / "twice.tflite"
    path.write_bytes(_packed(twice))
    with pytest.raises(ConversionError, match="more than once"):
        source_of(path)


# --- which files are whose -----------------------------------------------------------------------------------------


@needs_wake_words
def test_files_are_known_by_their_identifier(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes((WAKE_WORDS / "alexa.tflite").read_bytes())
    assert isinstance(converter_for(path), TFLiteConverter)
    assert not TFLiteConverter().is_pickle(path, b"")


def test_text_called_tflite_is_refused_as_that(tmp_path: Path) -> None:
    path = tmp_path / "x.tflite"
    path.write_text("version https://git-lfs.github.com/spec/v1")
    with pytest.raises(ModelError, match="TFL3 is missing"):
        source_of(path)


def test_a_missing_interpreter_is_one_line_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda *_: None)
    with pytest.raises(MissingExtraError) as caught:
        TFLiteConverter().version()
    assert caught.value.next_step == "pip install 'edgeproof[tflite]'"
