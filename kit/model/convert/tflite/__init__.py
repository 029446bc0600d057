"""TensorFlow Lite files: float, float16, dynamic-range and int8 models, and streaming models with state."""

from kit.model.convert.tflite.converter import TFLiteConverter

__all__ = ["TFLiteConverter"]
