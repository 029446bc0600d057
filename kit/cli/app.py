"""The command group: subcommands are imported when they are called, so that `--help` answers at once."""

import importlib
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

import click

from kit import __version__
from kit.cli.output import show_error
from kit.cli.signals import ending_as_interrupts
from kit.cli.streams import open_closed_streams
from kit.errors import EdgeproofError, InterruptError, StoreError, UsageError

COMMANDS = {
    "certify": ("kit.cli.certify", "Prove that an optimized model holds on a device: the main job."),
    "convert": ("kit.cli.convert", "Make a verified ONNX file of a model of any library."),
    "quantize": ("kit.cli.quantize", "Make smaller variants of a model, or search for the one that holds."),
    "check": ("kit.cli.check", "Check that accuracy held after optimization: whole, slices, groups, unknown ones."),
    "report": ("kit.cli.report", "Show a finished run again: terminal, JSON or HTML."),
    "verify": ("kit.cli.verify", "Re-judge a run from its records and check every digest."),
    "devices": ("kit.cli.devices", "List, find, ask, check or set up devices."),
    "deploy": ("kit.cli.deploy", "Put a model on a device."),
    "score": ("kit.cli.score", "Score a device on a dataset: accuracy, latency, what the line cost."),
    "bench": ("kit.cli.bench", "Measure models on a device: latency, memory, energy, and how far to trust them."),
    "meter": ("kit.cli.meter", "List meters, look at one, or measure the energy of any command."),
    "battery": ("kit.cli.battery", "Turn energy into battery life: what a model costs, and how often it may run."),
    "agent": ("kit.cli.agent", "Pack the agent for a board, make its key, or run it here."),
    "profiles": ("kit.cli.profiles", "List conformance profiles, or explain one."),
    "data": ("kit.cli.data", "Check a dataset manifest and its files."),
    "schema": ("kit.cli.schema", "Print the JSON Schema of a TOML file."),
}
"""Each command: the module that has it as `command`, and its line in the group's help."""

SIGPIPE_EXIT_CODE = 141
"""What a shell gives for a program that SIGPIPE ended: no verdict must be read from a broken pipe."""

EXIT_CODES = """
Exit codes: 0 pass, 1 fail, 2 usage or bad input, 3 inconclusive, 4 device or link trouble, 5 measurement invalid,
6 conversion failed, 70 a bug of ours, 130 interrupted.
"""


class LazyGroup(click.Group):
    """A group whose commands are imported only when one is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands, in the order in which a newcomer meets them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command, or None if there is no such."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(COMMANDS[cmd_name][0]).command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find a command; an unknown one is answered with the nearest."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            import difflib

            near = difflib.get_close_matches(args[0], COMMANDS, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise click.UsageError(f"No such command {args[0]!r}.{hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The command list, without importing any of them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=EXIT_CODES,
)
@click.version_option(__version__, prog_name="edgeproof", message="%(prog)s %(version)s")
def cli() -> None:
    """Prove that an optimized model still holds on the device it ships on.

    Latency, memory, energy, accuracy and every slice: PASS, FAIL or INCONCLUSIVE, with stated confidence,
    and the evidence for others to check.

    \b
    Example:
      edgeproof certify model.onnx --data watch.toml --profile wearable --device local
    """


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line; the one place where an error becomes an exit code."""
    open_closed_streams()
    words = list(sys.argv[1:] if arguments is None else arguments)
    as_json = "--json" in words
    verbose = "-v" in words or "--verbose" in words
    try:
        with ending_as_interrupts():
            code = cli.main(args=words, prog_name="edgeproof", standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        code = UsageError.exit_code
    except click.ClickException as error:
        code = show_error(_usage_error(error), as_json=as_json)
    except EdgeproofError as error:
        code = show_error(error, as_json=as_json, verbose=verbose)
    except (KeyboardInterrupt, click.Abort) as interrupt:
        told = str(interrupt.__cause__ or interrupt)  # an Abort is click's for a KeyboardInterrupt
        code = show_error(InterruptError(told or "interrupted"), as_json=as_json)
    except (BrokenPipeError, SystemExit):  # commands return their code; click exits only for a broken pipe
        # The reader of our output went away (a pager, head): nothing to say and nobody to say it to.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = SIGPIPE_EXIT_CODE
    except OSError as error:
        code = show_error(_cannot_write(error), as_json=as_json, verbose=verbose)
    except Exception as error:
        bug = EdgeproofError(
            f"a bug of ours: {type(error).__name__}: {error}",
            next_step="run it again with -v for the traceback, and report it with that",
        )
        code = show_error(bug, as_json=as_json, verbose=verbose, cause=error)
    sys.exit(code or 0)


def _cannot_write(error: OSError) -> EdgeproofError:
    where = str(error.filename) if error.filename else ""
    what = f"cannot read or write: {error.strerror or error}"
    return StoreError(what, where=where, next_step="look at the space, the permissions and the path")


def _usage_error(error: click.ClickException) -> EdgeproofError:
    ctx = error.ctx if isinstance(error, click.UsageError) else None
    path = ctx.command_path if ctx else "edgeproof"
    owners = (
        [f"{path} {name}" for name in _having(error.option_name, ctx)] if isinstance(error, click.NoSuchOption) else []
    )
    whose = f"it is an option of {' and '.join(owners)}; " if owners else ""
    return UsageError(error.format_message(), next_step=f"{whose}see: {owners[0] if owners else path} --help")


def _having(option: str, ctx: click.Context | None) -> list[str]:
    """The commands of a group, already imported, that have an option which the group has not."""
    commands = ctx.command.commands if ctx and isinstance(ctx.command, click.Group) else {}
    return [name for name, each in commands.items() if any(option in parameter.opts for parameter in each.params)]
