"""The BigGAN generators of TF Hub: biggan-128/256/512 (version 2) and biggan-deep (version 1).

From the downloaded module, or a dump of its variables; also the state dicts of BigGAN-PyTorch's
TFHub folder: those of biggan_v1.py, and what its converter.py makes of them. Brock et al. (2019).

The modules normalize spectrally by a rule of their own, so W / sigma is stored (see folding.py).
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from limner.checkpoints.foreign import Importer
from limner.checkpoints.importers import tfhub_deep
from limner.checkpoints.importers.biggan_names import to_limner
from limner.checkpoints.importers.fitting import fitted, listed, require_names
from limner.checkpoints.importers.folding import (
    channels_first,
    condition_first,
    folded_by_module,
    multiples,
)
from limner.checkpoints.importers.hub_names import ema_of, hub_block, number_of, outputs_first
from limner.checkpoints.model_folder import ModelConfig, ModelRecord
from limner.core.config import Config
from limner.core.errors import CheckpointError, ConfigError
from limner.core.protocols import NetworkConfig
from limner.formats.variables import hashes_of, open_variables
from limner.models.biggan import BigGanGenerator

# Blocks -> the resolution after whose block the module has attention.
ATTENTION = {5: 64, 6: 128, 7: 64}
# The 512 module has another epsilon in its last norm; biggan_v1.py has the numbers.
EPS, EPS_OF_OUTPUT_AT_512 = 1e-4, 1e-5
MAX_BLOCKS = 10
WHAT = "BigGAN generator of TF Hub"


class TfhubBiggan(Config, Importer, frozen=True):
    """A BigGAN generator of TF Hub: the module's folder or .tar.gz, its `variables` folder, an HDF5
    or .npz dump of the variables, or a .pth of BigGAN-PyTorch's TFHub folder.

    Attributes:
        weights: "ema" for the moving average that is published to sample from, "raw" for the
            weights that were trained.
        attention: resolution after whose block self-attention stands; only for modules of other
            resolutions than the published ones.
    """

    weights: Literal["ema", "raw"] = "ema"
    attention: int | None = None

    def read(self, source: Path) -> ModelRecord:
        """See `Importer.read`; MissingExtra as `open_variables`."""
        with open_variables(source) as variables:
            try:
                record = record_from(variables, str(source), self.weights, self.attention)
            except RuntimeError as error:  # of torch, about shapes
                reason = str(error).splitlines()[0][:200]
                raise CheckpointError(f"{source}: its shapes fit no {WHAT} ({reason})") from None
        origin = {"file": source.name, "sha256": hashes_of(source), "weights": self.weights}
        record.config = record.config.replace(origin=origin | record.config.origin)
        return record


def record_from(
    variables: Mapping[str, Tensor], where: str, weights: str, attention: int | None
) -> ModelRecord:
    """The record of named tensors, which may be without memory (device "meta"); see `read`."""
    if any(name.startswith("Generator/GenZ/") for name in variables):
        return tfhub_deep.record_from(variables, where, weights)
    if any(name.startswith("blocks.0.0.") for name in variables):
        return _of_converted(variables, where)
    if any(name.startswith("GBlock.") for name in variables):
        return _of_names(_PortNames(variables), where, attention)
    if any(name.startswith("Generator/GBlock") for name in variables):
        return _of_names(_HubNames(variables, weights, where), where, attention)
    held = listed(list(variables)[:5])
    raise CheckpointError(f"{where}: not a {WHAT}: it holds {held} and the like")


# --- names -------------------------------------------------------------------


class Layer(NamedTuple):
    """A layer with spectral norm under limner's name, the module's and biggan_v1.py's."""

    ours: str
    hub: str
    port: str
    has_bias: bool = True


class Norm(NamedTuple):
    """A norm's statistics, under the same three."""

    ours: str
    hub: str
    port: str


