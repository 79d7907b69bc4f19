"""Files that commands write: which pictures their names ask for, and names where none is given."""

from pathlib import Path
from typing import Literal

from limner.core.errors import LimnerError

STILLS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}  # suffix -> format
MOVING = (".gif", ".webp", ".mp4")  # of a walk: there and back
PICTURE = "FILE.png, FILE.jpg or FILE.webp"  # in messages


def is_still(path: str | Path) -> bool:
    """Whether a name is that of a picture."""
    return Path(path).suffix.lower() in STILLS


def check_still(option: str, path: str | Path | None) -> None:
    """Refuse another suffix, naming the option."""
    if path is not None and not is_still(path):
        raise LimnerError(f"{option} {path}: give {PICTURE}")


def check_walk_output(out: str | Path) -> None:
    """Refuse a name that asks neither for a picture nor for a moving one."""
    suffix = Path(out).suffix.lower()
    if suffix not in MOVING and not is_still(out):
        raise LimnerError(
            f"--out {out}: '{suffix}' is not written; give FILE.png, .jpg, .gif, .webp or .mp4"
        )


def named_after(source: str, ending: str) -> Path:
    """A free name in the current folder for what comes of a model or of pictures: RUN-samples.png
    of runs/RUN, then RUN-samples-2.png; NAME-prepared of NAME.zip."""
    place = Path(source.partition("@")[0].removesuffix(":raw")).resolve()
    return free_name(f"{place.stem if place.is_file() else place.name}-{ending}")


def free_name(name: str) -> Path:
    """A name that no file has: NAME.html, then NAME-2.html."""
    path, number = Path(name), 2
    while path.exists():
        path = Path(f"{Path(name).stem}-{number}{Path(name).suffix}")
        number += 1
    return path


def kind_of_output(
    out: str | Path, grid: str | None = None, npz_layout: str = "limner"
) -> Literal["picture", "npz", "folder"]:
    """What `out` asks for; a folder's name has no suffix, or is a text that ends in /.

    Raises:
        LimnerError: a suffix that is not written, or a grid or layout that does not fit it.
    """
    path = Path(out)
    suffix = path.suffix.lower()
    if path.is_dir() or str(out).endswith("/") or not suffix:
        if path.exists() and not path.is_dir():
            raise LimnerError(f"--out {path}: it is a file; give a folder, FILE.png or FILE.npz")
        kind = "folder"
    elif is_still(path):
        kind = "picture"
    elif suffix == ".npz":
        kind = "npz"
    else:
        raise LimnerError(
            f"--out {path}: '{suffix}' is not written; give {PICTURE}, FILE.npz or a folder (a "
            "folder's name has no suffix, or ends in /)"
        )
    if grid and kind != "picture":
        raise LimnerError(f"--grid makes a sheet, but --out is {path}; give {PICTURE}")
    if npz_layout != "limner" and kind != "npz":
        is_float = npz_layout == "float"
        words = "--float stores numbers" if is_float else "--npz-layout is that of an .npz"
        raise LimnerError(f"{words}, but --out is {path}; give FILE.npz")
    return kind
