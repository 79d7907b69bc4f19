"""R3GAN's networks beyond the original's numbers: sizes, lists for any resolution, first weights."""

from functools import partial

import pytest
import torch

from limner.core.errors import ConfigError
from limner.layers.fir import BINOMIAL, fir_filter, resample
from limner.models import R3ganDiscriminator, R3ganGenerator
from limner.models.r3gan import ResidualBlock, widths_of

KINDS = (R3ganGenerator, R3ganDiscriminator)
FFHQ256 = (768, 768, 768, 768, 384, 192, 96)
NUM_CLASSES = 50


def pair(shape=(3, 32, 32), num_classes=0, seed=0, **more):
    torch.manual_seed(seed)
    return [kind(**{"widths": (16,), **more}).build(shape, num_classes) for kind in KINDS]


# widths, channels of a group, resolution, classes -> parameters of both; figures of the presets
SIZES = {
    (FFHQ256[:4], 16, 32, 10): (20_781_952, 21_280_512),
    (FFHQ256[:4], 16, 32, 0): (20_732_160, 20_683_776),
    (FFHQ256, 16, 64, 0): (22_429_824, 22_381_440),
    (FFHQ256, 16, 256, 0): (23_057_952, 23_009_568),
    ((1536,), 32, 32, 1000): (82_914_304, 86_548_992),
    ((1536,), 32, 64, 1000): (103_570_432, 107_205_120),
}


@pytest.mark.parametrize("case", SIZES)
def test_numbers_of_parameters(case):
    widths, group_width, size, num_classes = case
    with torch.device("meta"):
        networks = pair((3, size, size), num_classes, widths=widths, group_widths=(group_width,))
    counts = tuple(sum(p.numel() for p in net.parameters()) for net in networks)
    assert counts == SIZES[case]


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (16, [768, 768, 768]),
        (64, [768, 768, 768, 768, 384]),
        (256, list(FFHQ256)),
        (512, [*FFHQ256, 48]),
    ],
)
def test_widths_that_end_with_a_halving_are_cut_or_go_on_halving(size, expected):
    for widths in (FFHQ256, FFHQ256[:5]):
        assert widths_of(R3ganGenerator(widths=widths), (3, size, size)) == expected


@pytest.mark.parametrize(
    ("widths", "expected"),
    [
        ((1536,) * 4, [1536] * 5),
        ((20,), [20] * 5),
        ((8, 24), [8] + [24] * 4),
        ((2, 1), [2, 1, 1, 1, 1]),
    ],
)
def test_other_widths_go_on_with_their_last(widths, expected):
    assert widths_of(R3ganDiscriminator(widths=widths), (3, 64, 64)) == expected


def test_numbers_of_blocks_and_groups_go_on_with_their_last():
    g, d = pair((1, 32, 32), widths=(8, 16), group_widths=(8, 4), blocks=(2, 1, 3))
    for network, order in ((g, 1), (d, -1)):
        stages = [
            [m.conv2 for m in stage if isinstance(m, ResidualBlock)] for stage in network.stages
        ][::order]
        assert [len(convs) for convs in stages] == [2, 1, 3, 3]
        assert [{conv.groups for conv in convs} for convs in stages] == [{2}, {8}, {8}, {8}]
        assert [{conv.weight.shape[1] for conv in convs} for convs in stages] == [
            {8},
            {4},
            {4},
            {4},
        ]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"widths": (20,)}, r"^group_widths: the 40 inner channels at 4x4 pixels .* 16; give"),
        ({"widths": (48, 24)}, r"^group_widths: .* 24 inner channels at 16x16 pixels"),
    ],
)
def test_groups_that_cannot_be_equal_are_named(kind, fields, message):
    with pytest.raises(ConfigError, match=message):
        kind(**fields).build((3, 32, 32), 0)


@pytest.mark.parametrize("name", ["widths", "group_widths", "blocks"])
@pytest.mark.parametrize("kind", KINDS)
def test_empty_lists_are_refused(kind, name):
    with pytest.raises(ConfigError, match=f"^{name} is empty: give"):
        kind(**{name: ()})


@pytest.mark.parametrize("num_classes", [0, 3])
@pytest.mark.parametrize(("channels", "size"), [(1, 8), (2, 64), (5, 16)])
def test_any_channels_and_powers_of_two(channels, size, num_classes):
    g, d = pair((channels, size, size), num_classes)
    y = torch.tensor([2, 0]) if num_classes else None
    images = g(torch.randn(2, 64), y)
    assert images.shape == (2, channels, size, size)
    assert d(images, y).logits.shape == (2,)


def deviation(layer: str, key: str, value: torch.Tensor, embedding_dim: int) -> float:
    """Section C1 of the specification: gain / sqrt(fan_in), by the part that a weight belongs to."""
    block_gain = (2 / 1.04) ** 0.5 * 8**-0.25  # 4 stages of 2 blocks
    if key.endswith("bias") or layer == "conv3":
        return 0.0
    if key == "embed.weight":
        return (NUM_CLASSES * embedding_dim) ** -0.5
    if layer in ("conv1", "conv2"):
        return block_gain / value[0].numel() ** 0.5
    return value[0].numel() ** -0.5


def test_first_weights():
    g, d = pair(num_classes=NUM_CLASSES, widths=(128, 64, 128))
    for network, basis, embedding_dim in ((g, 1.0, 1), (d, 0.25, 128)):
        kinds = set()
        for key, value in network.named_parameters():
            layer = key.split(".")[-2]
            expected = deviation(layer, key, value, embedding_dim)
            if key.endswith("basis"):
                expected = basis
            few = 4 / value.numel() ** 0.5  # what a sample's deviation is off by, at most
            assert value.std(correction=0).item() == pytest.approx(expected, rel=few), key
            assert abs(value.mean().item()) <= few * expected, key
            kinds.add(layer)
        assert {"conv1", "conv2", "conv3", "embed", "linear", "conv"} <= kinds


def test_at_first_images_are_sums_of_base_maps_made_larger():
    """The last convolution of each block is zero, so nothing but the linear path is left."""
    g, _ = pair((3, 16, 16))
    z = torch.randn(2, 64)
    h = g.stages[0][0](z)
    for _ in range(2):
        h = resample(h, fir_filter(BINOMIAL), up=2)
    torch.testing.assert_close(g(z), g.stages[-1][-1](h))
    torch.testing.assert_close(g(2 * z), 2 * g(z))


@pytest.mark.parametrize("num_lower", [0, 2, 3, 9])
def test_stages_below_the_highest_stay_in_single_precision(num_lower):
    low = min(num_lower, 3)
    expected = [torch.bfloat16] * low + [torch.float32] * (3 - low)
    g, d = pair((3, 16, 16), 3, bfloat16_stages=num_lower)
    for network, order, inputs in ((g, -1, torch.randn(2, 64)), (d, 1, torch.randn(2, 3, 16, 16))):
        found = []
        hook = partial(lambda found, conv, given, result: found.append(result.dtype), found)
        for stage in network.stages:
            block = next(layer for layer in stage if isinstance(layer, ResidualBlock))
            block.conv2.register_forward_hook(hook)
        with torch.autocast("cpu", torch.bfloat16):
            network(inputs, torch.tensor([0, 1]))
        assert found[::order] == expected
