"""Train small networks with Keras and save them in every form; run as a program, since TensorFlow warns and prints.

python -m tests.model.tensorflow_nets FOLDER
"""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": "0", "CUDA_VISIBLE_DEVICES": ""}

import keras
import numpy as np
import tensorflow as tf
from sklearn.datasets import load_breast_cancer, load_digits

EXPECTED_ROWS = 64
Rows = dict[str, np.ndarray]


def main(folder: Path) -> None:
    keras.utils.set_random_seed(0)
    digits, labels = load_digits(return_X_y=True)
    digits = (digits / 16).astype(np.float32)
    nets(folder, digits, labels)
    refused_keras(folder)
    refused_graphs(folder)
    lite(folder, digits)
    operators(folder)


# --- networks, trained where int8 needs scores that differ ----------------------------------------------------------


def nets(folder: Path, digits: np.ndarray, labels: np.ndarray) -> None:
    layers = keras.layers
    image, series = digits.reshape(-1, 8, 8, 1), digits.reshape(-1, 8, 8)
    cancer = load_breast_cancer()
    measures = ((cancer.data - cancer.data.mean(axis=0)) / cancer.data.std(axis=0)).astype(np.float32)
    convolutions = [
        *(layers.Conv2D(8, 3, padding="same"), layers.BatchNormalization(), layers.ReLU()),
        *(layers.DepthwiseConv2D(3, padding="same", strides=2), layers.Conv2D(16, 1, activation="relu")),
        *(layers.Flatten(), layers.Dense(10, activation="softmax", name="digit")),
    ]
    separable = [
        *(layers.SeparableConv1D(16, 3, activation="relu", padding="same"), layers.MaxPool1D(2)),
        *(layers.SeparableConv1D(16, 3, activation="relu"), layers.GlobalAveragePooling1D()),
        layers.Dense(10, activation="softmax", name="digit"),
    ]
    models = {
        "cnn": (keras.Sequential([keras.Input((8, 8, 1), name="image"), *convolutions]), {"image": image}, labels),
        "separable": (keras.Sequential([keras.Input((8, 8), name="series"), *separable]), {"series": series}, labels),
        "mlp": (perceptron(), {"measures": measures}, None),
        "gru": (recurrent(layers.GRU(16)), {"series": series}, None),
        "unrolled": (recurrent(layers.LSTM(16, unroll=True)), {"series": series}, None),
    }
    for name, (model, rows, target) in models.items():
        if target is not None:
            model.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy", jit_compile=False)
            model.fit(*rows.values(), target, epochs=2, batch_size=64, verbose=0)
        save(folder, name, model, rows)
    ink = image.sum(axis=(1, 2, 3)).reshape(-1, 1)
    save(folder, "two", pair(), {"image": image, "extra": np.concatenate([ink, ink**2], axis=1)})


def perceptron() -> Any:
    layers = keras.layers
    hidden = [keras.Input((30,), name="measures"), layers.Dense(40, activation="relu")]
    return keras.Sequential([*hidden, layers.Dense(2, activation="softmax", name="benign")])


def recurrent(layer: Any) -> Any:
    head = keras.layers.Dense(10, activation="softmax", name="digit")
    return keras.Sequential([keras.Input((8, 8), name="series"), layer, head])


def pair() -> Any:
    """Two inputs, two outputs, untrained."""
    image, extra = keras.Input((8, 8, 1), name="image"), keras.Input((2,), name="extra")
    hidden = keras.layers.Flatten()(keras.layers.SeparableConv2D(8, 3, activation="relu")(image))
    hidden = keras.layers.Concatenate()([hidden, extra])
    scores = keras.layers.Dense(10, activation="softmax", name="digit")(hidden)
    return keras.Model([image, extra], [scores, keras.layers.Dense(1, name="ink")(hidden)])


def save(folder: Path, name: str, model: Any, rows: Rows) -> None:
    """Every form of a model, rows, and what Keras predicts for them."""
    rows = {key: values[:EXPECTED_ROWS] for key, values in rows.items()}
    results = model.predict(list(rows.values()), verbose=0)
    names = model.output_names if hasattr(model, "output_names") else [model.layers[-1].name]
    results = results if isinstance(results, list) else [results]
    np.savez(folder / f"{name}.rows.npz", **rows)
    np.savez(folder / f"{name}.expected.npz", **dict(zip(names, results, strict=True)))
    model.save(folder / f"{name}.keras")
    model.save(folder / f"{name}.h5")
    model.export(folder / name, verbose=False)


