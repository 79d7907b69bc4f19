"""Processes that torchrun starts again find each other, not those that were killed."""

import os
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import torch.distributed as dist

from limner.core import distributed
from limner.layers import CrossReplicaBatchNorm2d
from processes import in_processes


@pytest.mark.parametrize("count", [2, 3])
def test_the_living_agree_on_a_new_name_whatever_the_dead_left(count):
    """One store over three starts, as torchrun keeps it; the order of arrival changes."""
    store, names = dist.HashStore(), []
    for start in range(3):
        order = sorted(range(count), reverse=start % 2 == 0)
        with ThreadPoolExecutor(count) as pool:
            waiting = [pool.submit(distributed._agreed_name, store, n, count) for n in order]
            agreed = {future.result(timeout=20) for future in waiting}
        assert len(agreed) == 1
        names += agreed
    assert len(set(names)) == 3


def test_control_a_key_of_the_dead_is_still_there():
    """What the agreement is for: under the plain name one reads what a killed process wrote."""
    store = dist.HashStore()
    store.set("address/1", "dead")
    assert store.get("address/1") == b"dead"
    fresh = dist.PrefixStore(distributed._agreed_name(store, 0, 1), store)
    assert not fresh.check(["address/1"])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks its children")
def test_alone_a_process_waits_for_no_other():
    """What scores are taken with: a pass in training mode on one process only."""

    def work(rank):
        distributed.start()
        norm = CrossReplicaBatchNorm2d(2)
        if rank == 0:
            with distributed.alone():
                assert (distributed.rank(), distributed.world_size()) == (0, 1)
                norm(torch.randn(3, 2, 2, 2))
        assert distributed.world_size() == 2
        distributed.barrier()
        distributed.stop()

    assert in_processes(2, work) == [0, 0]
