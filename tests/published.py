"""Checkpoints of other systems as small as they can be, in each form that an importer reads."""

import dataclasses
import functools
import io
import json
import re
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch

import bundles
import network_snapshots
import snapshots
from limner.checkpoints import ModelConfig, ModelRecord
from limner.checkpoints.exporters.biggan_pytorch import BigGanPytorch
from limner.checkpoints.foreign import Training
from limner.core.config import encode
from limner.models import (
    BigGanDiscriminator,
    BigGanGenerator,
    DcganDiscriminator,
    DcganGenerator,
)
from toys import toy_config


def weight_folder(root: Path) -> Path:
    """A tiny training of BigGAN-PyTorch after 3 iterations, as its files."""
    configs = {"g": BigGanGenerator(width=1, z_dim=2), "d": BigGanDiscriminator(width=1)}
    nets = {player: config.build((3, 8, 8), 2) for player, config in configs.items()}
    moments = {}
    for player, net in nets.items():
        adam = torch.optim.Adam(net.parameters(), lr=1e-3, betas=(0.0, 0.999))
        for parameter in net.parameters():
            parameter.grad = torch.ones_like(parameter)
        adam.step()
        names = [name for name, _ in net.named_parameters()]
        moments[player] = {names[i]: state for i, state in adam.state_dict()["state"].items()}
    run = encode(toy_config())
    run["batch_size"] = 2
    for player in ("g", "d"):
        run["optim"][player] = {"lr": 1e-3, "betas": [0.0, 0.999], "eps": 1e-8}
    config = ModelConfig(
        generator=configs["g"], discriminator=configs["d"], image_shape=(3, 8, 8), num_classes=2
    )
    record = ModelRecord(config, nets["g"].state_dict(), None, nets["d"].state_dict())
    BigGanPytorch().write(record, root, Training(run=run, step=3, moments=moments))
    return root


def hub_arrays() -> dict[str, np.ndarray]:
    """A BigGAN generator of 8 px, 2 classes and one channel under TF Hub's names."""
    shapes = {"linear/w": (2, 3), "Generator/G_Z/G_linear/w": (2, 16)}
    shapes |= {"Generator/G_Z/G_linear/b": (16,), "Generator/conv_2d/b": (3,)}
    shapes["Generator/conv_2d/w"] = (3, 3, 1, 3)
    for kind in ("gamma", "beta"):
        shapes[f"Generator/ScaledCrossReplicaBN/{kind}"] = (1, 1, 1, 1)
        for end in ("", "_1"):
            shapes[f"Generator/GBlock/HyperBN{end}/{kind}/w"] = (5, 1)
    for conv, size in (("conv0", 3), ("conv1", 3), ("conv_sc", 1)):
        shapes[f"Generator/GBlock/{conv}/w"] = (size, size, 1, 1)
        shapes[f"Generator/GBlock/{conv}/b"] = (1,)
    arrays = {f"{name}/ema_b999900": np.ones(shape, "f4") for name, shape in shapes.items()}
    for name, shape in shapes.items():
        if name.endswith("/w") and name != "linear/w":
            arrays[f"{name[:-1]}u0"] = np.ones((1, shape[-1]), "f4")
    for norm in ("GBlock/CrossReplicaBN", "GBlock/CrossReplicaBN_1", "ScaledCrossReplicaBNbn"):
        for kind in ("mean", "var"):
            arrays[f"Generator/{norm}/accumulated_{kind}"] = np.ones(1, "f4")
    return arrays


def hub_files(root: Path) -> dict[str, bytes]:
    """The module's folder (written below root), its archive and dumps: name -> content."""
    arrays = hub_arrays()
    bundle = bundles.bundle(arrays, 2)
    files = {f"variables/variables{end}": content for end, content in bundle.items()}
    (root / "variables").mkdir()
    for name, content in files.items():
        (root / name).write_bytes(content)
    packed, dump = io.BytesIO(), io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        archive.add(root / "variables", "variables")
    np.savez(dump, **arrays)
    with h5py.File(root / "dump.h5", "w") as file:
        for name, array in arrays.items():
            file[f"module/{name}:0"] = array
    files |= {"module.tar.gz": packed.getvalue(), "dump.npz": dump.getvalue()}
    return {**files, "dump.h5": (root / "dump.h5").read_bytes()}


