"""What is fuzzed: each target takes arbitrary bytes, and may only end quietly or in an error of ours.

Checksums would keep a fuzzer out, so each target also builds what has valid ones around the fuzzer's bytes.
"""

import itertools
import json
import math
import queue
import tempfile
import threading
import time
import zlib
from collections.abc import Callable
from pathlib import Path

from kit.agent.cache import ModelCache
from kit.agent.desk import Desk
from kit.agent.server import Agent
from kit.errors import LinkError, SpecError
from kit.spec.otii import KEPT_ROWS, read_otii
from kit.wire import DTYPES, Decoder, Frame, FrameError, FrameType, Message, encode_frame, pack_message, unpack_message
from kit.wire.packet import DELIMITER
from kit.wire.reliable import Engine, Role
from tests.fuzz.values import Source

CONTENT_LIMIT_BYTES = 1 << 20
_KINDS = ["hello", "describe", "has", "put", "predict", "time", "memory", "busy", "clock", "conditions", "echo", "bye"]
_FIELDS = {
    "protocols": [[2], [1, 2], [99], 2, None], "threads": [1, 0, -1, "1", 2**70], "host": ["a", "", 7],
    "token": ["t", "", [1]], "release": ["1", None], "link_bytes_per_s": [11520, -1, None], "exact": [True, 1],
    "digest": ["sha256:" + "0" * 64, "sha256:../../x", ""], "size_bytes": [4, 0, -1, 2**62], "output": [None, "s"],
    "count": [1, 0, 2**40], "min_s": [0, -1, 1e300], "sessions": [0, 2**40], "duration_s": [0, -1, 1e300],
    "offset": [0, 2**62], "protocol": [1, 2],
}  # fmt: skip

_ODD: list[object] = [
    0, 1, -1, 1e-300, 1e300, 2**70, 3.7, None, True, "1", "", "mAh", "C", "mV", "x" * 200, [], {}, [[]], {"a": 1},
    {"low": {"mode": "current", "value": 1e-3, "time": 1}, "high": {"mode": "current", "value": 2, "time": 0.1}},
]  # fmt: skip
_BATTERY_KEYS = ["capacity", "capacityunit", "voltage", "voltageunit", "cutoffvoltage", "model", "manufacturer"]
_TABLE_KEYS = ["current", "currentunit", "dischargeprofile", "temperature", "temperatureunit", "table"]


def frames(data: bytes) -> None:
    """The decoder of frames, and of the messages in them."""
    decoder, used = Decoder(), 0
    source = Source(data)
    stream = data if source.flag() else _framed(source)
    while used < len(stream):
        step = 1 + source.below(4096)
        decoder.feed(stream[used : used + step])
        used += step
        for _ in range(len(stream) + 2):
            try:
                frame = decoder.next_frame()
            except FrameError:
                continue
            if frame is None:
                break
            _unpack(frame.payload)
        else:
            raise AssertionError("the decoder does not come to an end")


def messages(data: bytes) -> None:
    """The decoder of messages; what it accepts packs again to what unpacks alike."""
    _unpack(data)
    message = _unpack(len(data).to_bytes(4, "little") + data) or _unpack(_message(Source(data)))
    if message is not None:
        again = unpack_message(pack_message(message))
        assert (again.kind, dict(again.fields)) == (message.kind, dict(message.fields))
        assert len(again.parts) == len(message.parts)


def line(data: bytes) -> None:
    """Both ends of a reliable stream: noise among good packets never delivers a byte that was not sent."""
    source, now_ns = Source(data), 0
    draws = itertools.count(1)
    ends = [Engine(Role.HOST, 0, lambda: next(draws)), Engine(Role.DEVICE, 0, lambda: next(draws))]
    sent, got = [b"", b""], [b"", b""]
    for _ in range(min(400, len(data))):
        now_ns += source.below(50_000_000)
        for here, there in ((0, 1), (1, 0)):
            carried = ends[here].to_send(now_ns, 4096)
            ends[there].feed(source.damaged(carried) if source.below(4) == 1 else carried, now_ns)
            ends[there].accept()
            got[there] += ends[there].take()
            assert ends[there].held_bytes() < CONTENT_LIMIT_BYTES
        speaker = source.below(2)
        piece = source.take(source.below(64))
        sent[speaker] += piece[: ends[speaker].offer(piece)]
    assert sent[0].startswith(got[1])
    assert sent[1].startswith(got[0])


