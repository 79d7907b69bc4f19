"""Networks that are built only to be filled."""

import threading

import pytest
import torch
from torch import nn

from limner.core.undrawn import is_undrawn, undrawn, without_memory
from limner.models import ARCHITECTURES


def refuse(*args, **kwargs):
    raise AssertionError("random numbers were drawn")


@pytest.mark.parametrize("name", sorted(set(ARCHITECTURES) - {"projected"}))
def test_no_architecture_draws_its_weights(name, monkeypatch):
    kind = ARCHITECTURES[name][0]
    names = {"width", "fmap_max", "channel_max"} & set(kind.__struct_fields__)
    config = kind(**dict.fromkeys(names, 4))
    before = torch.get_rng_state()
    with undrawn():
        network = config.build((3, 32, 32), 3)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(0)
    drawn = config.build((3, 32, 32), 3).state_dict()
    network.load_state_dict(drawn)
    for key, value in network.state_dict().items():
        assert torch.equal(value, drawn[key])
    with without_memory():
        assert all(p.is_meta for p in config.build((3, 32, 32), 3).parameters())


def test_it_holds_inside_and_in_this_thread_alone():
    seen = []
    with undrawn():
        assert is_undrawn()
        thread = threading.Thread(
            target=lambda: seen.append((is_undrawn(), nn.Linear(3, 3).weight.std()))
        )
        thread.start()
        thread.join()
    assert not is_undrawn()
    assert seen[0][0] is False
    assert seen[0][1] > 0
    assert nn.Linear(3, 3).weight.std() > 0