def huggingface_files() -> dict[str, bytes]:
    """A BigGAN-deep of 8 px, 2 classes and four channels: name -> content."""
    config = {
        "z_dim": 2, "channel_width": 4, "num_classes": 2, "n_stats": 3, "eps": 1e-4,
        "layers": [[True, 1, 1]], "attention_layer_position": 9,
    }  # fmt: skip
    state = {"embeddings.weight": torch.ones(2, 2)}
    layers = {"generator.gen_z": (64, 4), "generator.conv_to_rgb": (4, 4, 3, 3)}
    norms = {"generator.bn": 4}
    kernels = [(1, 4, 1, 1), (1, 1, 3, 3), (1, 1, 3, 3), (4, 1, 1, 1)]
    for i, shape in enumerate(kernels):
        layers[f"generator.layers.0.conv_{i}"] = shape
        norms[f"generator.layers.0.bn_{i}"] = shape[1]
        for kind in ("scale", "offset"):
            state[f"generator.layers.0.bn_{i}.{kind}.weight_orig"] = torch.ones(shape[1], 4)
    for name, shape in layers.items():
        state[f"{name}.weight_orig"] = torch.ones(shape)
        state[f"{name}.bias"] = torch.ones(shape[0])
    for name, channels in norms.items():
        state[f"{name}.running_means"] = state[f"{name}.running_vars"] = torch.ones(3, channels)
    state |= {f"generator.bn.{kind}": torch.ones(4) for kind in ("weight", "bias")}
    return {"config.json": json.dumps(config).encode(), "pytorch_model.bin": torch_bytes(state)}


# --- one small checkpoint of each format of IMPORTERS ---------------------------


@dataclasses.dataclass(frozen=True)
class Planted:
    """A checkpoint of another system.

    Attributes:
        source: what the user gives.
        weights: the file in it that holds tensors.
        tensors: of that file by name, the largest of which no importer does without.
        packed: bytes of such a file with other tensors.
        hint: what a refusal of a file of another kind ends in.
    """

    source: Path
    weights: Path
    tensors: dict[str, Any]
    packed: Callable[[dict[str, Any]], bytes]
    hint: str


def torch_bytes(tree: Any) -> bytes:
    file = io.BytesIO()
    torch.save(tree, file)
    return file.getvalue()


def _biggan_pytorch(root: Path) -> Planted:
    weights = weight_folder(root) / "G.pth"
    state = torch.load(weights, weights_only=True)
    return Planted(root, weights, state, torch_bytes, "give a .pth that torch.save wrote")


def _dcgan_mmgen(root: Path) -> Planted:
    shape = (3, 8, 8)
    state = {}
    for prefix, config in (
        ("generator", DcganGenerator(width=2, z_dim=2, max_channels=4)),
        ("discriminator", DcganDiscriminator(width=2, max_channels=2, leaky_slope=0.01)),
    ):
        for name, tensor in config.build(shape, 0).state_dict().items():
            key = re.sub(r"^output\.", "output_layer.conv.", name).replace(".norm.", ".bn.")
            if prefix == "discriminator":
                key = re.sub(r"^blocks\.", "downsamples.", key)
            else:
                key = re.sub(r"^blocks\.0\.", "noise2feat.", key)
                key = re.sub(r"^blocks\.(\d+)", lambda m: f"upsampling.{int(m[1]) - 1}", key)
            state[f"{prefix}.{key}"] = tensor
    packed = lambda tensors: torch_bytes({"meta": {}, "state_dict": tensors})  # noqa: E731
    path = root / "iter_1.pth"
    path.write_bytes(packed(state))
    return Planted(path, path, state, packed, "give an iter_N.pth of MMGeneration")


def _mmgen(root: Path) -> Planted:
    """An unconditional SN-GAN."""
    g = BigGanGenerator(width=4, z_dim=2, multipliers=(1,), spectral_norm=False)
    d = BigGanDiscriminator(width=2, multipliers=(1,), stored_vectors=("*",))
    state = mmgen_names("generator", g.build((3, 8, 8), 0))
    state |= mmgen_names("discriminator", d.build((3, 8, 8), 0))
    packed = lambda tensors: torch_bytes({"meta": {}, "state_dict": tensors})  # noqa: E731
    path = root / "iter_1.pth"
    path.write_bytes(packed(state))
    return Planted(path, path, state, packed, "give an iter_N.pth of MMGeneration")