def layers_of(num_blocks: int, block_with_attention: int | None) -> list[Layer]:
    """All layers with spectral norm."""
    layers = [
        Layer("linear", "Generator/G_Z/G_linear", "G_linear.module"),
        Layer("output", "Generator/conv_2d", "colorize.module"),
    ]
    for i in range(num_blocks):
        hub, port = hub_block(i), f"GBlock.{i}"
        for ours, theirs in (("conv1", "conv0"), ("conv2", "conv1"), ("shortcut", "conv_sc")):
            layers.append(Layer(f"blocks.{i}.{ours}", f"{hub}/{theirs}", f"{port}.{theirs}.module"))
        for ours, theirs in (("norm1", "HyperBN"), ("norm2", "HyperBN_1")):
            for mine, name in (("gain", "gamma"), ("bias", "beta")):
                layers.append(
                    Layer(
                        f"blocks.{i}.{ours}.{mine}",
                        f"{hub}/{theirs}/{name}",
                        f"{port}.{theirs}.{name}_embed.module",
                        has_bias=False,
                    )
                )
    names = {"query": "theta", "key": "phi", "value": "g", "output": "o_conv"}
    for ours, theirs in names.items() if block_with_attention is not None else ():
        layers.append(
            Layer(
                f"blocks.{block_with_attention}.attention.{ours}",
                f"Generator/attention/{theirs}",
                f"attention.{theirs}.module",
                has_bias=False,
            )
        )
    return layers


def norms_of(num_blocks: int) -> list[Norm]:
    """All norms with statistics."""
    norms = [Norm("output_norm", "Generator/ScaledCrossReplicaBNbn", "ScaledCrossReplicaBN")]
    for i in range(num_blocks):
        for number, end in ((1, ""), (2, "_1")):
            norms.append(
                Norm(
                    f"blocks.{i}.norm{number}",
                    f"{hub_block(i)}/CrossReplicaBN{end}",
                    f"GBlock.{i}.HyperBN{end}.bn",
                )
            )
    return norms


# Two ways to name the same tensors; each method of both asks for those in torch's layout.


class _HubNames:
    """The module's own: `NAME/ema_b999900` beside each NAME that was trained; images height,
    width, channel; kernels height, width, in, out; matrices in, out."""

    GAMMA = "Generator/attention/gamma"
    SCALE = "Generator/ScaledCrossReplicaBN/gamma"
    SHIFT = "Generator/ScaledCrossReplicaBN/beta"

    def __init__(self, values: Mapping[str, Tensor], weights: str, where: str):
        self.values = values
        self.end = ema_of(values, where) if weights == "ema" else ""

    def num_blocks(self) -> int:
        return number_of(self.values, r"Generator/GBlock(?:_(\d+))?/.+")

    def has_attention(self) -> bool:
        return any(name.startswith("Generator/attention/") for name in self.values)

    def needed(self, layers: list[Layer], norms: list[Norm]) -> list[str]:
        names = [self.SCALE, self.SHIFT, "linear/w"]
        names += [self.GAMMA] if self.has_attention() else []
        for layer in layers:
            names += [f"{layer.hub}/w"] + [f"{layer.hub}/b"] * layer.has_bias
        trained = [name + self.end for name in names]
        trained += [f"{layer.hub}/u0" for layer in layers]
        kinds = ("accumulated_mean", "accumulated_var")
        return trained + [f"{norm.hub}/{kind}" for norm in norms for kind in kinds]

    def check(self, layers: list[Layer], norms: list[Norm], where: str) -> None:
        needed = self.needed(layers, norms)
        bases = {name.removesuffix(self.end) for name in needed}
        foreign = [
            name
            for name in self.values
            if name.startswith(("Generator/", "linear/"))
            and re.sub(r"/ema_[^/]+$", "", name) not in bases
            and not name.endswith("/accumulation_counter")
            and not re.fullmatch(r".+/u\d+", name)
        ]
        require_names(needed, self.values, foreign, where, WHAT)

    def shared(self) -> Tensor:
        return self.values["linear/w" + self.end]

    def weight(self, layer: Layer) -> Tensor:
        return outputs_first(self.values[f"{layer.hub}/w{self.end}"])

    def vector(self, layer: Layer) -> Tensor:
        return self.values[f"{layer.hub}/u0"]

    def bias(self, layer: Layer) -> Tensor:
        return self.values[f"{layer.hub}/b{self.end}"]

    def statistics(self, norm: Norm) -> tuple[Tensor, Tensor]:
        # They are averages already, whatever the counter says; converter.py takes them so, too.
        return (
            self.values[f"{norm.hub}/accumulated_mean"],
            self.values[f"{norm.hub}/accumulated_var"],
        )

    def output_norm(self) -> tuple[Tensor, Tensor]:
        scale, shift = self.values[self.SCALE + self.end], self.values[self.SHIFT + self.end]
        return scale.flatten(), shift.flatten()

    def gamma(self) -> Tensor:
        return self.values[self.GAMMA + self.end]


