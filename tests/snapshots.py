"""Small pickles of progressive_growing_of_gans, as its TensorFlow and its Theano code wrote them."""

import io
import pickle
import struct
import sys
import types
from typing import Any

import numpy as np
import torch

from limner.checkpoints.importers.pggan_names import to_reference
from limner.models import PgganDiscriminator, PgganGenerator

NUMPY_1 = {"numpy._core.multiarray": "numpy.core.multiarray"}


class _OfPython2(pickle._Pickler):
    """Writes texts and bytes as the byte strings of Python 2."""

    dispatch = dict(pickle._Pickler.dispatch)

    def save_text(self, value: str | bytes) -> None:
        content = value.encode("latin-1") if isinstance(value, str) else value
        head = b"U" + bytes([len(content)]) if len(content) < 256 else b""
        self.write((head or b"T" + struct.pack("<i", len(content))) + content)
        self.memoize(value)

    dispatch[str] = dispatch[bytes] = save_text  # type: ignore[assignment]


def pickled(states: Any, protocol: int = 4, module: str = "tfutil", python2: bool = False) -> bytes:
    """A pickle of networks: a tuple of states, or one state."""
    home = types.ModuleType(module)
    home.Network = type("Network", (), {"__module__": module})  # type: ignore[attr-defined]

    def network(state: dict[str, Any]) -> object:
        made = object.__new__(home.Network)
        made.__dict__.update(state)
        return made

    tree = tuple(map(network, states)) if isinstance(states, tuple) else network(states)
    file, before = io.BytesIO(), sys.modules.get(module)
    sys.modules[module] = home
    try:
        (_OfPython2 if python2 else pickle._Pickler)(file, protocol).dump(tree)
    finally:
        if before is None:
            del sys.modules[module]
        else:
            sys.modules[module] = before
    content = file.getvalue()
    for new, old in NUMPY_1.items():
        if protocol < 4:
            content = content.replace(f"c{new}\n".encode(), f"c{old}\n".encode())
    return content


def tensorflow(
    name: str = "Gs", resolution: int = 8, lod: float = 0.5, seed: int = 0, **given: Any
) -> dict[str, Any]:
    """The state of tfutil.Network with random variables; fields that are not given are left to the
    function's defaults, but for those that keep it small."""
    d = name.startswith("D")
    given = {"num_channels": 3, "resolution": resolution, "fmap_base": 8, "fmap_max": 4} | given
    names = {"fmap_base": "fmap_base", "fmap_max": "fmap_max", "fused_scale": "fused_scale"}
    names |= {"use_wscale": "equalized"}
    names |= {"mbstd_group_size": "group_size"} if d else {"latent_size": "z_dim"}
    fields = {names[key]: value for key, value in given.items() if key in names}
    config = PgganDiscriminator(**fields) if d else PgganGenerator(**fields)
    shape = (given["num_channels"], given["resolution"], given["resolution"])
    network = config.build(shape, given.get("label_size", 0))
    network.lod = lod  # type: ignore[assignment]
    random = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        parameter.data.normal_(generator=random)
    variables = to_reference("discriminator" if d else "generator", config, network.state_dict())
    return {
        "version": 2,
        "name": name,
        "static_kwargs": given,
        "build_module_src": "def G_paper(latents_in): pass\n",
        "build_func_name": "D_paper" if d else "G_paper",
        "variables": [(key, value.numpy()[()]) for key, value in variables.items()],
    }


def theano(state: dict[str, Any], scale: float = 0.3) -> dict[str, Any]:
    """An unfused, unlabelled network of TensorFlow as the Theano code would have held it."""
    d = state["build_func_name"] == "D_paper"
    spec = dict(state["static_kwargs"])
    assert spec.pop("fused_scale") is False
    spec.pop("mbstd_group_size", None)
    scaled = spec.get("use_wscale", True)
    variables = dict(state["variables"])
    lod = variables.pop("lod")
    names = [key.removesuffix("/weight") for key in variables if key.endswith("/weight")]
    if not d:  # the Theano code makes images after all blocks, from the last
        images = [name for name in names if name.startswith("ToRGB")]
        names = [name for name in names if name not in images] + sorted(images)
    values: list[Any] = []
    for name in names:
        weight = variables[f"{name}/weight"]
        gain = 1.0 if name.startswith("ToRGB") or name.endswith("Dense1") else 2**0.5
        gain = gain / 4 if name.endswith("Dense") else gain
        std = gain / np.prod(weight.shape[:-1]) ** 0.5
        values.append(_turned(weight * (std / scale if scaled else 1.0), name).astype("f4"))
        values += [np.float32(scale)] if scaled else []
        values.append(variables[f"{name}/bias"])
    return {
        "build_func_spec": {"func": state["build_func_name"], **spec},
        "build_module_src": "def G_paper(): pass\n",
        "param_values": values,
        "toplevel_params": {"cur_lod": np.float32(lod)},
    }


def _turned(weight: np.ndarray, name: str) -> np.ndarray:
    if name.endswith("/Dense"):
        return weight.reshape(len(weight), -1, 4, 4).transpose(1, 0, 2, 3)
    if name.endswith("Dense0"):
        return weight.T.reshape(weight.shape[1], -1, 4, 4)[:, :, ::-1, ::-1]
    if "RGB" in name:
        return weight[0, 0]
    if weight.ndim == 4:
        return weight[::-1, ::-1].transpose(3, 2, 0, 1)
    return weight


def files() -> dict[str, bytes]:
    """Snapshots and networks in the forms that there are."""
    shape: dict[str, Any] = {"resolution": 8, "fmap_base": 4, "fmap_max": 1, "num_channels": 1}
    trio = tuple(tensorflow(name, **shape) for name in ("G", "D", "Gs"))
    labelled = tuple(tensorflow(name, label_size=2, **shape) for name in ("G", "D", "Gs"))
    older = tuple(theano(tensorflow(n, fused_scale=False, **shape)) for n in ("G", "D", "Gs"))
    return {
        "snapshot.pkl": pickled(trio),
        "labelled p2.pkl": pickled(labelled, 2),
        "generator p0.pkl": pickled(trio[2], 0),
        "theano.pkl": pickled(older, 2, "network", python2=True),
    }
