"""One int8 file on ARM and on x86 without VNNI: the real onnxruntime on both, emulated, and both as we compute them."""

import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from kit.device import Device, open_device
from kit.device.aarch64 import open_aarch64, setup
from kit.errors import DeviceError
from kit.model.load import LoadedModel, load_onnx
from kit.model.quantize import make_variant
from kit.model.saturation import predict_on_saturating_x86
from kit.pipeline.evidence import load_bundle
from kit.spec.dataset import load_dataset
from kit.spec.device import load_device
from kit.spec.recipe import parse_recipe
from kit.spec.types import Dataset
from kit.store import Run
from tests import device_kit as kits
from tests.integration.conftest import QUICK_PROFILE

ROOT = Path(__file__).parents[2]
ROWS = 240
NEEDED = ("mmdebstrap", "qemu-aarch64-static")
X86 = shutil.which("qemu-x86_64-static") if platform.machine() in ("x86_64", "AMD64") else None
RECIPES = ("int8-per-channel", "int8-per-tensor", "int8-per-channel-reduced")
Scores = NDArray[np.float32]

pytestmark = [
    pytest.mark.proof,
    pytest.mark.skipif(not all(map(shutil.which, NEEDED)), reason=f"needs {' and '.join(NEEDED)}"),
]


@pytest.fixture(scope="module", autouse=True)
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The root folder, set up from nothing in a data folder of its own; how long that took is printed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("data")))
        start_s = time.monotonic()
        folder = setup(lambda step: print(f"  {step}"))
        size_bytes = sum(file.lstat().st_size for file in folder.rglob("*") if file.is_file() and not file.is_symlink())
        print(f"  set up in {time.monotonic() - start_s:.1f} s, {size_bytes / 1e6:.0f} MB")
        yield folder


@pytest.fixture(scope="module")
def arm() -> Iterator[Device]:
    start_s = time.monotonic()
    device = open_device(load_device("arm64-emulated"))
    print(f"  answers {time.monotonic() - start_s:.1f} s after it was started")
    yield device
    device.close()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("watch")
    subprocess.run([sys.executable, ROOT / "examples/watch/prepare.py", folder], check=True, capture_output=True)
    return folder / "watch.toml"


@pytest.fixture(scope="module")
def watch(data: Path) -> Dataset:
    return load_dataset(data)


@pytest.fixture(scope="module")
def reference() -> LoadedModel:
    return load_onnx(ROOT / "examples/watch/watch-cnn.onnx")


@pytest.fixture(scope="module")
def variants(reference: LoadedModel, watch: Dataset) -> dict[str, bytes]:
    assert watch.calibration is not None
    part = watch.calibration
    made = {name: make_variant(reference, parse_recipe(name), part.inputs, part.record.data_digest) for name in RECIPES}
    return {name: variant.data for name, variant in made.items()}


@pytest.fixture(scope="module")
def rows(watch: Dataset) -> Scores:
    """Evenly spread over the held-out rows, so that every kind of them is there."""
    inputs = watch.test.inputs
    return inputs[np.linspace(0, len(inputs) - 1, ROWS).astype(int)].astype(np.float32)


@pytest.fixture(scope="module")
def on_arm(arm: Device, variants: dict[str, bytes], rows: Scores) -> dict[str, Scores]:
    start_s = time.monotonic()
    found = {name: arm.predict(arm.deploy(model), rows, output=None, exact=False) for name, model in variants.items()}
    print(f"  {(time.monotonic() - start_s) / ROWS / len(found) * 1e3:.1f} ms an inference of the int8 watch model")
    return found


def test_it_says_that_it_is_emulated_whatever_the_device_file_says(arm: Device) -> None:
    who = arm.identify()
    assert who.architecture == "aarch64"
    assert who.cpu_model == "cortex-a76 (QEMU)"
    assert {"asimd", "asimddp"} <= set(who.instruction_sets)
    assert "sve" not in who.instruction_sets
    undeclared = open_device(kits.device_spec(name="arm", link="aarch64:cortex-a76", timeout_s=120.0))
    try:
        (said,) = undeclared.identify().emulated
    finally:
        undeclared.close()
    assert said.startswith("processor (user-mode emulation")


def test_the_host_s_own_runtime_version(arm: Device) -> None:
    import onnxruntime

    assert arm.identify().runtime_version == onnxruntime.__version__


def test_it_has_no_method_for_memory(arm: Device, variants: dict[str, bytes], rows: Scores) -> None:
    digest = arm.deploy(variants[RECIPES[0]])
    assert arm.measure_memory(digest, rows, sessions=1) is None


@pytest.mark.parametrize("recipe", RECIPES)
def test_arm_equals_the_exact_integer_evaluation_bit_for_bit(
    recipe: str, on_arm: dict[str, Scores], variants: dict[str, bytes], rows: Scores
) -> None:
    exact = predict_on_saturating_x86(variants[recipe], rows, saturate=False)
    assert on_arm[recipe].shape == exact.outputs.shape
    np.testing.assert_array_equal(on_arm[recipe], exact.outputs)


def test_arm_ignores_the_request_for_exact_sums_since_its_own_are(
    arm: Device, on_arm: dict[str, Scores], variants: dict[str, bytes], rows: Scores
) -> None:
    recipe = RECIPES[0]
    again = arm.predict(arm.deploy(variants[recipe]), rows[:40], output=None, exact=True)
    np.testing.assert_array_equal(again, on_arm[recipe][:40])


