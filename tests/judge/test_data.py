"""Faults of data become findings: by their share, held against what chance gives, absent where nobody looked."""

from dataclasses import replace

import numpy as np
import pytest

from kit.judge.base import Case
from kit.judge.data import judge_data
from kit.quality.look import look_through
from kit.records import DataCheck, DataRecord, Finding, Verdict
from tests.builders import VariantPlan, device, evidence, profile, requirement
from tests.quality.parts import dataset, part


def judged(record: DataRecord | None, metric: str, limit: float) -> tuple[Finding, ...]:
    asked = requirement(metric, limit)  # type: ignore[arg-type]
    run = replace(evidence((VariantPlan(),), rows=200, clusters=20), data=record)
    return judge_data(Case(asked, run.variants[0], run, profile((asked,)), device()))


def check(share: float | None, chance: float | None = None, metric: str = "data.leaked") -> DataRecord:
    return DataRecord("sha256:data", (DataCheck(metric, "copies", share, 100, (), "As found.", chance),))


@pytest.mark.parametrize(("share", "chance", "limit", "verdict"), [
    (0.0, None, 0.0, Verdict.PASS), (0.01, None, 0.0, Verdict.FAIL), (0.02, None, 0.02, Verdict.PASS),
    (0.05, 0.08, 0.02, Verdict.INCONCLUSIVE), (0.09, 0.08, 0.02, Verdict.FAIL), (0.01, 0.08, 0.02, Verdict.PASS),
    (None, None, 1.0, Verdict.INCONCLUSIVE),
])  # fmt: skip
def test_verdicts(share, chance, limit, verdict):
    (found,) = judged(check(share, chance), "data.leaked", limit)
    assert found.verdict is verdict
    assert (found.obtained == "absent") == (share is None)
    assert found.estimate == share


def test_a_look_that_was_not_taken_is_absent():
    for record in (None, DataRecord("sha256:data", ()), check(0.0, metric="data.missing")):
        (found,) = judged(record, "data.leaked", 0.5)
        assert found.verdict is Verdict.INCONCLUSIVE
        assert found.obtained == "absent"


def test_of_a_real_look_every_check_is_a_finding():
    rng = np.random.default_rng(0)
    train, test = rng.normal(size=(300, 6)), rng.normal(size=(200, 6))
    test[:8], test[50, 3] = train[:8], np.nan
    record = look_through(
        dataset(part("test", test), part("calibration", rng.normal(size=(80, 6))), part("train", train)), 0
    )
    leaked = {found.subject: found for found in judged(record, "data.leaked", 0.01)}
    assert leaked["exact copies in train"].verdict is Verdict.FAIL
    assert leaked["exact copies in train"].estimate == 0.04
    assert leaked["exact copies in calibration"].verdict is Verdict.PASS
    assert {f.verdict for f in judged(record, "data.missing", 0.0)} == {Verdict.PASS, Verdict.FAIL}
    assert {f.verdict for f in judged(record, "data.shifted", 0.3)} == {Verdict.PASS}
    (lag,) = judged(record, "data.lagged", 1.0)
    assert lag.obtained == "absent"


def test_a_dataset_alone_leaves_comparisons_open():
    record = look_through(dataset(part("test", np.random.default_rng(0).normal(size=(60, 3)))), 0)
    for metric in ("data.leaked", "data.shifted", "data.lagged"):
        assert {found.verdict for found in judged(record, metric, 1.0)} == {Verdict.INCONCLUSIVE}


@pytest.mark.parametrize("rows", [1, 2, 5])
@pytest.mark.parametrize("shape", [(1,), (3,), (20, 2), (4, 4, 3)], ids=str)
@pytest.mark.parametrize("dtype", ["float16", "float32", "uint8", "bool", "int64"])
def test_the_smallest_datasets_can_be_looked_through(rows, shape, dtype):
    rng = np.random.default_rng(0)
    parts = [part(role, (9 * rng.random((rows, *shape))).astype(dtype)) for role in ("test", "calibration", "train")]
    for each in look_through(dataset(*parts), 0).checks:
        assert each.share is None or 0.0 <= each.share <= 1.0
        assert each.sentence
