"""Where a device is, as people write it: a URL or a serial port, its kind, and a device that is only that."""

import re
import stat
from pathlib import Path
from urllib.parse import unquote

from kit.digest import digest_bytes
from kit.errors import SpecError
from kit.spec.types import BoardSpec, DeviceSpec

URL = re.compile(r"(?:mlperf-tiny\+)?(?:/dev/|[a-z][a-z0-9+.-]*:)[!-~]*")
"""What a link's URL looks like; `mlperf-tiny+` before it means that a board's own firmware answers."""

MAX_BAUD = 20_000_000
BOARD_PREFIX = "mlperf-tiny+"
_SERIAL = ("socket", "rfc2217", "hwgrep", "spy", "loop", "alt")
_LONGEST = 2000
_OURS = {"baud": "serial", "key": "tcp"}
"""Options of a URL that are ours, and the kind of link that each is for; others belong to the link."""


def is_link(text: str) -> bool:
    """Whether `text` is a link and not a name or a path of a device file."""
    return (URL.fullmatch(text) is not None and not text.endswith(".toml")) or _is_port(text)


def _is_port(text: str) -> bool:
    """Whether it is the absolute path of a port that is there, such as a link that udev or socat made."""
    path = text.removeprefix(BOARD_PREFIX).partition("?")[0]
    try:
        return path.startswith("/") and stat.S_ISCHR(Path(path).stat().st_mode)
    except (OSError, ValueError):
        return False


def link_kind(url: str) -> str:
    """``serial`` for a port or any of pyserial's URLs, else the URL's scheme."""
    scheme = url.partition(":")[0]
    return "serial" if url.startswith("/") or scheme in _SERIAL else scheme


def device_at(text: str) -> DeviceSpec:
    """A device that is known by its link alone; ``?baud=`` (serial) and ``?key=`` (tcp) set these. Raises SpecError."""
    if len(text) > _LONGEST:
        raise SpecError(f"a link of {len(text)} characters is over the limit of {_LONGEST}", where=text[:80])
    url, ours = _without_ours(text.removeprefix(BOARD_PREFIX))
    kind = link_kind(url)
    for name in ours:
        if kind != _OURS[name]:
            what = f"?{name}= is for a {_OURS[name]} link, and this one is of the kind {kind!r}"
            raise SpecError(what, where=text, next_step=f"leave ?{name}= out")
    baud = ours.get("baud", "115200")
    if not (baud.isdecimal() and len(baud) < 9 and 50 <= int(baud) <= MAX_BAUD):
        raise SpecError(
            f"baud {baud!r} is no line rate from 50 to {MAX_BAUD}", where=text, next_step="write ?baud=115200, say"
        )
    return DeviceSpec(
        name=link_name(text),
        description="",
        digest=digest_bytes(text.encode()),
        path="",
        link=url,
        baud=int(baud),
        key=ours.get("key", ""),
        board=BoardSpec("mlperf-tiny") if text.startswith(BOARD_PREFIX) else None,
    )


def link_name(text: str) -> str:
    """A link as others may read it: a file of ours by its name, not by where that lies here."""
    return re.sub(
        r"([?&](?:key|identity|known_hosts)=)([^&]*)", lambda found: found[1] + Path(unquote(found[2])).name, text
    )


def _without_ours(url: str) -> tuple[str, dict[str, str]]:
    """The URL as its link wants it, and the options that were ours."""
    base, _, query = url.partition("?")
    ours, rest = {}, []
    for option in query.split("&") if query else ():
        name, _, value = option.partition("=")
        if name in _OURS:
            ours[name] = unquote(value)
        else:
            rest.append(option)
    return f"{base}?{'&'.join(rest)}" if rest else base, ours
