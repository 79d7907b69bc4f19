"""Images of one generator, the same weights and latents on both sides, by `Model.sample`."""

import math
import sys
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from limner.checkpoints import ModelConfig
from limner.checkpoints.importers import biggan_names, r3gan_names, style_pickles
from limner.checkpoints.importers.biggan_flags import DEFAULTS, generator_config
from limner.checkpoints.importers.huggingface_biggan import HuggingfaceBiggan
from limner.core.protocols import NetworkConfig
from limner.models import (
    BigGanDeepGenerator,
    PgganGenerator,
    R3ganGenerator,
    StyleGan2Generator,
    StyleGan3Generator,
)
from limner.sampling import Model
from peers.work import PRECISIONS, Call, Row, Sides, apart, drawn, on_path

POWER_ITERATIONS = 10
Peer = Callable[[Tensor, Tensor | None], Tensor]  # images of latents and labels


def compared(
    config: NetworkConfig,
    side: int,
    num_classes: int,
    batch_size: int,
    peer_of: Callable[[Path, nn.Module], Peer],
    folder: Path | None,
) -> Sides:
    """`peer_of`: from the peer's folder, and limner's network."""
    shape = (3, side, side)
    network = drawn(config.build(shape, num_classes)).eval().requires_grad_(False)
    about = ModelConfig(generator=config, image_shape=shape, num_classes=num_classes)
    model = Model(about, network)
    return sides_of(model, None if folder is None else peer_of(folder, network), batch_size)


def sides_of(model: Model, peer: Peer | None, batch_size: int, **options: Any) -> Sides:
    """Both by the same latents and labels; `options` are those of `Model.sample`."""
    draw = torch.Generator().manual_seed(1)
    z = torch.randn(batch_size, model.z_dim, generator=draw)
    y = torch.arange(batch_size) % model.num_classes if model.num_classes else None
    options |= {"z": z, "y": y, "batch_size": batch_size, "as_float": True}
    calls: dict[str, Call] = {
        precision: partial(model.sample, precision=precision, **options) for precision in PRECISIONS
    }
    if peer is None:
        return Sides(calls, None, batch_size)
    theirs = partial(torch.inference_mode()(peer), z, y)
    return Sides(calls, theirs, batch_size, apart(torch.as_tensor(calls["float32"]()), theirs()))


# --- BigGAN ------------------------------------------------------------------------------

WIDE: dict[str, Any] = {
    "resolution": 128,
    "n_classes": 1000,
    "G_ch": 96,
    "dim_z": 120,
    "hier": True,
    "G_shared": True,
    "shared_dim": 128,
    "SN_eps": 1e-6,
    "BN_eps": 1e-5,
    "G_attn": "64",
}


def biggan(batch_size: int, folder: Path | None) -> Sides:
    """The full network of ImageNet at 128 pixels."""
    config = generator_config({**DEFAULTS, **WIDE})
    return compared(config, 128, 1000, batch_size, partial(_biggan_pytorch, config), folder)


def _biggan_pytorch(config: Any, folder: Path, ours: nn.Module) -> Peer:
    on_path(folder)
    import BigGAN  # pyright: ignore[reportMissingImports]

    network = BigGAN.Generator(
        **WIDE, G_activation=nn.ReLU(), G_init="N02", skip_init=True, no_optim=True
    ).eval()
    load(network, biggan_names.to_reference("generator", config, ours.state_dict()))
    return lambda z, y: network(z, network.shared(y))


