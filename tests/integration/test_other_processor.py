"""One int8 file on two processors: a real onnxruntime under QEMU as an x86 without VNNI, and what we computed of it."""

import json
import os
import platform
import shutil
from pathlib import Path

import numpy as np
import pytest

from kit.pipeline.evidence import load_bundle
from kit.store import Run
from tests.integration.conftest import ROOT, Edgeproof


@pytest.fixture
def emulator() -> str:
    """QEMU's user mode; where it is missing the test is skipped, except in CI."""
    found = shutil.which("qemu-x86_64-static")
    if platform.machine() == "x86_64" and (found or os.environ.get("CI") == "true"):
        assert found, "CI must have qemu-x86_64-static (package qemu-user-static)"
        return found
    return pytest.skip("needs an x86-64 machine with qemu-x86_64-static (package qemu-user-static)")


def test_the_file_that_holds_elsewhere_fails_there_and_was_foretold_bit_for_bit(
    emulator: str, watch: Path, tmp_path: Path, quick_profile: Path, edgeproof: Edgeproof
) -> None:
    done = edgeproof(
        "certify", ROOT / "examples/watch/watch-cnn.onnx", "--data", watch / "watch.toml", "--json",
        "--profile", quick_profile, "--device", "x86-no-vnni-emulated", "--variant", "int8-per-channel", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    summary = json.loads(done.stdout)
    findings = {r["id"]: r for r in summary["requirements"]}
    assert findings["accuracy"]["verdict"] == "FAIL"
    assert findings["accuracy"]["interval"][0] > 0.3
    assert findings["latency"]["verdict"] == "INCONCLUSIVE", "times under an emulator are no latency"
    assert findings["latency"]["estimate"] is None
    assert "processor" in summary["emulated"]
    (run,) = (tmp_path / "runs").iterdir()
    bundle = load_bundle(Run.load(run))
    (variant,) = bundle.evidence.variants
    assert variant.predictions is not None
    assert variant.saturating_predictions is not None
    assert variant.exact_predictions is not None
    np.testing.assert_array_equal(variant.predictions.scores, variant.saturating_predictions.scores)
    labels = bundle.evidence.dataset.labels
    accuracy = {
        a: (p.decisions == labels).mean()
        for a, p in (("there", variant.predictions), ("exact", variant.exact_predictions))
    }
    assert accuracy["exact"] > 0.8
    assert accuracy["there"] < 0.4
    assert not any("vnni" in name for name in bundle.evidence.device.instruction_sets)
