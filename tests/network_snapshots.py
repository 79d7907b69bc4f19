"""Pickles as the training loops of NVIDIA's and R3GAN's programs write them, of limner's networks.

Objects bring their class's source (persistent) or name it (plain); nothing of either is there when
they are read.
"""

import contextlib
import pickle
import sys
import types
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from limner.checkpoints.importers import r3gan_names, style_pickles
from limner.checkpoints.importers.style_arguments import KINDS, arguments_of
from limner.models import (
    R3ganDiscriminator,
    R3ganGenerator,
    StyleGan2Discriminator,
    StyleGan2Generator,
    StyleGan3Generator,
)

HARMFUL_SOURCE = "import os\nopen(os.environ['MARKER'], 'w').close()\n"


def _reconstruct_persistent_obj(meta):
    raise AssertionError("never called")


_reconstruct_persistent_obj.__module__ = "torch_utils.persistence"
_reconstruct_persistent_obj.__qualname__ = "_reconstruct_persistent_obj"


class Persistent:
    """A module of torch_utils.persistence; `meta` is what it saves."""

    def __init__(self, meta: Any):
        self.meta = meta

    def __reduce__(self):
        return _reconstruct_persistent_obj, (self.meta,)


def modules(tensors: Mapping[str, torch.Tensor], make, **attributes: Any) -> Any:
    """Nested modules of tensors by dotted names; `make(attributes)` makes one."""
    own, inner = {}, {}
    for name, tensor in tensors.items():
        first, dot, rest = name.partition(".")
        if dot:
            inner.setdefault(first, {})[rest] = tensor
        else:
            own[first] = tensor
    state = {
        "training": False,
        "_parameters": {k: torch.nn.Parameter(v) for k, v in own.items() if v.is_floating_point()},
        "_buffers": {"absent": None},
        "_modules": {name: modules(held, make) for name, held in inner.items()},
        **attributes,
    }
    return make(state)


def persistent(name: str, source: str = HARMFUL_SOURCE, version: int = 6):
    def make(state: dict[str, Any]) -> Persistent:
        return Persistent(
            {
                "type": "class",
                "version": version,
                "module_src": source,
                "class_name": name if "_init_kwargs" in state else "Layer",
                "state": state,
            }
        )

    return make


@contextlib.contextmanager
def originals() -> Iterator[None]:
    """The modules that pickles name, while they are written."""
    made = {}
    for name in ("torch_utils", "torch_utils.persistence", "training", "training.networks"):
        made[name] = types.ModuleType(name)
    made["torch_utils.persistence"]._reconstruct_persistent_obj = _reconstruct_persistent_obj
    for kind in PLAIN.values():
        setattr(made["training.networks"], kind.__name__, kind)
    before = {name: sys.modules.get(name) for name in made}
    sys.modules.update(made)
    try:
        yield
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


def _plain(name: str) -> type:
    return type(name, (), {"__module__": "training.networks"})


PLAIN = {name: _plain(name) for name in ("Generator", "Discriminator", "Stage")}


def plain(name: str):
    def make(state: dict[str, Any]) -> Any:
        made = PLAIN[name if "z_dim" in state else "Stage"]()
        made.__dict__.update(state)
        return made

    return make


def pickled(tree: Any) -> bytes:
    with originals():
        return pickle.dumps(tree, 4)


STYLE_G = {"z_dim": 4, "w_dim": 4, "num_mapping": 1, "channel_max": 4}
STYLES = {
    "stylegan2-ada": (StyleGan2Generator(channel_base=32, clamp=None, **STYLE_G), "StyleGAN2's"),
    "stylegan3": (StyleGan3Generator(channel_base=64, num_layers=3, **STYLE_G), "StyleGAN3's"),
}
STYLE_D = StyleGan2Discriminator(channel_base=32, channel_max=4, clamp=None)
R3GAN = (
    R3ganGenerator(z_dim=4, widths=(4, 6), group_widths=(2, 4), blocks=(1, 2), bfloat16_stages=0),
    R3ganDiscriminator(widths=(4, 6), group_widths=(2, 4), blocks=(1, 2), bfloat16_stages=0),
)
SHAPE = (3, 8, 8)


def style_tensors(system: str, num_classes: int = 0) -> dict[str, torch.Tensor]:
    """Of G_ema, under the original's names."""
    torch.manual_seed(0)
    config = STYLES[system][0]
    return style_pickles.to_reference(config, SHAPE, config.build(SHAPE, num_classes).state_dict())


def style_snapshot(
    system: str, tensors: Mapping[str, torch.Tensor], num_classes: int = 0, **changed: Any
) -> bytes:
    config, kind = STYLES[system]
    arguments = (
        arguments_of(KINDS[system][f"{kind} generator"], config, SHAPE, num_classes) | changed
    )
    make = persistent("Generator")
    network = modules(tensors, make, _init_args=(), _init_kwargs=arguments)
    d = style_discriminator(system, num_classes)
    networks = {"G": network, "D": d, "G_ema": network}
    return pickled({"training_set_kwargs": {"path": "data.zip"}, **networks})


def style_discriminator(system: str, num_classes: int) -> Persistent:
    torch.manual_seed(1)
    kind = KINDS[system]["StyleGAN2's discriminator"]
    state = STYLE_D.build(SHAPE, num_classes).state_dict()
    return modules(
        style_pickles.to_reference(STYLE_D, SHAPE, state),
        persistent("Discriminator"),
        _init_kwargs=arguments_of(kind, STYLE_D, SHAPE, num_classes),
    )


def r3gan_tensors() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return r3gan_names.to_reference("generator", R3GAN[0].build(SHAPE, 0).state_dict())


def r3gan_snapshot(tensors: Mapping[str, torch.Tensor], name: str = "Generator") -> bytes:
    network = modules(tensors, plain(name), z_dim=4, c_dim=0)
    return pickled({"cur_nimg": 8, "G_ema": network})
