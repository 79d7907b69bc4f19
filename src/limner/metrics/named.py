"""Metrics and extractors by name: those of a table, and a user's own."""

from collections.abc import Mapping
from typing import Any

from limner.core.config import load_module, nearest
from limner.core.errors import LimnerError


def named(name: str, table: Mapping[str, Any], what: str) -> Any:
    """The entry of a table; or of a user's module, "module:Class" or "FILE.py:Class", which is
    imported because the user asked for it by name. `what`, for messages: "metric".

    Raises:
        LimnerError: neither; names the nearest of the table.
    """
    if name in table:
        return table[name]
    module, colon, class_name = name.rpartition(":")
    if not colon:
        raise LimnerError(f"unknown {what} '{name}'{nearest(name, table)}")
    found = vars(load_module(module)).get(class_name)
    if found is None:
        raise LimnerError(f"{what} '{name}': the module has no '{class_name}'")
    return found
