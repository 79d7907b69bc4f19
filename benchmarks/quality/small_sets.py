"""Small sets of real pictures, as people have them: crops of photographs, and a few digits."""

import hashlib
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image

from limner.core.errors import DataError
from limner.metrics.arrays import ArrayData
from quality.reals import digits, split

TWO = ("coffee.png", "chelsea.png")  # of scikit-image: a cup, and a cat
OTHERS = ("astronaut.png", "motorcycle_left.png", "rocket.jpg")
NUM_DIGITS = 500
SMALLEST_CROP = 120  # pixels of the photograph


@cache
def photographs(resolution: int) -> tuple[ArrayData, ArrayData]:
    """(1,500 for training, 1,000 held out): crops of two photographs, half of each."""
    return crops(TWO, resolution, 1500, 1000)


@cache
def thumbnails() -> tuple[ArrayData, ArrayData]:
    """(5,000 for training, 1,000 held out): crops of five photographs to 32x32, equally many."""
    return crops((*TWO, *OTHERS), 32, 5000, 1000)


def crops(
    names: tuple[str, ...], resolution: int, num: int, num_held_out: int
) -> tuple[ArrayData, ArrayData]:
    """(for training, held out): random square crops of photographs, unlabelled.

    A crop has a side between SMALLEST_CROP and the photograph's height, uniformly. Crops overlap,
    so what is held out is no picture of something new.

    Raises:
        DataError: scikit-image, which brings the photographs, is not installed.
    """
    spec = find_spec("skimage")
    if spec is None or spec.origin is None:
        raise DataError("the photographs are scikit-image's: pip install scikit-image")
    folder, draw = Path(spec.origin).parent / "data", np.random.default_rng(0)
    of_each = []
    for name in names:
        photograph = Image.open(folder / name).convert("RGB")
        each = (num + num_held_out) // len(names)
        of_each.append([crop(photograph, resolution, draw) for _ in range(each)])
    mixed = np.stack([picture for group in zip(*of_each, strict=True) for picture in group])
    return unlabelled(mixed[:num]), unlabelled(mixed[num:])


def crop(photograph: Image.Image, resolution: int, draw: np.random.Generator) -> np.ndarray:
    """A random square, uint8 [resolution, resolution, 3]."""
    width, height = photograph.size
    side = int(draw.integers(SMALLEST_CROP, height + 1))
    left, top = draw.integers(0, width - side + 1), draw.integers(0, height - side + 1)
    square = photograph.crop((int(left), int(top), int(left) + side, int(top) + side))
    return np.asarray(square.resize((resolution, resolution), Image.Resampling.LANCZOS))


@cache
def few_digits() -> tuple[ArrayData, ArrayData]:
    """(500 for training, 2,000 held out): MNIST digits in a black frame to 32x32, unlabelled."""
    train, held_out = split(digits())
    return unlabelled(framed(train)[:NUM_DIGITS]), unlabelled(framed(held_out))


def framed(data: ArrayData) -> np.ndarray:
    """28x28 pictures in a black frame, uint8 [N, 32, 32, 1]."""
    return np.pad(data.images, ((0, 0), (2, 2), (2, 2), (0, 0)))


def unlabelled(images: np.ndarray) -> ArrayData:
    """uint8 [N, H, W, C] with their hash, without classes."""
    images = np.ascontiguousarray(images)
    digest = hashlib.sha256(images.tobytes()).hexdigest()
    return ArrayData(images, np.zeros(len(images), np.int64), 0, digest)
