"""`edgeproof convert`: any source model to a verified ONNX file."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kit.cli.options import common_options, quiet_option, trust_pickle_option
from kit.cli.output import print_json, say, tell
from kit.errors import InterruptError

if TYPE_CHECKING:
    from kit.pipeline.convert import Outcome
    from kit.records import ConversionRecord, OutputDifference, TensorInfo

EXAMPLES = """\b
Examples:
  edgeproof convert net.pt2 --data watch.toml
  edgeproof convert pipeline.joblib -o model.onnx --data rows.npz --trust-pickle
  edgeproof convert saved_model/ -o model.onnx
  edgeproof convert weights.pth --factory net.py:build --input image=1x3x224x224:float32
  edgeproof convert old.onnx -o new.onnx --opset 17
"""

_LABEL = 9


@click.command("convert", epilog=EXAMPLES)
@click.argument("source", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="ONNX file.  [default: SOURCE's name, here]")
@click.option("--data", type=click.Path(path_type=Path), help="Rows to verify on: a manifest, .npz or .npy.")
@click.option(
    "--input", "inputs", multiple=True, metavar="NAME=SHAPE[:TYPE]",
    help="What the model takes, if it does not say, as in image=1x3x224x224:float32; may be repeated.",
)  # fmt: skip
@click.option("--scores", metavar="NAME", help="The output that holds the scores, if several could.")
@click.option("--opset", type=int, metavar="N", help="ONNX opset of the result.  [default: 17]")
@click.option("--factory", default="", metavar="FILE.py:FUNCTION", help="Builds the module of a state dict.")
@trust_pickle_option
@click.option("--force", is_flag=True, help="Replace files that are there.")
@quiet_option
@common_options
def command(source: Path, quiet: bool, as_json: bool, verbose: bool, **options: Any) -> int:
    """Convert SOURCE to ONNX, and verify row by row that it computes the same.

    SOURCE is a model of PyTorch (.pt2, TorchScript, a state dict), TensorFlow (SavedModel, Keras, TFLite),
    scikit-learn, XGBoost or LightGBM, or ONNX of another opset. Nothing is written unless source and result agree.
    """
    from kit.cli.progress import Progress
    from kit.model.convert import STEPS
    from kit.pipeline.convert import Request, convert_file, record_object

    del verbose
    progress = Progress(dict(STEPS), quiet=quiet)
    try:
        outcome = convert_file(Request(source, **options), progress)
    except KeyboardInterrupt as interrupt:
        raise InterruptError("interrupted; nothing was written") from interrupt
    finally:
        progress.close()
    if as_json:
        print_json(record_object(outcome) | {"files": {"model": str(outcome.output), "record": str(outcome.record)}})
    else:
        _tell(outcome)
    return 0


def _tell(outcome: "Outcome") -> None:
    from kit.cli.figures import bytes_text

    record = outcome.converted.conversion
    assert record is not None
    model, source = record.model, record.source
    say(f"{outcome.output}: {bytes_text(model.size_bytes)}, opset {model.opset}")
    for label, text in (
        ("digest", model.digest),
        ("source", f"{source.name}: {source.format}, {bytes_text(source.size_bytes)}"),
        ("made by", record.converter_version),
        *(("input", _tensor(each)) for each in model.inputs),
        *(("output", _tensor(each)) for each in model.outputs),
        *_metadata(outcome),
        *_verified(record),
        *(("note", each) for each in outcome.converted.notes),
        ("record", str(outcome.record)),
    ):
        tell(text, f"{label:<{_LABEL}}")


def _tensor(tensor: "TensorInfo") -> str:
    """``x float32 [rows, 64], rows dynamic``."""
    free = list(dict.fromkeys(size for size in tensor.shape if isinstance(size, str)))
    dynamic = f", {', '.join(free)} dynamic" if free else ""
    return f"{tensor.name} {tensor.dtype} [{', '.join(map(str, tensor.shape))}]{dynamic}"


def _verified(record: "ConversionRecord") -> list[tuple[str, str]]:
    """On what, how far apart each output is, and the decisions."""
    rows = "generated row" if record.row_source == "generated" else "row"
    head = f"on {record.rows:,} {rows}{'s' * (record.rows != 1)}"
    if record.decisions_agree is not None:
        differing = record.rows - record.decisions_agree
        head += (
            f": {differing:,} {'decisions differ' if differing > 1 else 'decision differs'}"
            if differing
            else ": every decision agrees"
        )
    lines = [("verified", head), *(("", _difference(each)) for each in record.outputs)]
    if record.differing_rows:
        shown = ", ".join(map(str, record.differing_rows[:12])) + (", …" if len(record.differing_rows) > 12 else "")
        lines.append(("", f"rows that differ (ties within rounding): {shown}"))
    return lines


def _difference(each: "OutputDifference") -> str:
    largest, relative, mean = each.max_abs_difference, each.max_rel_difference, each.mean_abs_difference
    if not largest:
        return f"{each.output}: equal in every value"
    share = f" ({relative:.1g} of the value)" if relative else ""
    return f"{each.output}: at most {largest:.2g} apart{share}, {mean:.2g} on average"


def _metadata(outcome: "Outcome") -> list[tuple[str, str]]:
    """The producer and the classes that the file names; its source and converter are said above."""
    import json

    from kit.model.metadata import PREFIX, properties

    proto = outcome.converted.model.proto
    found = properties(proto)
    classes = json.loads(found.get(f"{PREFIX}classes", "[]"))
    named = ", ".join(name.removeprefix(PREFIX) for name in found)
    lines = [("metadata", f"producer {proto.producer_name} {proto.producer_version}; properties {named}")]
    shown = ", ".join(classes[:12]) + (", …" if len(classes) > 12 else "")
    return [*lines, ("classes", shown)] if classes else lines
