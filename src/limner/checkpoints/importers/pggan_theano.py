"""PGGAN networks of the Theano code of 2017, as the TensorFlow code of 2018 describes its own.

A Theano network is its arguments and a bare list of parameters in the order of its layers: weight,
run-time scale, bias. Its convolutions are true ones, so kernels are flipped; the doublings are
apart from the convolutions; the scale was measured from the weights drawn, where TensorFlow's
follows from their shape. The rules are those of the TensorFlow code's legacy.py.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from limner.core.errors import CheckpointError
from limner.formats.pickles import Record, shown

HE, LINEAR = 2.0**0.5, 1.0
FUNCTIONS = {
    "G_paper": "G_paper",
    "G_progressive_8": "G_paper",
    "D_paper": "D_paper",
    "D_progressive_8": "D_paper",
}
# Argument -> the only values with which the TensorFlow code has such a network.
PLAIN: dict[str, tuple] = {
    "label_size": (0, None),
    "use_batchnorm": (False,),
    "tanh_at_end": (None,),
    "mbstat_func": ("Tstdeps",),
    "mbstat_avg": ("all", None),
    "mbdisc_kernels": (None, 0),
    "use_layernorm": (False,),
}
OWN_MAPS = {"fmap_base": 4096, "fmap_max": 256}  # the Theano functions' own defaults
MAX_LEVELS = 15


def as_tensorflow(state: Mapping[str, Any]) -> dict[str, Any]:
    """The state of a Theano `network.Network` (build_func_spec, param_values, toplevel_params) as
    that of a TensorFlow one: build_func_name, static_kwargs and variables. Raises CheckpointError
    where it is no such state, or a network that the TensorFlow code cannot hold."""
    given = state.get("build_func_spec")
    if not isinstance(given, dict):
        raise CheckpointError("it has no build_func_spec")
    arguments = dict(given)
    function = arguments.pop("func", None)
    if not isinstance(function, str) or function not in FUNCTIONS:
        raise CheckpointError(
            f"its function {said(function)} is missing in limner, which knows "
            f"{', '.join(FUNCTIONS)} of the Theano code; take the file's other networks with "
            "--set net=, for example net=Gs"
        )
    scaled = arguments.setdefault("use_wscale", True)
    if not isinstance(scaled, bool):
        raise CheckpointError(f"use_wscale is {said(scaled)}, neither True nor False")
    for name, allowed in PLAIN.items():
        value = arguments.pop(name, allowed[0])
        if not any(type(value) is type(one) and value == one for one in allowed):
            raise CheckpointError(
                f"{name} is {said(value)}; networks of the Theano code are imported with "
                f"{allowed[0]!r} only, for limner lacks the rest"
            )
        if name == "mbstat_avg" and function.startswith("D"):
            arguments["mbstd_group_size"] = 16 if value else 0
    arguments.pop("use_gdrop", None)  # noise of the training; it ends with strength 0
    arguments["fused_scale"] = False
    resolution = arguments.get("resolution", 32)
    if type(resolution) is not int or not 4 <= resolution < 4 << MAX_LEVELS:
        raise CheckpointError(f"resolution is {said(resolution)}, not a number of pixels")
    values = state.get("param_values")
    if not isinstance(values, list):
        raise CheckpointError("it has no list param_values")
    layers = _layers(function[0], resolution.bit_length() - 1)
    variables = _variables(layers, values, scaled)
    _take_own_maps(arguments, variables["4x4/Conv/weight"].shape[-1])
    return {
        "build_func_name": FUNCTIONS[function],
        "static_kwargs": arguments,
        "variables": [("lod", _lod(state.get("toplevel_params"))), *variables.items()],
    }


def said(value: Any) -> str:
    """A value of the file for a message: a number or text itself, of all else what it is."""
    if isinstance(value, (str, bytes, int, float, type(None))):
        return shown(repr(value[:200] if isinstance(value, (str, bytes)) else value))
    if isinstance(value, Record):
        return f"an object of {value.of}"
    return f"an array of {value.dtype}" if isinstance(value, np.ndarray) else type(value).__name__


def _lod(toplevel: Any) -> Any:
    """Of a file without it the network's own start."""
    return toplevel.get("cur_lod", 0.0) if isinstance(toplevel, dict) else 0.0


