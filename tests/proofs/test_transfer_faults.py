"""Whole transfers over a line that damages, loses, doubles and reorders, with reboots, kills, pulled cables, bad disks.

`make proofs` runs 10,000 seeded schedules of a real host and a real agent in virtual time; a quick size runs in every
test run. What must hold is asserted inside (tests/proofs/transfer_world.py), on every acceptance, resumption and end.
"""

import multiprocessing
import random
import resource
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from types import SimpleNamespace

import pytest

import kit.agent.cache
import kit.wire.packet
from kit.agent.cache import Incoming, ModelCache
from kit.digest import is_digest
from kit.wire.reliable import WINDOW_BYTES
from tests.proofs.transfer_schedule import Plan, plan
from tests.proofs.transfer_world import Outcome, run
from tests.wire.simulated_line import MS_NS, Faults

FULL_COUNT, QUICK_COUNT, WORKERS = 10_000, 80, 2
MOST_GROWTH_BYTES = 48 << 20
KINDS = (
    "bits flipped", "bytes lost", "bytes inserted", "chunks doubled", "chunks late, so out of order",
    "chunks lost in a disconnect", "writes held by a stall", "bursts of noise", "cables unplugged", "reboots",
    "host kills", "partials cut", "partials zeros", "partials torn", "partials rotten", "models zeros",
    "models rotten", "power cuts while writing", "transfers resumed", "transfers refused by their digest",
    "models refused by the next agent",
)  # fmt: skip


class Summary:
    """What all schedules came to."""

    def __init__(self) -> None:
        self.schedules = self.completed = 0
        self.failed, self.errors, self.counts = Counter[str](), Counter[str](), Counter[str]()
        self.wrong: list[str] = []
        self.lost_s: list[float] = []
        self.longest_share = self.virtual_s = 0.0
        self.most_held_bytes = self.most_queued = 0

    def add(self, outcome: Outcome) -> None:
        self.schedules += 1
        self.completed += outcome.completed
        self.failed.update(outcome.failed)
        self.errors.update(outcome.errors)
        self.counts.update(outcome.counts)
        self.wrong += outcome.wrong
        self.lost_s += outcome.lost_s
        self.longest_share = max(self.longest_share, outcome.longest_share)
        self.virtual_s += outcome.virtual_s
        self.most_held_bytes = max(self.most_held_bytes, outcome.most_held_bytes)
        self.most_queued = max(self.most_queued, outcome.most_queued)

    def mean_lost_s(self) -> float:
        return sum(self.lost_s) / max(1, len(self.lost_s))

    def __str__(self) -> str:
        lines = [
            f"{self.schedules} schedules, {self.virtual_s / 3600:.1f} h of virtual time: {self.completed} transfers "
            f"completed, {self.failed.total()} failed cleanly, {len(self.wrong)} wrong",
            f"{self.errors.total()} runs of the host ended in an error, most of them run again",
            f"{len(self.lost_s)} times gone on after a break, which cost {self.mean_lost_s():.2f} s of the line on "
            f"average and {max(self.lost_s, default=0):.2f} s at most",
            f"a run took at most {self.longest_share:.0%} of its bound; an end of the line held at most "
            f"{self.most_held_bytes} bytes, a queue of the agent {self.most_queued} items",
            *(f"{self.counts[kind]:>9} {kind}" for kind in sorted(self.counts)),
            *(f"{count:>9} failed with {words}" for words, count in self.failed.most_common()),
            *(f"{count:>9} errors: {words}" for words, count in self.errors.most_common()),
        ]
        return "\n".join(lines)


def run_seeds(seeds: range) -> tuple[list[Outcome], int]:
    """Their outcomes, and by how much this process grew after the first few, in bytes."""
    outcomes = [run(plan(seed)) for seed in seeds[:20]]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    outcomes += [run(plan(seed)) for seed in seeds[20:]]
    return outcomes, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10


def summary(count: int) -> Summary:
    """In this process."""
    found = Summary()
    for seed in range(count):
        found.add(run(plan(seed)))
    return found