def mmgen_names(role: str, network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The state of one of limner's networks under the names of MMGeneration's SN-GAN."""
    own = network.state_dict()
    found = {}
    for name, tensor in own.items():
        layer, _, leaf = name.rpartition(".")
        if leaf == "sv0":
            continue
        if f"{layer}.v0" in own:
            leaf = {"weight": "weight_orig", "u0": "weight_u", "v0": "weight_v"}.get(leaf, leaf)
        tensor = tensor.flatten() if leaf in ("weight_u", "weight_v") else tensor
        found[f"{role}.{_mmgen_layer(role, layer)}.{leaf}"] = tensor
    return found


def _mmgen_layer(role: str, layer: str) -> str:
    outside = {"output": "to_rgb.conv", "output_norm": "to_rgb.bn"}
    outside["linear"] = "noise2feat" if role == "generator" else "decision"
    layer = outside.get(layer, layer)
    layer = re.sub(r"^first\.", "from_rgb.", layer)
    layer = re.sub(r"^blocks\.", "conv_blocks.", layer)
    layer = re.sub(r"norm(\d)$", r"norm_\1.norm", layer)
    layer = re.sub(r"norm(\d)\.gain$", r"norm_\1.weight_embedding", layer)
    layer = re.sub(r"norm(\d)\.bias$", r"norm_\1.bias_embedding", layer)
    layer = re.sub(r"conv(\d)$", r"conv_\1.conv", layer)
    return re.sub(r"shortcut$", "shortcut.conv", layer)


def _pggan(root: Path) -> Planted:
    network = snapshots.tensorflow("Gs", fmap_base=4, fmap_max=2)
    packed = lambda arrays: snapshots.pickled(network | {"variables": list(arrays.items())})  # noqa: E731
    path = root / "network.pkl"
    path.write_bytes(packed(dict(network["variables"])))
    hint = "give a .pkl of progressive_growing_of_gans"
    return Planted(path, path, dict(network["variables"]), packed, hint)


def _tfhub_biggan(root: Path) -> Planted:
    def packed(arrays: dict[str, Any]) -> bytes:
        file = io.BytesIO()
        np.savez(file, **{name: np.asarray(array) for name, array in arrays.items()})
        return file.getvalue()

    path, random = root / "dump.npz", np.random.default_rng(0)
    arrays = {name: random.random(a.shape, "f4") / 4 + 0.1 for name, a in hub_arrays().items()}
    path.write_bytes(packed(arrays))
    return Planted(path, path, arrays, packed, "give the module's folder or .tar.gz")


def _huggingface_biggan(root: Path) -> Planted:
    for name, content in huggingface_files().items():
        (root / name).write_bytes(content)
    weights = root / "pytorch_model.bin"
    state = torch.load(weights, weights_only=True)
    draws = torch.Generator().manual_seed(0)
    state = {name: torch.rand(t.shape, generator=draws) / 4 + 0.1 for name, t in state.items()}
    weights.write_bytes(torch_bytes(state))
    return Planted(root, weights, state, torch_bytes, "give the pytorch_model.bin")


def _network_snapshot(packed, tensors) -> Callable[[Path], Planted]:
    def plant(root: Path) -> Planted:
        path = root / "network-snapshot-000001.pkl"
        path.write_bytes(packed(tensors))
        return Planted(path, path, tensors, packed, "give a network-snapshot .pkl")

    return plant


def _style_pickle(system: str) -> Callable[[Path], Planted]:
    packed = functools.partial(network_snapshots.style_snapshot, system)
    return _network_snapshot(packed, network_snapshots.style_tensors(system))


PLANTED: dict[str, Callable[[Path], Planted]] = {
    "biggan-pytorch": _biggan_pytorch,
    "dcgan-mmgen": _dcgan_mmgen,
    "mmgen": _mmgen,
    "pggan": _pggan,
    "tfhub-biggan": _tfhub_biggan,
    "huggingface-biggan": _huggingface_biggan,
    "stylegan2-ada": _style_pickle("stylegan2-ada"),
    "stylegan3": _style_pickle("stylegan3"),
    "r3gan": _network_snapshot(network_snapshots.r3gan_snapshot, network_snapshots.r3gan_tensors()),
}
