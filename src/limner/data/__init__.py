"""Pictures: where they come from, the prepared form, and the loader.

Nothing here imports torch until the loader or the order of the images is asked for.
"""

from typing import TYPE_CHECKING, Any

from limner.data.config import DataConfig
from limner.data.export import write_hdf5, write_zip
from limner.data.opening import open_alike, open_data
from limner.data.prepare import prepare
from limner.data.prepared import PreparedData
from limner.data.report import DataReport, known_warnings, picture_sheet, report, told
from limner.data.shards.writing import write_shards
from limner.data.sources import SOURCES, Item, Listing, Source
from limner.data.stages import Crop
from limner.data.tfrecord_export import write_tfrecords
from limner.data.workers import TIMEOUT as WORKER_TIMEOUT

if TYPE_CHECKING:
    from limner.data.loader import Batch, Loader
    from limner.data.order import indices

__all__ = [
    "SOURCES",
    "WORKER_TIMEOUT",
    "Batch",
    "Crop",
    "DataConfig",
    "DataReport",
    "Item",
    "Listing",
    "Loader",
    "PreparedData",
    "Source",
    "indices",
    "known_warnings",
    "open_alike",
    "open_data",
    "picture_sheet",
    "prepare",
    "report",
    "told",
    "write_hdf5",
    "write_shards",
    "write_tfrecords",
    "write_zip",
]


def __getattr__(name: str) -> Any:
    if name in ("Batch", "Loader"):
        from limner.data import loader

        return getattr(loader, name)
    if name == "indices":
        from limner.data import order

        return order.indices
    raise AttributeError(f"module 'limner.data' has no attribute '{name}'")