def huggingface(batch_size: int, folder: Path | None) -> Sides:
    """BigGAN-deep at 128 pixels; the peer's statistics belong to a truncation, here 1."""
    if folder is None:
        config = BigGanDeepGenerator(
            width=128, z_dim=128, shared_dim=128, attention=(64,), spectral_norm=False
        )
        return compared(config, 128, 1000, batch_size, lambda *_: sys.exit(), None)
    on_path(folder, ("boto3", "botocore", "botocore.exceptions", "requests", "nltk"))
    from pytorch_pretrained_biggan import (  # pyright: ignore[reportMissingImports]
        BigGAN,
        BigGANConfig,
    )

    network = drawn(BigGAN(BigGANConfig())).eval()
    settle(network)
    with tempfile.TemporaryDirectory() as place:
        torch.save(network.state_dict(), Path(place) / "pytorch_model.bin")
        (Path(place) / "config.json").write_text(BigGANConfig().to_json_string())
        model = Model.from_record(HuggingfaceBiggan().read(Path(place)), "cpu")

    def peer(z: Tensor, y: Tensor | None) -> Tensor:
        assert y is not None
        return network(z, F.one_hot(y, 1000).float(), 1.0)

    options = {"truncation": 1.0, "truncation_mode": "statistics"}
    return sides_of(model, peer, batch_size, **options)


@torch.no_grad()
def settle(network: nn.Module) -> None:
    """Statistics and singular vectors, which that class leaves as memory had them."""
    for module in network.modules():
        for name, buffer in module.named_buffers(recurse=False):
            if name.startswith("running"):
                buffer.fill_(float(name == "running_vars"))
        if hasattr(module, "weight_orig"):
            weight: Any = module.weight_orig
            matrix, v = weight.flatten(1), torch.ones(weight[0].numel())
            u = matrix[:, 0]
            for _ in range(POWER_ITERATIONS):
                u = F.normalize(matrix @ v, dim=0)
                v = F.normalize(u @ matrix, dim=0)
            module.weight_u.copy_(u)  # pyright: ignore
            module.weight_v.copy_(v)  # pyright: ignore


# --- styles ------------------------------------------------------------------------------


def stylegan2(batch_size: int, folder: Path | None) -> Sides:
    """`auto`'s network at 128 pixels: channel_base 16384."""
    config = StyleGan2Generator(channel_base=16384, num_mapping=2, clamp=None)
    return compared(config, 128, 0, batch_size, _stylegan2, folder)


def _stylegan2(folder: Path, ours: nn.Module) -> Peer:
    on_path(folder)
    from training.networks import Generator  # pyright: ignore[reportMissingImports]

    network = Generator(
        z_dim=512,
        c_dim=0,
        w_dim=512,
        img_resolution=128,
        img_channels=3,
        mapping_kwargs={"num_layers": 2},
        synthesis_kwargs={"channel_base": 16384},
    ).eval()
    config = StyleGan2Generator(channel_base=16384, num_mapping=2, clamp=None)
    load(network, style_pickles.to_reference(config, (3, 128, 128), ours.state_dict()))
    return lambda z, y: network(z, None, noise_mode="const")


def stylegan3(batch_size: int, folder: Path | None) -> Sides:
    """stylegan3-t at 128 pixels, channel_base 16384."""
    config = StyleGan3Generator(channel_base=16384)
    return compared(config, 128, 0, batch_size, _stylegan3, folder)


def _stylegan3(folder: Path, ours: nn.Module) -> Peer:
    on_path(folder)
    from training.networks_stylegan3 import Generator  # pyright: ignore[reportMissingImports]

    network = Generator(
        z_dim=512, c_dim=0, w_dim=512, img_resolution=128, img_channels=3, channel_base=16384
    ).eval()
    config = StyleGan3Generator(channel_base=16384)
    load(network, style_pickles.to_reference(config, (3, 128, 128), ours.state_dict()))
    return lambda z, y: network(z, None)


WIDTHS = (192, 192, 192, 192, 96)  # a quarter of FFHQ-64's


def r3gan(batch_size: int, folder: Path | None) -> Sides:
    """FFHQ-64's network at a quarter of its channels, in single precision."""
    config = R3ganGenerator(
        z_dim=64, widths=WIDTHS, blocks=(2,), group_widths=(16,), bfloat16_stages=0
    )
    return compared(config, 64, 0, batch_size, _r3gan, folder)


