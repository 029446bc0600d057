"""``python -m kit.agent --stdio``: serve one host on standard input and output until it ends the session."""

import argparse

from kit.agent.stdio import serve, take_streams


def main() -> None:
    """Read the arguments and serve."""
    parser = argparse.ArgumentParser(prog="kit.agent", description="The edgeproof agent: runs models on a device.")
    parser.add_argument("--stdio", action="store_true", required=True, help="serve on standard input and output")
    parser.parse_args()
    serve(*take_streams())


if __name__ == "__main__":
    main()
