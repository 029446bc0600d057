"""One tool, the same rows: ``group_rates.py TOOL ROWS.npz BOOTSTRAPS REPEATS`` prints CPU seconds and added memory.

TOOL is fairlearn, duckdb, polars, pandas, ours or ours-texts. Ours counts cells and takes five rates of them; Fairlearn
is asked for the same five by a MetricFrame; the others group and count, of which rates are but a step away.
"""

import json
import resource
import sys
import time

import numpy as np

COLUMNS, SIZES = ("first", "second", "third"), (5, 6, 3)
RATES = ("selection-rate", "true-positive-rate", "false-positive-rate", "precision", "accuracy")


def main():
    """Time the tool that the command line names."""
    tool, path, bootstraps, repeats = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    with np.load(path) as arrays:
        rows = {name: arrays[name] for name in arrays.files}
    work = TOOLS[tool](rows, bootstraps)
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds, checked = [], None
    for _ in range(repeats):
        started_s = time.process_time()
        checked = work()
        seconds.append(time.process_time() - started_s)
    added_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb
    print(json.dumps({"seconds": min(seconds), "added_mb": added_kb / 1024, "check": float(checked)}))


def ours(rows, bootstraps):
    """Cells, five rates, and if asked their bootstrap quantiles."""
    from kit.fairness.rates import RATES as FUNCTIONS
    from kit.fairness.rates import after
    from kit.stats.cells import cell_counts, resampled

    def work():
        cells = cell_counts([rows[name] for name in COLUMNS], SIZES, rows["y"], rows["r"], rows["o"], 1)
        if bootstraps:
            drawn = after(resampled(cells, bootstraps, 0))
            for name in RATES:
                np.quantile(FUNCTIONS[name](drawn), (0.05, 0.95), axis=0)
        found = [FUNCTIONS[name](after(cells)) for name in RATES]
        return found[0].max()

    work()  # imports are not measured
    return work


def ours_texts(rows, _):
    """Codes of three columns of texts, then the same."""
    import pandas as pd

    from kit.fairness.rates import after, selection_rate
    from kit.stats.cells import cell_counts

    texts = pd.DataFrame({name: texts_of(rows, name) for name in COLUMNS})

    def work():
        parts = [pd.factorize(texts[name], sort=True) for name in COLUMNS]
        codes, sizes = [code for code, _ in parts], [len(values) for _, values in parts]
        return selection_rate(after(cell_counts(codes, sizes, rows["y"], rows["r"], rows["o"], 1))).max()

    return work


def texts_of(rows, name):
    """A column as texts."""
    return np.array([f"{name} {k}" for k in range(10)], dtype=object)[rows[name]]


def fairlearn(rows, bootstraps):
    """A MetricFrame of the same five."""
    import pandas as pd
    from fairlearn import metrics
    from sklearn.metrics import accuracy_score, precision_score

    frame = pd.DataFrame({name: rows[name] for name in COLUMNS})
    asked = {
        "selection-rate": metrics.selection_rate,
        "true-positive-rate": metrics.true_positive_rate,
        "false-positive-rate": metrics.false_positive_rate,
        "precision": precision_score,
        "accuracy": accuracy_score,
    }
    more = {"n_boot": bootstraps, "ci_quantiles": [0.05, 0.95], "random_state": 0} if bootstraps else {}

    def work():
        found = metrics.MetricFrame(metrics=asked, y_true=rows["y"], y_pred=rows["o"], sensitive_features=frame, **more)
        return found.group_max()["selection-rate"]

    return work


def duckdb(rows, _):
    """One query, of a table in memory."""
    import duckdb as package
    import pandas as pd

    frame = pd.DataFrame(rows)
    connection = package.connect()
    connection.register("frame", frame)
    connection.execute("create table given as select * from frame")

    def work():
        found = connection.execute(
            "select first, second, third, y, r, o, count(*) n from given group by all"
        ).fetchnumpy()
        return selected(found)

    return work


def polars(rows, _):
    """One grouping."""
    import polars as package

    frame = package.DataFrame(rows)

    def work():
        found = frame.group_by([*COLUMNS, "y", "r", "o"]).len("n")
        return selected({name: found[name].to_numpy() for name in found.columns})

    return work


def pandas(rows, _):
    """One grouping."""
    import pandas as package

    frame = package.DataFrame(rows)

    def work():
        found = frame.groupby([*COLUMNS, "y", "r", "o"], sort=False).size().reset_index(name="n")
        return selected({name: found[name].to_numpy() for name in found.columns})

    return work


def selected(found):
    """The greatest selection rate of a group, from counts: what every tool must agree on."""
    group = (found["first"].astype(int) * 6 + found["second"]) * 3 + found["third"]
    whole, chosen = np.bincount(group, found["n"], 90), np.bincount(group, found["n"] * found["o"], 90)
    return (chosen / whole).max()


TOOLS = {
    "ours": ours,
    "ours-texts": ours_texts,
    "fairlearn": fairlearn,
    "duckdb": duckdb,
    "polars": polars,
    "pandas": pandas,
}


if __name__ == "__main__":
    main()
