"""Conversions of TensorFlow's files from end to end, each of which imports TensorFlow or converts a real network."""

from pathlib import Path

import numpy as np
import pytest

from kit.errors import ModelError
from kit.model.convert import Converted, convert
from kit.model.session import HostSession
from tests.model.tensorflow_fixtures import (
    PITCH,
    WAKE_WORDS,
    arrays,
    jobs_of,
    needs_interpreter,
    needs_pitch,
    needs_tensorflow,
    needs_wake_words,
    nets,
    sound,
)

__all__ = ["nets"]  # a fixture

pytestmark = pytest.mark.proof

SAMPLES = 43844
"""What the pitch model takes: two seconds at 22050 Hz, less one frame."""


def converted(path: Path, rows: dict[str, np.ndarray]) -> Converted:
    return convert(path, rows=rows if len(rows) > 1 else next(iter(rows.values())))


@needs_tensorflow
@pytest.mark.parametrize("file", ["mlp.keras", "mlp.h5", "two.keras", "gru.h5", "separable.h5", "cnn", "gru"])
def test_every_form_is_verified_on_the_users_rows(file: str, nets: Path) -> None:
    done = converted(nets / file, arrays(nets / f"{file.split('.')[0]}.rows.npz"))
    assert done.conversion is not None
    assert done.conversion.rows == 64
    assert done.conversion.decisions_agree in (64, None)
    assert all(each.max_abs_difference < 1e-4 for each in done.conversion.outputs)


@needs_tensorflow
def test_rows_with_channels_first_are_named_as_that(nets: Path) -> None:
    rows = arrays(nets / "cnn.rows.npz")["image"].transpose(0, 3, 1, 2)
    with pytest.raises(ModelError, match="channels first, and the model wants channels last") as caught:
        convert(nets / "cnn.keras", rows=np.ascontiguousarray(rows))
    assert "transpose(0, 2, 3, 1)" in caught.value.next_step


@needs_tensorflow
def test_a_graph_that_writes_is_refused_end_to_end(nets: Path) -> None:
    with pytest.raises(ModelError, match=r"graph_writes.*WriteFile"):
        convert(nets / "graph_writes")
    assert not (nets / "outside.txt").exists()


@needs_tensorflow
@needs_pitch
def test_a_real_savedmodel_becomes_what_its_makers_onnx_file_is(tmp_path_factory: pytest.TempPathFactory) -> None:
    """It takes logarithms of power, so TensorFlow and onnxruntime differ by some 1e-4 of 1; one runtime does not."""
    rows = sound(7, SAMPLES)
    file = tmp_path_factory.mktemp("sound") / "rows.npz"
    np.savez(file, sound=rows)
    job = {"name": "pitch", "path": str(PITCH / "nmp"), "rows": str(file)}
    jobs = jobs_of(tmp_path_factory, "pitch_jobs", lambda: [job])
    found, source = HostSession(jobs.onnx("pitch")).run(rows), jobs.outputs("pitch", 7)
    theirs = HostSession((PITCH / "nmp.onnx").read_bytes()).run(rows)
    assert found.keys() == source.keys() == {"contour", "note", "onset"}
    for key, values in zip(("onset", "note", "contour"), theirs.values(), strict=True):
        np.testing.assert_allclose(found[key], values, atol=2e-6)
        np.testing.assert_allclose(found[key], source[key], atol=2e-3)
        assert np.ptp(values) > 0.3


@needs_tensorflow
@needs_interpreter
@pytest.mark.parametrize("name", ["cnn.f32", "cnn.f16", "separable.f32", "mlp.dynamic", "two.dynamic"])
def test_every_tflite_form_is_verified_on_the_users_rows(name: str, nets: Path) -> None:
    done = converted(nets / f"{name}.tflite", arrays(nets / f"{name.split('.')[0]}.rows.npz"))
    assert done.conversion is not None
    assert done.conversion.rows == 64
    assert done.conversion.decisions_agree in (64, 63, None)


@needs_interpreter
@needs_wake_words
@pytest.mark.parametrize("word", ["alexa", "hey_jarvis", "okay_nabu"])
def test_streaming_models_are_verified_on_generated_rows(word: str) -> None:
    done = convert(WAKE_WORDS / f"{word}.tflite")
    assert done.conversion is not None
    assert done.conversion.row_source == "generated"
    assert all(each.max_abs_difference <= 1 for each in done.conversion.outputs)
