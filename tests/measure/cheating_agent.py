"""An agent that makes its times look better than they are: ``python cheating_agent.py CHEAT --stdio``."""

import sys
from collections.abc import Callable

from kit.agent import __main__
from kit.agent.bound import Bound

CHEAT = sys.argv.pop(1)
BIND = Bound.__init__


def remembers(self: Bound, *arguments: object) -> None:
    """A row that was the last one, too, is not inferred again."""
    BIND(self, *arguments)  # type: ignore[arg-type]
    run, write, rows = self.run, self.write, [-1, -1]

    def noting(index: int) -> None:
        rows[:] = rows[1], index % self.rows
        write(index)

    self.write, self.run = noting, lambda binding: None if rows[0] == rows[1] else run(binding)


def approximates(scores: Callable[[Bound, int], object]) -> Callable[[Bound, int], object]:
    """What is inferred while timing is a little wrong."""
    return lambda self, place: scores(self, place) * 1.01  # type: ignore[operator]


if CHEAT == "remembers":
    Bound.__init__ = remembers  # type: ignore[method-assign, assignment]
elif CHEAT == "approximates":
    Bound.scores = approximates(Bound.scores)  # type: ignore[method-assign, assignment]
elif CHEAT != "none":
    sys.exit(f"no such cheat: {CHEAT}")
__main__.main()
