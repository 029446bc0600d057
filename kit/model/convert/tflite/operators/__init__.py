"""TensorFlow Lite's operators as ONNX's, a file for each subject.

What an operator computes is said by the schema (tensorflow/compiler/mlir/lite/schema/schema.fbs: BuiltinOperator and
the options beside it) and by TensorFlow Lite's reference kernels; how its values are quantized, by TensorFlow Lite's
8-bit quantization specification. Every conversion is compared with the interpreter, so a difference is found.
"""

from kit.model.convert.tflite.operators import images, pairs, parts, products, reductions, shapes, unary
from kit.model.convert.tflite.operators.registry import HANDLERS, handles

__all__ = ["HANDLERS", "handles", "images", "pairs", "parts", "products", "reductions", "shapes", "unary"]