# --- files that must be refused ------------------------------------------------------------------------------------


@keras.saving.register_keras_serializable(package="shop")
class Doubled(keras.layers.Layer):
    def call(self, values: Any) -> Any:
        return 2 * values


def refused_keras(folder: Path) -> None:
    for name, layer in (("lambda", keras.layers.Lambda(lambda x: x + 1, name="secret")), ("custom", Doubled())):
        model = keras.Sequential([keras.Input((4,)), layer, keras.layers.Dense(2)])
        model.save(folder / f"{name}.keras")
        model.save(folder / f"{name}.h5")
    perceptron().save_weights(folder / "only.weights.h5")


def refused_graphs(folder: Path) -> None:
    outside = str(folder / "outside.txt")
    weight = tf.Variable(tf.ones((4, 2)))

    def reads(x: Any) -> Any:
        return x @ weight + tf.cast(tf.strings.length(tf.io.read_file(outside)), tf.float32)

    def writes(x: Any) -> Any:
        tf.io.write_file(outside, "written")
        return x @ weight

    def prints(x: Any) -> Any:
        tf.print("printed", output_stream=f"file://{outside}")
        return x @ weight

    def calls(x: Any) -> Any:
        return tf.ensure_shape(tf.py_function(lambda rows: rows, [x], tf.float32), (None, 4)) @ weight

    def restores(x: Any) -> Any:
        found = tf.raw_ops.RestoreV2(prefix=outside, tensor_names=["w"], shape_and_slices=[""], dtypes=[tf.float32])
        return x @ weight + tf.reshape(found[0], (1, 1))

    cases: dict[str, Callable[[Any], Any]] = {
        "plain": lambda x: x @ weight,
        "reads": reads,
        "writes": writes,
        "prints": prints,
        "calls": calls,
        "restores": restores,
        "unknown": lambda x: tf.math.bessel_i0(x @ weight),
    }
    floats = tf.TensorSpec((None, 4), tf.float32, name="x")
    for name, case in cases.items():
        save_graph(folder / f"graph_{name}", weight, {"serving_default": (case, floats)})
    words = tf.TensorSpec((None,), tf.string, name="x")
    save_graph(folder / "graph_text", weight, {"serving_default": (tf.strings.length, words)})
    save_graph(folder / "graph_only", weight, {"score": (cases["plain"], floats)})
    save_graph(folder / "graph_several", weight, dict.fromkeys(("first", "second"), (cases["plain"], floats)))


def save_graph(path: Path, weight: Any, signatures: dict[str, tuple[Callable[[Any], Any], Any]]) -> None:
    module = tf.Module()
    module.weight = weight
    functions = {name: served(case, spec) for name, (case, spec) in signatures.items()}
    module.functions = list(functions.values())
    tf.saved_model.save(module, str(path), functions)


def served(case: Callable[[Any], Any], spec: Any) -> Any:
    return tf.function(lambda x: {"y": case(x)}, input_signature=[spec])


# --- TensorFlow Lite -----------------------------------------------------------------------------------------------

FORMS = {
    "cnn": ("f32", "f16", "dynamic", "inside", "int8", "16x8"),
    "separable": ("f32", "int8"),
    "unrolled": ("int8",),
    "mlp": ("dynamic",),
    "two": ("f32", "dynamic"),
}
"""inside: int8 with floats at the interface; int8: whole; 16x8: activations of 16 bits."""

_SHAPES = {"cnn": (1, 8, 8, 1), "separable": (1, 8, 8), "unrolled": (1, 8, 8)}


