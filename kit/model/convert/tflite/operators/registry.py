"""The table of operators: a function each, by the schema's name."""

from collections.abc import Callable

from kit.model.convert.tflite.builder import Builder
from kit.model.convert.tflite.file import Operator

Handler = Callable[[Builder, Operator], None]
"""Appends to the builder what one operator of the file computes."""

HANDLERS: dict[str, Handler] = {}
"""Every operator that can be converted; a new one is a function with `@handles`."""


def handles(*names: str) -> Callable[[Handler], Handler]:
    """Register a function for operators of these names (BuiltinOperator in the schema)."""

    def register(handler: Handler) -> Handler:
        HANDLERS.update(dict.fromkeys(names, handler))
        return handler

    return register
