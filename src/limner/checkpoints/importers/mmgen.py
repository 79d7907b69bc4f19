"""MMGeneration's files: iter_N.pth with state_dict {generator.*, generator_ema.*, discriminator.*}.

Only tensors and plain values are read, without running anything (torch_files.py); of a config that
a file brings as text, literals alone. The family follows from the generator's keys, the sizes from
the shapes, and what neither tells from mmgen_recipes.py.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from limner.checkpoints.foreign import Importer
from limner.checkpoints.importers import (
    mmgen_early,
    mmgen_growing,
    mmgen_residual,
    mmgen_style,
)
from limner.checkpoints.importers.mmgen_names import State
from limner.checkpoints.importers.mmgen_recipes import Said, said_of
from limner.checkpoints.importers.network_pickles import Built, composed, finite
from limner.checkpoints.importers.running_statistics import doubt
from limner.checkpoints.model_folder import ModelRecord
from limner.core.config import Config
from limner.core.errors import CheckpointError, ConfigError, RefusedFile
from limner.formats.pickles import Record, shown
from limner.formats.torch_files import read_torch
from limner.formats.weights import plain, unwrapped
from limner.models.common import Epsilon, Few

WANTED = "an iter_N.pth of MMGeneration"
GROUPS = {"generator": "G", "generator_ema": "G_ema", "discriminator": "D"}
# What trainings keep beside their networks, and sampling does not need.
BESIDE = (
    r"shown_nkimg|_next_scale_int|_curr_scale_int|_curr_transition_weight|"
    r"gen_auxiliary_losses\.\d+\.mean_path_length"
)
GROWING = "PGGAN"


class Family(NamedTuple):
    """Architectures of one kind.

    Attributes:
        mark: pattern of a key that only its generators have.
        outputs, inputs: layers of limner's whose outputs, and inputs, are colors.
        transposed: outputs are the second axis of such a layer's weight.
    """

    mark: str
    generator: Callable[[Mapping[str, Tensor], Said, str], Built]
    discriminator: Callable[[Mapping[str, Tensor], Said, str, tuple[int, int, int]], Built]
    outputs: str
    inputs: str
    transposed: bool = False


RESIDUAL = mmgen_residual.generator, mmgen_residual.discriminator, "output"
FAMILIES: dict[str, Family] = {
    "StyleGAN2": Family(
        r"style_mapping\.1\.linear\.weight_orig",
        mmgen_style.generator,
        mmgen_style.discriminator,
        r"blocks\.\d+\.to_image",
        r"blocks\.\d+\.from_image",
    ),
    GROWING: Family(
        r"torgb_layers\.0\.conv\.weight_orig",
        mmgen_growing.generator,
        mmgen_growing.discriminator,
        r"outputs\.\d+",
        r"inputs\.\d+",
    ),
    "BigGAN-deep": Family(r"conv_blocks\.0\.conv4\.conv\.weight(_orig)?", *RESIDUAL, "first"),
    "BigGAN": Family(
        r"conv_blocks\.0\.conv1\.conv\.weight(_orig)?", *RESIDUAL, r"first\.(conv1|shortcut)"
    ),
    "SA-GAN": Family(r"conv_blocks\.\d+\.gamma", *RESIDUAL, r"first\.(conv1|shortcut)"),
    "SN-GAN": Family(
        r"conv_blocks\.0\.conv_1\.conv\.weight(_orig)?", *RESIDUAL, r"first\.(conv1|shortcut)"
    ),
    "LSGAN": Family(
        r"noise2feat_head\.0\.weight",
        mmgen_early.lsgan_generator,
        mmgen_early.lsgan_discriminator,
        "output",
        r"blocks\.0\.conv",
        transposed=True,
    ),
    "WGAN-GP": Family(
        r"noise2feat\.linear\.weight",
        mmgen_early.wgan_generator,
        mmgen_early.wgan_discriminator,
        "output",
        "first",
    ),
    "DCGAN": Family(
        r"(noise2feat|upsampling\.0)\.conv\.weight",
        mmgen_early.dcgan_generator,
        mmgen_early.dcgan_discriminator,
        "output",
        r"blocks\.0\.conv",
        transposed=True,
    ),
}


class Mmgen(Config, Importer, frozen=True):
    """An iter_N.pth of MMGeneration: SN-GAN, SA-GAN, BigGAN, BigGAN-deep, PGGAN, StyleGAN2, DCGAN,
    LSGAN, WGAN-GP; or the state of such a generator alone.

    Attributes:
        config: name of the MMGeneration config that the file was trained with; it says what no
            tensor shows.
        bgr: the checkpoint was trained in BGR: swap its color channels, so that images are RGB.
        inplace_relu: the discriminator activates in place, so that shortcuts see relu(x).
        gain_around_one: conditional norms multiply by 1 + embedding; false by the embedding.
        norm_eps: of the generator's batch norms.
        sn_eps: of spectral norm.
        rgb2bgr: the original turns its images' colors, so that the weights are of RGB.
        fused_upconv: PGGAN doubles and convolves in one, with transposed weights.
        depth: blocks of BigGAN-deep at every resolution.
    """

    config: str | None = None
    bgr: bool = False
    inplace_relu: bool | None = None
    gain_around_one: bool | None = None
    norm_eps: Epsilon | None = None
    sn_eps: Epsilon | None = None
    rgb2bgr: bool | None = None
    fused_upconv: bool | None = None
    depth: Few | None = None

    def read(self, source: Path) -> ModelRecord:
        """See `Importer.read`."""
        file = _File(source)
        said, facts = said_of(file.family, self._given(), self.config, file.meta, source)
        built = file.networks(said)
        facts = {"family": file.family, **facts, "channel_order": self._colors(built, file, said)}
        if file.unread:
            facts["not_taken"] = ", ".join(file.unread)
        record = composed(built, source, facts)
        doubts = [record.config.origin.get("warning"), doubt(record)]
        origin = {**record.config.origin}
        if any(doubts):
            origin["warning"] = "; ".join(filter(None, doubts))
        record.config = record.config.replace(origin=origin)
        return record

    def _given(self) -> dict[str, Any]:
        names = Said.__dataclass_fields__
        return {n: getattr(self, n) for n in names if getattr(self, n) is not None}

    def _colors(self, built: Mapping[str, Built], file: "_File", said: Said) -> str:
        """Swaps them where that is asked for; says which they are."""
        num = next(iter(built.values())).image_shape[0]
        if num != 3:
            if self.bgr:
                raise CheckpointError(
                    f"{file.path}: its images have {num} channels; leave --bgr out"
                )
            return "as trained"
        if said.rgb2bgr:
            return "RGB (the original turns them to BGR)"
        if not self.bgr:
            return "BGR (as trained)"
        for name, each in built.items():
            _swap_colors(each.state, FAMILIES[file.family], is_generator=name != "D")
        return "RGB (swapped from the trained BGR)"


class DcganMmgen(Config, Importer, frozen=True):
    """An iter_N.pth of MMGeneration, of a DCGAN alone.

    Attributes:
        bgr: the checkpoint was trained in BGR: swap its color channels, so that images are RGB.
    """

    bgr: bool = False

    def read(self, source: Path) -> ModelRecord:
        """See `Importer.read`."""
        record = Mmgen(bgr=self.bgr).read(source)
        family = record.config.origin["family"]
        if family != "DCGAN":
            raise CheckpointError(f"{source}: is a {family} of MMGeneration; limner import mmgen")
        return record


class _File:
    """What a file holds, its networks by G, G_ema and D."""

    def __init__(self, path: Path):
        self.path = path
        tree = _read(path)
        self.meta = tree.get("meta") if isinstance(tree, dict) else None
        state = unwrapped(tree, path, keep=GROUPS)
        if not isinstance(state, dict) or not state:
            raise CheckpointError(f"{path}: holds no state_dict; give {WANTED}")
        groups, self.extras = _groups(state, path)
        self.groups = {name: plain(own, f"{path}: {name}") for name, own in groups.items()}
        self.family = _family(self.groups, path)
        optimizer = ["optimizer"] if isinstance(tree, dict) and "optimizer" in tree else []
        beside = [*optimizer, *self.extras]
        self.unread = beside if self.family != GROWING else [*beside, "discriminator.conv_blocks.0"]

    def networks(self, said: Said) -> dict[str, Built]:
        family, built = FAMILIES[self.family], {}
        shape = (0, 0, 0)
        for name in ("G_ema", "G", "D"):
            if name not in self.groups:
                continue
            where, state = f"{self.path}: {name}", self.groups[name]
            finite(state, where)
            try:
                if name == "D":
                    built[name] = family.discriminator(state, said, where, shape)
                else:
                    built[name] = family.generator(state, said, where)
                    shape = built[name].image_shape
            except (KeyError, IndexError, ValueError, CheckpointError, ConfigError) as error:
                raise self._misfit(name, error) from None
        if self.family == GROWING:
            lod = mmgen_growing.lod_of(self.extras, shape, str(self.path))
            for each in built.values():
                each.state["lod"] = torch.tensor(lod)  # pyright: ignore[reportIndexIssue]
        return built

    def _misfit(self, name: str, error: Exception) -> CheckpointError:
        text = str(error).removeprefix(f"{self.path}: {name}: ")
        text = f"the tensor {error} is missing" if isinstance(error, KeyError) else text
        return CheckpointError(
            f"{self.path}: {name}: not a whole {self.family} of MMGeneration: {text}"
        )


def _read(path: Path) -> Any:
    try:
        return read_torch(path, WANTED)
    except RefusedFile as error:
        raise RefusedFile(
            f"{error}; it holds more than tensors and plain values: save its state_dict alone with "
            "the program that made it"
        ) from None


def _groups(state: Mapping[str, Any], path: Path) -> tuple[dict[str, State], dict[str, Any]]:
    """The networks, and what a training keeps beside them."""
    grouped = any(str(key).partition(".")[0] in GROUPS for key in state)
    groups: dict[str, State] = {}
    extras: dict[str, Any] = {}
    for key, value in state.items():
        prefix, _, name = str(key).partition(".") if grouped else ("generator", ".", str(key))
        if re.fullmatch(BESIDE, str(key)):
            extras[str(key)] = value
        elif prefix in GROUPS and isinstance(value, Tensor):
            groups.setdefault(GROUPS[prefix], {})[name] = value
        else:
            what = f"a {value.of}" if isinstance(value, Record) else f"a {type(value).__name__}"
            raise CheckpointError(
                f"{path}: unexpected entry '{shown(str(key))}' in state_dict ({what}); a file of "
                f"MMGeneration holds tensors {', '.join(f'{name}.*' for name in GROUPS)}"
            )
    return groups, extras


def _family(groups: Mapping[str, State], path: Path) -> str:
    g = groups.get("G_ema") or groups.get("G")
    if g is None:
        raise CheckpointError(f"{path}: holds no generator; give {WANTED}")
    for name, family in FAMILIES.items():
        if any(re.fullmatch(family.mark, key) for key in g):
            return name
    raise CheckpointError(
        f"{path}: not known: a generator with '{shown(next(iter(g)))}'; the families of "
        f"MMGeneration that are read are {', '.join(FAMILIES)}"
    )


def _swap_colors(state: Any, family: Family, is_generator: bool) -> None:
    """In place. Vectors of spectral norm turn with the weight that they are of."""
    pattern = re.compile(family.outputs if is_generator else family.inputs)
    for key in list(state):
        layer, _, leaf = key.rpartition(".")
        if not pattern.fullmatch(layer):
            continue
        value = state[key]
        if leaf == "weight":
            state[key] = value.flip(0 if is_generator and not family.transposed else 1)
        elif leaf == "bias" and is_generator:
            state[key] = value.flip(0)
        elif leaf == ("u0" if is_generator else "v0"):
            num = state[f"{layer}.weight"].shape[0 if is_generator else 1]
            state[key] = value.unflatten(1, (num, -1)).flip(1).flatten(1)
