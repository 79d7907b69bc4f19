"""Writes data/*.tar.xz, the golden files that this repository holds, from the large set.

    python tests/golden/shrink.py FOLDER_OF_THE_LARGE_SET

One archive per group of files that share numbers (weights in a checkpoint, and the same weights
beside their outputs), for what repeats costs next to nothing then. Files are copies byte for byte,
but for those in CUT, which lack some tensors; numbers are never changed. The same large set
makes the same archives, byte for byte. A new file: one line in ARCHIVES.
"""

import io
import lzma
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

from safetensors.torch import load, save
from torch import Tensor

DATA = Path(__file__).parent / "data"
MAX_BYTES = 3_000_000

ARCHIVES: dict[str, tuple[str, ...]] = {
    "biggan": ("biggan/biggan32_shared_nohier_dimshared0.*",),
    "biggan_checkpoint": (
        "biggan_ckpt/cifar_legacy.json",
        "biggan_ckpt/cifar_legacy/G_best0.pth",
        "biggan_ckpt/cifar_legacy/state_dict_best0.pth",
    ),
    "biggan_deep": ("biggan/biggandeep32_attn.*",),
    "biggan_huggingface": (
        "biggan_hf/hf_biggan_deep_64_tiny.*",
        "biggan_hf/hf_biggan_deep_64_tiny_files/*",
    ),
    "dcgan": ("dcgan/dcgan32.*", "dcgan/dcgan32_mmcv_ckpt.pth"),
    "names": (
        "biggan/keys_*",
        "biggan_hf/keys_*",
        "biggan_tfhub/keys_*",
        "mmgen/keys_*",
        "pggan/keys_*",
        "stylegan2/keys_*",
        "stylegan3/keys_*",
        "torch_fidelity/keys_*",
    ),
    "pggan_pickle": ("pggan/pickle16_cond_lod_nosource.*",),
    "pggan_schedule": ("pggan/training_schedule.json",),
    "pggan_records": ("pggan/tfrecords_8/*",),
    "pggan_training": ("pggan/pggan16_train.*",),
    "r3gan": ("r3gan/r3gan16.*",),
    "sagan": ("biggan/sagan32.*",),
    "sngan": ("biggan/sngan32_thin.*",),
    "stylegan2": ("stylegan2/sg2_16_resnetG_skipD.*",),
    "stylegan3": ("stylegan3/sg3r_32.*",),
    "stylegan3_pickle": ("stylegan3/sg3t_pickle_nosource.*",),
}


def small_gradients(name: str, tensor: Tensor) -> bool:
    """All but whole gradients of large weights; the norms that the originals stored stay."""
    return not name.startswith("grad/") or tensor.numel() <= 256


# File -> the tensors of it that are held.
CUT: dict[str, Callable[[str, Tensor], bool]] = {
    "biggan/biggan32_shared_nohier_dimshared0.safetensors": small_gradients,
    "biggan/biggandeep32_attn.safetensors": small_gradients,
    "biggan/sagan32.safetensors": small_gradients,
    "biggan/sngan32_thin.safetensors": small_gradients,
    # One of four truncations: that between two stored sets of statistics.
    "biggan_hf/hf_biggan_deep_64_tiny.safetensors": lambda name, _: (
        not name.startswith("out/image") or name.endswith("trunc0.437")
    ),
    # Gradients of biases and noise strengths, and images of one style and two noises.
    "stylegan2/sg2_16_resnetG_skipD.safetensors": lambda name, tensor: (
        tensor.numel() <= 36
        if name.startswith("grad/")
        else name not in ("out/image_const_nofuse", "out/image_psi0.7_const")
    ),
    "stylegan3/sg3t_pickle_nosource.safetensors": lambda name, _: (
        name in ("in/z", "in/real") or name.startswith(("out/", "state/"))
    ),
    # As of StyleGAN2, without the images of a truncation and of no noise, which it has never.
    "stylegan3/sg3r_32.safetensors": lambda name, tensor: (
        tensor.numel() <= 36
        if name.startswith("grad/")
        else name not in ("out/image_none", "out/image_psi0.7_const")
    ),
}

# Of the tries of a literal's and a position's bits, the best for float32 numbers.
FILTER = {"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "lc": 1, "lp": 2, "pb": 2}


def cut(content: bytes, keeps: Callable[[str, Tensor], bool]) -> bytes:
    """A safetensors file of some of its tensors."""
    return save({name: tensor for name, tensor in load(content).items() if keeps(name, tensor)})


def names_of(large: Path, patterns: tuple[str, ...]) -> list[str]:
    """Files of a group in the large set, by their names there."""
    found = {
        path.relative_to(large).as_posix()
        for pattern in patterns
        for path in large.glob(pattern)
        if path.is_file()
    }
    return sorted(found)


def content_of(large: Path, name: str) -> bytes:
    content = (large / name).read_bytes()
    return cut(content, CUT[name]) if name in CUT else content


def archive(large: Path, patterns: tuple[str, ...]) -> bytes:
    """A tar of a group's files, with neither times nor owners, compressed."""
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name in names_of(large, patterns):
            content = content_of(large, name)
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return lzma.compress(held.getvalue(), filters=[FILTER])


def main(large: Path) -> None:
    for path in DATA.glob("*.tar.xz"):
        path.unlink()
    total = 0
    for name, patterns in ARCHIVES.items():
        content = archive(large, patterns)
        total += len(content)
        (DATA / f"{name}.tar.xz").write_bytes(content)
        print(f"{len(content):9,} {name}")
    print(f"{total:9,} of {MAX_BYTES:,}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