def _r3gan(folder: Path, ours: nn.Module) -> Peer:
    on_path(folder)
    from training.networks import Generator  # pyright: ignore[reportMissingImports]

    network = Generator(
        NoiseDimension=64,
        WidthPerStage=list(WIDTHS),
        CardinalityPerStage=[2 * width // 16 for width in WIDTHS],
        BlocksPerStage=[2] * len(WIDTHS),
        ExpansionFactor=2,
        FP16Stages=[],
        c_dim=0,
        img_resolution=64,
    ).eval()
    load(network, r3gan_names.to_reference("generator", ours.state_dict()))
    return lambda z, y: network(z, None)


# --- progressive growing -----------------------------------------------------------------


def pggan(batch_size: int, folder: Path | None) -> Sides:
    """64 pixels at 256 maps a level."""
    config = PgganGenerator(fmap_base=65536, fmap_max=256, fused_scale=False)
    return compared(config, 64, 0, batch_size, _gan_zoo, folder)


def _gan_zoo(folder: Path, ours: nn.Module) -> Peer:
    on_path(folder)
    from models.networks.progressive_conv_net import GNet  # pyright: ignore[reportMissingImports]

    network = GNet(256, 256, dimOutput=3)
    for _ in range(4):
        network.addScale(256)
    load(network.eval(), zoo_generator(ours))
    return lambda z, y: network(z)


def zoo_generator(ours: Any) -> dict[str, Tensor]:
    """limner's PGGAN generator as pytorch_GAN_zoo's."""
    first, *others = ours.blocks
    layers = {"formatLayer": first.linear, "groupScale0.0": first.conv}
    for i, block in enumerate(others):
        layers |= {f"scaleLayers.{i}.0": block.conv1, f"scaleLayers.{i}.1": block.conv2}
    layers |= {f"toRGBLayers.{i}": layer for i, layer in enumerate(ours.outputs)}
    return zoo_state(layers)


def zoo_state(layers: Mapping[str, Any]) -> dict[str, Tensor]:
    """That program multiplies weights and biases of every layer by He's constant as it uses them,
    and has a bias for each pixel of the first grid."""
    state = {}
    for name, layer in layers.items():
        constant = math.sqrt(2 / layer.weight[0].numel())
        bias = layer.bias.repeat_interleave(len(layer.weight) // len(layer.bias))
        state[f"{name}.module.weight"] = layer.weight * (layer.scale / constant)
        state[f"{name}.module.bias"] = bias / constant
    return state


def load(network: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Everything that learns, or is a statistic, has to be there."""
    missing, unexpected = network.load_state_dict(dict(state), strict=False)
    wanted = {name for name, _ in network.named_parameters()}
    lacking = [name for name in missing if name in wanted or "running" in name]
    assert not [*lacking, *unexpected], (lacking, unexpected)


def rows() -> dict[str, Row]:
    """Each at one image, and at eight."""
    kinds = {
        "BigGAN-deep 128 px, width 128": (huggingface, "pytorch-pretrained-BigGAN", (2.1, 2.3)),
        "BigGAN 128 px, width 96": (biggan, "BigGAN-PyTorch", (2.4, 2.2)),
        "StyleGAN2 128 px": (stylegan2, "stylegan2-ada-pytorch", (1.5, 1.5)),
        "StyleGAN3-T 128 px": (stylegan3, "stylegan3", (1.5,)),
        "R3GAN 64 px, width 192": (r3gan, "R3GAN", (1.5, 1.5)),
        "PGGAN 64 px, 256 maps": (pggan, "pytorch_GAN_zoo", (1.5, 1.5)),
    }
    return {
        f"sample {name}, batch {batch_size}": Row(
            partial(make, batch_size),
            peer,
            "image",
            {"float32": target, "bfloat16": (5.0 if batch_size == 1 else 8.0)}
            if make in (biggan, huggingface)
            else {"float32": target},
        )
        for name, (make, peer, targets) in kinds.items()
        for batch_size, target in zip((1, 8), targets, strict=False)
    }