@pytest.mark.proof
@pytest.mark.timeout(3600)
def test_10000_schedules_of_whole_transfers_accept_no_wrong_byte() -> None:
    found, step = Summary(), FULL_COUNT // WORKERS
    parts = [range(start, start + step) for start in range(0, FULL_COUNT, step)]
    with ProcessPoolExecutor(WORKERS, multiprocessing.get_context("spawn")) as pool:
        for outcomes, growth_bytes in pool.map(run_seeds, parts):
            for outcome in outcomes:
                found.add(outcome)
            assert growth_bytes < MOST_GROWTH_BYTES
    print(f"\n{found}")
    check(found)
    assert found.schedules == FULL_COUNT
    assert found.failed.total() > 100
    missing = [kind for kind in KINDS if found.counts[kind] < 100]
    assert not missing, "the schedules are too kind to prove anything"


def test_whole_transfers_accept_no_wrong_byte_quick() -> None:
    found = summary(QUICK_COUNT)
    print(f"\n{found}")
    check(found)
    for kind in ("bits flipped", "chunks lost in a disconnect", "cables unplugged", "reboots", "host kills"):
        assert found.counts[kind] > QUICK_COUNT / 10, kind


def check(found: Summary) -> None:
    """What must hold of every schedule, and of all together."""
    assert not found.wrong, found.wrong[:5]
    assert found.completed >= 0.9 * found.schedules
    assert found.most_held_bytes <= 2 * WINDOW_BYTES
    assert found.most_queued <= 9  # _DATA_AHEAD, and the mark at the end
    assert found.mean_lost_s() < 1.0


def test_a_schedule_repeats_exactly() -> None:
    for seed in range(12):
        assert run(plan(seed)) == run(plan(seed))


def test_a_deploy_goes_on_when_the_device_restarts_before_it_has_answered() -> None:
    """Nothing of the host's is on its way then: unless it asks, it waits for its whole patience, and has none left."""
    for seed in range(8):
        model = (random.Random(seed).randbytes(5000),)
        outcome = run(Plan(seed, 11520.0, MS_NS, 64, Faults(), (), model, 1 << 20, 20.0, cut_at_share=1.0))
        assert outcome.counts["power cuts while writing"] == 1
        assert (outcome.completed, outcome.wrong) == (1, [])
        assert not outcome.errors
        assert outcome.virtual_s < 20


# The proof must notice each of these bugs, each by another of its assertions.


def _no_packet_check(monkeypatch: pytest.MonkeyPatch) -> None:
    """Packets are taken whatever their CRC-32 says."""

    class Anything(int):
        def __eq__(self, other: object) -> bool:
            return True

        def __ne__(self, other: object) -> bool:
            return False

        __hash__ = int.__hash__

    crc32 = kit.wire.packet.zlib.crc32
    monkeypatch.setattr(kit.wire.packet, "zlib", SimpleNamespace(crc32=lambda data: Anything(crc32(data))))


def _no_digest_check(monkeypatch: pytest.MonkeyPatch) -> None:
    """What arrived is accepted whatever its digest is."""

    def finish(self: Incoming) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        self._cache.accept(self.digest, self.path, descriptor)

    monkeypatch.setattr(Incoming, "finish", finish)


def _trusted_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file is held to be the model that its name says."""

    def has(self: ModelCache, digest: str) -> bool:
        return is_digest(digest) and self._file(digest).exists()

    monkeypatch.setattr(ModelCache, "has", has)


def _forgets_partials(monkeypatch: pytest.MonkeyPatch) -> None:
    """The agent says where to go on, and appends to something else."""
    read_back = Incoming._read_back

    def forget(self: Incoming) -> None:
        read_back(self)
        self.received_bytes = 0

    monkeypatch.setattr(Incoming, "_read_back", forget)


BUGS = {
    "no packet check": (_no_packet_check, "damage behind the line's own check|wrong bytes"),
    "no digest check": (_no_digest_check, "wrong bytes accepted"),
    "a trusted disk": (_trusted_disk, "wrong bytes held to be a model"),
    "forgotten partials": (_forgets_partials, "goes on at 0"),
}


@pytest.mark.parametrize("name", BUGS)
def test_the_proof_notices_a_planted_bug(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plant, noticed = BUGS[name]
    plant(monkeypatch)
    for seed in range(400):
        wrong = run(plan(seed)).wrong
        if wrong:
            break
    assert any(each in " ".join(wrong) for each in noticed.split("|")), wrong


def test_the_proof_notices_an_error_that_is_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ValueError("a bug in the decoder")

    monkeypatch.setattr(kit.wire.packet.PacketDecoder, "_keep", fail)
    with pytest.raises(ValueError, match="a bug in the decoder"):
        run(plan(0))