def _take_own_maps(arguments: dict[str, Any], width: int) -> None:
    """Where the file leaves the feature maps out and the defaults of 2018 do not give its width,
    but those of 2017 do, take those."""
    missing = {name: value for name, value in OWN_MAPS.items() if name not in arguments}
    newer = {"fmap_base": 8192, "fmap_max": 512}
    for candidate in (newer, OWN_MAPS):
        maps = {**candidate, **arguments}
        decay = maps.get("fmap_decay", 1.0)
        try:
            fits = min(int(maps["fmap_base"] / 2.0**decay), maps["fmap_max"]) == width
        except (TypeError, ValueError, OverflowError, ZeroDivisionError):
            return  # whoever checks the arguments says why
        if fits:
            arguments.update({name: candidate[name] for name in missing})
            return


# --- parameters --------------------------------------------------------------

Layer = tuple[str, str, float]  # TensorFlow's name, kind, gain


def _layers(player: str, log2: int) -> list[Layer]:
    """In the order of the parameters."""
    conv = lambda name: (name, "conv", HE)  # noqa: E731
    sides = [f"{2**i}x{2**i}" for i in range(3, log2 + 1)]
    if player == "G":
        layers = [("4x4/Dense", "first", HE / 4), conv("4x4/Conv")]
        layers += [conv(f"{side}/Conv{i}") for side in sides for i in (0, 1)]
        return layers + [(f"ToRGB_lod{lod}", "pixel", LINEAR) for lod in range(log2 - 1)]
    layers = [("FromRGB_lod0", "pixel", HE)]
    for lod, side in enumerate(reversed(sides)):
        layers += [conv(f"{side}/Conv0"), conv(f"{side}/Conv1")]
        layers.append((f"FromRGB_lod{lod + 1}", "pixel", HE))
    layers += [conv("4x4/Conv"), ("4x4/Dense0", "grid", HE)]
    return [*layers, ("4x4/Dense1", "dense", LINEAR)]


def _variables(layers: list[Layer], values: list, scaled: bool) -> dict[str, np.ndarray]:
    each = 3 if scaled else 2
    if len(values) != each * len(layers):
        raise CheckpointError(
            f"param_values has {len(values)} entries; its {len(layers)} layers need "
            f"{each * len(layers)}"
        )
    left = iter(values)
    variables: dict[str, np.ndarray] = {}
    for name, kind, gain in layers:
        weight = _turned(next(left), kind, name)
        if scaled:
            weight = weight * (_scale(left, name) * _fan_in(weight) ** 0.5 / gain)
        bias = next(left)
        if not isinstance(bias, np.ndarray):
            raise CheckpointError(f"the bias of {name} in param_values is no array")
        with np.errstate(over="ignore"):  # the reader finds what is not finite
            variables[f"{name}/weight"] = weight.astype(np.float32)
        variables[f"{name}/bias"] = bias
    return variables


def _scale(left: Iterator[Any], name: str) -> float:
    scale = next(left)
    if isinstance(scale, np.ndarray) and scale.size == 1 and scale.dtype.kind == "f":
        scale = scale.item()
    if not isinstance(scale, float) or not math.isfinite(scale):
        raise CheckpointError(f"the scale of {name} in param_values is {said(scale)}, no number")
    return scale


def _fan_in(weight: np.ndarray) -> int:
    return max(1, weight.size // max(1, weight.shape[-1]))


def _turned(value: Any, kind: str, name: str) -> np.ndarray:
    """A weight in TensorFlow's layout, in double precision."""
    num_dims = 2 if kind in ("pixel", "dense") else 4
    if not isinstance(value, np.ndarray) or value.dtype.kind != "f" or value.ndim != num_dims:
        raise CheckpointError(
            f"the weight of {name} in param_values is {said(value)}, no array of {num_dims} "
            "dimensions"
        )
    weight = value.astype(np.float64)
    if kind == "conv":
        return weight.transpose(2, 3, 1, 0)[::-1, ::-1]
    if kind == "pixel":
        return weight[None, None]
    if kind == "first":  # a full convolution on one pixel, whose kernel is therefore not flipped
        weight = weight.transpose(1, 0, 2, 3)
        return weight.reshape(len(weight), int(np.prod(weight.shape[1:])))
    if kind == "grid":  # a convolution that leaves one pixel
        weight = weight[:, :, ::-1, ::-1]
        return weight.reshape(len(weight), int(np.prod(weight.shape[1:]))).T
    return weight
