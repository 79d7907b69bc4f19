"""The operations of StyleGAN3's layers against the original's own numbers."""

import json

import pytest
import torch
from safetensors.torch import load_file
from test_stylegan2_operations import RUN, four, near

from limner.core.config import override
from limner.layers.filtered_leaky import filtered_leaky
from limner.layers.lowpass import lowpass_filter
from limner.models import StyleGan3Generator
from limner.models.stylegan3 import FourierInput, Place, Signal, SynthesisLayer

OWN = {
    "modulated_conv2d": [0, 1, 2],
    "filtered_lrelu": [0, 1, 2, 3, 4],
    "design_lowpass": [0, 1, 2, 3, 4],
}
SHARED = ("upfirdn2d", "upsample2d", "downsample2d", "filter2d", "bias_act", "conv2d_resample")


@pytest.fixture(scope="module")
def record(golden):
    path = golden("stylegan3/sg3_ops.safetensors")
    return json.loads(path.with_suffix(".json").read_text())["cases"], load_file(path)


def inputs_of(tensors, name):
    begin = f"in/{name}/"
    return {k.removeprefix(begin): v for k, v in tensors.items() if k.startswith(begin)}


def matches(tensors, name, run):
    """A case's output, and gradients where some are recorded."""
    inputs = inputs_of(tensors, name)
    dy = inputs.pop("dy")
    wanted = [key for key in inputs if f"grad/{name}/{key}" in tensors]
    assert wanted
    for key in wanted:
        inputs[key] = inputs[key].clone().requires_grad_()
    y = run(**inputs)
    near(y, tensors[f"out/{name}/y"], name)
    gradients = torch.autograd.grad((y * dy).sum(), [inputs[key] for key in wanted])
    for key, gradient in zip(wanted, gradients, strict=True):
        near(gradient, tensors[f"grad/{name}/{key}"], f"{name} {key}")


def test_every_case_is_run(record):
    own = {f"{kind}_{i}" for kind, numbers in OWN.items() for i in numbers} | {"synthesis_input"}
    assert {name for name in record[0] if not name.startswith(SHARED)} == own


def test_operations_shared_with_stylegan2(record):
    cases, tensors = record
    shared = [name for name in cases if name.startswith(SHARED)]
    assert len(shared) == 40
    for name in shared:
        run = next(run for prefix, run in RUN.items() if name.startswith(prefix))
        matches(tensors, name, lambda _case=cases[name], _run=run, **given: _run(_case, **given))


@pytest.mark.parametrize("index", OWN["filtered_lrelu"])
def test_filtered_leaky(record, index):
    cases, tensors = record
    name = f"filtered_lrelu_{index}"
    case = cases[name]

    def run(x, b, fu=None, fd=None):
        filters = fu, fd, case["up"], case["down"], four(case["padding"])
        rest = case["gain"], case["slope"], case["clamp"], case["flip_filter"]
        return filtered_leaky(x, b, *filters, *rest)

    matches(tensors, name, run)


@pytest.mark.parametrize("index", OWN["design_lowpass"])
def test_lowpass_filters(record, index):
    case = record[0][f"design_lowpass_{index}"]
    kernel = lowpass_filter(
        case["numtaps"], case["cutoff"], case["width"], case["fs"], case["radial"]
    )
    near(kernel, record[1][f"out/design_lowpass_{index}"])


@pytest.mark.parametrize("index", OWN["modulated_conv2d"])
def test_modulated_convolution(record, index):
    """A layer whose styles are given, without bias, relu and filters."""
    case = record[0][f"modulated_conv2d_{index}"]
    assert case["padding"] == case["kernel"] - 1
    gain = case["input_gain"]

    def run(x, w, st):
        out_channels, in_channels, size, _ = w.shape
        config = override(StyleGan3Generator(w_dim=4), ["clamp=null", f"kernel={size}"])
        grown = x.shape[-1] + size - 1
        source = Signal(2.0, 2.0, 8, x.shape[-1], in_channels)
        target = Signal(2.0, 2.0, 8, grown, out_channels)
        layer = SynthesisLayer(
            config.replace(oversampling=1), Place(source, target, True, not case["demodulate"])
        )
        del layer.weight, layer.affine
        layer.weight, layer.affine = w, lambda style: st
        layer.style_scale = 1.0  # the case's styles are scaled already
        if gain is not None:
            layer.magnitude.fill_(gain**-2)
        return before_relu(layer, x)

    matches(record[1], f"modulated_conv2d_{index}", run)


def before_relu(layer, x):
    """By an image's layer, or by linear pieces: of +h and -h the leaky relu makes h back."""
    style = torch.zeros(len(x), 4)
    if layer.is_image:
        return layer(x, style, False)
    up, down = layer(x, style, False), layer(-x, style, False)
    root = 2**0.5
    return torch.where(up > 0, up / root, -down / root)


def test_fourier_features(record):
    case, tensors = record[0]["synthesis_input"], record[1]
    given = inputs_of(tensors, "synthesis_input")
    signal = Signal(case["bandwidth"], 1.0, case["sampling_rate"], case["size"], case["channels"])
    layer = FourierInput(signal, case["w_dim"])
    names = {"freqs": "frequencies"}
    prefix = "state/synthesis_input/"
    state = {
        names.get(k.removeprefix(prefix), k.removeprefix(prefix)): v
        for k, v in tensors.items()
        if k.startswith(prefix)
    } or {names.get(k, k): v for k, v in given.items() if k not in ("w", "dy")}
    layer.load_state_dict(state)
    near(layer(given["w"]), tensors["out/synthesis_input/y"])
