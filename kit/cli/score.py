"""`edgeproof score`: a dataset through any device, what it gets right and how long it takes."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kit.cli.options import common_options, quiet_option
from kit.cli.output import print_json, say
from kit.errors import InterruptError

if TYPE_CHECKING:
    from kit.pipeline.score import Score

EXAMPLES = """\b
Examples:
  edgeproof score net.onnx --device local --data watch.toml
  edgeproof score --device my-board.toml --data keywords.toml --limit 1000
"""

_MOST_CLASSES = 20


@click.command("score", epilog=EXAMPLES)
@click.argument("model", type=click.Path(path_type=Path), required=False)
@click.option("--device", required=True, help="Device: a name, a TOML file or a link.")
@click.option("--data", type=click.Path(path_type=Path), required=True, help="Dataset manifest with a test part.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only N rows, evenly spread.")
@click.option(
    "--window", "window_s", type=click.FloatRange(0, 30), default=10.0, show_default=True, metavar="SECONDS",
    help="Run back to back for so long, for a mean; 0: not at all.",
)  # fmt: skip
@quiet_option
@common_options
def command(
    model: Path | None,
    device: str,
    data: Path,
    limit: int | None,
    window_s: float,
    quiet: bool,
    as_json: bool,
    verbose: bool,
) -> int:
    """Score a device on a dataset: accuracy with its interval, latency, and what the line cost.

    MODEL is deployed where an agent runs it; a board that has its model in its firmware takes none. No verdict is
    given: that is what certify is for.
    """
    from kit.cli.progress import Progress
    from kit.pipeline.score import expected_seconds, score
    from kit.spec import load_dataset, load_device

    del verbose
    spec, dataset = load_device(device), load_dataset(data)
    rows = min(limit or dataset.test.record.rows, dataset.test.record.rows)
    progress = Progress(expected_seconds(spec, rows, window_s), quiet=quiet)
    try:
        found = score(spec, dataset, model, progress, limit=limit, window_s=window_s)
    except KeyboardInterrupt as interrupt:
        raise InterruptError(
            "interrupted; scoring keeps nothing", next_step="a smaller --limit ends sooner"
        ) from interrupt
    finally:
        progress.close()
    if as_json:
        print_json(_object(found))
    else:
        _tell(found)
    return 0


def _object(found: "Score") -> dict[str, Any]:
    """Shares are 0 to 1; times in s, and the samples in ns."""
    accuracy, latency = found.accuracy, found.latency
    return {
        "schema": "edgeproof/score/1",
        "device": asdict(found.device),
        "model": found.model,
        "dataset": {"name": found.dataset, "rows": found.dataset_rows},
        "accuracy": {
            "estimate": accuracy.right / accuracy.rows,
            "obtained": found.obtained,
            **{key: value for key, value in asdict(accuracy).items() if key != "by_class"},
            "by_class": [{"name": name, "rows": rows, "right": right} for name, rows, right in accuracy.by_class],
        },
        "latency": None if latency is None else {
            "obtained": found.timing_obtained,
            "samples_ns": latency.samples_ns.tolist(),
            "clock": latency.clock,
            "clock_resolution_ns": latency.clock_resolution_ns,
            "window_s": found.window_s,
            "window_inferences": found.window_inferences,
        },
        "no_latency": found.no_latency,
        "line": {
            "rows_per_s": accuracy.rows / found.predict_s,
            "read_back": found.read_back,
            "board": None if found.board is None else asdict(found.board),
        },
    }  # fmt: skip


def _tell(found: "Score") -> None:
    accuracy = found.accuracy
    if found.device.emulated:
        say(f"EMULATED: {', '.join(found.device.emulated)}")
    say(f"device    {found.device.name}: {found.device.board or found.device.cpu_model}")
    say(f"model     {found.model}")
    say(f"dataset   {found.dataset}, {accuracy.rows:,} of {found.dataset_rows:,} rows")
    say(
        f"accuracy  {accuracy.right / accuracy.rows:.1%} right ({accuracy.right:,} of {accuracy.rows:,}), "
        f"{accuracy.confidence:.0%} interval {accuracy.lower:.1%} to {accuracy.upper:.1%}, {found.obtained}"
    )
    if len(accuracy.by_class) <= _MOST_CLASSES:
        width = max(len(name) for name, _, _ in accuracy.by_class)
        for name, rows, right in accuracy.by_class:
            say(f"          {name:<{width}}  {right / rows:6.1%} of {rows:,}")
    _tell_times(found)
    _tell_line(found)


def _tell_times(found: "Score") -> None:
    import numpy as np

    from kit.cli.figures import duration

    if found.latency is None:
        say(f"latency   not obtained: {found.no_latency}")
        return
    samples_s, obtained = found.latency.samples_ns / 1e9, found.timing_obtained
    low, middle, high = map(duration, np.quantile(samples_s, (0.1, 0.5, 0.9)))
    say(f"latency   median {middle}, {low} (p10) to {high} (p90), {len(samples_s)} samples, {obtained}")
    say(f"clock     {found.latency.clock}")
    if found.window_s is not None and found.window_inferences:
        mean = duration(found.window_s / found.window_inferences)
        count = f"{found.window_inferences:,} inferences in {duration(found.window_s)}"
        say(f"window    mean {mean} of {count}, {obtained}")


def _tell_line(found: "Score") -> None:
    from kit.words import number

    say(f"rate      {number(found.accuracy.rows / found.predict_s, 3)} rows/s over the link")
    board = found.board
    if board is None:
        return
    rate = "" if board.loading_bytes_per_s is None else f"{board.loading_bytes_per_s:,.0f} B/s while loading, "
    say(f"loading   {rate}{board.window} chunks under way")
    say(
        f"checks    results read at least twice; input read back {found.read_back} ({board.read_backs:,} times); "
        f"{board.reloads:,} reloads, {board.damaged_replies:,} damaged replies, {board.reboots:,} reboots"
    )
