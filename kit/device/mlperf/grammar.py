"""What each reply must look like, to the letter: the protocol has no checksum, so its form is all that there is."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

MAX_BYTES = 27_648
"""Longest input that the reference firmware takes (its MAX_DB_INPUT_SIZE)."""

_NAME = re.compile(r"name-dut-\[([ -Z\\^-~]{1,64})\]")
_PROFILE = re.compile(r"profile-\[([ -Z\\^-~]{1,100})\]")
_MODEL = re.compile(r"model-\[([ -Z\\^-~]{1,64})\]")
_LAP = re.compile(r"lap-us-(0|[1-9]\d{0,19})")
_RESULTS = re.compile(r"results-\[([-+.,0-9e]{1,60000})\]")
_REFUSAL = re.compile(r"e-\[|Error:|Supplied buffer size ")


class DamagedError(Exception):
    """A reply that is not what it must be; `said` is a line of it that looks like the board's own complaint."""

    def __init__(self, what: str, lines: Sequence[str] = ()) -> None:
        super().__init__(what)
        self.said = next((line for line in lines if _REFUSAL.match(line)), "")


class RebootedError(DamagedError):
    """The board says that it has just started: what was loaded is gone."""


@dataclass(frozen=True, slots=True)
class Inference:
    """The reply to `infer N W`: laps in µs on the board's counter (None in energy mode), and the results as printed."""

    start_us: int | None
    end_us: int | None
    results: str


def payload(line: str) -> str:
    """The line without the prefix of the benchmark's messages, which the streaming dialect leaves out."""
    return line.removeprefix("m-")


def is_banner(line: str) -> bool:
    """Whether a board prints this only while it starts."""
    return payload(line) == "init-done" or payload(line).startswith("timestamp-mode-")


def name(lines: Sequence[str]) -> str:
    """The board's name, from the reply to `name`. Raises DamagedError, as all below."""
    return _match(_NAME, _only(lines, 1)[0], lines)


def profile(lines: Sequence[str]) -> tuple[str, str]:
    """Firmware and model, from the reply to `profile`."""
    first, second = _only(lines, 2)
    return _match(_PROFILE, first, lines), _match(_MODEL, second, lines)


def lap_us(lines: Sequence[str]) -> int | None:
    """The counter in µs, from the reply to `timestamp`; None in energy mode, which answers with a pulse on a pin."""
    return int(_match(_LAP, _only(lines, 1)[0], lines)) if lines else None


def expecting(lines: Sequence[str], count: int) -> None:
    """The reply to `db load N` names the same N."""
    if [payload(line) for line in lines] != [f"[Expecting {count} bytes]"]:
        raise DamagedError(f"`db load {count}` was answered with {_shown(lines)}", lines)


def inference(lines: Sequence[str], count: int, warmup: int, *, laps: bool) -> Inference:
    """The reply to `infer N W`, which names N and W."""
    have = [payload(line) for line in lines]
    timed = ["lap", "lap"] if laps else []
    forms = [f"warmup-start-{warmup}", "warmup-done", f"infer-start-{count}", *timed, "infer-done"]
    if len(have) != len(forms) + 1 or any(form not in ("lap", got) for form, got in zip(forms, have[:-1], strict=True)):
        raise DamagedError(f"`infer {count} {warmup}` was answered with {_shown(lines)}", lines)
    start_us, end_us = (int(_match(_LAP, line, lines)) for line in have[3:5]) if laps else (None, None)
    return Inference(start_us, end_us, _match(_RESULTS, have[-1], lines))


def results(lines: Sequence[str]) -> str:
    """What is between the brackets of the results."""
    return _match(_RESULTS, _only(lines, 1)[0], lines)


def buffer_lines(data: bytes) -> list[str]:
    """How `db print` shows `data`: 8 bytes a line."""
    return ["buffer-" + data[at : at + 8].hex("-") for at in range(0, len(data), 8)]


def _only(lines: Sequence[str], count: int) -> list[str]:
    if len(lines) != count:
        raise DamagedError(f"{len(lines)} lines came where {count} must: {_shown(lines)}", lines)
    return [payload(line) for line in lines]


def _match(form: re.Pattern[str], text: str, lines: Sequence[str]) -> str:
    found = form.fullmatch(text)
    if found is None:
        raise DamagedError(f"a reply reads {_shown(lines)}", lines)
    return found[1]


def _shown(lines: Sequence[str]) -> str:
    return repr(" | ".join(lines)[:160]) if lines else "nothing"
