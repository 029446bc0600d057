"""Words for people: characters that show nothing and change what is around them, and the word that was meant."""

import difflib
import unicodedata
from collections.abc import Iterable

_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode's general categories (UAX 44): control, format (bidi, zero width), surrogate, line and paragraph end."""


def hidden_character(text: str) -> str:
    """The first character of `text` that is not to be seen, as ``U+202E``; empty if all are, or are plain spaces."""
    if text.isprintable():
        return ""
    return next((f"U+{ord(each):04X}" for each in text if unicodedata.category(each) in _HIDDEN), "")


def shown(text: str, limit: int = 200) -> str:
    """`text` as one line of at most `limit` characters, a replacement character for each that is not to be seen."""
    return "".join("\ufffd" if unicodedata.category(each) in _HIDDEN else each for each in text[:limit])


_NEAR_LENGTH, _NEAR_WORDS = 200, 2000  # names may be a hostile file's, and the comparison is quadratic


def nearest(word: str, known: Iterable[str]) -> str:
    """``did you mean "rate"?``, or the known words where none is near (at most twelve are shown)."""
    words = sorted(name for name in known if len(name) <= _NEAR_LENGTH)[:_NEAR_WORDS]
    by_fold = {candidate.casefold(): candidate for candidate in words}
    near = difflib.get_close_matches(word[:_NEAR_LENGTH].casefold(), by_fold, n=1)
    if near:
        return f'did you mean "{by_fold[near[0]]}"?'
    shown = ", ".join(words[:12]) + (", ..." if len(words) > 12 else "")
    return f"known: {shown}" if words else ""
