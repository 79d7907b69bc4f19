"""The sources of pictures that limner reads, tried in this order; one line each."""

import os

from limner.core.errors import DataError
from limner.core.parts import table
from limner.core.understood import UNDERSTOOD, check_there, is_url
from limner.data.sources.archive import ImageZip
from limner.data.sources.arrays import ArrayFile
from limner.data.sources.base import Item, Labels, LabelsAsked, Listing, Source
from limner.data.sources.celeba import CelebaCrop
from limner.data.sources.cifar import Cifar
from limner.data.sources.digits import Digits
from limner.data.sources.folder import ImageFolder
from limner.data.sources.hdf5 import Hdf5File
from limner.data.sources.lsun import Lsun
from limner.data.sources.mnist import Mnist, MnistRgb
from limner.data.sources.svhn import Svhn
from limner.data.sources.tfrecord import TfrecordSet

__all__ = [
    "BUILT_IN",
    "SOURCES",
    "Item",
    "Labels",
    "LabelsAsked",
    "Listing",
    "Source",
    "find_source",
]

BUILT_IN: dict[str, type[Source]] = {"digits": Digits}

SOURCES = table(
    Digits,
    ArrayFile,
    Hdf5File,
    ImageZip,
    Cifar,
    TfrecordSet,
    Mnist,
    MnistRgb,
    Svhn,
    Lsun,
    CelebaCrop,
    ImageFolder,
)


def find_source(data: str | os.PathLike[str] | Source, given: Source | None = None) -> Source:
    """The source behind a data argument: a built-in name, a path, or a source itself.

    Args:
        data: what the user wrote. A built-in name wins over a folder of that name: write ./digits.
        given: `DataConfig.source`; where it is not None its `path` is filled in and it is taken.

    Raises:
        DataError: nothing is there, or it is none of the kinds understood.
    """
    if isinstance(data, Source):
        return data
    if given is not None:
        return given.replace(path=str(data))  # pyright: ignore[reportAttributeAccessIssue]
    if isinstance(data, str) and data in BUILT_IN:
        return BUILT_IN[data]()
    if is_url(data):
        raise DataError(f"{data}: of URLs only shards are read, by training and scores as they are")
    path = check_there(data)
    for source in SOURCES.values():
        if source.reads(path):
            return source(path=str(path))  # pyright: ignore[reportCallIssue]
    raise DataError(f"{path}: not understood as pictures; {UNDERSTOOD}")
