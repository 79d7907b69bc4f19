"""Interpolated and accumulated statistics against the reference systems' own."""

import pytest
import torch
from biggan_reference import Fixture
from safetensors.torch import load_file

from limner.sampling import StandingSets, accumulate

GRID = tuple(round(0.02 * i, 2) for i in range(51))


@pytest.fixture(scope="module")
def port(golden):
    return load_file(golden("biggan_hf/hf_biggan_deep_64_tiny.safetensors"))


@pytest.mark.parametrize("truncation", [0.4, 0.437, 1.0, 0.3])
def test_statistics_of_pytorch_pretrained_biggan(port, truncation):
    rows = {"m": port["state/hf/generator.bn.running_means"]}
    wanted = port[f"out/bn_mean_interp_trunc{truncation:g}"]
    found = StandingSets(GRID, rows, "huggingface").at(truncation)["m"]
    assert (found - wanted).abs().max() < 1e-6
    linear = StandingSets(GRID, rows).at(truncation)["m"]
    assert bool((linear - found).abs().max() > 1e-3) == (truncation == 0.437)


def test_accumulated_statistics_of_biggan_pytorch(golden):
    """That program keeps plain sums over its passes, and their number."""
    fixture = Fixture(golden, "biggan32_mybn_standing")
    net = fixture.fresh("G")
    before = {name: value.clone() for name, value in net.state_dict().items()}
    batches = list(zip(fixture["in/z_standing"], fixture["in/y_standing"], strict=True))
    found = accumulate(net, batches)
    sums = fixture.part("after_standing", "G")
    assert len(found) == 2 * 7
    for name, value in found.items():
        torch.testing.assert_close(3.0 * value, sums[name], rtol=1e-4, atol=1e-5)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
