"""The demo: three scenes of the main job on real models and real data, each one `edgeproof` command.

Usage: python examples/demo.py OUT_DIR
"""

import os
import platform
import shutil
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

EXAMPLES = Path(os.path.relpath(Path(__file__).parent))
VERDICTS = {0: "PASS", 1: "FAIL", 3: "INCONCLUSIVE"}


@dataclass(frozen=True)
class Scene:
    """A title, what to look for, and the words of the command."""

    title: str
    story: str
    words: tuple[str, ...]


def scenes(out: Path) -> list[Scene]:
    """The scenes, with the files that `prepare` has made below `out`."""
    watch = (
        "--data",
        str(out / "watch" / "watch.toml"),
        "--profile",
        "wearable",
        "--device",
        "watch-emulated",
    )
    cnn = ("certify", str(EXAMPLES / "watch" / "watch-cnn.onnx"), *watch)
    faces = ("--data", str(out / "faces" / "faces.toml"), "--profile", "face-detector", "--device", "local")
    found = [
        Scene(
            "a scikit-learn classifier of a smartwatch",
            "Is there an int8 variant that decides like the float model, in every slice and on every processor?",
            ("certify", str(out / "watch" / "watch-mlp.joblib"), "--trust-pickle", *watch),
        ),
        Scene(
            "a convolutional network, quantized the usual way",
            "One file, two processors: fine where int8 sums are exact, worthless on an x86 without VNNI.",
            (*cnn, "--variant", "int8-per-channel"),
        ),
        Scene(
            "the same network, and the variant that holds",
            "The cheapest variant that meets the whole profile is found, proved and certified.",
            cnn,
        ),
        Scene(
            "a face detector that was not trained here",
            "The same command on someone else's model, data and limits.",
            ("certify", str(out / "faces" / "rnet.onnx"), *faces),
        ),
    ]
    if platform.machine() == "x86_64" and shutil.which("qemu-x86_64-static"):
        found.insert(2, elsewhere(cnn[:-1]))
    return found


def elsewhere(words: tuple[str, ...]) -> Scene:
    """The failing variant where it fails: a real runtime on an emulated processor."""
    return Scene(
        "the same file on an emulated x86 without VNNI",
        "No prediction this time: a real onnxruntime on a processor that QEMU emulates. Its times are no latency.",
        (*words, "x86-no-vnni-emulated", "--variant", "int8-per-channel"),
    )


def prepare(out: Path) -> None:
    """Make the real input of every scene."""
    for name in ("watch", "faces"):
        subprocess.run([sys.executable, str(EXAMPLES / name / "prepare.py"), str(out / name)], check=True)


def play(number: int, scene: Scene, runs: Path) -> tuple[str, Path]:
    """Run one scene and return its verdict and its report; exits as the command does if it could not be judged."""
    words = (*scene.words, "--runs", str(runs))
    print(f"\n── Scene {number}: {scene.title} ──")
    print(textwrap.fill(scene.story, 100))
    print("$ edgeproof " + " ".join(words) + "\n", flush=True)
    done = subprocess.run([sys.executable, "-m", "kit", *words], check=False)
    if done.returncode not in VERDICTS:
        sys.exit(done.returncode)
    return VERDICTS[done.returncode], max(runs.iterdir()) / "report.html"


def main() -> None:
    """Prepare, play every scene, and end with the reports."""
    out = Path(sys.argv[1])
    runs = out / "runs"
    prepare(out)
    played = [(scene, *play(number, scene, runs)) for number, scene in enumerate(scenes(out), start=1)]
    print("\n── What came of it ──")
    for scene, verdict, report in played:
        print(f"{verdict:<13} {scene.title}\n{'':<13} {report}")
    print(f"\nOpen in a browser: {played[-2][2]}")


if __name__ == "__main__":
    main()
