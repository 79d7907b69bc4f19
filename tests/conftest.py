"""Shared fixtures, and shapes checked. Torch has one thread: two on a loaded machine can stall."""

import functools
import importlib.util
import os

import pytest
import safetensors.torch
import torch

import shapes
from golden_files import Golden, large_roots, unpack

torch.set_num_threads(1)

if device := os.environ.get(
    "LIMNER_TEST_DEVICE"
):  # make gpu-check: the reference tensors elsewhere
    torch.set_default_device(device)
    safetensors.torch.load_file = functools.partial(safetensors.torch.load_file, device=device)

shapes.install()


@pytest.fixture
def unchecked():
    """As users run it: for tests of the messages that meet arguments of a wrong shape or type, and
    for long trainings, whose networks other tests check."""
    with shapes.unchecked():
        yield


@pytest.fixture(scope="module")
def no_extras():
    """No report and no TensorBoard: they are slow to import, and not what such tests ask."""
    find_spec, absent = importlib.util.find_spec, {"matplotlib", "tensorboard"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            importlib.util,
            "find_spec",
            lambda name, *more: None if name in absent else find_spec(name, *more),
        )
        yield


@pytest.fixture(scope="session")
def golden(tmp_path_factory: pytest.TempPathFactory) -> Golden:
    """Finds reference tensors by name, see tests/golden/data/README.md."""
    return Golden(large_roots(), lambda: unpack(tmp_path_factory.mktemp("golden")))


@pytest.fixture(autouse=True, scope="session")
def _cache_of_the_tests(tmp_path_factory: pytest.TempPathFactory):
    """Prepared data and classifiers of the tests stay out of the user's cache."""
    before = os.environ.get("LIMNER_CACHE")
    os.environ["LIMNER_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    yield
    if before is None:
        del os.environ["LIMNER_CACHE"]
    else:
        os.environ["LIMNER_CACHE"] = before
