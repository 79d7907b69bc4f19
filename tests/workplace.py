"""A folder with what the documentation names: runs, pictures, other programs' checkpoints."""

import shutil
from pathlib import Path

import numpy as np
from PIL import Image
from torch.nn.functional import adaptive_avg_pool2d

from limner.checkpoints import ModelConfig, ModelRecord, write_model
from limner.cli.main import main
from limner.core.config import override
from limner.models import DcganGenerator, StyleGan2Generator
from limner.presets.handwritten import digits
from published import PLANTED, hub_files, weight_folder

NUM_PICTURES = 24
NARROW = ("generator.width=4", "discriminator.width=4")
SETTINGS = (*NARROW, "batch_size=4", "metrics=[]")
RECIPES = """from limner.presets import digits_tiny


def small():
    return digits_tiny()
"""


class Thumbs:
    """Features that cost nothing: the picture at 3x3 pixels."""

    name, weights_sha256 = "thumbs", None

    def __init__(self, data):
        pass

    def features(self, images):
        return adaptive_avg_pool2d(images.float(), 3).flatten(1)


def furnish(folder: Path, tiny_run: Path) -> Path:
    """runs/digits, photos/, and a training of BigGAN-PyTorch in weights/EXPERIMENT, whose networks
    stand there with the suffix best0 too."""
    shutil.copytree(tiny_run, folder / "runs" / "digits")
    pictures(folder / "photos", (24, 20))
    experiment = folder / "weights" / "EXPERIMENT"
    experiment.mkdir(parents=True)
    weight_folder(experiment)
    for file in sorted(experiment.glob("*.pth")):
        shutil.copy(file, file.with_stem(f"{file.stem}_best0"))
    return folder


def furnish_all(folder: Path, tiny_run: Path) -> Path:
    """All that a page of the documentation names."""
    furnish(folder, tiny_run)
    photos, run = folder / "photos", folder / "runs" / "photos"
    settings = [word for setting in SETTINGS for word in ("--set", setting)]
    words = ("--steps", 2, "--device", "cpu", "--json", *settings)
    _limner("train", "photos", "--data", photos, "--run", run, *words)
    _limner("sample", run, "--num", 16, "--out", folder / "samples.npz")
    words = ("--resolution", 32, "--labels", "none", "--json")
    _limner("data", "prepare", photos, "--out", folder / "ready", *words)
    for number in range(2):  # as many classes as weights/EXPERIMENT has, in its size
        pictures(folder / "cifar" / f"class{number}", (8, 8))
        pictures(folder / "mine" / f"class{number}", (24, 20))
    generator = StyleGan2Generator(z_dim=8, w_dim=8, num_mapping=2, channel_base=128, channel_max=8)
    config = ModelConfig(generator=generator, image_shape=(3, 32, 32))  # of 8 layers
    state = generator.build((3, 32, 32), 0).state_dict()
    write_model(folder / "models" / "styles", ModelRecord(config, state))
    (folder / "recipes.py").write_text(RECIPES)
    arrays = DcganGenerator(width=4, z_dim=8).build((3, 8, 8), 0).state_dict()
    np.savez(folder / "old.npz", **{name: array.numpy() for name, array in arrays.items()})
    shutil.copy(folder / "runs" / "digits" / "config.json", folder / "my-run.json")
    _old_checkpoints(folder)
    return folder


def narrow_digits():
    """The preset digits with thin networks, for two steps."""
    return override(digits(), ("steps=2", "metrics=[]", *NARROW))


def _old_checkpoints(folder: Path) -> None:
    (folder / "biggan-deep-256").mkdir()
    PLANTED["huggingface-biggan"](folder / "biggan-deep-256")
    (folder / "hub").mkdir()
    archive = hub_files(folder / "hub")["module.tar.gz"]
    (folder / "biggan-128_2.tar.gz").write_bytes(archive)
    pickle = PLANTED["pggan"](folder).source
    for name in ("karras2018iclr-celebahq-1024x1024.pkl", "network-snapshot-004000.pkl"):
        shutil.copy(pickle, folder / name)
    source = PLANTED["mmgen"](folder).source
    for name in ("sngan_proj_32_woReLUinplace.pth", "iter_500000.pth"):
        shutil.copy(source, folder / name)
    for system, name in (
        ("stylegan2-ada", "network-snapshot-025000.pkl"),
        ("stylegan3", "stylegan3-t-ffhq-1024x1024.pkl"),
        ("r3gan", "network-snapshot-final.pkl"),
    ):
        (folder / system).mkdir()
        shutil.move(PLANTED[system](folder / system).source, folder / name)


def _limner(*words: object) -> None:
    assert main([str(word) for word in words]) == 0


def pictures(folder: Path, size: tuple[int, int]) -> Path:
    """A folder of noise in color, width x height."""
    folder.mkdir(parents=True)
    random, (width, height) = np.random.default_rng(0), size
    for number in range(NUM_PICTURES):
        pixels = random.integers(0, 256, (height, width, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:02}.png")
    return folder