class _PortNames:
    """Those of biggan_v1.py, a port in torch's layout that keeps the module's order of pixels and
    conditions. Its weight_v have the wrong length and are never used."""

    def __init__(self, values: Mapping[str, Tensor]):
        self.values = values

    def num_blocks(self) -> int:
        return number_of(self.values, r"GBlock\.(\d+)\..+")

    def has_attention(self) -> bool:
        return any(name.startswith("attention.") for name in self.values)

    def needed(self, layers: list[Layer], norms: list[Norm]) -> list[str]:
        names = ["linear.weight", "ScaledCrossReplicaBN.weight", "ScaledCrossReplicaBN.bias"]
        names += ["attention.gamma"] if self.has_attention() else []
        for layer in layers:
            kinds = ["weight_bar", "weight_u"] + ["bias"] * layer.has_bias
            names += [f"{layer.port}.{kind}" for kind in kinds]
        for norm in norms:
            names += [f"{norm.port}.running_mean", f"{norm.port}.running_var"]
        return names

    def check(self, layers: list[Layer], norms: list[Norm], where: str) -> None:
        needed = self.needed(layers, norms)
        known = {f"{layer.port}.weight_v" for layer in layers}
        known.update(needed, (f"{norm.port}.num_batches_tracked" for norm in norms))
        foreign = [name for name in self.values if name not in known]
        require_names(needed, self.values, foreign, where, WHAT)

    def shared(self) -> Tensor:
        return self.values["linear.weight"].mT

    def weight(self, layer: Layer) -> Tensor:
        return self.values[f"{layer.port}.weight_bar"]

    def vector(self, layer: Layer) -> Tensor:
        return self.values[f"{layer.port}.weight_u"]

    def bias(self, layer: Layer) -> Tensor:
        return self.values[f"{layer.port}.bias"]

    def statistics(self, norm: Norm) -> tuple[Tensor, Tensor]:
        return self.values[f"{norm.port}.running_mean"], self.values[f"{norm.port}.running_var"]

    def output_norm(self) -> tuple[Tensor, Tensor]:
        name = "ScaledCrossReplicaBN"
        return self.values[f"{name}.weight"], self.values[f"{name}.bias"]

    def gamma(self) -> Tensor:
        return self.values["attention.gamma"]


_Names = _HubNames | _PortNames

# --- the original BigGAN -----------------------------------------------------


def _of_names(names: _Names, where: str, attention: int | None) -> ModelRecord:
    num_blocks = names.num_blocks()
    if num_blocks > MAX_BLOCKS:
        raise CheckpointError(f"{where}: it has {num_blocks} blocks, at most {MAX_BLOCKS} are read")
    block = _attention_block(names, num_blocks, attention, where)
    layers, norms = layers_of(num_blocks, block), norms_of(num_blocks)
    names.check(layers, norms, where)
    try:
        state = {"shared.weight": names.shared()}
        for layer in layers:
            state |= _layer(names, layer, state["shared.weight"].shape[-1])
        if block is not None:
            state[f"blocks.{block}.attention.gamma"] = names.gamma().reshape(())
        for norm in norms:
            mean, var = names.statistics(norm)
            state |= {f"{norm.ours}.running_mean": mean, f"{norm.ours}.running_var": var}
        state["output_norm.weight"], state["output_norm.bias"] = names.output_norm()
        config = _config(state, num_blocks, block)
    except CheckpointError as error:
        raise CheckpointError(f"{where}: not a {WHAT}: {error}") from None
    return _made(state, config, num_blocks, where)


def _attention_block(
    names: _Names, num_blocks: int, attention: int | None, where: str
) -> int | None:
    if not names.has_attention():
        return None
    pixels = attention or ATTENTION.get(num_blocks)
    blocks = [i for i in range(num_blocks) if 8 << i == pixels]
    if not blocks:
        given = "" if pixels is None else f", not {pixels}"
        raise CheckpointError(
            f"{where}: say where attention stands in a module of {4 << num_blocks} px with "
            f"--set attention=PIXELS, one of {', '.join(str(8 << i) for i in range(num_blocks))}"
            + given
        )
    return blocks[0]


