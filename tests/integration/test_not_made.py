"""A model that cannot be quantized is judged in float, and the report says which variants were not made and why."""

import json
from pathlib import Path

import joblib
import numpy as np
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier

from kit.digest import digest_file
from tests.integration.conftest import Edgeproof

MANIFEST = """
[dataset]
name = "digits"
description = "Handwritten digits, 8 x 8 pixels"
task = "classification"
classes = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]
label = "label"
slices = []

[input]
array = "x"
dtype = "float32"
shape = [64]
"""


def make(folder: Path) -> None:
    """A forest and its dataset."""
    x, y = load_digits(return_X_y=True)
    forest = RandomForestClassifier(10, random_state=0).fit(x[:900].astype(np.float32), y[:900])
    joblib.dump(forest, folder / "forest.joblib")
    text = MANIFEST
    for role, rows in (("test", slice(900, None)), ("calibration", slice(0, 100))):
        path = folder / f"{role}.npz"
        np.savez(path, x=x[rows].astype(np.float32), label=y[rows].astype(np.int64))
        digest = digest_file(path).removeprefix("sha256:")
        text += f'\n[[part]]\nrole = "{role}"\npath = "{path.name}"\nrows = {len(y[rows])}\nsha256 = "{digest}"\n'
    (folder / "digits.toml").write_text(text)


def test_a_forest_is_judged_in_float_and_says_so(tmp_path: Path, edgeproof: Edgeproof, quick_profile: Path) -> None:
    make(tmp_path)
    lines = quick_profile.read_text().split("[[require]]")
    quick_profile.write_text("[[require]]".join(part for part in lines if 'by = ["side"]' not in part))
    words = ("certify", "forest.joblib", "--trust-pickle", "--data", "digits.toml", "--profile", quick_profile)
    done = edgeproof(*words, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads(done.stdout)
    assert [v["name"] for v in summary["variants"]] == ["fp32"]
    (warning,) = [w for w in summary["warnings"] if w.startswith("Not made")]
    assert "int8-per-channel and int8-per-channel-reduced" in warning
    assert "TreeEnsembleClassifier" in warning


def test_a_model_of_which_no_variant_can_be_made_is_a_failed_conversion(
    tmp_path: Path, edgeproof: Edgeproof, quick_profile: Path
) -> None:
    make(tmp_path)
    lines = quick_profile.read_text().replace('"fp32", ', "").split("[[require]]")
    quick_profile.write_text("[[require]]".join(part for part in lines if 'by = ["side"]' not in part))
    words = ("certify", "forest.joblib", "--trust-pickle", "--data", "digits.toml", "--profile", quick_profile)
    done = edgeproof(*words, cwd=tmp_path)
    assert done.returncode == 6, done.stdout + done.stderr
    assert "no variant of the profile can be made" in done.stderr
    assert "Traceback" not in done.stderr
