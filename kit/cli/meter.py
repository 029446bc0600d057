"""`edgeproof meter`: which meters there are, what one reads now, and the energy of any command."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from kit.cli.options import common_options
from kit.cli.output import print_json, say, say_aside, show_error, waiting
from kit.errors import EdgeproofError, InterruptError, StoreError, UsageError

if TYPE_CHECKING:
    from kit.spec.types import MeterSpec

EXAMPLES = """\b
Examples:
  edgeproof meter list
  edgeproof meter show ppk2 port=/dev/ttyACM0 voltage="3.3 V"
  edgeproof meter record --meter rapl --idle 2s -o trace.npz -- python train.py
"""

_RECORD_EXAMPLES = """\b
Examples:
  edgeproof meter record --meter rapl --idle 2s -- sleep 5
  edgeproof meter record --device my-board.toml -o trace.csv -- ./send.sh
  edgeproof meter record --meter estimate idle_power=2W active_power=5W -- make
"""

_LOOK_S = 1.0
_FAILED = 1


@click.group("meter", epilog=EXAMPLES)
def command() -> None:
    """List meters, look at one, or measure any command with it.

    DRIVER is a meter's kind, such as ppk2 or rapl; its keys are those of [meter] in a device file.
    """


@command.command(
    "list", short_help="Drivers, and the meters found here.", epilog="\b\nExample:\n  edgeproof meter list --json"
)
@common_options
def list_(as_json: bool, verbose: bool) -> None:
    """Drivers with what each measures and needs, and the meters that are found on this machine."""
    from kit.cli.meter_text import list_lines, list_object
    from kit.files import LocalFiles
    from kit.pipeline.meter_list import drivers, found_here

    del verbose
    rows, found = drivers(), found_here(LocalFiles())
    if as_json:
        print_json(list_object(rows, found))
        return
    for line in list_lines(rows, found):
        say(line)


@command.command(
    "show",
    short_help="A driver's keys, and what the meter reads.",
    epilog="\b\nExamples:\n  edgeproof meter show rapl\n  edgeproof meter show ppk2 port=/dev/ttyACM0 voltage='3.3 V'",
)
@click.argument("driver")
@click.argument("keys", metavar="[KEY=VALUE]...", nargs=-1)
@common_options
def show(driver: str, keys: tuple[str, ...], as_json: bool, verbose: bool) -> None:
    """Tell the keys of DRIVER; where all that it needs is given, open it, read it for a second, and tell what it is."""
    from kit.cli.meter_text import look_lines, show_lines, show_object
    from kit.pipeline.meter import look
    from kit.pipeline.meter_list import drivers, keys_of

    del verbose
    row = next((each for each in drivers() if each.name == driver), None)
    if row is None:
        known = ", ".join(each.name for each in drivers())
        raise UsageError(f"unknown meter {driver!r}", next_step=f"known meters: {known}")
    given, known_keys = _keys(keys), keys_of(row.name)
    is_whole = all(each.name in given for each in known_keys if each.is_needed)
    for line in [] if as_json else show_lines(row, known_keys):
        say(line)
    seen = None
    if is_whole or given:
        with waiting(f"reading {driver}"):
            seen = look(_meter(driver, given), _LOOK_S)
    if as_json:
        print_json(show_object(row, known_keys, seen))
    else:
        for line in look_lines(seen):
            say(line)


class _BeforeCommand(click.Command):
    """A command whose words after ``--`` are another's command line, and none of its own."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Keep what comes after the first ``--`` as it is."""
        cut = args.index("--") if "--" in args else len(args)
        ctx.meta["words"] = tuple(args[cut + 1 :])
        return super().parse_args(ctx, args[:cut])

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """The usage line, with the command at its end."""
        return [*super().collect_usage_pieces(ctx), "-- COMMAND..."]


