"""The real agent process, spoken to in raw bytes: it answers, refuses, goes on, and ends when it should."""

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import kit
from kit.digest import digest_bytes
from kit.wire import (
    MAX_PAYLOAD_BYTES,
    UNKNOWN_SEQUENCE,
    Decoder,
    Frame,
    FrameType,
    Message,
    encode_frame,
    pack_message,
    unpack_message,
)
from tests import device_kit as kits

ROOT = str(Path(kit.__file__).parents[1])


class RawAgent:
    """An agent process and its streams."""

    def __init__(self, tmp_path, code="from kit.agent.__main__ import main; main()"):
        self.folder = tmp_path
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, "--stdio"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0, cwd="/",
            env={"PYTHONPATH": ROOT, "TMPDIR": str(tmp_path), "ORT_DISABLE_TELEMETRY": "1"},
        )  # fmt: skip
        self.decoder, self.sequence = Decoder(), 0

    def send(self, data):
        self.process.stdin.write(data)

    def receive(self, within_s=20):
        deadline_s = time.monotonic() + within_s
        while (frame := self.decoder.next_frame()) is None:
            assert select.select([self.process.stdout], [], [], max(0, deadline_s - time.monotonic()))[0], "no answer"
            data = os.read(self.process.stdout.fileno(), 1 << 18)
            assert data, "the agent ended"
            self.decoder.feed(data)
        return frame

    def ask(self, kind, parts=(), **fields):
        """The final frame and its message; progress is collected in `told`."""
        self.sequence += 1
        payload = pack_message(Message(kind, fields, list(parts)))
        self.send(encode_frame(Frame(FrameType.REQUEST, self.sequence, payload)))
        self.told = []
        while (frame := self.receive()).type is FrameType.PROGRESS:
            self.told.append(unpack_message(frame.payload))
        return frame, unpack_message(frame.payload)

    def refused(self, kind, parts=(), **fields):
        frame, message = self.ask(kind, parts, **fields)
        assert frame.type is FrameType.ERROR, message
        assert frame.sequence == self.sequence
        return message

    def answered(self, kind, parts=(), **fields):
        frame, message = self.ask(kind, parts, **fields)
        assert frame.type is FrameType.REPLY, message
        return message

    def put(self, model):
        reply = self.answered("put", [model], digest=digest_bytes(model), offset=0, size_bytes=len(model))
        assert reply.flag("complete")
        return digest_bytes(model)

    def stop(self):
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.process.stderr.close()


@pytest.fixture
def agent(tmp_path):
    raw = RawAgent(tmp_path)
    yield raw
    raw.stop()


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """One agent for tests that leave it usable, which is itself what they test."""
    raw = RawAgent(tmp_path_factory.mktemp("agent"))
    yield raw
    assert raw.answered("clock").integer("clock_ns") > 0
    raw.stop()


