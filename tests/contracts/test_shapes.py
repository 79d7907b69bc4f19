"""Annotations of shapes are checked in the tests, are right, and cost users nothing."""

import importlib
import inspect
import subprocess
import sys

import pytest
import torch
from jaxtyping import AbstractArray, TypeCheckError

from limner.core.images import to_uint8, to_unit_range
from limner.engine.noise import Noise
from limner.layers import convolve, downsample, lookup, upsample
from limner.layers.spectral_norm import SNConv2d, power_iteration
from limner.metrics import class_accuracy, frechet_distance, frechet_from_moments, moments
from limner.models import BigGanDiscriminator, DcganGenerator
from limner.sampling import generate, latents_from_seeds
from shapes import SHAPED

X = torch.zeros(2, 3, 8, 8)
Y = torch.tensor([0, 1])
ROWS = torch.arange(10.0).view(5, 2)

RIGHT = {
    "images": lambda: to_unit_range(to_uint8(X)),
    "one value": lambda: to_uint8(torch.tensor(0.5)),
    "bfloat16 images": lambda: to_uint8(X.bfloat16()),
    "resampling": lambda: upsample(downsample(X)),
    "odd sizes": lambda: downsample(X[..., :7, :5]),
    "convolution": lambda: convolve(X, torch.zeros(4, 3, 5, 5), torch.zeros(4), "up"),
    "convolution without bias": lambda: SNConv2d(3, 4, 3, bias=False)(X),
    "integer labels": lambda: lookup(Y, ROWS),
    "rows of labels": lambda: lookup(torch.eye(5), ROWS),
    "sets of two sizes": lambda: frechet_distance(ROWS, ROWS[:3]),
    "moments": lambda: frechet_from_moments(*moments(ROWS), *moments(ROWS)),
    "latents": lambda: latents_from_seeds(range(3), 4, truncation=1),
    "noise": lambda: Noise(0).draw(0, 0).labels(3, 2),
}

WRONG = {
    "to_uint8 of integers": lambda: to_uint8(Y),
    "to_unit_range of floats": lambda: to_unit_range(X),
    "an image without batch": lambda: upsample(X[0]),
    "channels of the weight": lambda: convolve(X, torch.zeros(4, 2, 3, 3), None, "none"),
    "a kernel that is not square": lambda: convolve(X, torch.zeros(4, 3, 3, 1), None, "none"),
    "length of the bias": lambda: convolve(X, torch.zeros(4, 3, 3, 3), torch.zeros(3), "none"),
    "integers as rows of labels": lambda: lookup(Y[:, None], ROWS),
    "classes of the labels": lambda: lookup(torch.eye(4), ROWS),
    "length of the vectors": lambda: power_iteration(ROWS, [torch.zeros(1, 2)], 1e-8),
    "widths of features": lambda: frechet_distance(ROWS, X[0, 0]),
    "single precision moments": lambda: frechet_from_moments(
        *[m.float() for m in moments(ROWS)] * 2
    ),
    "as many labels as rows": lambda: class_accuracy(ROWS, Y),
    "labels for other latents": lambda: generate(torch.nn.Identity(), ROWS, Y),
    "latents as integers": lambda: dcgan(torch.ones(2, 4, dtype=torch.int64)),
    "labels of another number": lambda: dcgan(torch.zeros(3, 4), Y),
    "images as rows": lambda: discriminator(X.flatten(1)),
    "images of one batch, labels of another": lambda: discriminator(X, Y[:1]),
    "a count that is no integer": lambda: Noise(0).draw(0, 0).latents("3", 4),
}


def dcgan(z, y=None):
    return DcganGenerator(width=2, z_dim=4).build((3, 8, 8), 2)(z, y)


def discriminator(x, y=None):
    return BigGanDiscriminator(width=2).build((3, 8, 8), 2)(x, y)


@pytest.mark.parametrize("name", RIGHT)
def test_right_shapes_pass(name):
    RIGHT[name]()


@pytest.mark.parametrize("name", WRONG)
def test_wrong_shapes_are_found(name):
    with pytest.raises(TypeCheckError, match="whilst checking the parameters"):
        WRONG[name]()


def test_wrong_returns_are_found(monkeypatch):
    module = importlib.import_module("limner.layers.resampling")
    monkeypatch.setattr(module.F, "avg_pool2d", lambda x, size: x)
    with pytest.raises(TypeCheckError, match="whilst checking the return value"):
        downsample(X)


@pytest.mark.usefixtures("unchecked")
def test_the_fixture_switches_the_checks_off():
    assert upsample(X[0]).shape == (3, 8, 16)


# --- every module that names shapes is checked ---------------------------------------------------


def shaped(function) -> bool:
    """Whether an annotation of the function holds a shape."""
    hints = [hint for hint in inspect.get_annotations(function).values() if hint is not None]
    return any(
        isinstance(hint, type) and issubclass(hint, AbstractArray)
        for top in hints
        for hint in (top, *getattr(top, "__args__", ()))
    )


def functions_of(module):
    """Functions and methods that a module defines, by name."""
    for owner in (module, *(v for v in vars(module).values() if inspect.isclass(v))):
        if owner is module or owner.__module__ == module.__name__:
            for name, value in vars(owner).items():
                if inspect.isfunction(value) and value.__module__ == module.__name__:
                    yield f"{owner.__name__}.{name}", value


def test_the_modules_that_name_shapes_are_found():
    rooms = {name.split(".")[1] for name in SHAPED}
    assert len(SHAPED) >= 15
    assert {"core", "layers", "models", "metrics", "sampling", "engine"} <= rooms


@pytest.mark.parametrize("name", SHAPED)
def test_modules_that_name_shapes_are_checked(name):
    functions = dict(functions_of(importlib.import_module(name)))
    assert [key for key, value in functions.items() if shaped(value)]
    # What dataclass makes has no file; jaxtyping checks its fields.
    written = {k: v for k, v in functions.items() if v.__code__.co_filename != "<string>"}
    assert [key for key, value in written.items() if not hasattr(value, "__wrapped__")] == []


# --- users have no checks ----------------------------------------------------------------------

PROGRAM = """
import sys
import {modules}
from limner.layers import upsample
import torch
assert upsample(torch.zeros(3, 8, 8)).shape == (3, 8, 16)
assert not hasattr(upsample, "__wrapped__")
print(*sorted(name for name in sys.modules if name in ("beartype", "jaxtyping")))
"""


def output_of(program: str) -> list[str]:
    command = [sys.executable, "-c", program]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert answer.returncode == 0, answer.stderr[-1000:]
    return answer.stdout.split()


def test_a_program_of_users_checks_nothing():
    assert output_of(PROGRAM.format(modules=", ".join(SHAPED))) == ["jaxtyping"]


@pytest.mark.parametrize("module", ["limner", "limner.core.config", "limner.cli.main"])
def test_what_needs_no_tensors_does_not_import_annotations_of_them(module):
    program = (
        f"import {module}, sys; print(*[m for m in ('torch', 'jaxtyping') if m in sys.modules])"
    )
    assert output_of(program) == []
