"""Keep third-party libraries from writing to the user's terminal."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_logging() -> Iterator[None]:
    """Silence `logging` and `warnings` inside the block, and leave both as they were.

    onnxruntime's quantizer logs through module functions of `logging`, which would install a handler on the root.
    """
    root = logging.getLogger()
    level, handler = root.manager.disable, logging.NullHandler()
    root.addHandler(handler)
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
        root.removeHandler(handler)
