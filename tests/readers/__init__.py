"""Everything of limner that reads files of others, each with valid files to damage.

A reader's `files` are what may be damaged: name -> valid content. `read(name, content)` puts the
content in that file's place and reads the whole thing through the public loader; what it raises is
judged by the caller. Nothing of a case stays for the next one.
"""

from readers.base import Reader
from readers.databases import Hdf5s, Lsuns
from readers.foreign import (
    Foreign,
    Hubs,
    Huggings,
    Pickles,
    Snapshots,
    TorchFiles,
    WeightFolders,
)
from readers.given import Latents, ScoredPictures, Weights
from readers.own import Checkpoints, Configs, Logs, Models
from readers.sources import (
    Cifars,
    Idxs,
    Kept,
    LabelRows,
    Moments,
    Npzs,
    Pictures,
    Prepared,
    Svhns,
    TfrecordSets,
    Zips,
)

READERS: dict[str, type[Reader]] = {
    reader.name: reader
    for reader in (
        Configs, Checkpoints, Logs, Models, Zips, Npzs, Cifars, TfrecordSets, Idxs, Svhns, Hdf5s,
        Lsuns, Prepared, Kept, LabelRows, Moments, Pictures, Foreign, Pickles, TorchFiles, Hubs,
        Huggings, WeightFolders, Snapshots, Latents, ScoredPictures, Weights,
    )
}  # fmt: skip

__all__ = ["READERS", "Reader"]