def test_refusals_say_what_and_what_next_and_the_agent_goes_on(shared):
    digest = shared.put(kits.linear())
    rows = kits.rows(4)
    ask = {"digest": digest, "output": None, "exact": False}
    unknown = "sha256:" + "0" * 64
    cases = [
        (shared.refused("format_disk"), "unknown request 'format_disk'", "knows busy, bye, clock"),
        (shared.refused("predict", [rows], **ask | {"digest": unknown}), "no model 'sha256:000", "deploy"),
        (shared.refused("predict", [rows.astype(np.float64)], **ask), "takes float32, the rows are float64", "float32"),
        (shared.refused("predict", [rows[:, :5]], **ask), "does not take rows of shape [5]", "dataset row"),
        (shared.refused("predict", [b"abc"], **ask), "part 0 must be a tensor", ""),
        (shared.refused("predict", [], **ask), "part 0 must be a tensor", ""),
        (shared.refused("predict", [np.float32(3)[()].reshape(())], **ask), "first dimension of rows", "rows"),
        (shared.refused("predict", [rows], digest=digest, output=None), "exact must be true or false", ""),
        (shared.refused("predict", [rows], **ask | {"output": "zz"}), "no output 'zz'", "name the score output"),
        (shared.refused("time", [rows], digest=digest, count=10**12, min_s=0), "count must be a whole number", ""),
        (shared.refused("time", [rows], digest=digest, count=1, min_s=1e9), "min_s must be a number", ""),
        (shared.refused("time", [rows[:0]], digest=digest, count=1, min_s=0), "no rows to run", "at least one row"),
        (shared.refused("busy", [rows], digest=digest, duration_s=-1), "duration_s must be a number", ""),
        (shared.refused("memory", [rows], digest=digest, sessions=0), "sessions must be a whole number", ""),
        (
            shared.refused("hello", protocol=99, threads=1),
            "asks for protocol 99; this agent speaks 1",
            "same edgeproof",
        ),
        (shared.refused("put", [b"x"], digest="../x", offset=0, size_bytes=1), "is no digest", "sha256"),
        (shared.refused("put", [b"xy"], digest=unknown, offset=0, size_bytes=2), "what arrived has digest", "again"),
    ]
    for message, what, next_step in cases:
        assert what in message.text("what")
        assert next_step in message.text("next_step")
    assert shared.answered("predict", [rows], **ask).tensor().shape == (4, kits.CLASSES)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (kits.two_scores(), "several outputs could be"),
        (kits.two_inputs(), "2 inputs"),
        (b"not a model", "refuses the model"),
    ],
    ids=["two scores", "two inputs", "no model"],
)
def test_models_that_it_cannot_serve(shared, model, said):
    digest = shared.put(model)
    message = shared.refused("predict", [kits.rows(2)], digest=digest, output=None, exact=False)
    assert said in message.text("what")
    assert message.text("next_step")


def test_a_named_output_decides(shared):
    digest = shared.put(kits.two_scores())
    reply = shared.answered("predict", [kits.rows(5)], digest=digest, output="probabilities", exact=False)
    np.testing.assert_allclose(reply.tensor().sum(axis=1), 1, rtol=1e-5)


def test_garbage_is_answered_and_skipped(shared):
    shared.send(b"\x00garbage that is no frame, login: ")
    frame = shared.receive()
    assert (frame.type, frame.sequence) == (FrameType.ERROR, UNKNOWN_SEQUENCE)
    assert "no frame" in unpack_message(frame.payload).text("what")
    assert shared.answered("clock").integer("cpu_ns") > 0


def test_a_flipped_bit_is_answered_with_its_sequence(shared):
    data = bytearray(encode_frame(Frame(FrameType.REQUEST, 4711, pack_message(Message("clock")))))
    data[-1] ^= 4
    shared.send(data)
    frame = shared.receive()
    assert (frame.type, frame.sequence) == (FrameType.ERROR, 4711)
    assert "CRC-32" in unpack_message(frame.payload).text("what")


def test_an_oversize_frame_is_refused_before_it_is_sent_in_full(shared):
    import struct
    import zlib

    fields = struct.pack("<4sBBHIII", b"EDGP", 1, 1, 0, 12, MAX_PAYLOAD_BYTES + 1, 0)
    shared.send(fields + struct.pack("<I", zlib.crc32(fields)))
    frame = shared.receive()
    assert frame.sequence == 12
    assert "over the limit" in unpack_message(frame.payload).text("what")
    frame = shared.receive()  # what remains of that header is no frame
    assert frame.type is FrameType.ERROR
    assert shared.answered("clock")


def test_a_payload_that_is_no_message_is_refused(shared):
    shared.send(encode_frame(Frame(FrameType.REQUEST, 99, b"\xff\xff")))
    frame = shared.receive()
    assert (frame.type, frame.sequence) == (FrameType.ERROR, 99)


def test_frames_that_are_no_requests_are_ignored(shared):
    shared.send(encode_frame(Frame(FrameType.REPLY, 5, pack_message(Message("clock")))))
    assert shared.answered("clock")


