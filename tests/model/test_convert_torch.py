"""PyTorch's models become ONNX: real networks in every format, and what is refused, with what and why."""

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kit.errors import MissingExtraError, UsageError
from kit.model.convert import Options, convert
from kit.model.convert.state_dict import StateDictConverter
from kit.model.convert.torch import TorchExportConverter
from kit.model.convert.torchscript import TorchScriptConverter
from kit.model.load import load_onnx_bytes
from kit.model.session import quiet_runtime
from kit.records import TensorInfo
from tests.model.torch_fixtures import FACTORIES, INPUTS, Convert, Job, Outcome, convert_all, nets, shared  # noqa: F401

FACTORY = {"cnn": "digits_cnn", "mlp": "cancer_mlp", "gru": "watch_gru", "attention": "digits_attention"}
FILES = {
    "cnn-pt2": "cnn.pt2",
    "attention-pt2": "attention.pt2",
    "cnn-traced": "cnn-traced.pt",
    "mlp-scripted": "mlp-scripted.pt",
    "cnn-weights": "cnn-weights.pth",
    "mlp-weights": "mlp-weights.pth",
}
TWICE = ("cnn-pt2", "mlp-scripted")
SAYS_ITS_INPUTS = "pt2"


def options_of(net: str, **more: Any) -> Options:
    """What a user gives for a network of which the file says nothing."""
    return Options(inputs=INPUTS[net], factory=f"{FACTORIES}:{FACTORY[net]}", **more)


@pytest.fixture(scope="session")
def outcomes(
    nets: Path,  # noqa: F811
    convert_all: Convert,  # noqa: F811
    attacks: dict[str, Path],
) -> dict[str, Outcome]:
    """Of every job of this file, by one process: importing PyTorch takes longer than most of them."""
    jobs = []
    for name, file in FILES.items():
        net, kind = name.split("-")
        options = Options() if kind == SAYS_ITS_INPUTS else options_of(net)
        jobs.append(Job(name, nets / file, options, nets / f"{net}.npz", name in TWICE))
    for name, (file, options) in ODD.items():
        alike = name in SAME_WEIGHTS  # as a network whose export is tested already
        jobs.append(Job(name, nets / file, options, nets / "cnn.npz" if alike else None, export=not alike))
    jobs += [Job(f"attack-{name}", file, options_of("cnn")) for name, file in attacks.items()]
    return convert_all("outcomes", jobs)


@pytest.fixture(scope="session")
def good(outcomes: dict[str, Outcome]) -> dict[str, Outcome]:
    return {name: outcomes[name] for name in FILES}


@pytest.fixture(scope="session")
def odd(outcomes: dict[str, Outcome]) -> dict[str, Outcome]:
    return {name: outcomes[name] for name in ODD}


def run(model: bytes, rows: dict[str, Any]) -> dict[str, Any]:
    """All outputs of an ONNX model on these rows, by name."""
    session = quiet_runtime().InferenceSession(model, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_outputs()]
    return dict(zip(names, session.run(names, rows), strict=True))


def rows_of(folder: Path, name: str) -> dict[str, Any]:
    with np.load(folder / f"{name.split('-')[0]}.npz") as arrays:
        return dict(arrays)


@pytest.mark.parametrize("name", FILES)
def test_the_onnx_model_computes_what_pytorch_does(name: str, good: dict[str, Outcome], nets: Path) -> None:  # noqa: F811
    outcome = good[name]
    assert not outcome.error
    found = run(outcome.onnx, rows_of(nets, name))
    assert found.keys() == outcome.outputs.keys()
    for output, values in outcome.outputs.items():
        np.testing.assert_allclose(found[output], values, atol=2e-5, err_msg=output)
        assert np.ptp(values) > 0.1  # and it is no constant


