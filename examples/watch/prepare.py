"""Cut the smartwatch recordings into windows, train a small classifier, and describe both for `edgeproof`.

    python examples/watch/prepare.py OUT_DIR

The recordings come with the package seglearn 1.2.5 (BSD; D. Burns et al., "Shoulder physiotherapy exercise
recognition", 2018, arXiv:1802.01489): 140 recordings of a wrist sensor at 50 Hz, ten people, left and right
arm, seven exercises. Nobody is both in training and in the held-out part.
"""

import argparse
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

if __package__ in (None, ""):  # run as a script: let the sibling module be found
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from examples.bundle import Columns, Part, installed_file, write_dataset

RATE_HZ = 50
WINDOW = 100  # samples: two seconds
STEP = 50  # samples: one second, so that neighbouring windows overlap by half
AXES = 6  # ax ay az (acceleration), wx wy wz (angular rate)
TRAIN_SUBJECTS = range(1, 7)
CALIBRATION_ROWS = 256
SEED = 0
EPOCHS = 60
# The source states no units; the mean acceleration, 1.1, is what a wrist under gravity gives in g.
UNIT = "as recorded (g and rad/s by their size): ax ay az wx wy wz, 100 times, in order of time"


@dataclass(frozen=True)
class Windows:
    """Windows of many recordings, one a row, with what is known about each.

    `x` is float32 [n, 600] in sensor units (six values of the first sample, then of the second, ...);
    `y` int64 [n] indexes `classes`; `side` is "left" or "right"; `subject` and `recording` number them.
    """

    x: npt.NDArray[np.float32]
    y: npt.NDArray[np.int64]
    side: npt.NDArray[np.str_]
    subject: npt.NDArray[np.int64]
    recording: npt.NDArray[np.int64]
    classes: tuple[str, ...]

    def __getitem__(self, rows: npt.NDArray[Any]) -> "Windows":
        """The chosen rows: a boolean mask [n] or integer positions."""
        return Windows(
            x=self.x[rows],
            y=self.y[rows],
            side=self.side[rows],
            subject=self.subject[rows],
            recording=self.recording[rows],
            classes=self.classes,
        )

    def columns(self) -> Columns:
        """The arrays that go into a part of the dataset, under the names the manifest uses."""
        label = np.array(self.classes)[self.y]
        return {
            "x": self.x,
            "label": label,
            "exercise": label,
            "side": self.side,
            "subject": self.subject,
            "recording": self.recording,
        }


def load_windows() -> Windows:
    """All two-second windows of all recordings, in the order of the file."""
    path = installed_file("seglearn", "data/watch_dataset.npy", "seglearn==1.2.5")
    # The array holds lists, which NumPy stores as a pickle; the package is pinned by version and by hash.
    data = np.load(path, allow_pickle=True).item()
    cut = [_cut(recording) for recording in data["X"]]
    of = np.repeat(np.arange(len(cut)), [len(rows) for rows in cut])
    return Windows(
        x=np.concatenate(cut),
        y=data["y"].astype(np.int64)[of],
        side=np.where(data["side"] == 1, "right", "left")[of],
        subject=data["subject"].astype(np.int64)[of],
        recording=of.astype(np.int64),
        classes=tuple(data["y_labels"]),
    )


