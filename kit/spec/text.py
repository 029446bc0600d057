"""Characters that show nothing and change what is around them: no text that people will read may hold any."""

import unicodedata

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
