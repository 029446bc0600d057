"""One search for slices in a process of its own: `slice_search.py TOOL FILE.npz LIMIT_BYTES`; JSON of what it took.

FILE has codes int64 [columns, rows] and differences float64 [rows] in {-1, 0, 1}. Time is that of the search alone,
from a table as the tool takes it; memory is the highest resident size above that before the search.
"""

import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

DEPTH, COUNT = 3, 10
SUPPORT = 0.001


def ours(codes: np.ndarray, differences: np.ndarray) -> Callable[[], object]:
    """`kit.slicing.worst`."""
    from kit.records import ColumnRecord
    from kit.slicing.worst import worst

    columns = {
        f"c{number}": ColumnRecord(tuple(map(str, range(int(column.max()) + 1))), column)
        for number, column in enumerate(codes)
    }
    rows = max(2, int(SUPPORT * len(differences)))

    def search() -> object:
        found = worst(columns, differences, count=COUNT, minimum_rows=rows, depth=DEPTH)
        return [list(each.where) for each in found[:1]]

    return search


def sliceline(codes: np.ndarray, differences: np.ndarray) -> Callable[[], object]:
    """Its errors must not be negative: rows that turned wrong."""
    from sliceline.slicefinder import Slicefinder

    finder = Slicefinder(alpha=0.95, k=COUNT, max_l=DEPTH, min_sup=max(2, int(SUPPORT * len(differences))))
    errors = np.maximum(differences, 0.0)

    def search() -> object:
        finder.fit(codes.T, errors)
        return [str(each) for each in finder.top_slices_[:1]]

    return search


def divexplorer(codes: np.ndarray, differences: np.ndarray) -> Callable[[], object]:
    """It takes the differences as they are."""
    import pandas as pd
    from divexplorer import DivergenceExplorer

    frame = pd.DataFrame({f"c{number}": column for number, column in enumerate(codes)}).astype(str)
    frame["difference"] = differences
    explorer = DivergenceExplorer(frame)

    def search() -> object:
        found = explorer.get_pattern_divergence(
            min_support=DIVEXPLORER_SUPPORT, quantitative_outcomes=["difference"], show_coincise=False
        )
        best = found.sort_values("difference_t", ascending=False) if "difference_t" in found else found
        return [str(best.iloc[0].get("itemset", ""))]

    return search


DIVEXPLORER_SUPPORT = 0.01
"""Ten times that of the others: with theirs it takes minutes."""


def erroranalysis(codes: np.ndarray, differences: np.ndarray) -> Callable[[], object]:
    """A greedy tree of where predictions are wrong: rows that turned wrong, against none."""
    import pandas as pd
    from erroranalysis._internal.error_analyzer import PredictionsAnalyzer

    names = [f"c{number}" for number in range(len(codes))]
    frame = pd.DataFrame(codes.T, columns=names)
    wrong = (differences > 0).astype(int)

    def search() -> object:
        analyzer = PredictionsAnalyzer(wrong, frame, np.zeros(len(wrong), dtype=int), names, [])
        least = max(2, int(SUPPORT * len(differences)))
        tree = analyzer.compute_error_tree(names, None, None, max_depth=DEPTH, num_leaves=31, min_child_samples=least)
        return [f"{len(tree)} nodes"]

    return search


def highest_kib(*, restart: bool = False) -> int:
    """Highest resident size of this process (Linux), since it was last restarted from the size at that moment."""
    if restart:
        Path("/proc/self/clear_refs").write_text("5")
    status = Path("/proc/self/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))


def main() -> None:
    """Run one tool."""
    tool, path, limit_bytes = sys.argv[1], sys.argv[2], int(sys.argv[3])
    resource.setrlimit(resource.RLIMIT_AS, (limit_bytes, limit_bytes))
    given = np.load(path)
    try:
        search = {"ours": ours, "sliceline": sliceline, "divexplorer": divexplorer, "erroranalysis": erroranalysis}[
            tool
        ](given["codes"], given["differences"])
    except ImportError as error:
        print(json.dumps({"failed": f"cannot import: {error}"}))
        return
    before_kib = highest_kib(restart=True)
    started_s, started_cpu_s = time.perf_counter(), time.process_time()
    try:
        best = search()
    except MemoryError:
        print(json.dumps({"failed": f"out of memory at {limit_bytes >> 30} GiB"}))
        return
    taken = {
        "seconds": time.perf_counter() - started_s,
        "cpu_seconds": time.process_time() - started_cpu_s,
        "added_bytes": 1024 * (highest_kib() - before_kib),
        "best": best,
    }
    print(json.dumps(taken))


if __name__ == "__main__":
    main()
