"""What a file is that was taken for another: told by its first bytes, for messages."""

import codecs
import re
import zipfile
from pathlib import Path

PICKLE, TORCH, OLD_TORCH = "a pickle", "a file of torch.save", "an old file of torch.save"
CUT_ZIP, EMPTY = "a zip file without its end", "an empty file"
HDF5, GZIP, NPZ = "an HDF5 file", "a gzip file", "an .npz of numpy"
NUM_HEAD_BYTES = 512
OLD_TORCH_HEAD = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # its magic number, pickled
NEW_PICKLE = re.compile(rb"\x80[\x02-\x05]")
TEXT_PICKLE = re.compile(rb"\((dp?\d|lp?\d|[(cdlitIFLVSN])|c[\w.]+\n[\w.]+\n")  # protocols 0, 1
HEADS = (
    (b"\x89HDF\r\n\x1a\n", HDF5),
    (b"\x93NUMPY", "an .npy of numpy"),
    (b"\x1f\x8b", GZIP),
    (b"BZh", "a bzip2 file"),
    (b"\xfd7zXZ\x00", "an xz file"),
    (b"7z\xbc\xaf", "a 7-zip archive"),
    (b"\x89PNG", "a picture"),
    (b"\xff\xd8\xff", "a picture"),
)


def kind_of(path: str | Path) -> str | None:
    """What the file is, with its article; None where its beginning tells nothing. OSError where it
    cannot be read."""
    path = Path(path)
    if path.is_dir():
        return "a folder"
    with open(path, "rb") as file:
        head = file.read(NUM_HEAD_BYTES)
    if not head:
        return EMPTY
    is_zip = is_zipfile(path)
    if head[:4] == b"PK\x03\x04" or is_zip:
        return _kind_of_zip(path) if is_zip else CUT_ZIP
    if head.startswith(OLD_TORCH_HEAD):
        return OLD_TORCH
    if NEW_PICKLE.match(head):
        return PICKLE
    for start, kind in HEADS:
        if head.startswith(start):
            return kind
    if head[257:262] == b"ustar":
        return "a tar archive"
    if head[8:9] == b"{" and 0 < int.from_bytes(head[:8], "little") < path.stat().st_size:
        return "a safetensors file"
    return "a text file" if _is_text(head) else None


def is_zipfile(path: Path) -> bool:
    """Whether its end is that of a whole zip."""
    try:
        return zipfile.is_zipfile(path)
    except zipfile.BadZipFile:  # several disks
        return False


def _kind_of_zip(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, LookupError):
        return "a damaged zip file"
    if any(name.endswith("/data.pkl") for name in names):
        return TORCH
    return NPZ if names and all(n.endswith(".npy") for n in names) else "a zip file"


def _is_text(head: bytes) -> bool:
    """Whether it is one, and no pickle of the oldest protocols, which are texts too."""
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(head)  # its end may be cut
    except UnicodeDecodeError:
        return False
    return all(c.isprintable() or c.isspace() for c in text) and not TEXT_PICKLE.match(head)