def _cut(recording: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """Windows [k, 600] of one recording [samples, 6]; an incomplete last window is dropped."""
    starts = range(0, len(recording) - WINDOW + 1, STEP)
    rows = np.stack([recording[start : start + WINDOW].reshape(-1) for start in starts])
    return rows.astype(np.float32)


def split(windows: Windows) -> tuple[Windows, Windows]:
    """Training windows (subjects 1 to 6) and held-out windows (subjects 7 to 10)."""
    train = np.isin(windows.subject, list(TRAIN_SUBJECTS))
    return windows[train], windows[~train]


def calibration(train: Windows) -> Windows:
    """256 training windows in their original order: the full range of every axis, then a seeded draw.

    The windows that hold the smallest and the largest value of each axis come first, since calibration by
    minimum and maximum must see what the sensor can give: here a jolt of -29 in one recording, three times
    the range of most others. It moves the zero point of an int8 input to 177 of 255, and that matters.
    """
    samples = train.x.reshape(len(train.y), WINDOW, AXES)
    extremes = np.union1d(samples.min(axis=1).argmin(axis=0), samples.max(axis=1).argmax(axis=0))
    others = np.setdiff1d(np.arange(len(train.y)), extremes)
    drawn = np.random.default_rng(SEED).choice(others, CALIBRATION_ROWS - len(extremes), replace=False)
    return train[np.union1d(extremes, drawn)]


def axis_scale(train: Windows) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Mean and standard deviation of each of the six axes over the training windows, in sensor units."""
    samples = train.x.reshape(-1, AXES).astype(np.float64)
    return samples.mean(axis=0), samples.std(axis=0)


def train_mlp(train: Windows) -> Any:
    """A scikit-learn MLP 600-128-64-7 that takes raw sensor values.

    It is trained on standardized axes; the scaling is then folded into the first layer, as firmware does:
    (x - m)/s @ W + b  =  x @ (W/s) + (b - m/s @ W). `predict_proba` on raw windows needs no scaler.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    mean, std = (np.tile(values, WINDOW) for values in axis_scale(train))
    scaled = ((train.x - mean) / std).astype(np.float32)
    model = MLPClassifier((128, 64), random_state=SEED, max_iter=EPOCHS)
    # One thread: the order of a sum, and with it the last bit of every weight, must not depend on the cores.
    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore", ConvergenceWarning)  # a fixed number of epochs is what we want
        model.fit(scaled, train.y)
    weights = model.coefs_[0].astype(np.float64)
    model.coefs_[0] = (weights / std[:, None]).astype(np.float32)
    model.intercepts_[0] = (model.intercepts_[0] - (mean / std) @ weights).astype(np.float32)
    del model._optimizer  # Adam's moments: twice the weights, and of no use after training
    return model


def prepare(folder: Path) -> dict[str, Any]:
    """Write `watch-mlp.joblib`, `held-out.npz`, `calibration.npz` and `watch.toml`; return what was made."""
    import joblib

    folder.mkdir(parents=True, exist_ok=True)
    train, held_out = split(load_windows())
    model = train_mlp(train)
    joblib.dump(model, folder / "watch-mlp.joblib")
    parts = [
        Part("test", "held-out.npz", held_out.columns()),
        Part("calibration", "calibration.npz", calibration(train).columns()),
    ]
    manifest = write_dataset(folder, "watch", _tables(train, held_out), parts)
    return {
        "manifest": manifest,
        "train_rows": len(train.y),
        "held_out_rows": len(held_out.y),
        "held_out_recordings": len(np.unique(held_out.recording)),
        "train_accuracy": float(model.score(train.x, train.y)),
        "held_out_accuracy": float(model.score(held_out.x, held_out.y)),
    }


def _tables(train: Windows, held_out: Windows) -> dict[str, dict[str, Any]]:
    """The manifest's tables, less its parts."""
    return {
        "dataset": {
            "name": "watch",
            "description": (
                f"Seven shoulder exercises from a smartwatch at {RATE_HZ} Hz, in two-second windows. "
                f"Held out: subjects {_people(held_out)}; trained on subjects {_people(train)}. Seed {SEED}."
            ),
            "source": "seglearn 1.2.5, seglearn/data/watch_dataset.npy; Burns et al. 2018, arXiv:1802.01489",
            "licence": "BSD-3-Clause",
            "task": "classification",
            "classes": list(held_out.classes),
            "label": "label",
            "cluster": "recording",
            "slices": ["exercise", "side", "subject"],
        },
        "input": {
            "array": "x",
            "dtype": "float32",
            "shape": [WINDOW * AXES],
            "minimum": -50.0,
            "maximum": 50.0,
            "unit": UNIT,
        },
    }


def _people(windows: Windows) -> str:
    return ", ".join(str(subject) for subject in np.unique(windows.subject))


def main() -> None:
    """Command line: prepare everything in OUT_DIR and say in words what was made."""
    parser = argparse.ArgumentParser(description="Prepare the smartwatch example.")
    parser.add_argument("folder", type=Path, metavar="OUT_DIR")
    made = prepare(parser.parse_args().folder)
    print(
        f"Training: {made['train_rows']} two-second windows of subjects 1 to 6.\n"
        f"Held out: {made['held_out_rows']} windows in {made['held_out_recordings']} recordings "
        f"of subjects 7 to 10, whom the model never saw.\n"
        f"Model: MLP 600-128-64-7 on raw sensor values, accuracy {made['held_out_accuracy']:.1%} on held-out "
        f"windows ({made['train_accuracy']:.1%} on those it was trained on).\n"
        f"Dataset: {made['manifest']}"
    )


if __name__ == "__main__":
    main()