@pytest.mark.parametrize("name", FILES)
def test_one_row_and_many_give_the_same(name: str, good: dict[str, Outcome], nets: Path) -> None:  # noqa: F811
    rows = rows_of(nets, name)
    for count in (1, 2, 7):
        found = run(good[name].onnx, {key: value[:count] for key, value in rows.items()})
        for output, values in found.items():
            np.testing.assert_allclose(values, good[name].outputs[output][:count], atol=2e-5, err_msg=output)


@pytest.mark.parametrize("name", FILES)
def test_names_sizes_and_opset_are_deliberate(name: str, good: dict[str, Outcome], nets: Path) -> None:  # noqa: F811
    net = name.split("-")[0]
    outputs = {
        "cnn": [("output", ("rows", 10))],
        "mlp": [("scores", ("rows", 2)), ("probabilities", ("rows", 2))],
        "attention": [("output", ("rows", 10))],
    }[net]
    loaded = load_onnx_bytes(good[name].onnx, name)
    record = good[name].record
    assert record is not None
    assert record.inputs == loaded.record.inputs == INPUTS[net]
    assert [(each.name, each.shape) for each in loaded.record.outputs] == outputs
    assert record.outputs == loaded.record.outputs
    assert loaded.record.opset == 17
    assert loaded.proto.ir_version == 8  # what onnxruntime 1.13 reads
    assert {entry.domain for entry in loaded.proto.opset_import} == {""}
    assert record.size_bytes == (nets / FILES[name]).stat().st_size


@pytest.mark.parametrize("name", FILES)
def test_nothing_of_the_author_s_machine_is_left_in_it(name: str, good: dict[str, Outcome]) -> None:
    for trace in (b"torch_nets", b".py", b"site-packages", b"stack_trace"):
        assert trace not in good[name].onnx, trace


@pytest.mark.parametrize("name", TWICE)
def test_converting_twice_gives_the_same_bytes(name: str, good: dict[str, Outcome]) -> None:
    assert good[name].same


@pytest.mark.parametrize("net", FACTORY)
def test_the_networks_have_learned(net: str, nets: Path) -> None:  # noqa: F811
    assert json.loads((nets / "accuracy.json").read_text())[net] > 0.65


def test_each_converter_reads_its_own(good: dict[str, Outcome]) -> None:
    names = {"pt2": "torch.export", "traced": "torchscript", "scripted": "torchscript", "weights": "state_dict"}
    assert {name: outcome.converter for name, outcome in good.items()} == {
        name: names[name.split("-")[1]] for name in FILES
    }


def test_a_traced_module_has_no_branches(good: dict[str, Outcome]) -> None:
    assert not good["cnn-traced"].notes


