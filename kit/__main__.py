"""`python -m kit` and the `edgeproof` command."""

from kit.cli.app import main

if __name__ == "__main__":
    main()
