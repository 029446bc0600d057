"""Where a device is, as people write it: a URL or a serial port, its kind, and a device that is only that."""

import re
from urllib.parse import parse_qsl, urlsplit

from kit.digest import digest_bytes
from kit.errors import SpecError
from kit.spec.types import BoardSpec, DeviceSpec

URL = re.compile(r"(?:mlperf-tiny\+)?(?:/dev/|[a-z][a-z0-9+.-]*:)[!-~]*")
"""What a link's URL looks like; `mlperf-tiny+` before it means that a board's own firmware answers."""

_SERIAL = ("socket", "rfc2217", "hwgrep", "spy", "loop", "alt")
_BOARD = "mlperf-tiny+"


def is_link(text: str) -> bool:
    """Whether `text` is a link and not a name or a path of a device file."""
    return URL.fullmatch(text) is not None


def link_kind(url: str) -> str:
    """``serial`` for a port or any of pyserial's URLs, else the URL's scheme."""
    scheme = urlsplit(url).scheme
    return "serial" if url.startswith("/dev/") or scheme in _SERIAL else scheme


def device_at(text: str) -> DeviceSpec:
    """A device that is known by its link alone; ``?baud=`` and ``?key=`` set these. Raises SpecError."""
    url, board = text.removeprefix(_BOARD), text.startswith(_BOARD)
    base, _, query = url.partition("?")
    options = dict(parse_qsl(query))
    ours = {name: options.pop(name) for name in ("baud", "key") if name in options}
    if not options and ours:
        url = base
    baud = ours.get("baud", "115200")
    if not (baud.isdecimal() and 50 <= int(baud) <= 20_000_000):
        raise SpecError(f"baud {baud!r} is no line rate", where=text, next_step="write ?baud=115200, say")
    return DeviceSpec(
        name=text,
        description="",
        digest=digest_bytes(text.encode()),
        path="",
        link=url,
        baud=int(baud),
        key=ours.get("key", ""),
        board=BoardSpec("mlperf-tiny") if board else None,
    )
