"""Coverage-guided fuzzing (atheris, on libFuzzer) of what a hostile line, host or device can send us."""