def test_the_float_model_agrees_with_the_host_to_rounding(arm: Device, reference: LoadedModel, rows: Scores) -> None:
    import onnxruntime

    model = reference.data
    there = arm.predict(arm.deploy(model), rows[:60], output=None, exact=False)
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    here = np.concatenate([session.run(None, {name: row[None]})[0] for row in rows[:60]])
    np.testing.assert_allclose(there, here, rtol=1e-4, atol=1e-4)


@pytest.mark.skipif(X86 is None, reason="needs an x86-64 machine with qemu-x86_64-static")
def test_x86_without_vnni_decides_otherwise_exactly_as_computed(
    on_arm: dict[str, Scores], variants: dict[str, bytes], rows: Scores
) -> None:
    device = open_device(load_device("x86-no-vnni-emulated"))
    try:
        on_x86 = {n: device.predict(device.deploy(m), rows, output=None, exact=False) for n, m in variants.items()}
    finally:
        device.close()
    for recipe in RECIPES:
        computed = predict_on_saturating_x86(variants[recipe], rows)
        np.testing.assert_array_equal(on_x86[recipe], computed.outputs, err_msg=recipe)
        decided, foretold = (
            scores.argmax(axis=1) != on_arm[recipe].argmax(axis=1) for scores in (on_x86[recipe], computed.outputs)
        )
        np.testing.assert_array_equal(decided, foretold)
        gap = np.abs(on_x86[recipe] - on_arm[recipe]).max()
        words = f"{decided.sum()} of {ROWS} decisions differ, {computed.saturated_pairs} pairs saturate"
        print(f"  {recipe}: {words}, largest difference {gap:.3g}")
        assert (computed.saturated_pairs == 0) is (recipe == "int8-per-channel-reduced")
        assert np.array_equal(on_x86[recipe], on_arm[recipe]) is (computed.saturated_pairs == 0)
    assert (on_x86[RECIPES[0]].argmax(axis=1) != on_arm[RECIPES[0]].argmax(axis=1)).any()


def test_two_agents_in_one_root(
    root: Path, rows: Scores, variants: dict[str, bytes], on_arm: dict[str, Scores]
) -> None:
    first, second = (open_device(load_device("arm64-emulated")) for _ in range(2))
    try:
        for device in (first, second):
            scores = device.predict(device.deploy(variants[RECIPES[0]]), rows[:20], output=None, exact=False)
            np.testing.assert_array_equal(scores, on_arm[RECIPES[0]][:20])
        assert first.process_id() != second.process_id()
    finally:
        first.close()
        second.close()
    assert len(list((root / "opt/agent").glob("*.pyz"))) == 1


def test_setup_again_does_nothing_and_says_so(root: Path) -> None:
    before, told = (root / "edgeproof.json").stat(), []
    assert setup(told.append) == root
    assert told == [f"the emulated cortex-a76 is already set up in {root}"]
    assert (root / "edgeproof.json").stat() == before


def test_what_a_killed_setup_left_is_no_device_and_the_next_setup_is_whole(tmp_path: Path) -> None:
    environment = os.environ | {"XDG_DATA_HOME": str(tmp_path)}
    code = "from kit.device.aarch64 import setup; setup(lambda step: print(step, flush=True))"
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
    ) as killed:
        assert killed.stdout is not None
        assert killed.stdout.readline().startswith("1 of 4")
        assert killed.stdout.readline().startswith("2 of 4")
        killed.kill()
    folder = tmp_path / "edgeproof/arm64"
    assert (folder / ".cortex-a76.new").exists()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(tmp_path))
        with pytest.raises(DeviceError, match="not set up"):
            open_aarch64(load_device("arm64-emulated"))
        whole = setup()
        assert sorted(each.name for each in folder.iterdir()) == [".cortex-a76.lock", "cortex-a76"]
        assert "cortex-a76 (QEMU)" in (whole / "proc/cpuinfo").read_text()
        shutil.rmtree(whole)


def test_certify_decides_on_arm_and_takes_none_of_its_times(data: Path, tmp_path: Path) -> None:
    (tmp_path / "quick.toml").write_text(QUICK_PROFILE)
    words = ["certify", ROOT / "examples/watch/watch-cnn.onnx", "--data", data, "--profile", tmp_path / "quick.toml"]
    words += ["--device", "arm64-emulated", "--variant", "int8-per-channel", "--json"]
    start_s = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "kit", *map(str, words)], cwd=tmp_path, capture_output=True, text=True, timeout=900,
        env=os.environ | {"NO_COLOR": "1", "PYTHONPATH": str(ROOT)}, check=False,
    )  # fmt: skip
    print(f"  certify took {time.monotonic() - start_s:.0f} s")
    assert done.returncode in (0, 1, 3), done.stdout + done.stderr
    summary = json.loads(done.stdout)
    assert "processor" in summary["emulated"]
    findings = {each["id"]: each for each in summary["requirements"]}
    assert findings["accuracy"]["verdict"] == "PASS"
    assert findings["latency"]["verdict"] == "INCONCLUSIVE", "times under an emulator are no latency"
    (run,) = (tmp_path / "runs").iterdir()
    (variant,) = load_bundle(Run.load(run)).evidence.variants
    assert variant.predictions is not None
    assert variant.exact_predictions is not None
    np.testing.assert_array_equal(variant.predictions.scores, variant.exact_predictions.scores)