@command.command("record", cls=_BeforeCommand, short_help="Measure a command.", epilog=_RECORD_EXAMPLES)
@click.argument("keys", metavar="[KEY=VALUE]...", nargs=-1)
@click.option("--meter", "driver", metavar="DRIVER", help="The meter's driver; its keys are given as KEY=VALUE.")
@click.option("--device", help="Use the meter of this device file.")
@click.option("--idle", default="0s", metavar="TIME", help="Measure so long without the command first, such as 2s.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="Keep the trace: .npz, .csv, .json."
)
@common_options
@click.pass_context
def record_(
    ctx: click.Context, /, keys: tuple[str, ...], driver: str | None, device: str | None, idle: str,
    output: Path | None, as_json: bool, verbose: bool,
) -> int:  # fmt: skip
    """Run COMMAND and tell its energy, mean and peak power, duration, and what the meter did not see.

    The command gets our terminal and streams (with --json, what it prints goes to stderr); signals are passed on to it.
    The exit code is 0 where the command's is 0, 130 where a signal ended both, else 1; the command's own is told.
    """
    from kit.cli.meter_text import record_lines, record_object
    from kit.pipeline.meter import record
    from kit.pipeline.trace_file import check_place, write_trace

    del verbose
    words: tuple[str, ...] = ctx.meta["words"]
    if not words:
        raise UsageError("there is no command", next_step="put it after --, as in: edgeproof meter record -- sleep 5")
    spec = _chosen(driver, device, _keys(keys))
    idle_s = _seconds(idle)
    if output is not None:
        check_place(output)
    found = record(spec, words, idle_s=idle_s, to_stderr=as_json)
    trouble: EdgeproofError | None = None
    if output is not None:
        try:
            write_trace(output, found.trace)
        except StoreError as error:
            output, trouble = None, error
        except KeyboardInterrupt:
            output, trouble = (
                None,
                InterruptError(
                    "interrupted while the trace was written",
                    where=str(output),
                    next_step="record it again; it is not kept",
                ),
            )
    if as_json:
        print_json(record_object(found, output))
    else:
        for line in record_lines(found, output):
            say(line)
    if found.interrupted_by:
        say_aside(f"interrupted by {found.interrupted_by}: the figures are of what ran until then")
    if trouble is not None:
        return show_error(trouble, as_json=False)  # on standard output are the figures
    if found.interrupted_by:
        return InterruptError.exit_code
    return _FAILED if found.status else 0


def _keys(words: tuple[str, ...]) -> dict[str, str]:
    """``key=value`` words. Raises UsageError."""
    found: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not (name and equals and value) or name in found:
            what = f"{name!r} is given twice" if name in found else f"{word!r} is no key=value"
            raise UsageError(what, next_step="write each key once, as in voltage=3.3V")
        found[name] = value
    return found


def _chosen(driver: str | None, device: str | None, keys: dict[str, str]) -> "MeterSpec":
    """The meter that is asked for; without a word about it, the one that is found on this machine."""
    from kit.files import LocalFiles
    from kit.pipeline.meter_list import found_here
    from kit.spec import load_device

    if device is not None:
        if driver is not None or keys:
            what = "a device file has its meter's keys, and there is --meter or a key besides"
            raise UsageError(what, next_step="give --device alone, or --meter with its keys")
        spec = load_device(device).meter
        if spec is None:
            raise UsageError(
                "the device has no meter", where=device, next_step="add [meter] to its file, or give --meter"
            )
        return spec
    if driver is not None:
        return _meter(driver, keys)
    usable = [
        each for each in found_here(LocalFiles()) if not each.trouble and each.driver in ("rapl", "jetson", "ina")
    ]
    if not usable or keys:
        what = "a key needs its --meter" if keys else "no meter was found on this machine that needs no keys"
        raise UsageError(what, next_step="give --meter DRIVER and its keys; see: edgeproof meter list")
    return _meter(usable[0].driver, {})


def _meter(driver: str, keys: dict[str, str]) -> "MeterSpec":
    from kit.spec.meter import meter_at

    return meter_at(driver, keys)


def _seconds(text: str) -> float:
    from kit.spec import units

    return 0.0 if text in ("0", "0s") else units.parse(text, "time", "--idle")
