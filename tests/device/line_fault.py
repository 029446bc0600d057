"""A wrapper that damages what the agent says: ``python line_fault.py FAULT COMMAND...``.

It starts the agent as its child and copies both streams; from the fourth answer on, the fault is applied to what
comes back. Used as a device's `wrapper`, so that host, link and agent are the real ones.
"""

import os
import subprocess
import sys
import threading


def copy_in(child: "subprocess.Popen[bytes]") -> None:
    while data := os.read(0, 1 << 16):
        child.stdin.write(data)
    child.stdin.close()


def damage(fault: str, data: bytes) -> bytes:
    if fault == "flip":
        return data[:-1] + bytes([data[-1] ^ 1])
    if fault == "header":
        return data[:9] + bytes([data[9] ^ 0x10]) + data[10:]
    if fault == "garbage":
        return b"kernel: oops, something printed here\n" + data
    if fault == "truncate":
        return data[:-5]
    if fault == "swallow":
        return b""
    if fault == "twice":
        return data + data
    return data


def main() -> None:
    fault = sys.argv[1]
    child = subprocess.Popen(sys.argv[2:], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
    threading.Thread(target=copy_in, args=(child,), daemon=True).start()
    answers = 0
    while data := os.read(child.stdout.fileno(), 1 << 20):
        answers += 1
        os.write(1, damage(fault, data) if answers > 3 else data)
        if fault == "truncate" and answers > 3:
            os._exit(3)
    sys.exit(child.wait())


if __name__ == "__main__":
    main()
