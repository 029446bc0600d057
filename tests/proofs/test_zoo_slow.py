"""The largest models that come inside packages, quantized statically, and all nine light networks of ONNX."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from kit.model.load import load_onnx
from kit.model.quantize import VariantMaker
from kit.model.session import HostSession
from kit.spec.recipe import parse_recipe
from tests.model.test_zoo import SLOW, check
from tests.model.zoo import ZOO

pytestmark = pytest.mark.proof

DATA = "sha256:" + "a" * 64
LIGHT = sorted((Path(onnx.__file__).parent / "backend" / "test" / "data" / "light").glob("light_*.onnx"))


@pytest.mark.parametrize("name", SLOW)
@pytest.mark.parametrize("recipe", ["int8-per-tensor", "int8-per-channel", "int8-s8s8", "int8-u8u8"])
def test_the_largest_quantize_statically(name: str, recipe: str) -> None:
    """The detector and the recogniser fail in onnxruntime's quantizer until they are prepared."""
    expected = ZOO[name].static
    assert isinstance(expected, float)
    record = check(name, recipe, 1.1 * expected)
    assert record is not None
    assert record.saturation.quantized_nodes > 30


@pytest.mark.parametrize("path", LIGHT, ids=lambda path: path.stem)
def test_light_networks_load_run_and_quantize(path: Path) -> None:
    model = load_onnx(path)
    (wanted,) = model.record.inputs
    rows = np.random.default_rng(0).uniform(size=(1, *wanted.shape[1:])).astype(np.float32)
    (before,) = HostSession(model.data).run(rows).values()
    variant = VariantMaker(model, rows, DATA).make(parse_recipe("int8-per-tensor"))
    (after,) = HostSession(variant.data, exact=True).run(rows).values()
    assert variant.record.saturation.quantized_nodes > 5
    assert variant.record.model.size_bytes < 1.5 * model.record.size_bytes
    assert before.shape == after.shape
    assert np.isfinite(after).all()


def test_there_are_nine() -> None:
    assert len(LIGHT) == 9