def packets(data: bytes) -> None:
    """One end of a reliable stream, fed with packets that have valid checksums and arbitrary contents."""
    source, now_ns = Source(data), 0
    draws = itertools.count(1)
    engine = Engine(Role.DEVICE if source.flag() else Role.HOST, 0, lambda: next(draws))
    while source.left():
        kind, session = source.below(24), source.below(3)
        content = bytes([kind]) + session.to_bytes(4, "little") + source.take(source.below(80))
        stuffed = _stuffed(content + zlib.crc32(content).to_bytes(4, "little")) + DELIMITER
        engine.feed(stuffed if source.below(8) else content, now_ns)
        engine.accept()
        now_ns += source.below(1 << 34)
        assert len(engine.to_send(now_ns, 1 << 16)) <= CONTENT_LIMIT_BYTES
        engine.take()
        engine.offer(content)
        assert engine.held_bytes() < CONTENT_LIMIT_BYTES


class AgentTarget:
    """A real agent at a real desk, in this process; every input is one host's whole conversation with it."""

    def __init__(self, folder: Path) -> None:
        self._desk = Desk(Agent(ModelCache(folder, limit_bytes=1 << 16)), lease_s=5.0)
        threading.Thread(target=self._desk.run, daemon=True).start()

    def __call__(self, data: bytes) -> None:
        """Raises AssertionError if the conversation does not come to an end, or the agent does not answer the next."""
        self._converse(_conversation(Source(data)))
        self._converse(_request(1, "hello", {"protocols": [2], "threads": 1}), until=b'"instruction_sets"')

    def _converse(self, stream: bytes, until: bytes = b"") -> None:
        channel = _Channel(stream, until)
        self._desk.take(channel)
        assert channel.closed.wait(20), "the agent hangs"


class _Channel:
    """A host that says one thing, waits for its requests to be answered, and goes."""

    name = "fuzzer"

    def __init__(self, stream: bytes, until: bytes) -> None:
        self._until = until
        self._pieces: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        for start in range(0, len(stream), 65536):
            self._pieces.put(stream[start : start + 65536])
        self.answers, self.closed = bytearray(), threading.Event()
        self._said_s = time.monotonic()

    def read(self) -> bytes:
        try:
            return self._pieces.get_nowait()
        except queue.Empty:
            self._wait_for_quiet()
            return b""

    def write(self, data: bytes | memoryview) -> None:
        if self.closed.is_set():
            raise BrokenPipeError
        self.answers += data
        assert len(self.answers) < CONTENT_LIMIT_BYTES * 64

    def close(self) -> None:
        self.closed.set()

    def _wait_for_quiet(self) -> None:
        """Until it said what is waited for, or else nothing for a moment: most answers come within a millisecond."""
        size = -1
        while size != len(self.answers) and not self.closed.wait(0.004):
            size = len(self.answers)
        while self._until not in self.answers:
            assert time.monotonic() < self._said_s + 20, "the agent does not answer a good host after a bad one"
            self.closed.wait(0.002)


def _conversation(source: Source) -> bytes:
    """A hello, most often, and then requests and data, mostly almost right."""
    stream = _request(1, "hello", {"protocols": [2], "threads": 1}) if source.below(8) else b""
    for number in range(2, 2 + source.below(6)):
        choice = source.below(8)
        if choice == 0:
            stream += source.take(source.below(200))
        elif choice == 1:
            kind = FrameType(1 + source.below(len(FrameType)))
            stream += encode_frame(Frame(kind, number - source.below(2), source.take(source.below(64))))
        else:
            stream += _almost_right(source, number)
    return stream


def _almost_right(source: Source, number: int) -> bytes:
    fields = {name: source.choice(values) for name, values in _FIELDS.items() if source.below(4)}
    parts = [source.take(source.below(32)) for _ in range(source.below(3))]
    return _request(number, source.choice(_KINDS), fields, parts)


def _request(number: int, kind: str, fields: dict[str, object], parts: list[bytes] | None = None) -> bytes:
    return encode_frame(Frame(FrameType.REQUEST, number, pack_message(Message(kind, fields, parts or []))))


