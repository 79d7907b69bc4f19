"""StyleGAN2's TensorFlow pickles: a synthetic one, in the layout of spec and legacy.py."""

import sys
import types

import numpy as np
import pytest
import torch

import network_snapshots as snapshots
from limner.checkpoints.importers.style_pickles import Stylegan2Ada, Stylegan3, to_reference
from limner.core.errors import CheckpointError
from limner.models import StyleGan2Discriminator, StyleGan2Generator

SHAPE = (3, 8, 8)
SIZES = {"channel_base": 32, "channel_max": 4, "clamp": None}
G = {
    arch: StyleGan2Generator(z_dim=4, w_dim=4, num_mapping=2, architecture=arch, **SIZES)
    for arch in ("skip", "resnet")
}
D = StyleGan2Discriminator(group_size=None, **SIZES)
KWARGS = {"resolution": 8, "fmap_base": 16, "fmap_max": 4}
G_KWARGS = KWARGS | {"latent_size": 4, "dlatent_size": 4, "mapping_layers": 2}
IN_G = {"conv0": "Conv0_up", "conv1": "Conv1", "torgb": "ToRGB", "skip": "Skip"}
IN_D = {"conv0": "Conv0", "conv1": "Conv1_down", "fromrgb": "FromRGB", "skip": "Skip"}


class Network:
    __module__, __qualname__ = "dnnlib.tflib.network", "Network"


def state_of(config):
    torch.manual_seed(0)
    network = config.build(SHAPE, 0)
    state = {key: torch.randn_like(value) for key, value in network.state_dict().items()}
    return state, to_reference(config, SHAPE, state)


def variable(key, value, is_generator):
    """TensorFlow's name and array of a tensor of stylegan2-ada-pytorch."""
    head, _, leaf = key.rpartition(".")
    dense = value.T if leaf == "weight" and value.ndim == 2 else value
    if key == "mapping.w_avg":
        return "dlatent_avg", value
    if key.startswith("mapping."):
        return f"mapping/Dense{head[10:]}/{leaf}", dense
    block, _, layer = head.removeprefix("synthesis.").partition(".")
    size, layer = int(block[1:]), layer.removesuffix(".affine")
    place = f"{'synthesis/' if is_generator else ''}{size}x{size}"
    if leaf == "const":
        return f"{place}/Const/const", value[None]
    if leaf == "noise_const":
        number = 2 * int(np.log2(size)) - (5 if layer == "conv0" else 4)
        return f"synthesis/noise{number}", value[None, None]
    if layer in ("fc", "out"):
        return f"{place}/Dense0/{leaf}" if layer == "fc" else f"Output/{leaf}", dense
    name = (
        "Conv"
        if size == 4 and layer in ("conv", "conv1")
        else (IN_G if is_generator else IN_D)[layer]
    )
    if head.endswith(".affine"):
        return f"{place}/{name}/mod_{leaf}", dense if leaf == "weight" else value - 1
    if leaf == "weight":
        turned = np.flip(value, (2, 3)) if name in ("Conv0_up", "Skip") and is_generator else value
        return f"{place}/{name}/weight", turned.transpose(2, 3, 1, 0)
    return f"{place}/{name}/{leaf}", value


def network(reference, kwargs, **changed):
    is_generator = any(key.startswith("synthesis.") for key in reference)
    made = {"": [], "mapping": [], "synthesis": []}
    for key, value in reference.items():
        if key.endswith("resample_filter"):
            continue
        name, array = variable(key, value.numpy(), is_generator)
        group = name.partition("/")[0] if is_generator and "/" in name else ""
        made[group].append((name.removeprefix(f"{group}/"), np.array(array, order="C")))
    parts = {}
    for name in ("mapping", "synthesis") if is_generator else ():
        parts[name] = Network()
        own = {"version": 4, "static_kwargs": {}, "variables": made[name], "components": {}}
        parts[name].__dict__.update(own)
    top = Network()
    own = {"version": 4, "static_kwargs": kwargs, "variables": made[""], "components": parts}
    own["build_module_src"] = snapshots.HARMFUL_SOURCE
    top.__dict__.update(own | changed)
    return top


@pytest.fixture
def write(tmp_path, monkeypatch):
    for name in ("dnnlib", "dnnlib.tflib", "dnnlib.tflib.network"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    sys.modules["dnnlib.tflib.network"].Network = Network

    def write(*networks):
        path = tmp_path / "stylegan2.pkl"
        path.write_bytes(snapshots.pickled(networks))
        return path

    return write


@pytest.mark.parametrize("architecture", ["skip", "resnet"])
def test_all_of_it_is_there_again(architecture, write):
    config = G[architecture]
    (g, g_theirs), (d, d_theirs) = state_of(config), state_of(D)
    kwargs = {**G_KWARGS, "architecture": architecture, "truncation_psi": 0.5}
    one = network(g_theirs, kwargs)
    record = Stylegan2Ada().read(write(one, network(d_theirs, KWARGS), one))
    assert (record.config.generator, record.config.discriminator) == (config, D)
    for ours, read in ((g, record.generator), (g, record.generator_raw), (d, record.discriminator)):
        assert ours.keys() == read.keys()
        for key in ours:
            torch.testing.assert_close(read[key], ours[key])


def test_what_cannot_be_read_is_one_line(write):
    _, theirs = state_of(G["skip"])
    whole, d = network(theirs, G_KWARGS), network(state_of(D)[1], KWARGS)
    for wrong, message in (
        (network(theirs, {**G_KWARGS, "blur": 1}), "its argument 'blur' is not known"),
        (network(theirs, G_KWARGS, version=3), "a network of TensorFlow's version 3"),
        (network(theirs, G_KWARGS, variables=[("x", "y")]), "no pair of a name and an array"),
        (network(theirs, G_KWARGS, components={"mapping": 3}), "'mapping' is no network"),
        (network(theirs, G_KWARGS, variables=[]), r"missing 'mapping\.w_avg'"),
        (network(theirs, {**G_KWARGS, "resolution": 16}), "not a whole Generator: missing"),
    ):
        with pytest.raises(CheckpointError, match=message):
            Stylegan2Ada().read(write(whole, d, wrong))
    with pytest.raises(CheckpointError, match="a tuple of 2, as TensorFlow's programs"):
        Stylegan2Ada().read(write(whole, d))
    with pytest.raises(CheckpointError, match="limner import stylegan2-ada reads"):
        Stylegan3().read(write(whole, d, whole))
