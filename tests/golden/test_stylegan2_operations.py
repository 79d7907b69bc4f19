"""The operations of StyleGAN2's layers against the PyTorch original's own numbers."""

import json

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from limner.layers import (
    biased_activation,
    demodulation,
    filtered_convolve,
    fir_filter,
    minibatch_deviation,
    modulated_convolve,
    pixel_norm,
    resample,
    squares_of,
    upfirdn,
)

FILE = "stylegan2/sg2_ops.safetensors"
ROOT2 = 2**0.5
# The original's name: (function, default gain)
ACTIVATIONS = {
    "linear": (lambda x: x, 1.0),
    "relu": (F.relu, ROOT2),
    "lrelu": (lambda x: F.leaky_relu(x, 0.2), ROOT2),
    "tanh": (torch.tanh, 1.0),
    "sigmoid": (torch.sigmoid, 1.0),
    "elu": (F.elu, 1.0),
    "selu": (F.selu, 1.0),
    "softplus": (F.softplus, 1.0),
    "swish": (F.silu, ROOT2),
}
CASES = [
    *(f"upfirdn2d_{i}" for i in range(7)),
    *(f"{op}2d_{kind}" for op in ("upsample", "downsample", "filter") for kind in ("sep", "asym")),
    *(f"bias_act_{name}_{kind}" for name in ACTIVATIONS for kind in ("default", "agc")),
    "bias_act_dim0",
    *(f"conv2d_resample_{i}" for i in range(8)),
    *(f"modulated_conv2d_{i}" for i in range(6)),
    *("mbstd_B8_g4_c1", "mbstd_B8_g4_c2", "mbstd_B6_gNone_c1", "mbstd_B3_g4_c1", "mbstd_B8_g2_c4"),
    "normalize_2nd_moment",
]


@pytest.fixture(scope="module")
def record(golden):
    path = golden(FILE)
    return json.loads(path.with_suffix(".json").read_text())["cases"], load_file(path)


def four(padding):
    """(left, right, top, bottom) of one number, (x, y) or four."""
    padding = [padding] if isinstance(padding, int) else list(padding)
    if len(padding) == 4:
        return tuple(padding)
    x, y = padding if len(padding) == 2 else padding * 2
    return (x, x, y, y)


def pair(value):
    return tuple(value) if isinstance(value, list) else value


def upfirdn2d(case, x, f):
    up, down, padding = pair(case["up"]), pair(case["down"]), four(case["padding"])
    return upfirdn(x, f, up, down, padding, case["gain"], case["flip_filter"])


def filter2d(case, x, f):
    return resample(F.pad(x, four(case["padding"])), f)


def bias_act(case, x, b):
    activation, gain = ACTIVATIONS[case["act"]]
    if case["act"] == "lrelu" and "alpha" in case:
        activation = lambda x: F.leaky_relu(x, case["alpha"])  # noqa: E731
    if case["dim"] == 0:
        x = x.t()
    y = biased_activation(x, b, activation, case.get("gain", gain), case.get("clamp"))
    return y.t() if case["dim"] == 0 else y


def generic(case, x, w, f):
    """Zero insertion, filter, convolution, filter, decimation: the definition of all of them."""
    up, down, size = case["up"], case["down"], len(f)
    left, right, top, bottom = four(case["padding"])
    first = second = 0
    if up > 1:
        first, second = first + (size + up - 1) // 2, second + (size - up) // 2
    if down > 1:
        first, second = first + (size - down + 1) // 2, second + (size - down) // 2
    padding = (left + first, right + second, top + first, bottom + second)
    flip = case.get("flip_filter", False)
    x = upfirdn(x, f if up > 1 else torch.ones(1, 1), up, 1, padding, up**2, flip)
    x = F.conv2d(x, w if case["flip_weight"] else w.flip(2, 3), groups=case.get("groups", 1))
    return upfirdn(x, f, 1, down, flip=flip) if down > 1 else x


def direction_of(case):
    """Of limner's own convolution; None where it has none for the case."""
    up, down = case["up"], case["down"]
    plain = case.get("groups", 1) == 1 and case["padding"] == case["kernel"] // 2
    mirrored = case["kernel"] > 1 and case["flip_weight"] == (up > 1)
    if not plain or mirrored or (up, down) not in ((1, 1), (2, 1), (1, 2)):
        return None
    return {(1, 1): "none", (2, 1): "up", (1, 2): "down"}[up, down]


def conv2d_resample(case, x, w, f):
    direction = direction_of(case)
    if direction is None:
        return generic(case, x, w, f)
    return filtered_convolve(x, w, None, direction, f)


def modulated_conv2d(case, x, w, st, f, noise=None):
    direction = direction_of(case)
    assert direction is not None
    y = modulated_convolve(x, w, st, f, direction)
    if case["demodulate"]:
        y = y * demodulation(squares_of(w), st)[:, :, None, None]
    return y if noise is None else y + noise


RUN = {
    "upfirdn2d": upfirdn2d,
    "upsample2d": lambda case, x, f: resample(x, f, up=case["up"]),
    "downsample2d": lambda case, x, f: resample(x, f, down=case["down"]),
    "filter2d": filter2d,
    "bias_act": bias_act,
    "conv2d_resample": conv2d_resample,
    "modulated_conv2d": modulated_conv2d,
    "mbstd": lambda case, x: minibatch_deviation(
        x, case["group_size"], features=case["num_channels"]
    ),
    "normalize": lambda case, x: pixel_norm(x),
}


def near(got, expected, what=""):
    assert got.shape == expected.shape, what
    gap = (got.detach() - expected).abs().max().item()
    assert gap <= 1e-5 * expected.abs().max().item() + 1e-6, (what, gap)


def test_every_case_is_run(record):
    assert sorted(record[0]) == sorted(CASES)


@pytest.mark.parametrize("name", CASES)
def test_operation_and_its_gradients(record, name):
    cases, tensors = record
    begin = f"in/{name}/"
    inputs = {k.removeprefix(begin): v for k, v in tensors.items() if k.startswith(begin)}
    dy = inputs.pop("dy")
    wanted = [key for key in inputs if f"grad/{name}/{key}" in tensors]
    for key in wanted:
        inputs[key] = inputs[key].clone().requires_grad_()
    run = next(run for prefix, run in RUN.items() if name.startswith(prefix))
    y = run(cases[name], **inputs)
    near(y, tensors[f"out/{name}/y"], name)
    (y * dy).sum().backward()
    for key in wanted:
        near(inputs[key].grad, tensors[f"grad/{name}/{key}"], f"{name} {key}")


TAPS = {"1331": [1, 3, 3, 1], "1d12": None, "none": None}


@pytest.mark.parametrize("name", TAPS)
def test_filters(record, name):
    expected = {k: v for k, v in record[1].items() if k.startswith(f"out/setup_filter/{name}_")}
    taps = TAPS[name]
    if name == "1d12":  # the original kept them too, times sqrt(2)
        taps = (record[1]["out/setup_filter/1d12_normalizeFalse_gain2.0"] / ROOT2).tolist()
    near(fir_filter(taps), expected[f"out/setup_filter/{name}_default"])
    if name == "1331":
        flipped = expected["out/setup_filter/1331_flip_filterTrue_separableFalse"]
        near(fir_filter(taps, flip=True), flipped)
