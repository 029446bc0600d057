"""``python -m kit.agent --stdio | --serial PORT | --tcp HOST:PORT``: it heeds signals while it is loaded."""

from kit.agent.ending import end_at_once


def main() -> None:
    """Serve hosts, one at a time, until asked to end: see `kit.agent.command`."""
    end_at_once()
    from kit.agent.command import main as serve

    serve()


if __name__ == "__main__":
    main()
