"""Training states, run directories and model folders.

The names below are imported on first use, so that what needs no torch (the lock, the logs, the
list of checkpoints) starts without it.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from limner.checkpoints.filling import check_fit, fill, refill
    from limner.checkpoints.lock import RunLock, run_lock
    from limner.checkpoints.manifest import (
        list_states,
        newest_verified,
        read_manifest,
        verify_state,
    )
    from limner.checkpoints.model_folder import (
        ModelConfig,
        ModelRecord,
        check_standing,
        find_model,
        read_model,
        record_from_state,
        write_model,
    )
    from limner.checkpoints.run_directory import RunDirectory
    from limner.checkpoints.state import load_rank_state, load_state, rounding_notes, save_state

_HOMES = {
    "filling": ("check_fit", "fill", "refill"),
    "lock": ("RunLock", "run_lock"),
    "manifest": ("list_states", "newest_verified", "read_manifest", "verify_state"),
    "model_folder": (
        "ModelConfig",
        "ModelRecord",
        "check_standing",
        "find_model",
        "read_model",
        "record_from_state",
        "write_model",
    ),
    "run_directory": ("RunDirectory",),
    "state": ("load_rank_state", "load_state", "rounding_notes", "save_state"),
}

__all__ = [
    "ModelConfig",
    "ModelRecord",
    "RunDirectory",
    "RunLock",
    "check_fit",
    "check_standing",
    "fill",
    "find_model",
    "list_states",
    "load_rank_state",
    "load_state",
    "newest_verified",
    "read_manifest",
    "read_model",
    "record_from_state",
    "refill",
    "rounding_notes",
    "run_lock",
    "save_state",
    "verify_state",
    "write_model",
]


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