def lite(folder: Path, digits: np.ndarray) -> None:
    for name, forms in FORMS.items():

        def rows(name: str = name) -> Iterator[list[np.ndarray]]:
            for row in digits[:100]:
                yield [row.reshape(_SHAPES[name])]

        prepare: dict[str, Callable[[Any], None]] = {
            "f32": lambda _: None,
            "f16": halved,
            "dynamic": dynamic,
            "inside": lambda each, rows=rows: calibrated(each, rows),
            "int8": lambda each, rows=rows: whole(each, rows),
            "16x8": lambda each, rows=rows: wide(each, rows),
        }
        for form in forms:
            converter = tf.lite.TFLiteConverter.from_saved_model(str(folder / name))
            prepare[form](converter)
            (folder / f"{name}.{form}.tflite").write_bytes(converter.convert())


def dynamic(converter: Any) -> None:
    converter.optimizations = [tf.lite.Optimize.DEFAULT]


def halved(converter: Any) -> None:
    dynamic(converter)
    converter.target_spec.supported_types = [tf.float16]


def calibrated(converter: Any, rows: Any) -> None:
    """int8 inside, float at the interface."""
    dynamic(converter)
    converter.representative_dataset = rows


def whole(converter: Any, rows: Any) -> None:
    """int8 at the interface too."""
    calibrated(converter, rows)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8


def wide(converter: Any, rows: Any) -> None:
    calibrated(converter, rows)
    wider = tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
    converter.target_spec.supported_ops = [wider]


def operators(folder: Path) -> None:
    """Every kind of operator, an output each, on images [rows, 6, 6, 4]; some of them in int8 too."""
    cases = operator_cases()
    (folder / "operators.tflite").write_bytes(function_lite(cases))
    some = (
        "residual",
        "joined",
        "peaks",
        "average",
        "pads",
        "sums",
        "splits",
        "waves",
        "blocks",
        "transposed",
        "resize",
    )
    (folder / "operators.int8.tflite").write_bytes(function_lite({name: cases[name] for name in some}, quantized=True))
    (folder / "cumulative.tflite").write_bytes(function_lite({"y": lambda x: tf.cumsum(x, 1)}))