def _message(source: Source) -> bytes:
    """A message whose header describes parts that may not be there."""
    dtypes, sizes = [*DTYPES, "object", "float128"], [0, 1, 2, 3, -1, 2**40, "1"]
    described: list[object] = []
    for _ in range(source.below(4)):
        shape = [source.choice(sizes) for _ in range(source.below(10))]
        tensor: dict[str, object] = {"dtype": source.choice(dtypes), "shape": shape}
        described.append(tensor if source.flag() else {"bytes": source.choice(sizes)})
    header = json.dumps({"kind": source.choice(_KINDS), "fields": {"a": source.below(99)}, "parts": described}).encode()
    return len(header).to_bytes(4, "little") + header + source.take(source.below(64))


def _framed(source: Source) -> bytes:
    stream = b""
    while source.left():
        payload = source.take(source.below(300))
        frame = Frame(FrameType(1 + source.below(8)), source.below(1 << 32), payload)
        encoded = encode_frame(frame, deflate=source.flag())
        stream += source.damaged(encoded) if source.below(4) == 0 else encoded
    return stream


def _unpack(payload: bytes) -> Message | None:
    try:
        return unpack_message(payload)
    except LinkError:
        return None


def _stuffed(body: bytes) -> bytes:
    """Consistent overhead byte stuffing (Cheshire and Baker 1999), written anew here to check the other one."""
    out = bytearray()
    for piece in body.split(b"\0"):
        while len(piece) >= 254:
            out += b"\xff" + piece[:254]
            piece = piece[254:]
        out += bytes([len(piece) + 1]) + piece
    return bytes(out)


class OtiiTarget:
    """The reader of battery profiles: any bytes, and profiles that are right but for a few values."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "cell.json"

    def __call__(self, data: bytes) -> None:
        """Raises AssertionError for a profile read whose figures are none, or are not in order."""
        self._read(data)
        self._read(json.dumps(_almost_a_cell(Source(data))).encode())

    def _read(self, content: bytes) -> None:
        self._path.write_bytes(content)
        try:
            profile = read_otii(self._path)
        except SpecError as refusal:
            _explained(refusal)
            return
        assert 0 < profile.capacity_c < math.inf
        for table in profile.tables:
            assert len(table.used_c) == len(table.open_circuit_v) == len(table.resistance_ohm) <= KEPT_ROWS
            assert all(one < other for one, other in itertools.pairwise(table.used_c))
            assert all(0 <= each < math.inf for each in (*table.open_circuit_v, *table.resistance_ohm))


def _explained(refusal: SpecError) -> None:
    assert refusal.where, "a refusal that does not say where"
    assert refusal.next_step, "a refusal that does not say what to do"


def _almost_a_cell(source: Source) -> dict[str, object]:
    tables = [_almost_a_table(source) for _ in range(1 + source.below(3))]
    battery = {name: source.choice(_ODD) for name in _BATTERY_KEYS if source.below(3) == 1}
    return {"battery": battery or source.choice(_ODD), "dischargetables": tables if source.below(16) else {}}


def _almost_a_table(source: Source) -> dict[str, object]:
    used, rows = 0.0, []
    for _ in range(source.below(12)):
        used += source.below(1000) / 10
        row: dict[str, object] = {"capacity": used, "voltage": source.below(40) / 10, "resistance": source.below(99)}
        if source.below(12) == 1:
            row[source.choice(["capacity", "voltage", "resistance"])] = source.choice(_ODD)
        rows.append(row)
    more = {name: source.choice(_ODD) for name in _TABLE_KEYS if source.below(6) == 1}
    return {"current": source.below(99), "currentunit": "mA", "table": rows, **more}


def targets() -> dict[str, Callable[[], Callable[[bytes], None]]]:
    """Every target's maker, by name."""
    return {
        "frames": lambda: frames,
        "messages": lambda: messages,
        "packets": lambda: packets,
        "line": lambda: line,
        "agent": lambda: AgentTarget(Path(tempfile.mkdtemp(prefix="edgeproof-fuzz-"))),
        "otii": lambda: OtiiTarget(Path(tempfile.mkdtemp(prefix="edgeproof-fuzz-"))),
    }
