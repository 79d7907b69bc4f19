"""Latents and labels from files that users made elsewhere."""

import lzma
import tokenize
from pathlib import Path

import numpy as np

from limner.core.errors import LimnerError
from limner.formats.zips import ZIP_ERRORS

NUMPYS_OWN = (SyntaxError, TypeError, AttributeError, tokenize.TokenError)


def read_array(path: str | Path, key: str) -> np.ndarray:
    """Numbers from an .npy file, or those named `key` of an .npz; pickles are never read.

    Returns:
        float32, or int64 where the file holds integers or truth values; of the file's shape.

    Raises:
        LimnerError: no such file, another format, or values that are not real finite numbers.
    """
    try:
        with open(path, "rb") as file:  # numpy leaves it open where an .npz is damaged
            loaded = np.load(file, allow_pickle=False)
            if isinstance(loaded, np.lib.npyio.NpzFile):
                with loaded:
                    if key not in loaded:
                        held = ", ".join(loaded.files)
                        raise LimnerError(f"--{key} {path}: it holds no '{key}' but {held}")
                    loaded = loaded[key]
        array = np.asarray(loaded)
    except (FileNotFoundError, IsADirectoryError):
        raise LimnerError(f"--{key} {path}: no such file") from None
    except LimnerError:
        raise
    except (*ZIP_ERRORS, lzma.LZMAError, *NUMPYS_OWN) as error:
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise LimnerError(
            f"--{key} {path}: not an .npy file of plain numbers ({reason}); write it by np.save"
        ) from None
    if array.dtype.kind not in "iufb":
        raise LimnerError(f"--{key} {path}: values of {array.dtype}; store real numbers")
    # torch knows neither other byte orders nor most unsigned integers
    kinds = {"f": np.float32, "i": np.int64, "u": np.int64, "b": np.int64}
    with np.errstate(over="ignore"):  # such numbers are then found not finite
        array = array.astype(kinds[array.dtype.kind])
    if not np.isfinite(array).all():
        raise LimnerError(f"--{key} {path}: it holds numbers that are not finite in float32")
    return array
