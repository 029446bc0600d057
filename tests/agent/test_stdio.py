"""The real agent process, spoken to in raw bytes: it answers, refuses, goes on, and ends when it should."""

import itertools
import os
import signal
import struct
import time
import zlib

import numpy as np
import pytest

from kit.digest import digest_bytes
from kit.wire import (
    MAX_PAYLOAD_BYTES,
    UNKNOWN_SEQUENCE,
    Frame,
    FrameType,
    Message,
    encode_frame,
    pack_message,
    unpack_message,
)
from tests import device_kit as kits
from tests.agent.raw_agent import RawAgent


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
    digest = shared.deploy(kits.linear())
    rows = kits.rows(4)
    ask = {"digest": digest, "output": None, "exact": False}
    unknown = "sha256:" + "0" * 64
    cases = [
        (
            shared.refused("format_disk"),
            "unknown request 'format_disk'",
            "knows busy, bye, clock",
        ),
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
        (shared.refused("put", digest="../x", size_bytes=1), "is no digest", "sha256"),
        (shared.refused("put", digest=unknown, size_bytes=2 << 30), "over this agent's limit", "smaller variant"),
        (shared.put(b"xy", digest=unknown)[1], "what arrived has digest", "again"),
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
    digest = shared.deploy(model)
    message = shared.refused("predict", [kits.rows(2)], digest=digest, output=None, exact=False)
    assert said in message.text("what")
    assert message.text("next_step")


def test_a_named_output_decides(shared):
    digest = shared.deploy(kits.two_scores())
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


STRAY = """
import os, sys
from kit.agent import server
from kit.agent.__main__ import main
clock = server.Agent._clock
def noisy(self, work):
    print("stray print"); sys.__stdout__.write("stray write\\n"); sys.__stdout__.flush()
    os.write(1, b"stray bytes from C\\n"); os.system("echo stray child")
    return clock(self, work)
server.Agent._clock = noisy
main()
"""
BROKEN = """
from kit.agent import server
from kit.agent.__main__ import main
def broken(self, work):
    raise MemoryError("no more")
server.Agent._clock = broken
main()
"""


def test_a_print_from_a_library_cannot_reach_the_stream(tmp_path):
    raw = RawAgent(tmp_path, STRAY)
    try:
        for _ in range(3):
            assert raw.answered("clock").integer("clock_ns") > 0
        raw.answered("bye")
        assert raw.process.wait(20) == 0
        assert raw.process.stderr.read().decode().count("stray") == 12
        assert raw.process.stdout.read() == b""
    finally:
        raw.stop()


def test_a_handler_that_blows_up_is_an_error_reply(tmp_path):
    raw = RawAgent(tmp_path, BROKEN)
    try:
        message = raw.refused("clock")
        assert message.text("what") == "out of memory: no more"
        assert message.text("reason") == "memory"
        assert raw.answered("conditions").number("load_1min") >= 0
    finally:
        raw.stop()


def test_ends_when_the_host_closes_the_stream_and_keeps_the_model(agent, tmp_path):
    digest = agent.deploy(kits.linear())
    agent.process.stdin.close()
    assert agent.process.wait(20) == 0
    again = RawAgent(tmp_path)
    try:
        assert again.answered("has", digest=digest).flag("complete")
    finally:
        again.stop()


def test_ends_when_the_host_dies_in_the_middle_of_a_request(agent):
    digest = agent.deploy(kits.linear())
    agent.begin("busy", [kits.rows(3)], digest=digest, duration_s=60.0)
    time.sleep(0.5)
    start_s = time.monotonic()
    agent.process.stdin.close()
    assert agent.process.wait(30) == 0
    assert time.monotonic() - start_s < 20


def test_ends_when_nobody_reads_its_answers(agent):
    digest = agent.deploy(kits.linear())
    agent.process.stdout.close()
    agent.begin("time", [kits.rows(3)], digest=digest, count=10, min_s=30.0)
    assert agent.process.wait(15) == 0  # it would work for 30 s
    agent.process.stdout = open(os.devnull)  # noqa: SIM115, PTH123  (for stop)


def test_goes_on_with_a_transfer_where_it_was_cut_off(shared):
    model = np.random.default_rng(5).bytes(300_000)
    digest, half = digest_bytes(model), 123_457
    shared.put(model, step=10_000, until=half)
    shared.send_frame(FrameType.CANCEL, shared.sequence)
    frame, message = shared.end()
    assert frame.type is FrameType.ERROR
    assert message.text("reason") == "cancelled"
    state = shared.answered("has", digest=digest)
    assert not state.flag("complete")
    assert state.integer("received_bytes") == half
    assert shared.put(model)[1].flag("complete")
    assert shared.start == half
    assert shared.answered("has", digest=digest).flag("complete")


def test_goes_on_after_the_agent_was_killed_in_the_middle(tmp_path):
    model = np.random.default_rng(6).bytes(3 << 20)
    first = RawAgent(tmp_path)
    first.put(model, step=65536, until=2 << 20)
    partial = tmp_path / "edgeproof-agent" / (digest_bytes(model).removeprefix("sha256:") + ".partial")
    while partial.stat().st_size < 2 << 20:
        time.sleep(0.01)
    first.stop()
    second = RawAgent(tmp_path)
    try:
        assert second.put(model)[1].flag("complete")
        assert second.start == 2 << 20
        assert [each.name for each in partial.parent.iterdir() if each.name != "lock"] == [partial.stem]
    finally:
        second.stop()


def test_a_transfer_of_what_is_there_ends_at_once(shared):
    shared.deploy(kits.linear())
    frame, message = shared.put(kits.linear())
    assert frame.type is FrameType.REPLY
    assert message.flag("complete")


def test_data_may_be_deflated(shared):
    model = b"much of the same " * 10_000
    sequence = shared.begin("put", digest=digest_bytes(model), size_bytes=len(model))
    shared.receive()
    shared.send_frame(FrameType.DATA, sequence, model, deflate=True)
    assert shared.end()[1].flag("complete")


@pytest.mark.parametrize("excess", [1, 1000])
def test_more_than_was_announced_is_refused_and_forgotten(shared, excess):
    model = np.random.default_rng(excess).bytes(5000)
    message = shared.put(model, size_bytes=5000 - excess)[1]
    assert "more than the announced" in message.text("what")
    assert shared.answered("has", digest=digest_bytes(model)).integer("received_bytes") == 0


def test_data_of_no_transfer_and_giant_pieces_are_ignored(shared):
    shared.send_frame(FrameType.DATA, 77, b"stray")
    model = np.random.default_rng(9).bytes(3000)
    sequence = shared.begin("put", digest=digest_bytes(model), size_bytes=3000)
    shared.receive()
    shared.send_frame(FrameType.DATA, sequence + 1, b"of another")
    shared.send_frame(FrameType.DATA, sequence, bytes((1 << 20) + 1))
    shared.send_frame(FrameType.DATA, sequence, model)
    assert shared.end()[1].flag("complete")


def test_a_cancelled_request_ends_and_the_agent_goes_on(shared):
    digest, slow = shared.deploy(kits.linear()), shared.deploy(kits.slow())
    rows = [kits.rows(3)]
    many = [np.tile(kits.rows(1), (60_000, 1))]
    for kind, parts, fields in (
        ("busy", rows, {"duration_s": 60.0}),
        ("time", rows, {"count": 5, "min_s": 60.0}),
        ("memory", rows, {"sessions": 1000}),
        ("predict", many, {"output": None, "exact": False}),
    ):
        sequence = shared.begin(kind, parts, digest=slow if kind == "predict" else digest, **fields)
        if kind != "predict":
            time.sleep(0.3)
        start_s = time.monotonic()
        shared.send_frame(FrameType.CANCEL, sequence)
        frame, message = shared.end()
        assert (frame.type, frame.sequence) == (FrameType.ERROR, sequence), kind
        assert message.text("what") == "cancelled by the host"
        assert time.monotonic() - start_s < 20
    assert shared.answered("clock")


def test_a_second_request_waits_and_a_third_is_refused(shared):
    digest = shared.deploy(kits.linear())
    first = shared.begin("busy", [kits.rows(3)], digest=digest, duration_s=60.0)
    second, third = shared.begin("clock"), shared.begin("clock")
    frame, message = shared.end()
    assert (frame.type, frame.sequence) == (FrameType.ERROR, third)
    assert "two requests" in message.text("what")
    shared.send_frame(FrameType.CANCEL, first)
    assert shared.end()[0].sequence == first
    frame, _ = shared.end()
    assert (frame.type, frame.sequence) == (FrameType.REPLY, second)


def test_a_waiting_request_can_be_cancelled(shared):
    digest = shared.deploy(kits.linear())
    first = shared.begin("busy", [kits.rows(3)], digest=digest, duration_s=60.0)
    second = shared.begin("has", digest=digest)
    for sequence in (second, first):
        shared.send_frame(FrameType.CANCEL, sequence)
    for sequence in (first, second):
        frame, message = shared.end()
        assert frame.sequence == sequence
        assert message.text("reason") == "cancelled"


def test_progress_is_streamed_while_timing(shared):
    digest = shared.deploy(kits.linear())
    start_s = time.monotonic()
    reply = shared.answered("time", [kits.rows(3)], digest=digest, count=5, min_s=0.7)
    told = shared.progress()
    assert len(told) <= (time.monotonic() - start_s) / 0.2
    assert [m.integer("done") for m in told] == sorted(m.integer("done") for m in told)
    assert all(m.integer("done") < m.integer("total") for m in told)
    samples_ns = reply.tensor()
    assert len(samples_ns) > 5
    assert samples_ns[:-1].sum() < 0.7e9  # the last may be long, where others have the processor


def test_telemetry_is_streamed_while_it_works_as_often_as_asked(shared):
    digest = shared.deploy(kits.linear())
    for period_s, least_ns in ((0, None), (0.2, 0.2e9), (None, 1e9)):
        shared.answered("busy", [kits.rows(3)], digest=digest, duration_s=0.9, telemetry_s=period_s)
        told = [message for kind, message in shared.told if kind is FrameType.TELEMETRY]
        clocks = [message.integer("clock_ns") for message in told]
        assert all(message.integer("available_memory_bytes") > 0 for message in told)
        assert bool(told) is (least_ns is not None)
        assert all(later - earlier >= least_ns for earlier, later in itertools.pairwise(clocks))


def test_echo_gives_back_every_byte(shared):
    data = np.random.default_rng(0).bytes(2 << 20)
    assert shared.answered("echo", [data]).blob() == data


def test_only_who_said_hello_is_served(tmp_path):
    raw = RawAgent(tmp_path, hello=False)
    try:
        message = raw.refused("clock")
        assert (message.text("what"), message.text("reason")) == ("this host has not said hello", "lease")
        who = raw.answered("describe")
        assert who.absent("busy")
        assert who.fields["protocols"] == [2]
        message = raw.refused("hello", protocols=[98, 99], threads=1, release="7.0")
        assert message.text("what") == "the host speaks protocol 98, 99 (edgeproof 7.0); this agent speaks 2"
        assert message.text("reason") == "protocol"
        raw.refused("clock")
        assert raw.answered("hello", protocols=[1, 2, 99], threads=1, host="me").integer("protocol") == 2
        assert raw.answered("describe").fields["busy"]["host"] == "me"
        assert raw.answered("clock")
    finally:
        raw.stop()


def test_a_stranger_s_frames_are_small(tmp_path):
    raw = RawAgent(tmp_path, hello=False)
    try:
        raw.send_frame(FrameType.REQUEST, 3, bytes(100_000))
        assert "over the limit of 65536" in unpack_message(raw.receive().payload).text("what")
    finally:
        raw.stop()


def test_a_host_that_reads_nothing_is_given_up(tmp_path):
    code = "import kit.agent.stdio as s; s.STALL_S = 1.0; from kit.agent.__main__ import main; main()"
    raw = RawAgent(tmp_path, code)
    try:
        blob = pack_message(Message("echo", {}, [bytes(8 << 20)]))
        os.set_blocking(raw.process.stdin.fileno(), False)
        deadline_s = time.monotonic() + 20
        data = frame = encode_frame(Frame(FrameType.REQUEST, 1, blob))
        while raw.process.poll() is None and time.monotonic() < deadline_s:
            try:
                data = data[raw.process.stdin.write(data[: 1 << 20]) or 0 :] or frame
            except BrokenPipeError:
                break
            time.sleep(0.001)
        assert raw.process.wait(10) == 0
    finally:
        raw.stop()


def test_is_not_stopped_by_a_broken_signal_from_its_terminal(agent):
    """Ctrl-C on the host's terminal is the host's business: the agent has no terminal, and ends with its stream."""
    agent.answered("clock")
    agent.process.send_signal(signal.SIGPIPE)
    assert agent.answered("clock")
