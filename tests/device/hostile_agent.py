"""A device that speaks the protocol and means harm: ``python hostile_agent.py HARM``, used as a device's `wrapper`."""

import os
import sys
import time

import numpy as np

from kit.wire import PROTOCOLS, Decoder, Frame, FrameType, Message, Part, encode_frame, pack_message, unpack_message

EVIL = "\x1b[2J\x1b[32mPASS\u202e\u200b\n\u2028forged"

LEASES = {"long": {"lease_s": 1e300}, "short": {"lease_s": 1e-3}}
TIMES = {"clock": "c", "clock_resolution_ns": 1, "load_ns": 1, "first_run_ns": 1, "cpu_ns": 1}
IMPOSSIBLE = {
    "time": (TIMES, np.full(3, 2**63 - 1)),
    "busy": ({"start_ns": 1, "end_ns": 1, "inferences": 2**63 - 1, "cpu_ns": 1},),
    "memory": ({"method": EVIL, "baseline_bytes": "many"}, np.ones(1, np.int64), np.ones(1, np.int64)),
}


def identity() -> dict[str, object]:
    names = ("system", "architecture", "cpu_model", "runtime", "runtime_version")
    texts = dict.fromkeys((*names, "python_version", "agent_version", "agent_digest", "emulator"), EVIL)
    lists = {"instruction_sets": [EVIL, "fine"], "providers": [EVIL, "fine"]}
    numbers = {"protocol": PROTOCOLS[-1], "process_id": os.getpid(), "logical_cpus": 1, "memory_bytes": None}
    return texts | lists | numbers


def conditions() -> dict[str, object]:
    names = ("load_1min", "frequency_hz", "temperature_celsius", "available_memory_bytes", "battery_share")
    return {"governor": EVIL} | dict.fromkeys(names)


def main() -> None:
    harm, decoder = sys.argv[1], Decoder()

    def say(kind: FrameType, sequence: int, fields: dict[str, object], *parts: Part) -> None:
        os.write(1, encode_frame(Frame(kind, sequence, pack_message(Message(request.kind, fields, parts)))))

    def progress(sequence: int) -> None:
        step = 0
        while True:
            done = {"same": 1, "back": -step % 2, "beyond": 9, "slowly": step}[harm]
            say(FrameType.PROGRESS, sequence, {"done": done, "total": 1 << 40 if harm == "slowly" else 2})
            step += 1
            time.sleep(0.05)

    while data := os.read(0, 1 << 16):
        decoder.feed(data)
        while (frame := decoder.next_frame()) is not None:
            request = unpack_message(frame.payload)
            if request.kind == "bye":
                return
            if harm == "refuse":
                say(FrameType.ERROR, frame.sequence, {"what": EVIL * 100, "next_step": EVIL * 100})
            elif request.kind == "hello":
                say(FrameType.REPLY, frame.sequence, identity() | LEASES.get(harm, {}))
            elif harm == "talks":
                while True:
                    say(FrameType.TELEMETRY, frame.sequence, conditions() | {"clock_ns": 1})
            elif harm == "kind":
                request = Message("echo")
                say(FrameType.REPLY, frame.sequence, conditions())
            elif harm == "impossible":
                say(FrameType.REPLY, frame.sequence, *IMPOSSIBLE[request.kind])
            elif harm == "texts":
                say(FrameType.REPLY, frame.sequence, conditions())
            else:
                progress(frame.sequence)


if __name__ == "__main__":
    main()
