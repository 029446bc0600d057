"""A host that deploys models and a device that keeps them, with a bad line between, in virtual time.

Everything of ours is the real thing: AgentDevice, SerialLink and ReliableStream; the agent's serve, Desk, Session,
Agent and ModelCache on a real folder. Replaced are the port (a simulated line), the clock, the threads' turns, and
what would differ from run to run: random numbers, names and numbers of this machine.
"""

import contextlib
import heapq
import random
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import kit.agent.cache
import kit.agent.desk
import kit.agent.lease
import kit.agent.serial
import kit.agent.server
import kit.agent.session
import kit.agent.state
import kit.agent.work
import kit.device.agent
import kit.device.conversation
import kit.device.patience
import kit.device.serial
import kit.device.transfer
import kit.wire.frame
import kit.wire.stream
from kit.agent.cache import Incoming, ModelCache
from kit.agent.desk import Desk
from kit.agent.server import Agent
from kit.device.agent import AgentDevice
from kit.device.conversation import Conversation, RefusedError
from kit.device.serial import SerialLink
from kit.digest import digest_bytes
from kit.errors import EdgeproofError, LinkError
from kit.wire import FrameError, FrameType
from kit.wire.reliable import Engine
from tests.device_kit import device_spec
from tests.proofs.transfer_schedule import CountedPipe, Happening, Plan, squeezed_share
from tests.proofs.virtual_machines import ClockModule, Machine, Queue, Turns, threading_module
from tests.wire.simulated_line import MS_NS, S_NS, Faults

MOST_RUNS = 4
"""How often the user runs a deploy that failed; after that it counts as failed."""

_WRITE_NS = 10 * MS_NS
_IDENTITY = {
    "system": "Linux 6.1", "architecture": "aarch64", "cpu_model": "a board", "instruction_sets": ["asimd"],
    "instruction_sets_from": "auxiliary vector", "emulator": None, "logical_cpus": 4, "memory_bytes": 1 << 30,
    "runtime": "onnxruntime", "runtime_version": "1.0", "providers": ["CPUExecutionProvider"],
    "python_version": "3.11", "agent_version": "1.0", "agent_digest": "sha256:" + "0" * 64, "process_id": 100,
    "board": None, "thermal_zones": [], "battery": None,
}  # fmt: skip
_TIMED = (
    kit.agent.desk, kit.agent.lease, kit.agent.serial, kit.agent.server, kit.agent.session, kit.agent.work,
    kit.device.conversation, kit.device.patience, kit.device.serial, kit.device.transfer, kit.wire.stream,
)  # fmt: skip
_THREADED = (
    kit.agent.desk, kit.agent.lease, kit.agent.serial, kit.agent.session, kit.agent.work, kit.device.conversation,
    kit.wire.stream,
)  # fmt: skip


@dataclass
class Outcome:
    """How a schedule ended. `lost_s`: line time of what was sent in vain, of each break after which it went on."""

    seed: int
    completed: int = 0
    failed: list[str] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    lost_s: list[float] = field(default_factory=list)
    longest_share: float = 0.0
    virtual_s: float = 0.0
    turns: int = 0
    most_held_bytes: int = 0
    most_queued: int = 0


class Port:
    """One end of the line as a program has it open (see kit.wire.port.Port); without power it sends nothing."""

    def __init__(self, world: "World", machine: Machine, arriving: CountedPipe, leaving: CountedPipe) -> None:
        self._world, self._machine, self._arriving, self._leaving = world, machine, arriving, leaving
        self.is_closed = self.is_gone = False

    def read(self, timeout_s: float) -> bytes:
        self._world.turns.wait(self._is_ready, timeout_s)
        self._check()
        return self._arriving.arrived(self._world.turns.now_ns)

    def write(self, data: bytes) -> int:
        self._check()
        if not self._machine.is_off:
            self._world.send(self._leaving, data)
        return len(data)

    def close(self) -> None:
        self.is_closed = True

    def _is_ready(self) -> bool:
        next_ns = self._arriving.next_ns()
        return self.is_closed or self.is_gone or (next_ns is not None and next_ns <= self._world.turns.now_ns)

    def _check(self) -> None:
        if self.is_closed or self.is_gone:
            raise LinkError("the port is closed" if self.is_closed else "the port was unplugged")