def operator_cases() -> dict[str, Callable[[Any], Any]]:
    random = np.random.default_rng(0)

    def weights(*shape: int) -> Any:
        return tf.constant(random.normal(size=shape), tf.float32)

    v1 = tf.compat.v1.image
    return {
        "activations": lambda x: tf.nn.relu6(x) + tf.nn.elu(x) + tf.nn.leaky_relu(x, 0.3) + tf.abs(tf.nn.tanh(x)),
        "hard_swish": lambda x: x * tf.nn.relu6(x + 3) / 6,
        "prelu": lambda x: tf.nn.relu(x) - tf.constant([0.1, 0.2, 0.3, 0.4]) * tf.nn.relu(-x),
        "rounding": lambda x: tf.floor(x) + tf.math.ceil(x * 2) + tf.round(x * 3) + tf.sign(x),
        "roots": lambda x: tf.sqrt(tf.abs(x)) + tf.math.rsqrt(tf.abs(x) + 1) + tf.exp(x) + tf.math.log(tf.abs(x) + 1),
        "waves": lambda x: tf.sin(x) + tf.cos(x) + tf.sigmoid(-x) + tf.square(x),
        "pairs": lambda x: tf.maximum(x, 0.2) + tf.minimum(x, 0.5) - x / (tf.abs(x) + 1) + tf.pow(tf.abs(x), 1.5),
        "difference": lambda x: tf.math.squared_difference(x, x[:, :1]),
        "compare": lambda x: (
            tf.where(tf.logical_and(x > 0, tf.logical_not(x >= 1)), x, -x) + tf.cast(x < 0.3, tf.float32)
        ),
        "equal": lambda x: tf.cast(tf.logical_or(tf.equal(x, 0.0), tf.not_equal(tf.floor(x), 0.0)), tf.float32),
        "softmax": lambda x: tf.nn.softmax(x) + tf.nn.log_softmax(x),
        "normalize": lambda x: tf.math.l2_normalize(x, axis=-1),
        "mean": lambda x: tf.reduce_mean(x, [1, 2]) + tf.reduce_max(x, [1, 2]) - tf.reduce_min(x, [1, 2]),
        "sums": lambda x: tf.reduce_sum(x, -1, keepdims=True) + tf.reduce_prod(x, -1, keepdims=True),
        "argmax": lambda x: tf.cast(tf.argmax(x, -1), tf.float32) + tf.cast(tf.argmin(x, -1), tf.float32),
        "convolution": lambda x: tf.nn.conv2d(x, weights(3, 3, 4, 6), 2, "SAME") + weights(6),
        "dilated": lambda x: tf.nn.conv2d(x, weights(3, 3, 4, 6), 1, "VALID", dilations=2),
        "depthwise": lambda x: tf.nn.depthwise_conv2d(x, weights(3, 3, 4, 2), [1, 1, 1, 1], "SAME"),
        "transposed": lambda x: tf.nn.conv2d_transpose(x, weights(3, 3, 5, 4), [tf.shape(x)[0], 12, 12, 5], 2, "SAME"),
        "peaks": lambda x: tf.nn.max_pool2d(x, 3, 2, "SAME"),
        "average": lambda x: tf.nn.avg_pool2d(x, 3, 2, "SAME"),
        "dense": lambda x: tf.nn.relu(tf.reshape(x, (-1, 144)) @ weights(144, 5) + weights(5)),
        "matmul": lambda x: tf.linalg.matmul(x, x, transpose_b=True),
        "resize": lambda x: tf.image.resize(x, (9, 12)) + tf.image.resize(x, (9, 12), "nearest"),
        "resize_corners": lambda x: v1.resize_bilinear(x, (11, 11), align_corners=True),
        "resize_old": lambda x: v1.resize_bilinear(x, (12, 12)) + v1.resize_nearest_neighbor(x, (12, 12)),
        "pads": lambda x: (
            tf.pad(x, [[0, 0], [1, 2], [0, 1], [0, 0]]) + tf.pad(x, [[0, 0], [1, 2], [1, 0], [0, 0]], "REFLECT")
        ),
        "pad_value": lambda x: tf.pad(x, [[0, 0], [1, 0], [0, 0], [2, 0]], constant_values=1.5),
        "slices": lambda x: x[:, ::2, -3:, :2] + x[:, ::-2, :3, 2:] + tf.slice(x, [0, 1, 2, 0], [-1, 3, 3, 2]),
        "shrink": lambda x: x[:, 2] + x[:, -1],
        "splits": lambda x: tf.concat(tf.split(x, 2, -1)[::-1] + list(tf.split(x, [1, 3], -1)), -1),
        "stack": lambda x: tf.stack([x, -x], 1),
        "unstack": lambda x: sum(tf.unstack(x, axis=1)[1:], tf.unstack(x, axis=1)[0]),
        "gather": lambda x: tf.gather(x, [3, 0, 1], axis=2),
        "shapes": lambda x: tf.squeeze(tf.expand_dims(tf.transpose(x, (0, 2, 1, 3)), 1), 1),
        "tile": lambda x: tf.tile(x, [1, 2, 1, 1]),
        "fill": lambda x: x + tf.fill(tf.shape(x), 0.25),
        "broadcast": lambda x: x * tf.broadcast_to(x[:, :1], tf.shape(x)),
        "blocks": lambda x: tf.nn.depth_to_space(tf.nn.space_to_depth(x, 2), 2) + tf.nn.relu(x),
        "residual": lambda x: tf.nn.relu(x + tf.nn.conv2d(x, weights(3, 3, 4, 4), 1, "SAME")) * weights(4),
        "joined": lambda x: tf.concat([tf.nn.conv2d(x, weights(1, 1, 4, 2), 1, "SAME"), tf.nn.relu(x)], -1),
    }


def function_lite(cases: dict[str, Callable[[Any], Any]], *, quantized: bool = False) -> bytes:
    module = tf.Module()
    module.function = tf.function(
        lambda x: {name: tf.identity(case(x)) for name, case in cases.items()},
        input_signature=[tf.TensorSpec((None, 6, 6, 4), tf.float32, name="x")],
    )
    concrete = module.function.get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], module)
    if quantized:
        random = np.random.default_rng(1)
        rows = [[random.normal(size=(1, 6, 6, 4)).astype(np.float32)] for _ in range(20)]
        calibrated(converter, lambda: iter(rows))
    return bytes(converter.convert())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
