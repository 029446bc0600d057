"""`python -m kit` and the `edgeproof` command."""

import sys

_INTERRUPTED = 130  # as a shell tells it


def main() -> None:
    """The command line; an interrupt while it is still being loaded ends it as one does later."""
    try:
        from kit.cli.app import main as run
    except KeyboardInterrupt:
        sys.stderr.write("error[interrupted]: interrupted before anything was done\n")
        sys.exit(_INTERRUPTED)
    run()


if __name__ == "__main__":
    main()
