"""What a manifest says of its task: which keys hold the truth, and how the model's outputs are read."""

from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from kit.records import ScoreRule, TaskName
from kit.spec.lines import KeyPath
from kit.spec.shapes import ColumnName
from kit.spec.text import nearest
from kit.spec.toml import Document
from kit.spec.types import OutputSpec

OutputName = Annotated[str, Meta(min_length=1, max_length=1000, description="name of one of the model's outputs")]


class OutputTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the model's outputs are read; most models of one output need none of it."""

    name: OutputName | None = None
    scores: (
        Annotated[
            Literal["probabilities", "logits", "values"], Meta(description="what the scores are; guessed if not said")
        ]
        | None
    ) = None
    threshold: Annotated[float, Meta(description="scores from it on are a yes")] | None = None
    class_axis: Annotated[Literal["last", "first"], Meta(description="where the classes are, beside the frames")] = (
        "last"
    )
    decode: Annotated[Literal["argmax", "ctc"], Meta(description="how steps become tokens")] = "argmax"
    blank: Annotated[Literal["first", "last"], Meta(description="where CTC's blank is among the outputs")] = "last"
    end: Annotated[ColumnName, Meta(description="the token after which nothing is said (argmax)")] | None = None
    separator: Annotated[ColumnName, Meta(description="the token between two words; else each token is one")] | None = (
        None
    )
    boxes: OutputName | None = None
    confidences: OutputName | None = None
    labels: OutputName | None = None
    box_format: Annotated[
        Literal["ltrb", "ltwh", "cxcywh"], Meta(description="left top right bottom; width height; centre")
    ] = "ltrb"
    first_class: Annotated[int, Meta(ge=0, le=1, description="number of the first class in the model's labels")] = 0


@dataclass(frozen=True, slots=True)
class TaskRule:
    """Keys of [dataset] that hold a task's truth (one set of them), how few classes it has, and keys of [output]."""

    truth: tuple[str, ...]
    least_classes: int
    most_classes: int = 100_000
    output: tuple[str, ...] = ()
    is_truth_needed: bool = True


TASKS: dict[TaskName, TaskRule] = {
    "classification": TaskRule(("label",), 2, output=("scores",)),
    "multilabel": TaskRule(("labels", "label"), 1, output=("scores", "threshold")),
    "regression": TaskRule(("targets",), 0, 0),
    "anomaly": TaskRule(("label",), 2, 2, output=("scores", "threshold")),
    "sequence": TaskRule(("label",), 1, output=("class_axis", "decode", "blank", "end", "separator")),
    "frames": TaskRule(("label",), 2, output=("class_axis",)),
    "embedding": TaskRule(("label",), 0, is_truth_needed=False),
    "detection": TaskRule(
        ("boxes",), 1, output=("boxes", "confidences", "labels", "box_format", "first_class", "threshold")
    ),
}
"""By task; `name` of [output] may always be given, but for detection, which has three names."""

_TRUTH = ("label", "labels", "targets", "boxes")


def check_task(document: Document, table: msgspec.Struct, output: OutputTable | None) -> None:
    """The keys of a manifest fit its task. Raises SpecError with the key's line.

    Args:
        document: the manifest.
        table: its [dataset].
        output: its [output].
    """
    task: TaskName = table.task  # type: ignore[attr-defined]
    rule, names = TASKS[task], table.classes  # type: ignore[attr-defined]
    given = [key for key in _TRUTH if getattr(table, key)]
    for key in given:
        if key not in rule.truth:
            step = f"remove it; the truth of {task} is in {' or '.join(rule.truth)}"
            raise document.error(("dataset", key), f"is no key of the task {task}", step)
    if len(given) > 1 or (rule.is_truth_needed and not given):
        what = f"the task {task} needs {' or '.join(rule.truth)}" + (", and not both" if given else "")
        raise document.error(("dataset", given[1] if given else "task"), what, "name the column of the truth")
    if not rule.least_classes <= len(names) <= rule.most_classes:
        most = "" if rule.most_classes > 2 else f" and at most {rule.most_classes}"
        what = f"the task {task} has at least {rule.least_classes}{most} classes, and {len(names)} are named"
        raise document.error(("dataset", "classes" if names else "task"), what, "correct `classes`")
    if output is not None:
        _check_output(document, task, names, output)


def _check_output(document: Document, task: TaskName, classes: tuple[str, ...], output: OutputTable) -> None:
    defaults, rule = OutputTable(), TASKS[task]
    allowed = (*rule.output, *(() if task == "detection" else ("name",)))
    for key in OutputTable.__struct_fields__:
        if getattr(output, key) != getattr(defaults, key) and key not in allowed:
            step = f"remove it; keys of {task} are {', '.join(allowed)}"
            raise document.error(("output", key), f"is no key of the task {task}", step)
    for key in ("end", "separator"):
        name: str | None = getattr(output, key)
        if name is not None and name not in classes:
            raise document.error(("output", key), f'"{name}" is not one of the classes', nearest(name, classes))
    if output.end is not None and output.decode == "ctc":
        raise document.error(("output", "end"), "CTC says nothing after its end: it has none", "remove it")
    if task == "detection":
        _check_names(document, output)


def _check_names(document: Document, output: OutputTable) -> None:
    names: list[tuple[KeyPath, str | None]] = [
        (("output", key), getattr(output, key)) for key in ("boxes", "confidences", "labels")
    ]
    for key, name in names:
        if name is None:
            what = f"detection needs the name of the model's output of {key[1]}"
            raise document.error(
                ("output",), what, 'name all three: boxes = "...", confidences = "...", labels = "..."'
            )


def score_rule(output: OutputTable | None, classes: tuple[str, ...]) -> ScoreRule:
    """How scores are read, for the record."""
    if output is None:
        return ScoreRule()
    separator = None if output.separator is None else classes.index(output.separator)
    return ScoreRule(output.scores or "", output.threshold, separator)


def output_spec(output: OutputTable | None, classes: tuple[str, ...]) -> OutputSpec:
    """How outputs become answers."""
    if output is None:
        return OutputSpec()
    names = tuple(name for name in (output.boxes, output.confidences, output.labels) if name is not None)
    return OutputSpec(
        class_axis=output.class_axis,
        decode=output.decode,
        blank=output.blank,
        end=None if output.end is None else classes.index(output.end),
        detection=names if len(names) == 3 else (),
        box_format=output.box_format,
        first_class=output.first_class,
    )
