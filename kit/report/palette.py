"""Colours of the report, light and dark. The stylesheet and the drawings both take them from here.

Green, red and amber are not told apart by everyone, so a sign and a word always stand beside a verdict's colour.
"""

from typing import Final

LIGHT: Final = {
    "paper": "#FFFFFF",
    "raised": "#F6F7F8",
    "ink": "#1B1F24",
    "soft": "#59626D",
    "rule": "#DDE1E6",
    "mark": "#2F5D8C",
    "mark-soft": "#C9D8E8",
    "pass": "#00706B",
    "fail": "#B3261E",
    "inconclusive": "#6A3FB5",
    "warn": "#8A5300",
    "warn-soft": "#FFF4DF",
}
DARK: Final = {
    "paper": "#14161A",
    "raised": "#1C1F25",
    "ink": "#E7E9EC",
    "soft": "#A4ADB8",
    "rule": "#343A43",
    "mark": "#8DB8E8",
    "mark-soft": "#2B435E",
    "pass": "#7FE0C8",
    "fail": "#FF6B5E",
    "inconclusive": "#B39DFF",
    "warn": "#F0B65A",
    "warn-soft": "#2E2514",
}


def contrast(first: str, second: str) -> float:
    """Contrast ratio of two ``#RRGGBB`` colours, 1 to 21 (WCAG 2.2, relative luminance)."""
    lighter, darker = sorted((_luminance(first), _luminance(second)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: str) -> float:
    channels = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def css_variables(colours: dict[str, str]) -> str:
    """Custom properties, one a colour, for a rule's body."""
    return "".join(f"--{name}:{value};" for name, value in colours.items())
