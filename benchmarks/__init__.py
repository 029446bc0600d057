"""Ours against named peers, side by side in one run, as ratios; `python -m benchmarks [NAME] [--quick] [--json]`."""