def test_a_print_from_a_library_cannot_reach_the_stream(tmp_path):
    code = """
import os, sys
from kit.agent import server, stdio
clock = server.Agent._clock
def noisy(self, *args):
    print("stray print"); sys.__stdout__.write("stray write\\n"); sys.__stdout__.flush()
    os.write(1, b"stray bytes from C\\n"); os.system("echo stray child")
    return clock(self, *args)
server.Agent._clock = noisy
stdio.serve(*stdio.take_streams())
"""
    raw = RawAgent(tmp_path, code)
    try:
        for _ in range(3):
            assert raw.answered("clock").integer("clock_ns") > 0
        raw.answered("bye")
        assert raw.process.wait(5) == 0
        assert raw.process.stderr.read().decode().count("stray") == 12
        assert raw.process.stdout.read() == b""
    finally:
        raw.stop()


def test_a_handler_that_blows_up_is_an_error_reply(tmp_path):
    code = """
from kit.agent import server, stdio
def broken(self, *args):
    raise MemoryError("no more")
server.Agent._clock = broken
stdio.serve(*stdio.take_streams())
"""
    raw = RawAgent(tmp_path, code)
    try:
        assert "MemoryError: no more" in raw.refused("clock").text("what")
        assert raw.answered("conditions").number("load_1min") >= 0
    finally:
        raw.stop()


def test_ends_and_cleans_up_when_the_host_closes_the_stream(agent):
    agent.put(kits.linear())
    assert list(agent.folder.iterdir())
    agent.process.stdin.close()
    assert agent.process.wait(5) == 0
    assert list(agent.folder.iterdir()) == []


def test_ends_and_cleans_up_when_the_host_dies_in_the_middle_of_a_request(agent):
    digest = agent.put(kits.linear())
    request = pack_message(Message("busy", {"digest": digest, "duration_s": 60.0}, [kits.rows(3)]))
    agent.send(encode_frame(Frame(FrameType.REQUEST, 50, request)))
    time.sleep(0.5)
    agent.process.stdin.close()
    assert agent.process.wait(6) == 1
    assert list(agent.folder.iterdir()) == []


def test_ends_when_nobody_reads_its_answers(agent):
    digest = agent.put(kits.linear())
    agent.process.stdout.close()
    request = pack_message(Message("time", {"digest": digest, "count": 10, "min_s": 30.0}, [kits.rows(3)]))
    agent.send(encode_frame(Frame(FrameType.REQUEST, 50, request)))
    assert agent.process.wait(10) == 0
    agent.process.stdout = open(os.devnull)  # noqa: SIM115, PTH123  (for stop)


def test_goes_on_with_a_transfer_where_it_was_cut_off(shared):
    model = kits.linear(seed=5)
    digest, half = digest_bytes(model), len(model) // 2
    assert not shared.answered("put", [model[:half]], digest=digest, offset=0, size_bytes=len(model)).flag("complete")
    state = shared.answered("has", digest=digest)
    assert not state.flag("complete")
    assert state.integer("received_bytes") == half
    reply = shared.answered("put", [model[half:]], digest=digest, offset=half, size_bytes=len(model))
    assert reply.flag("complete")
    assert shared.answered("has", digest=digest).flag("complete")


def test_progress_is_streamed_while_timing(shared):
    digest = shared.put(kits.linear())
    reply = shared.answered("time", [kits.rows(3)], digest=digest, count=5, min_s=0.7)
    assert 1 <= len(shared.told) <= 4
    assert [m.integer("done") for m in shared.told] == sorted(m.integer("done") for m in shared.told)
    assert all(m.integer("done") < m.integer("total") for m in shared.told)
    samples_ns = reply.tensor()
    assert len(samples_ns) > 5
    assert samples_ns.sum() < 0.75e9 * 1.5


def test_is_not_stopped_by_a_broken_signal_from_its_terminal(agent):
    """Ctrl-C on the host's terminal is the host's business: the agent has no terminal, and ends with its stream."""
    agent.answered("clock")
    agent.process.send_signal(signal.SIGPIPE)
    assert agent.answered("clock")