ODD = {
    "checkpoint": ("checkpoint.pt", options_of("cnn")),
    "parallel": ("parallel.pt", options_of("cnn")),
    "no-weights": ("no-weights.pt", options_of("cnn")),
    "whole": ("whole.pt", options_of("cnn")),
    "whole-trusted": ("whole.pt", options_of("cnn", trust_pickle=True)),
    "legacy": ("legacy.pt", options_of("cnn", trust_pickle=True)),
    "fixed": ("fixed.pt2", Options()),
    "counting": ("counting.pt2", Options()),
    "writing": ("writing.pt", Options(inputs=(TensorInfo("x", "float32", ("rows", 4)),))),
    "user-names": ("mlp-scripted.pt", Options(inputs=(TensorInfo("cells", "float32", ("patients", 30)),))),
    "no-inputs": ("gru-traced.pt", Options()),
    "no-inputs-weights": ("mlp-weights.pth", Options(factory=f"{FACTORIES}:cancer_mlp")),
    "wrong-shape": ("gru-traced.pt", Options(inputs=(TensorInfo("motion", "float32", ("rows", 10, 5)),))),
    "wrong-dtype": ("gru-traced.pt", Options(inputs=(TensorInfo("motion", "complex7", ("rows", 10, 6)),))),
    "many-inputs": ("gru-traced.pt", options_of("attention")),
    "no-factory": ("mlp-weights.pth", Options(inputs=INPUTS["mlp"])),
    "other-factory": ("mlp-weights.pth", Options(inputs=INPUTS["mlp"], factory=f"{FACTORIES}:digits_cnn")),
    "wide-factory": ("mlp-weights.pth", Options(inputs=INPUTS["mlp"], factory=f"{FACTORIES}:wide_cancer_mlp")),
    "absent-factory": ("mlp-weights.pth", Options(inputs=INPUTS["mlp"], factory=f"{FACTORIES}:nothing_here")),
    "absent-file": ("mlp-weights.pth", Options(inputs=INPUTS["mlp"], factory="nowhere.py:make")),
    "no-colon": ("mlp-weights.pth", Options(inputs=INPUTS["mlp"], factory="cancer_mlp")),
    "failing-factory": ("mlp-weights.pth", Options(inputs=INPUTS["mlp"], factory=f"{FACTORIES}:failing")),
    "leaving-factory": ("mlp-weights.pth", Options(inputs=INPUTS["mlp"], factory=f"{FACTORIES}:leaving")),
    "no-module": ("mlp-weights.pth", Options(inputs=INPUTS["mlp"], factory=f"{FACTORIES}:no_module")),
    "no-python": ("mlp-weights.pth", Options(inputs=INPUTS["mlp"], factory=f"{__file__[:-3]}.txt:make")),
}

SAME_WEIGHTS = ("checkpoint", "parallel", "whole-trusted")


TRAINING = {
    "training-scripted": ("training-scripted.pt", options_of("cnn")),
    "training-traced": ("training-traced.pt", options_of("cnn")),
    "training-pt2": ("training.pt2", Options()),
}


@pytest.fixture(scope="session")
def training(nets: Path, convert_all: Convert) -> dict[str, Outcome]:  # noqa: F811
    rows = nets / "cnn.npz"
    jobs = [Job(name, nets / file, options, rows) for name, (file, options) in TRAINING.items()]
    return convert_all("training", jobs)


@pytest.mark.parametrize("name", SAME_WEIGHTS)
def test_weights_are_found_where_they_are_usually_kept(
    name: str, odd: dict[str, Outcome], good: dict[str, Outcome]
) -> None:
    np.testing.assert_allclose(odd[name].outputs["output"], good["cnn-weights"].outputs["output"], atol=1e-6)
    assert bool(odd[name].notes) == (name != "whole-trusted")


def test_training_mode_is_switched_where_it_can_be(training: dict[str, Outcome], nets: Path) -> None:  # noqa: F811
    outcome = training["training-scripted"]
    assert any("training mode" in note for note in outcome.notes)
    found = run(outcome.onnx, rows_of(nets, "cnn"))
    np.testing.assert_allclose(found["output"], outcome.outputs["output"], atol=2e-5)


@pytest.mark.parametrize("name", ["training-traced", "training-pt2"])
def test_training_mode_is_refused_where_it_is_part_of_the_program(name: str, training: dict[str, Outcome]) -> None:
    assert training[name].said.startswith("ConversionError: it was exported in training mode: ")
    assert "model.eval()" in training[name].said


def test_a_fixed_batch_stays_fixed(odd: dict[str, Outcome]) -> None:
    record = odd["fixed"].record
    assert record is not None
    assert record.inputs[0].shape == (1, 1, 8, 8)


def test_state_is_said_and_each_run_starts_from_what_was_saved(odd: dict[str, Outcome]) -> None:
    assert any("changes its own state in each call (calls)" in note for note in odd["counting"].notes)
    rows = np.zeros((2, 3), np.float32)
    for _ in range(2):
        np.testing.assert_array_equal(run(odd["counting"].onnx, {"x": rows})["output"], rows + 1)


