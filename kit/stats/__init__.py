"""Statistics: pure functions, each with its source."""
