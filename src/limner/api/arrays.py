"""Latents and labels from files that users made elsewhere."""

from pathlib import Path

import numpy as np

from limner.core.errors import LimnerError
from limner.formats import npy


def read_array(path: str | Path, key: str) -> np.ndarray:
    """Numbers from an .npy file, or those named `key` of an .npz; pickles are never read.

    Returns:
        float32, or int64 where the file holds integers or truth values; of the file's shape.

    Raises:
        LimnerError: no such file, another format, or values that are not real finite numbers.
    """
    try:
        array = npy.read_array(path, key)
    except OSError as error:
        raise LimnerError(f"--{key} {path}: {(error.strerror or str(error)).lower()}") from None
    except LimnerError as error:
        raise LimnerError(f"--{key} {error}") from None
    # torch knows neither other byte orders nor most unsigned integers
    with np.errstate(over="ignore"):  # such numbers are then found not finite
        array = array.astype(np.float32 if array.dtype.kind == "f" else np.int64)
    if not np.isfinite(array).all():
        raise LimnerError(f"--{key} {path}: it holds numbers that are not finite in float32")
    return array