def test_names_that_the_user_gives_are_taken(odd: dict[str, Outcome]) -> None:
    record = odd["user-names"].record
    assert record is not None
    assert record.inputs == (TensorInfo("cells", "float32", ("patients", 30)),)
    assert record.outputs[0].shape == ("patients", 2)


def test_a_script_that_writes_files_is_refused_before_it_is_loaded(odd: dict[str, Outcome], nets: Path) -> None:  # noqa: F811
    assert "torch.save" in odd["writing"].said
    assert "code/" in odd["writing"].error["where"]
    assert not (nets / "written-by-script").exists()


REFUSALS = {
    "no-weights": "ModelError: it holds a dict of 'epoch', not weights by name",
    "whole": "UsageError: it is a pickle that calls torch_nets.DigitsCnn",
    "legacy": "ModelError: a pickle as PyTorch wrote it before version 1.6",
    "no-inputs": "--input motion=batchx3x32x32:float32",
    "no-inputs-weights": "--input x=batchx3x32x32:float32",
    "wrong-shape": "ConversionError: it does not run on inputs of shape [3, 10, 5]",
    "wrong-dtype": "UsageError: input 'motion' is of the unknown type 'complex7'",
    "many-inputs": "UsageError: 2 inputs were given, and it has 1",
    "no-factory": "--factory file.py:function",
    "other-factory": "missing: conv1.weight [8, 1, 3, 3], conv1.bias [8], norm1.weight [8] and",
    "wide-factory": "of another shape: hidden.weight [16, 30] instead of [20, 30], hidden.bias [16] instead of [20]",
    "absent-factory": "UsageError: there is no function 'nothing_here' in it",
    "absent-file": "UsageError: there is no file 'nowhere.py'",
    "no-colon": "UsageError: it is not of the form file.py:function",
    "failing-factory": "ConversionError: the factory fails: RuntimeError: no such layer today",
    "leaving-factory": "ConversionError: the factory fails: SystemExit",
    "no-module": "UsageError: the factory returns dict, not a torch.nn.Module",
    "no-python": "UsageError: there is no file",
}


@pytest.mark.parametrize("name", REFUSALS)
def test_a_refusal_says_what_is_wrong_and_what_to_do(name: str, odd: dict[str, Outcome]) -> None:
    assert REFUSALS[name] in odd[name].said
    assert odd[name].error["where"]
    assert odd[name].error["next_step"]


def test_the_same_class_of_network_is_verified_by_the_command_s_own_path(nets: Path) -> None:  # noqa: F811
    done = convert(nets / "cnn.pt2", rows=rows_of(nets, "cnn"))
    assert done.conversion is not None
    assert done.conversion.decisions_agree == done.conversion.rows == len(rows_of(nets, "cnn")["image"])
    assert 0 < done.conversion.max_abs_difference < 1e-4
    assert "torch 2" in done.conversion.converter_version


def test_a_network_with_dict_outputs_is_verified_by_its_scores(nets: Path) -> None:  # noqa: F811
    options = Options(factory=f"{FACTORIES}:cancer_mlp")
    done = convert(nets / "mlp-weights.pth", rows=rows_of(nets, "mlp")["x"], options=options, output="scores")
    assert done.conversion is not None
    assert done.reference.inputs == INPUTS["mlp"]  # what it takes was told by the rows
    assert done.conversion.decisions_agree == done.conversion.rows
    assert [each.output for each in done.conversion.outputs] == ["scores", "probabilities"]


def test_a_branch_on_values_is_caught_by_the_rows(nets: Path) -> None:  # noqa: F811
    from kit.errors import ConversionError

    rows = np.array([[1, 2, 3, 4], [500, 1, 1, 1]], np.float32)
    options = Options(inputs=(TensorInfo("x", "float32", (1, 4)),))
    with pytest.raises(ConversionError, match="does not compute what its source does"):
        convert(nets / "branching.pt", rows=rows, options=options)


