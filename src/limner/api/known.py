"""Public checkpoints that the importers read: where they are, and what is said of them there.

The facts are those of the pages named; what none of them says is left empty. Sizes are in units of
1e6 bytes, rounded as those pages have them.
"""

import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limner.api.importing import import_model
from limner.checkpoints.hub import PREFIX, HubPlace, fetched
from limner.core.counting import Progress
from limner.core.errors import CheckpointError, LimnerError, nearest
from limner.core.files import cache_directory, sha256_of, whole_file

if TYPE_CHECKING:
    from limner.checkpoints import ModelRecord

TIMEOUT = 60.0  # seconds without a byte
CHUNK = 2**20  # bytes
NVIDIA = "Nvidia Source Code License"


@dataclass(frozen=True)
class KnownFile:
    """A file of a checkpoint.

    Attributes:
        place: an address, or hf:USER/NAME@REVISION/FILE.
        name: that the importer expects.
        sha256: as its page says it; "" where none does.
    """

    place: str
    name: str
    sha256: str = ""


@dataclass(frozen=True)
class Known:
    """A public checkpoint.

    Attributes:
        files: none where a page asks a person to fetch them by hand.
        page: what says these facts, or where the files are fetched by hand.
        licence: "" where the page does not say it.
        megabytes: None where the page does not say it.
    """

    format: str
    page: str
    files: tuple[KnownFile, ...] = ()
    licence: str = ""
    megabytes: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def sha256(self) -> str:
        """Of its largest file, which stands first; "" where it is not public."""
        return self.files[0].sha256 if self.files else ""


def _of_hub(resolution: int, deep: bool) -> Known:
    name, version = (f"biggan-deep-{resolution}", 1) if deep else (f"biggan-{resolution}", 2)
    page = f"https://tfhub.dev/deepmind/{name}/{version}"
    file = KnownFile(f"{page}?tf-hub-format=compressed", f"{name}.tar.gz")
    return Known("tfhub-biggan", page, (file,))


def _of_port(resolution: int, megabytes: int) -> Known:
    base = f"https://s3.amazonaws.com/models.huggingface.co/biggan/biggan-deep-{resolution}-"
    names = ("pytorch_model.bin", "config.json")
    files = tuple(KnownFile(base + name, name) for name in names)
    page = "https://github.com/huggingface/pytorch-pretrained-BigGAN"
    return Known("huggingface-biggan", page, files, "MIT (of the code)", megabytes)


def _of_nvidia(system: str, name: str) -> Known:
    if system == "stylegan2-ada":
        page = "https://github.com/NVlabs/stylegan2-ada-pytorch"
        base = "https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained"
    else:
        page = "https://github.com/NVlabs/stylegan3"
        base = "https://api.ngc.nvidia.com/v2/models/nvidia/research/stylegan3/versions/1/files"
    return Known(system, page, (KnownFile(f"{base}/{name}", name),), NVIDIA)


def _of_r3gan(name: str, sha256: str = "", megabytes: int | None = None) -> Known:
    page, file = f"https://huggingface.co/brownvc/{name}", "network-snapshot-final.pkl"
    files = (KnownFile(f"{PREFIX}brownvc/{name}/{file}", file, sha256),)
    return Known("r3gan", page, files, megabytes=megabytes)


MIRROR = "hf:osanseviero/BigGAN-deep-128@af7ada61a86e72124b064fa245e5b78f5a5476d8"
STYLEGAN3 = ("ffhq-1024x1024", "ffhqu-1024x1024", "ffhqu-256x256", "metfaces-1024x1024")