class World:
    """Runs a plan to its end; the outcome says what happened, and what was wrong about it."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        self.plan, self.folder, self.outcome = plan, folder, Outcome(plan.seed)
        self.counts = self.outcome.counts
        self.rng = random.Random(f"{plan.seed} world")
        self.turns = Turns(random.Random(f"{plan.seed} order"))
        self.start_ns = self.turns.now_ns
        self.engines: list[Engine] = []
        self.queues: list[Queue] = []
        faults = _shifted(plan.faults, self.start_ns)
        self.to_device, self.to_host = (
            CountedPipe(plan.bytes_per_s, plan.latency_ns, faults, self.rng, plan.chunk_bytes, counts=self.counts)
            for _ in range(2)
        )
        self.spec = device_spec(
            name="board", link="/dev/ttyV0", baud=round(10 * plan.bytes_per_s), timeout_s=plan.timeout_s
        )
        self.models = {digest_bytes(model): model for model in plan.models}
        self.to_do = list(plan.models)
        self.damaged: set[str] = set()
        self.accepted: set[str] = set()
        self.begun_bytes = 0
        self.sent_up_to: dict[str, int] = {}
        self.set_back: set[str] = set()
        self.receiving = ""
        self._agenda: list[tuple[int, int, Callable[[], None]]] = []
        self._host: Machine | None = None
        self._device: Machine | None = None
        self._agent: Agent | None = None
        self._port: Port | None = None
        self._plugged_ns = 0
        self._cut_at_share = plan.cut_at_share
        self._runs = 0
        self._host_started_ns = 0
        self._result: EdgeproofError | None = None

    def run(self) -> Outcome:
        """Until every model is deployed or given up."""
        for each in self.plan.happenings:
            self._at(self.start_ns + each.at_ns, lambda each=each: self._happen(each))
        self._boot()
        self._start_host()
        while self.to_do:
            self.turns.settle()
            self._look()
            if not self._pop_due():
                self.turns.now_ns = max(self.turns.now_ns, self._next_ns())
        self._end()
        return self.outcome

    def send(self, pipe: CountedPipe, data: bytes) -> None:
        """Onto the line, unless the cable is out."""
        if self.turns.now_ns >= self._plugged_ns:
            pipe.send(data, self.turns.now_ns)

    def open_host_port(self) -> Port:
        if self.turns.now_ns < self._plugged_ns:
            raise LinkError("there is no such port", next_step="plug it in")
        assert self._host is not None
        self._port = Port(self, self._host, self.to_host, self.to_device)
        return self._port

    def open_device_port(self) -> Port:
        assert self._device is not None
        return Port(self, self._device, self.to_device, self.to_host)

    def complain(self, what: str) -> None:
        self.outcome.wrong.append(f"seed {self.plan.seed}: {what}")

    def content(self, digest: str) -> bytes:
        return (self.folder / digest.removeprefix("sha256:")).read_bytes()

    def note_accepted(self, digest: str) -> None:
        """The device has all of a model; what was sent for it counts, unless its disk lost some of it."""
        self.accepted.add(digest)
        self.damaged.discard(digest)
        self.set_back.discard(digest)
        self.sent_up_to.pop(digest, None)

    def note_begun(self, digest: str, stored: bytes) -> None:
        """The device says where to go on: what is stored is right, unless its disk did that, and little was in vain."""
        if digest not in self.damaged and not self.models[digest].startswith(stored):
            self.complain("wrong bytes kept of a transfer that was cut off")
        if digest in self.sent_up_to and digest not in self.set_back:
            lost_bytes = (self.sent_up_to[digest] - len(stored)) * squeezed_share(self.models[digest])
            self.outcome.lost_s.append(lost_bytes / self.plan.bytes_per_s)
            if lost_bytes > self.plan.most_in_vain_bytes():
                self.complain(f"a break cost {lost_bytes:.0f} bytes")
        self.begun_bytes, self.receiving = len(stored), digest
        self.sent_up_to[digest] = len(stored)
        if not stored:
            self.damaged.discard(digest)

    def note_stored(self, incoming: Incoming) -> None:
        """More of a model is stored: now the power may fail, with what was written last not wholly on the disk."""
        if self._cut_at_share is not None and incoming.received_bytes >= self._cut_at_share * incoming.size_bytes:
            self._cut_at_share = None
            self.counts["power cuts while writing"] += 1
            lasts_ns = self.rng.randrange(2 * S_NS)
            self._at(self.turns.now_ns + _WRITE_NS // 2, lambda: self._happen(Happening(0, "reboot", lasts_ns)))
            self.turns.wait(lambda: False, _WRITE_NS / S_NS)

    def switch_off(self) -> None:
        """End whatever still runs."""
        while self.turns.threads:
            self.turns.power_off(self.turns.threads[0].machine)
        if self._agent is not None:
            self._agent.close()

    # what happens

    def _happen(self, happening: Happening) -> None:
        back_ns = self.turns.now_ns + happening.lasts_ns
        if happening.kind == "reboot" and self._device:
            self.counts["reboots"] += 1
            self._power_cut()
            self._at(back_ns, self._boot)
        elif happening.kind == "kill" and self._host:
            self.counts["host kills"] += 1
            self.turns.power_off(self._host)
            self._host_gone()
            self._at(back_ns, self._start_host)
        elif happening.kind == "unplug" and self._port and not self._port.is_closed:
            self.counts["cables unplugged"] += 1
            self._port.is_gone, self._plugged_ns = True, back_ns
            self.to_device.lose_all()
            self.to_host.lose_all()
        elif happening.kind == "noise":
            self.counts["bursts of noise"] += 1
            for pipe in (self.to_device, self.to_host):
                self.send(pipe, self.rng.randbytes(self.rng.randrange(1, 300)))

    def _boot(self) -> None:
        self._device = Machine("device")
        self.to_device.lose_all()
        self.send(self.to_host, b"boot\r\n")
        self.turns.spawn(self._device, self._run_agent)

    def _run_agent(self) -> None:
        self._agent = Agent(ModelCache(self.folder, self.plan.storage_bytes))
        desk = Desk(self._agent)
        baud = self.spec.baud
        kit.agent.serial.threading.Thread(target=lambda: kit.agent.serial.serve(desk, "line", baud)).start()  # type: ignore[attr-defined]
        desk.run()

    def _power_cut(self) -> None:
        """All memory is lost; the disk keeps what it had, or nearly so."""
        assert self._device is not None
        disk = {path.name: path.read_bytes() for path in sorted(self.folder.iterdir())}
        self.turns.power_off(self._device)
        if self._agent is not None:
            self._agent.close()
        self._device = self._agent = None
        for path in self.folder.iterdir():
            if path.name not in disk:
                path.unlink()
        for name, data in disk.items():
            path, after = self.folder / name, self._after_power_cut(name, data)
            if not path.exists() or path.read_bytes() != after:
                path.write_bytes(after)

    def _after_power_cut(self, name: str, data: bytes) -> bytes:
        """A file as the disk has it: cut short, with a torn tail of zeros or of something else, or rotten."""
        digest, is_partial = f"sha256:{name.partition('.')[0]}", ".partial" in name
        if digest not in self.models or not data:
            return data
        size, tail = len(data), self.rng.randrange(1, min(len(data), 4096) + 1)
        kind = self.rng.choice(("", "cut", "zeros", "torn", "rotten") if is_partial else ("", "", "zeros", "rotten"))
        at = self.rng.randrange(size)
        after = {
            "": data,
            "cut": data[: size - tail],
            "zeros": data[: size - tail] + bytes(tail),
            "torn": data[: size - tail] + self.rng.randbytes(tail),
            "rotten": data[:at] + bytes([data[at] ^ 1 << self.rng.randrange(8)]) + data[at + 1 :],
        }[kind]
        if after != data:
            self.counts[f"{'partials' if is_partial else 'models'} {kind}"] += 1
        if not self.models[digest].startswith(after) or not is_partial:
            self.damaged.add(digest)
        if after != data:
            self.set_back.add(digest)
        return after

    # hosts

    def _start_host(self) -> None:
        self._host, self._result = Machine("host"), None
        self._host_started_ns = self.turns.now_ns
        self.turns.spawn(self._host, self._run_host)

    def _run_host(self) -> None:
        """One run of the host: deploys what is still to do, or ends with an error of ours."""
        try:
            device = AgentDevice(lambda: SerialLink(self.spec), self.spec)
            try:
                while self.to_do:
                    digest = device.deploy(self.to_do[0], self._told)
                    self._deployed(digest)
            finally:
                device.close()
        except EdgeproofError as error:
            self._result = error

    def _told(self, done: int, total: int) -> None:
        if not 0 <= done <= total:
            self.complain(f"progress {done} of {total}")

    def _deployed(self, digest: str) -> None:
        """What was deployed is on the device, unless its disk lost it since."""
        model = self.to_do.pop(0)
        self.outcome.completed += 1
        if digest != digest_bytes(model):
            self.complain("deploy returned another digest")
        if digest not in self.accepted:
            self.complain("deploy returned, and the device never accepted it")
        if digest not in self.damaged and self.content(digest) != model:
            self.complain("deploy returned, and the device has something else")

    def _look(self) -> None:
        """See whether the host's run is over, and go on as its user would."""
        held_bytes = max((engine.held_bytes() for engine in self.engines[-4:]), default=0)
        self.outcome.most_held_bytes = max(self.outcome.most_held_bytes, held_bytes)
        if self._host is None:
            return
        if any(each.machine is self._host for each in self.turns.threads):
            if self.turns.now_ns - self._host_started_ns > 3 * self.plan.bound_s() * S_NS:
                self.complain("the host does not come to an end")
                self.to_do.clear()
            return
        self._host_gone()
        if self._result is None or not self.to_do:
            return
        self.outcome.errors[_words(self._result)] += 1
        self._runs += 1
        is_refused = isinstance(self._result, RefusedError) and self._result.reason == "storage"
        if is_refused or self._runs == MOST_RUNS:
            self.outcome.failed.append(_words(self._result))
            self.to_do.pop(0)
            self._runs = 0
        if self.to_do:
            self._at(self.turns.now_ns + self.rng.randrange(3 * S_NS), self._start_host)

    def _host_gone(self) -> None:
        duration_s = (self.turns.now_ns - self._host_started_ns) / S_NS
        if duration_s > self.plan.bound_s():
            self.complain(f"a run of the host took {duration_s:.1f} s of {self.plan.bound_s():.1f} s")
        self.outcome.longest_share = max(self.outcome.longest_share, duration_s / self.plan.bound_s())
        self._host = self._port = None

    # time

    def _at(self, at_ns: int, do: Callable[[], None]) -> None:
        heapq.heappush(self._agenda, (at_ns, self.rng.getrandbits(60), do))

    def _pop_due(self) -> bool:
        if self._agenda and self._agenda[0][0] <= self.turns.now_ns:
            heapq.heappop(self._agenda)[2]()
            return True
        return False

    def _next_ns(self) -> int:
        """When something happens next; bytes that came while nobody reads wait for who will."""
        arrivals = [pipe.next_ns() for pipe in (self.to_device, self.to_host)]
        times = [self.turns.due_ns(), self._agenda[0][0] if self._agenda else None]
        times += [each for each in arrivals if each is not None and each > self.turns.now_ns]
        return min(each for each in times if each is not None)

    def _end(self) -> None:
        """Cut the power a last time: what the next agent says it has, it has."""
        if self._device:
            self._power_cut()
        self.switch_off()
        cache = ModelCache(self.folder, 1 << 20)
        for digest, model in self.models.items():
            is_there = (self.folder / digest.removeprefix("sha256:")).exists()
            if cache.has(digest):
                if self.content(digest) != model:
                    self.complain("an agent has something else under a digest")
            elif is_there:
                self.counts["models refused by the next agent"] += 1
        cache.close()
        self.outcome.virtual_s = (self.turns.now_ns - self.start_ns) / S_NS
        self.outcome.turns = self.turns.turns
        self.outcome.most_queued = max((each.most for each in self.queues), default=0)


