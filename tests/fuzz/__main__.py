"""``python -m tests.fuzz TARGET --seconds N``: exit code 0 if nothing crashed, hung or grew."""

import argparse
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["kit.wire", "kit.agent", "kit.spec.otii"]):
    from tests.fuzz.targets import targets

MEMORY_LIMIT_MB, SLOWEST_INPUT_S = 700, 20


def main() -> None:
    """Fuzz one target; libFuzzer keeps what crashes it in the current folder."""
    parser = argparse.ArgumentParser(prog="tests.fuzz", description=__doc__)
    parser.add_argument("target", choices=sorted(targets()))
    parser.add_argument("--seconds", type=int, default=120)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--corpus", type=Path, help="folder of inputs to start from and add to")
    arguments = parser.parse_args()
    one = targets()[arguments.target]()
    options = [f"-max_total_time={arguments.seconds}", f"-seed={arguments.seed}", f"-timeout={SLOWEST_INPUT_S}"]
    options += [
        f"-rss_limit_mb={MEMORY_LIMIT_MB}",
        "-max_len=4096",
        "-print_final_stats=1",
    ]
    atheris.Setup([sys.argv[0], *options, *([str(arguments.corpus)] if arguments.corpus else [])], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