def test_a_whole_pickled_module_needs_trust(nets: Path) -> None:  # noqa: F811
    with pytest.raises(UsageError, match="a pickle can run any code") as refused:
        convert(nets / "whole.pt", rows=rows_of(nets, "cnn"), options=options_of("cnn"))
    assert "--trust-pickle" in refused.value.next_step


class Bomb:
    """Unpickled, it makes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return (Path.touch, (self.marker,))


def _packed_bomb(marker: Path) -> bytes:
    """What `torch.load` would unpickle."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as packed:
        packed.writestr("x/data.pkl", pickle.dumps(Bomb(marker), protocol=2))
        packed.writestr("x/version", "3\n")
        packed.writestr("x/byteorder", "little")
    return data.getvalue()


def _swapped(source: Path, target: Path, change: Callable[[str, bytes], bytes], more: dict[str, bytes]) -> Path:
    """The archive with members changed, and others added."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for member in old.infolist():
            new.writestr(member.filename, change(member.filename, old.read(member)))
        for name, data in more.items():
            new.writestr(name, data)
    return target


def _with_pickled_weight(name: str, data: bytes, bomb: bytes) -> bytes:
    if name.endswith("/weight_0"):
        return bomb
    return data.replace(b'"use_pickle": false', b'"use_pickle": true') if name.endswith("weights_config.json") else data


def _evaluating(name: str, data: bytes, marker: Path) -> bytes:
    program = json.loads(data) if name.endswith("model.json") else None
    if program is None:
        return data
    code = f"__import__('pathlib').Path({str(marker)!r}).touch()"
    program["graph_module"]["graph"]["sym_int_values"]["s"] = {"as_expr": {"expr_str": code, "hint": None}}
    return json.dumps(program).encode()


@pytest.fixture(scope="session")
def attacks(nets: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:  # noqa: F811
    """Files whose opening would make a marker beside them."""
    with shared(tmp_path_factory, "attacks") as folder:
        if not (folder / "weights.pt").exists():
            _make_attacks(folder, nets / "cnn.pt2")
    return {path.stem: path for path in sorted(folder.glob("*.pt*"))}


def _make_attacks(folder: Path, program: Path) -> None:
    bomb = _packed_bomb(folder / "marker")

    def made(name: str, change: Callable[[str, bytes], bytes], more: dict[str, bytes] | None = None) -> None:
        _swapped(program, folder / f"{name}.pt2", change, more or {})

    (folder / "cut.pt2").write_bytes(program.read_bytes()[:5000])
    made("samples", lambda name, data: bomb if "sample_inputs" in name else data)
    made("pickled", lambda name, data: _with_pickled_weight(name, data, bomb))
    made("legacy", lambda _, data: data, {"cnn/data/weights/model.pt": bomb})
    made("sizes", lambda name, data: _evaluating(name, data, folder / "marker"))
    made("weight", lambda name, data: b"12345" if name.endswith("/weight_0") else data)
    (folder / "weights.pt").write_bytes(bomb)


@pytest.mark.parametrize("name", ["weights", "cut", "samples", "pickled", "legacy", "sizes", "weight"])
def test_a_crafted_file_is_refused_and_never_run(
    name: str, attacks: dict[str, Path], outcomes: dict[str, Outcome]
) -> None:
    assert not (attacks[name].parent / "marker").exists()
    error = outcomes[f"attack-{name}"].error
    assert error["kind"] == ("UsageError" if name == "weights" else "ModelError")
    assert error["where"]
    assert error["next_step"]


def test_the_bomb_of_these_tests_does_go_off(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Bomb(tmp_path / "marker"), protocol=2))
    assert (tmp_path / "marker").exists()


def test_without_pytorch_the_command_that_installs_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda *_: None)
    for converter in (TorchExportConverter(), TorchScriptConverter(), StateDictConverter()):
        with pytest.raises(MissingExtraError) as missing:
            converter.version()
        assert missing.value.next_step == "pip install 'edgeproof[torch]'"
