"""A device that speaks the protocol and means harm: ``python hostile_agent.py HARM``, used as a device's `wrapper`."""

import os
import sys
import time

from kit.wire import PROTOCOLS, Decoder, Frame, FrameType, Message, encode_frame, pack_message, unpack_message

EVIL = "\x1b[2J\x1b[32mPASS\u202e\u200b\n\u2028forged"


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

    def say(kind: FrameType, sequence: int, fields: dict[str, object]) -> None:
        os.write(1, encode_frame(Frame(kind, sequence, pack_message(Message("hello", fields)))))

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
                say(FrameType.ERROR, frame.sequence, {"what": EVIL, "next_step": EVIL})
            elif request.kind == "hello":
                say(FrameType.REPLY, frame.sequence, identity())
            elif harm == "texts":
                say(FrameType.REPLY, frame.sequence, conditions())
            else:
                progress(frame.sequence)


if __name__ == "__main__":
    main()
