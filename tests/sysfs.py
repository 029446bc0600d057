"""Fake sysfs trees, with relative links as the kernel makes them."""

import os
from pathlib import Path

from kit.files import LocalFiles
from kit.meter.base import Watched


class Tree:
    """A root folder to put attributes and links into."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)

    def write(self, path: str, text: object) -> None:
        """One attribute, replaced at once as a reader sees it."""
        place = self.root / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        fresh = self.root / f".fresh-{os.getpid()}"
        fresh.write_text(f"{text}\n")
        fresh.replace(place)

    def remove(self, path: str) -> None:
        (self.root / path.lstrip("/")).unlink()

    def link(self, path: str, target: str) -> None:
        place = self.root / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(target)

    def device(self, link: str, place: str, **attributes: object) -> str:
        """A device's folder at /sys/PLACE with its attributes, and the link /sys/LINK to it; returns /sys/PLACE."""
        for name, text in attributes.items():
            self.write(f"sys/{place}/{name}", text)
        up = "../" * (len(Path(link).parts) - 1)
        self.link(f"sys/{link}", f"{up}{place}")
        return f"/sys/{place}"

    def watched(self) -> Watched:
        """What a meter watches of it."""
        return Watched(files=LocalFiles(self.root))
