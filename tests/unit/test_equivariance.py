"""EQ-T and EQ-R of networks that nobody trained, and of planted faults in them."""

import math

import pytest
import torch

from limner.metrics.equivariance import equivariance, rotated, rotation, shifted, shifted_by_pixels
from limner.models import StyleGan3Generator

SIDE, NUM = 64, 2
pytestmark = pytest.mark.usefixtures("unchecked")


def waves(matrix=None, side=SIDE):
    """A few waves of low frequencies, as a function of where an inverse transform takes them."""
    matrix = torch.eye(3) if matrix is None else matrix
    places = (torch.arange(side) + 0.5) / side - 0.5
    x, y = torch.meshgrid(places, places, indexing="xy")
    at = torch.stack([x, y, torch.ones_like(x)], -1) @ matrix.t()
    wave = torch.sin(7 * at[..., 0] + 1) * torch.cos(5 * at[..., 1] + 2) + 0.3 * at[..., 0]
    return wave[None, None] * 0.5


@pytest.mark.parametrize("kind", ["eq-t", "eq-t-frac", "eq-r"])
def test_what_moves_with_its_input_scores_high(kind):
    assert equivariance(lambda matrix: waves(matrix), kind, 6) > 50
    assert equivariance(lambda matrix: waves(torch.linalg.inv(matrix)), kind, 6) < 25


def test_operators_move_pictures_where_they_should():
    x = waves()
    moved, mask = shifted_by_pixels(x, 3, -2)
    assert torch.equal(moved[..., :-2, 3:], x[..., 2:, :-3])
    assert mask.sum() == (SIDE - 3) * (SIDE - 2)
    between, mask = shifted(x, 0.05, -0.03)
    expected = waves(torch.tensor([[1.0, 0, -0.05], [0, 1, 0.03], [0, 0, 1]]))
    assert ((between - expected).abs() * mask).max() < 3e-3
    angle = 0.7
    turned, mask = rotated(x, angle)
    expected = waves(rotation(-angle))
    assert mask.mean() > 0.4
    assert ((turned - expected).abs() * mask).max() < 0.02


def untrained(turns):
    """Random weights, random placings, magnitudes of the very images."""
    torch.manual_seed(0)
    config = StyleGan3Generator(
        channel_base=4096 if turns else 2048,
        channel_max=128 if turns else 64,
        kernel=1 if turns else 3,
        radial=turns,
        magnitude_decay=0.0,
    )
    g = config.build((3, SIDE, SIDE), 0)
    with torch.no_grad():
        torch.nn.init.normal_(g.input.affine.weight)
        z = torch.randn(NUM, 512)
        g.train()(z)
        styles = g.eval().mapping(z)
    return g, styles


def scores(g, styles, *kinds):
    def synthesize(matrix):
        g.input.transform.copy_(matrix)
        return g.synthesis(styles)

    return [equivariance(synthesize, kind, 2) for kind in kinds]


@pytest.fixture(scope="module", params=["t", "r"])
def network(request):
    """Which, the network, and styles of its images."""
    return request.param, *untrained(request.param == "r")


def test_of_what_nobody_trained(network):
    kind, g, styles = network
    moved, turned = scores(g, styles, "eq-t", "eq-r")
    assert moved > 65
    assert turned > 70 if kind == "r" else turned < 45


def changed(g, change):
    before = [(layer, layer.padding, layer.down_filter) for layer in g.layers]
    for layer in g.layers:
        change(layer)
    return before


def restore(before):
    for layer, padding, kernel in before:
        layer.padding, layer.down_filter = padding, kernel


def half_a_sample(layer):
    left, right, top, bottom = layer.padding
    layer.padding = (right, left, bottom, top)


def boxes(layer):
    if layer.down_filter is not None:
        layer.down_filter = torch.full_like(layer.down_filter, 1 / layer.down_filter.numel())


@pytest.mark.full
@pytest.mark.parametrize("fault", [half_a_sample, boxes])
def test_planted_faults_show(network, fault):
    kind, g, styles = network
    before = changed(g, fault)
    try:
        (score,) = scores(g, styles, "eq-t" if kind == "t" else "eq-r")
    finally:
        restore(before)
    assert score < (65 if kind == "t" else 70)
    assert math.isfinite(score)
