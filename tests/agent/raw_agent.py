"""The real agent process and its streams, spoken to in raw frames."""

import contextlib
import os
import select
import subprocess
import sys
import time
from pathlib import Path

import kit
from kit.digest import digest_bytes
from kit.wire import Decoder, Frame, FrameType, Message, encode_frame, pack_message, unpack_message

ROOT = str(Path(kit.__file__).parents[1])
MAIN = "from kit.agent.__main__ import main; main()"


class RawAgent:
    """An agent on its standard streams; `told` holds what came before the last answer."""

    def __init__(self, folder, code=MAIN, arguments=("--stdio",), hello=True, **options):
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0, cwd="/",
            env={"PYTHONPATH": ROOT, "XDG_CACHE_HOME": str(folder), "ORT_DISABLE_TELEMETRY": "1"}, **options,
        )  # fmt: skip
        self.decoder, self.sequence, self.told = Decoder(), 0, []
        if hello:
            try:
                self.answered("hello", protocols=[2], threads=1, host="test", token="t")
            except BaseException:
                self.stop()
                raise

    def send(self, data):
        self.process.stdin.write(data)

    def send_frame(self, kind, sequence, payload=b"", **options):
        self.send(encode_frame(Frame(kind, sequence, payload), **options))

    def begin(self, kind, parts=(), **fields):
        """Send a request and await nothing."""
        self.sequence += 1
        self.send_frame(FrameType.REQUEST, self.sequence, pack_message(Message(kind, fields, list(parts))))
        return self.sequence

    def receive(self, within_s=60):
        deadline_s = time.monotonic() + within_s
        while (frame := self.decoder.next_frame()) is None:
            assert select.select([self.process.stdout], [], [], max(0, deadline_s - time.monotonic()))[0], "no answer"
            data = os.read(self.process.stdout.fileno(), 1 << 18)
            assert data, "the agent ended"
            self.decoder.feed(data)
        return frame

    def end(self):
        """The final frame and its message; what else comes is collected in `told`."""
        self.told = []
        while (frame := self.receive()).type in (FrameType.PROGRESS, FrameType.TELEMETRY):
            self.told.append((frame.type, unpack_message(frame.payload)))
        return frame, unpack_message(frame.payload)

    def ask(self, kind, parts=(), **fields):
        self.begin(kind, parts, **fields)
        return self.end()

    def progress(self):
        return [message for kind, message in self.told if kind is FrameType.PROGRESS]

    def refused(self, kind, parts=(), **fields):
        frame, message = self.ask(kind, parts, **fields)
        assert frame.type is FrameType.ERROR, message
        assert frame.sequence == self.sequence
        return message

    def answered(self, kind, parts=(), **fields):
        frame, message = self.ask(kind, parts, **fields)
        assert frame.type is FrameType.REPLY, message
        return message

    def put(self, model, digest=None, size_bytes=None, step=1 << 20, until=None):
        """The final frame and message of a transfer, or None where it is left off at `until`."""
        digest, size_bytes = digest or digest_bytes(model), size_bytes or len(model)
        sequence = self.begin("put", digest=digest, size_bytes=size_bytes)
        first = self.receive()
        if first.type is not FrameType.PROGRESS:
            return first, unpack_message(first.payload)
        self.start = unpack_message(first.payload).integer("done")
        for offset in range(self.start, until or len(model), step):
            self.send_frame(FrameType.DATA, sequence, model[offset : min(offset + step, until or len(model))])
        return None if until else self.end()

    def deploy(self, model):
        frame, message = self.put(model)
        assert frame.type is FrameType.REPLY, message
        assert message.flag("complete")
        return digest_bytes(model)

    def stop(self):
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.process.stderr.close()