def run(plan: Plan) -> Outcome:
    """Run a schedule on a folder of its own."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        world = World(plan, Path(folder) / "cache")
        for target, name, stand_in in _stand_ins(world):
            stack.enter_context(mock.patch.object(target, name, stand_in))
        stack.callback(world.switch_off)
        return world.run()


def _stand_ins(world: World) -> Iterator[tuple[Any, str, object]]:
    """What is replaced, and by what."""
    clock, threads, rng = ClockModule(world.turns), threading_module(world.turns), world.rng
    yield from ((module, "time", clock) for module in _TIMED)
    yield from ((module, "threading", threads) for module in _THREADED)
    yield from ((module, "SimpleQueue", _Queues(world)) for module in (kit.agent.desk, kit.agent.work))
    yield kit.device.serial, "open_port", lambda spec: world.open_host_port()
    yield kit.agent.serial, "TtyPort", lambda path, baud: world.open_device_port()
    yield kit.wire.stream, "secrets", SimpleNamespace(randbits=rng.getrandbits)
    yield kit.device.agent, "secrets", SimpleNamespace(token_hex=lambda size: rng.randbytes(size).hex())
    yield kit.device.agent, "platform", SimpleNamespace(node=lambda: "host")
    yield kit.device.agent, "os", SimpleNamespace(getpid=lambda: 1000)
    yield kit.agent.state, "identity", lambda: dict(_IDENTITY)
    yield kit.agent.cache, "shutil", SimpleNamespace(disk_usage=lambda _: SimpleNamespace(total=1 << 34, free=1 << 33))
    yield from _witnesses(world)


class _Queues:
    """Queues of the agent, kept to see how much they held; written `SimpleQueue[...]()` too."""

    def __init__(self, world: World) -> None:
        self._world = world

    def __getitem__(self, _: object) -> "_Queues":
        return self

    def __call__(self) -> Queue:
        queue = Queue(self._world.turns)
        self._world.queues.append(queue)
        return queue


def _witnesses(world: World) -> Iterator[tuple[Any, str, object]]:
    """The real functions, watched: what is accepted, where a transfer goes on, what is sent, what is damaged."""
    accept, has, begin = ModelCache.accept, ModelCache.has, ModelCache.begin
    append, finish = Incoming.append, Incoming.finish
    send, since, frame_error, make_engine = Conversation._send, kit.device.transfer._Pieces.since, FrameError, Engine

    def seen_accept(cache: ModelCache, digest: str, partial: Path, descriptor: int) -> None:
        if digest_bytes(partial.read_bytes()) != digest:
            world.complain("wrong bytes accepted")
        world.note_accepted(digest)
        accept(cache, digest, partial, descriptor)

    def seen_has(cache: ModelCache, digest: str) -> bool:
        found = has(cache, digest)
        if found and world.content(digest) != world.models[digest]:
            world.complain("wrong bytes held to be a model")
        return found

    def seen_begin(cache: ModelCache, digest: str, size_bytes: int) -> Incoming:
        incoming = begin(cache, digest, size_bytes)
        world.note_begun(digest, incoming.path.read_bytes())
        return incoming

    def seen_append(incoming: Incoming, data: bytes) -> None:
        append(incoming, data)
        world.note_stored(incoming)

    def seen_finish(incoming: Incoming) -> None:
        try:
            finish(incoming)
        except EdgeproofError:
            world.counts["transfers refused by their digest"] += 1
            if incoming.digest not in world.damaged:
                world.complain("a digest was wrong without a reason")
            raise

    def seen_send(talk: Conversation, kind: FrameType, payload: bytes, deadline_s: float, **more: bool) -> None:
        if kind is FrameType.DATA:
            world.sent_up_to[world.receiving] = world.sent_up_to.get(world.receiving, 0) + len(payload)
        send(talk, kind, payload, deadline_s, **more)

    def seen_since(pieces: Any, start: int) -> Iterator[tuple[memoryview, bool]]:
        world.counts["transfers begun"] += 1
        world.counts["transfers resumed"] += start > 0
        if start != world.begun_bytes:
            world.complain(f"goes on at {start}, and {world.begun_bytes} bytes are stored")
        yield from since(pieces, start)

    class SeenFrameError(frame_error):
        def __init__(self, what: str, **more: Any) -> None:
            world.complain(f"damage behind the line's own check: {what}")
            super().__init__(what, **more)

    def seen_engine(*arguments: Any) -> Engine:
        world.engines.append(make_engine(*arguments))
        return world.engines[-1]

    yield ModelCache, "accept", seen_accept
    yield ModelCache, "has", seen_has
    yield ModelCache, "begin", seen_begin
    yield Incoming, "append", seen_append
    yield Incoming, "finish", seen_finish
    yield Conversation, "_send", seen_send
    yield kit.device.transfer._Pieces, "since", seen_since
    yield kit.wire.frame, "FrameError", SeenFrameError
    yield kit.wire.stream, "Engine", seen_engine


def _words(error: EdgeproofError) -> str:
    """An error without its figures."""
    return f"{type(error).__name__}: " + " ".join(
        "#" if any(map(str.isdigit, word)) else word for word in error.what.split()
    )


def _shifted(faults: Faults, by_ns: int) -> Faults:
    """The same faults, from another moment on."""
    spans = ((begin_ns + by_ns, end_ns + by_ns) for begin_ns, end_ns in faults.silences_ns)
    stalls = ((begin_ns + by_ns, end_ns + by_ns) for begin_ns, end_ns in faults.stalls_ns)
    return replace(faults, silences_ns=tuple(spans), stalls_ns=tuple(stalls))
