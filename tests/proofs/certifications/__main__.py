"""``python -m tests.proofs.certifications``: certify at the limit; ``--table`` prints what docs/statistics.md shows.

Results are kept in a file as they come (``--keep``), so that kinds can be run one after another, or beside each other.
"""

import argparse
import json
from pathlib import Path

from tests.proofs.certifications.every import RUNS, scenarios
from tests.proofs.certifications.power import coverage_table, power_table
from tests.proofs.certifications.scenario import Scenario, Tally, simulate

SEED = 0
Kept = dict[str, tuple[int, int, int]]
"""By scenario: wrong PASSes, wrong FAILs, and certifications."""


def kept(paths: list[Path]) -> Kept:
    """What earlier runs found; of a scenario run twice, the larger one."""
    found: Kept = {}
    for path in paths:
        for line in path.read_text().splitlines() if path.exists() else ():
            name, *counts = json.loads(line)
            found[name] = max(found.get(name, (0, 0, 0)), tuple(counts), key=lambda each: each[2])
    return found


def run(only: str, runs: int, path: Path) -> None:
    """Simulate the scenarios whose kind begins so and that are not kept, and tell each."""
    known = kept([path])
    for scenario in scenarios():
        wanted = max(1, round(runs * scenario.share))
        if not scenario.kind.startswith(tuple(only.split(","))) or known.get(scenario.id, (0, 0, 0))[2] >= wanted:
            continue
        found = simulate(scenario, runs, SEED)
        print(
            f"{'ok' if found.holds else 'BROKEN'}: {scenario.id}: PASS {found.passed}, FAIL {found.failed}", flush=True
        )
        with path.open("a") as file:
            print(json.dumps([scenario.id, found.passed.count, found.failed.count, found.passed.runs]), file=file)


def error_table(found: Kept) -> str:
    """A line a kind: how many certifications, and the scenarios that erred most often."""
    lines = ["| kind | scenarios | certifications | worst wrong PASS | in | worst wrong FAIL |", "| --- " * 6 + "|"]
    kinds: dict[str, list[Scenario]] = {}
    for scenario in scenarios():
        if scenario.id in found:
            kinds.setdefault(scenario.kind, []).append(scenario)
    for kind, of in kinds.items():
        passed = {each: Tally(found[each.id][0], found[each.id][2]) for each in of}
        failed = [Tally(found[each.id][1], found[each.id][2]) for each in of if each.fails]
        worst = max(of, key=lambda each: passed[each].rate)
        told = str(max(failed, key=lambda each: each.rate)) if failed else "-"
        count = sum(each.runs for each in passed.values())
        lines.append(f"| `{kind}` | {len(of)} | {count:,} | {passed[worst]} | {worst.words} | {told} |")
    return "\n".join(lines)


def end_table(found: Kept) -> str:
    """Intervals of figures that are no shares of rows: how often each of their ends is wrong."""
    lines = ["| interval | of | end that passes | end that fails | samples |", "| --- " * 5 + "|"]
    for scenario in scenarios():
        if scenario.id in found and scenario.kind.startswith(("latency", "battery", "quality", "fairness")):
            *counts, runs = found[scenario.id]
            ends = " | ".join(str(Tally(count, runs)) for count in counts)
            lines.append(f"| `{scenario.kind}` | {scenario.words} | {ends} | {runs:,} |")
    return "\n".join(lines)


def main() -> None:
    """Run, or print the tables of what has been run."""
    parser = argparse.ArgumentParser(prog="python -m tests.proofs.certifications", description=__doc__)
    parser.add_argument("--only", default="", help="kinds, by their beginnings: accuracy,latency")
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--keep", type=Path, nargs="+", default=[Path("/tmp/certifications.jsonl")])
    parser.add_argument("--table", action="store_true", help="print the tables, instead of running what is not kept")
    asked = parser.parse_args()
    if not asked.table:
        run(asked.only, asked.runs, asked.keep[0])
        return
    found = kept(asked.keep)
    tables = error_table(found), coverage_table(asked.runs, SEED), end_table(found), power_table(asked.runs, SEED)
    print("\n\n".join(tables))


main()
