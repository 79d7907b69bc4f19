"""Names and shapes of full-size networks, one to one with BigGAN-PyTorch's, without memory."""

import json

import pytest
import torch
from biggan_reference import ROLES, Fixture, configs_of

from limner.checkpoints.importers.biggan_names import to_limner, to_reference

STEMS = [
    "biggan_C10_ch64",
    "biggan_I128_ch96",
    "biggan_I256_ch96",
    "biggandeep_I128_ch128",
    "sagan_I128",
    "sngan_I128",
]


def on_meta(config, resolution, num_classes):
    with torch.device("meta"):
        return config.build((3, resolution, resolution), num_classes)


def shape_of(text):
    """ "float32[96,3,3,3]" -> ("float32", [96, 3, 3, 3])."""
    kind, _, sizes = text.rstrip("]").partition("[")
    return kind, [int(size) for size in sizes.split(",") if size]


@pytest.mark.parametrize("net", ["G", "D"])
@pytest.mark.parametrize("stem", STEMS)
def test_names_and_shapes_of_full_size_networks(golden, stem, net):
    record = json.loads(golden(f"biggan/keys_{stem}_{net}.json").read_text())
    flags = dict(record["config"])
    if "deep" in stem:
        flags["model"] = "BigGANdeep"
    resolution, num_classes = (32, 10) if "C10" in stem else (int(stem.split("_")[1][1:]), 1000)
    config = dict(zip("GD", configs_of(flags, resolution), strict=True))[net]
    state = on_meta(config, resolution, num_classes).state_dict()
    expected = {key: shape_of(text) for key, text in record["keys"].items()}
    named = to_limner(ROLES[net], config, expected)
    assert len(named) == len(expected)
    ours = {k: (str(v.dtype).removeprefix("torch."), list(v.shape)) for k, v in state.items()}
    assert named == ours
    back = to_reference(ROLES[net], config, state)
    assert list(back) == list(expected)  # the order too: the optimizers count by it


@pytest.mark.parametrize("net", ["G", "D"])
@pytest.mark.parametrize(
    "name",
    [
        "biggan32_multi_sv",
        "biggan32_cross_replica",
        "biggan32_mybn_standing",
        "bigganG_none_param",
        "biggandeep32_attn",
        "biggan32_shared_nohier_dimshared0",
    ],
)
def test_names_there_and_back(golden, name, net):
    fixture = Fixture(golden, name)
    begin = f"state/{net}/"
    theirs = {k.removeprefix(begin): v for k, v in fixture.tensors.items() if k.startswith(begin)}
    config = fixture.configs[net]
    ours = to_limner(ROLES[net], config, theirs)
    back = to_reference(ROLES[net], config, ours)
    assert back.keys() == theirs.keys()
    assert all(back[key] is theirs[key] for key in theirs)


def test_unknown_names_stay():
    config = configs_of({"D_attn": "0"}, 32)
    for role, one in zip(ROLES.values(), config, strict=True):
        for key in ("step", "blocks.0.norm1.running_mean.more", "optimizer.state"):
            assert key in to_limner(role, one, {"step": 0, "optimizer.state": 1, key: 2})