def _layer(names: _Names, layer: Layer, shared_dim: int) -> dict[str, Tensor]:
    """Weight (and bias) of one layer, divided by sigma and in limner's order."""
    try:
        weight = folded_by_module(names.weight(layer).float(), names.vector(layer).float())
        state = {"weight": weight}
        if layer.has_bias:
            state["bias"] = names.bias(layer).float()
        if layer.ours == "linear":
            top = weight.shape[0] // 16
            state = {kind: channels_first(value, top) for kind, value in state.items()}
        elif layer.ours.endswith((".gain", ".bias")):
            state["weight"] = condition_first(weight, weight.shape[1] - shared_dim)
    except (CheckpointError, RuntimeError, IndexError) as error:
        reason = str(error).splitlines()[0][:200]
        raise CheckpointError(f"'{layer.hub}' does not fit: {reason}") from None
    return {f"{layer.ours}.{kind}": value for kind, value in state.items()}


def _config(state: Mapping[str, Tensor], num_blocks: int, block: int | None) -> BigGanGenerator:
    """Sizes from shapes."""
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    kernels = [shapes[f"blocks.{i}.conv1.weight"] for i in range(num_blocks)]
    if any(len(kernel) != 4 for kernel in kernels) or len(shapes["shared.weight"]) != 2:
        raise CheckpointError("its convolutions or its class vectors have other shapes")
    width, multipliers = multiples([*(k[0] for k in reversed(kernels)), kernels[0][1]])
    last = num_blocks == 7
    return BigGanGenerator(
        width=width,
        z_dim=shapes["linear.weight"][1] * (num_blocks + 1),
        shared_dim=shapes["shared.weight"][1],
        skip_z=True,
        multipliers=multipliers,
        attention=() if block is None else (8 << block,),
        spectral_norm=False,
        batch_norm_eps=EPS,
        output_norm_eps=EPS_OF_OUTPUT_AT_512 if last else EPS,
    )


def _made(
    state: Mapping[str, Tensor], config: NetworkConfig, num_blocks: int, where: str
) -> ModelRecord:
    image_shape = (3, 4 << num_blocks, 4 << num_blocks)
    num_classes = state["shared.weight"].shape[0]
    generator = fitted(state, config, image_shape, num_classes, where)
    return ModelRecord(
        config=ModelConfig(generator=config, image_shape=image_shape, num_classes=num_classes),
        generator=generator,
    )


# --- what converter.py makes of it ---------------------------------------------


def _of_converted(values: Mapping[str, Tensor], where: str) -> ModelRecord:
    """BigGAN-PyTorch's names and layout, all sv0 missing. Its images differ from the module's by
    some 4e-4, for its generator normalizes with other epsilons; they are kept as that has them."""
    num_blocks = min(number_of(values, r"blocks\.(\d+)\..+"), MAX_BLOCKS)
    gammas = [re.fullmatch(r"blocks\.(\d+)\.1\.gamma", name) for name in values]
    attention = tuple(8 << int(match[1][:2]) for match in gammas if match)
    needed = ["shared.weight", "linear.weight"]
    needed += [f"blocks.{i}.0.conv1.weight" for i in range(num_blocks)]
    require_names(needed, values, (), where, "converted BigGAN generator")
    renamed = {name.replace(".0.", ".", 1): tensor for name, tensor in values.items()}
    try:
        config = _config(
            {**renamed, "shared.weight": values["shared.weight"]}, num_blocks, None
        ).replace(
            attention=attention, spectral_norm=True, spectral_norm_eps=EPS, output_norm_eps=1e-5
        )
    except (CheckpointError, ConfigError) as error:
        raise CheckpointError(f"{where}: not a converted BigGAN generator: {error}") from None
    state = to_limner("generator", config, values)
    for name in [name for name in state if name.endswith(".u0")]:
        state.setdefault(f"{name.removesuffix('u0')}sv0", torch.ones(1))
    for name in [name for name in state if name.endswith(".gamma")]:
        state[name] = state[name].reshape(())
    return _made(state, config, num_blocks, where)
