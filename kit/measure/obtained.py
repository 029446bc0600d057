"""Which figures of a device with emulated parts are measured, and which are emulated."""

from collections.abc import Iterable

from kit.records import Obtained

_WHOLE = ("device", "board", "processor", "cpu")
_RANK: tuple[Obtained, ...] = ("measured", "emulated", "estimated")


def obtained_on(emulated: Iterable[str], *also: str) -> Obtained:
    """ "emulated" if the device, its processor or a part in `also` is among the emulated parts, else "measured".

    A processor emulator changes times, memory, energy and results alike; an emulated memory limit, only what
    names memory in `also`.
    """
    parts = [part.lower() for part in emulated]
    return "emulated" if any(word in part for part in parts for word in (*_WHOLE, *also)) else "measured"


def weakest(first: Obtained, second: Obtained) -> Obtained:
    """The weaker of two origins that a figure rests on: measured, then emulated, then estimated."""
    return max(first, second, key=_RANK.index)
