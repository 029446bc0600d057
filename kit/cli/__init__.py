"""The command line: thin click commands, and the one place where an error becomes an exit code."""