KNOWN: dict[str, Known] = {
    **{f"biggan-{size}": _of_hub(size, deep=False) for size in (128, 256, 512)},
    **{f"biggan-deep-{size}": _of_hub(size, deep=True) for size in (128, 256, 512)},
    "biggan-deep-128-pytorch": _of_port(128, 201),
    "biggan-deep-256-pytorch": _of_port(256, 224),
    "biggan-deep-512-pytorch": _of_port(512, 225),
    "biggan-deep-128-pytorch-mirror": Known(
        "huggingface-biggan",
        "https://huggingface.co/osanseviero/BigGAN-deep-128",
        (
            KnownFile(
                f"{MIRROR}/pytorch_model.bin",
                "pytorch_model.bin",
                "b86146a8cfcde4cda135adba4b2806f78b3abe2dac9d0fd090cc3ab318604ad9",
            ),
            KnownFile(f"{MIRROR}/config.json", "config.json"),
        ),
        megabytes=211,
    ),
    "pggan": Known(
        "pggan",
        "https://drive.google.com/open?id=15hvzxt_XxuokSmj0uO4xxMTMWVc0cIMU",
        licence="CC BY-NC 4.0 (of the code)",
    ),
    **{
        f"stylegan2-ada-{name}": _of_nvidia("stylegan2-ada", f"{name}.pkl")
        for name in ("ffhq", "metfaces", "afhqcat", "afhqdog", "afhqwild", "cifar10", "brecahad")
    },
    **{
        f"stylegan3-{kind}-{name}": _of_nvidia("stylegan3", f"stylegan3-{kind}-{name}.pkl")
        for kind in "tr"
        for name in (*STYLEGAN3, "metfacesu-1024x1024", "afhqv2-512x512")
    },
    "r3gan-cifar10": _of_r3gan("R3GAN-CIFAR10"),
    "r3gan-ffhq-64": _of_r3gan("R3GAN-FFHQ-64x64"),
    "r3gan-ffhq-256": _of_r3gan(
        "R3GAN-FFHQ-256x256",
        "2e8e6ba20ff42766fb21b67dd45ae865da29dc00b7dab890be16735e3fb8fc5d",
        645,
    ),
}


def known_named(name: str) -> Known:
    """LimnerError for a name that is not in the table."""
    if name not in KNOWN:
        raise LimnerError(f"no known checkpoint '{name}'{nearest(name, KNOWN)}")
    return KNOWN[name]


def import_known(name: str, out: str | Path, progress: Progress) -> "ModelRecord":
    """A model folder from a known checkpoint, fetched unless it was before.

    Raises:
        LimnerError: no such name, it cannot be fetched, its sha256 is another; see `import_model`.
    """
    known = known_named(name)
    if not known.files:
        raise LimnerError(
            f"{name}: its page lets nobody fetch it by a program; take a file from {known.page} "
            f"and type limner import {known.format} FILE --out {out}"
        )
    folder = cache_directory() / "checkpoints" / name
    paths = [_fetched(file, folder, progress) for file in known.files]
    source = paths[0] if len(paths) == 1 else paths[0].parent
    return import_model(known.format, source, out, known.settings, known.files[0].place)


def _fetched(file: KnownFile, folder: Path, progress: Progress) -> Path:
    """The file on this machine, checked: in the folder, or in the hub's own cache."""
    if file.place.startswith(PREFIX):
        path = fetched(HubPlace.of(file.place)).path
    else:
        path = folder / file.name
        if not path.exists():
            with whole_file(path) as temporary:
                _download(file.place, temporary, progress)
                _check(file, temporary)
            return path
    _check(file, path)
    return path


def _download(address: str, path: Path, progress: Progress) -> None:
    request = urllib.request.Request(address, headers={"User-Agent": "limner"})
    done, size = 0, None
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer, open(path, "wb") as target:
            length = answer.headers.get("Content-Length", "")
            size = int(length) if length.isdigit() else None
            while chunk := answer.read(CHUNK):
                done += target.write(chunk)
                progress(done, size)
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", None) or error
        raise CheckpointError(f"{address}: it cannot be fetched ({reason})") from None
    if size is not None and done != size:
        raise CheckpointError(f"{address}: only {done:,} of {size:,} bytes came; try again")


def _check(file: KnownFile, path: Path) -> None:
    found = sha256_of(path) if file.sha256 else ""
    if found != file.sha256:
        raise CheckpointError(
            f"{path}: its sha256 is {found}, and its page says {file.sha256}; it was not imported"
        )
