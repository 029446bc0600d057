"""Steps of a bench on a real agent: a budget ends the wait for a calm device as it ends all else."""

import time
from dataclasses import replace
from pathlib import Path

import pytest

from kit.pipeline.bench import missing, run_bench
from kit.pipeline.bench_folder import command_words, new_run
from kit.pipeline.bench_plan import BenchInputs, BenchOrder, read_bench
from kit.pipeline.stable import Held
from kit.records import LatencyRecord
from kit.store import Run
from tests.bench_case import CALM
from tests.digits_case import Case, write_case

NEVER_CALM = replace(CALM, load_1min=-100.0)
"""A start that no device comes back to."""


class Told:
    """What a watcher is told, in order."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.finished: list[str] = []

    def start(self, step: str) -> None:
        self.begun.append(step)

    def update(self, done: int, total: int) -> None:
        pass

    def finish(self, step: str, *, reused: bool = False) -> None:
        self.finished.append(step)


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return write_case(tmp_path_factory.mktemp("case"))


def held_run(case: Case, folder: Path, patience_s: float) -> tuple[BenchInputs, Run]:
    """A run of one window that waits for what never comes."""
    order = BenchOrder(models=(str(case.model),), device="local", windows=1, window_s=0.1, min_count=20, memory=False,
                       energy=False, audit=False, stable=True, patience_s=patience_s)  # fmt: skip
    inputs = read_bench(order)
    run = new_run(inputs, command_words(order), folder)
    run.put("conditions/start", NEVER_CALM)
    return inputs, run


def test_a_budget_ends_the_wait_and_nothing_is_measured_after_it(case: Case, tmp_path: Path) -> None:
    inputs, run = held_run(case, tmp_path, patience_s=60)
    told, began_s = Told(), time.monotonic()
    run_bench(inputs, run, told, budget_s=5)
    assert time.monotonic() - began_s < 30
    assert any(each.startswith("waiting, ") and "of at most 60 s" not in each for each in told.begun)
    assert missing(inputs, run) == ("latency/1/1",)
    assert not [step for step in run.steps if step.startswith("held/")]
    assert not [step for step in told.finished if step.startswith("latency")]
    sooner = replace(inputs, order=replace(inputs.order, patience_s=0.1))
    run_bench(sooner, run, told)
    run.release()
    assert missing(inputs, run) == ()
    assert len(run.get("latency/1/1", LatencyRecord).samples_ns) >= 20
    assert run.get("held/1/1/1", Held).departures


def test_patience_is_whole_where_the_budget_allows_it(case: Case, tmp_path: Path) -> None:
    inputs, run = held_run(case, tmp_path, patience_s=0.7)
    run_bench(inputs, run, Told(), budget_s=300)
    run.release()
    assert missing(inputs, run) == ()
    assert 0.7 <= run.get("held/1/1/1", Held).waited_s < 10
