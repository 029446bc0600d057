"""docs/measures.md has every measure with its words."""

from pathlib import Path

import pytest

from kit.spec.measures import MEASURES

TEXT = (Path(__file__).parents[2] / "docs/measures.md").read_text()


@pytest.mark.parametrize("name", MEASURES)
def test_every_measure_is_in_the_table(name: str) -> None:
    rule = MEASURES[name]
    assert f"| `{name}` | {rule.subject} | {rule.better} | {rule.kind} | {', '.join(rule.tasks)} |" in TEXT
