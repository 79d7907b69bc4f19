"""What a trainer saves and takes up again: everything that evolves, as plain values and tensors."""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from limner.core import distributed
from limner.core.devices import widest
from limner.core.errors import CheckpointError
from limner.core.protocols import is_fixed
from limner.engine.naming import Names
from limner.engine.optimizers import load_moments
from limner.engine.progress import Progress
from limner.objectives.base import Memory

if TYPE_CHECKING:
    from limner.engine.config import RunConfig
    from limner.engine.trainer import Trainer


def state_of(trainer: "Trainer") -> dict[str, Any]:
    """Everything that evolves and is equal on all processes; plain values and tensors."""
    ema = trainer.generator_ema
    return {
        "generator": saved_tensors(trainer.networks["g"]),
        "discriminator": saved_tensors(trainer.networks["d"]),
        "generator_ema": None if ema is None else saved_tensors(ema),
        "optimizer_g": trainer.optimizers["g"].state_dict(),
        "optimizer_d": trainer.optimizers["d"].state_dict(),
        "memories": {name: dict(memory) for name, memory in trainer.memories.items() if memory},
        "meters": trainer.meters.state_dict(),
        "progress": _saved_progress(trainer.progress),
    }


def _saved_progress(progress: Progress) -> dict[str, int]:
    """All but what each step begins with by setting it."""
    return {k: v for k, v in dataclasses.asdict(progress).items() if k != "step_nimg"}


def rank_state_of(trainer: "Trainer") -> dict[str, Any] | None:
    """What differs between processes: buffers (running statistics), memories and meters, which saw
    this process's share of the pictures; None for a single one."""
    if distributed.world_size() == 1:
        return None
    buffers = {name: own_buffers(network) for name, network in all_networks(trainer).items()}
    own = state_of(trainer)
    return {**buffers, "memories": own["memories"], "meters": own["meters"]}


def take(
    trainer: "Trainer",
    state: Mapping[str, Any],
    rank_state: Mapping[str, Any] | None,
    saved_by: "RunConfig | None",
) -> list[str]:
    """Take up a saved state; see `Trainer.load_state_dict`. The names of memories left behind."""
    networks = {"generator": trainer.networks["g"], "discriminator": trainer.networks["d"]}
    if trainer.generator_ema is not None:
        networks["generator_ema"] = trainer.generator_ema
    try:
        for name, network in networks.items():
            _load(network, state[name])
        for player, optimizer in trainer.optimizers.items():
            load_moments(optimizer, state[f"optimizer_{player}"])
    except (KeyError, RuntimeError, ValueError, TypeError, AttributeError) as error:
        line = " ".join(str(error).split())
        raise CheckpointError(f"the saved state does not fit this config: {line}") from None
    own = state if rank_state is None else rank_state
    left = _take_memories(trainer, own["memories"], saved_by)
    trainer.meters.load_state_dict(own["meters"], trainer.device)
    progress = state["progress"]
    # A state of limner 0.1.0 lacks it: all images that it drew were counted.
    trainer.progress = Progress(**{"num_drawn": progress["nimg"], **progress})
    if rank_state is not None:
        for name, network in all_networks(trainer).items():
            for key, buffer in own_buffers(network).items():
                buffer.copy_(rank_state[name][key])
    return left


def _take_memories(
    trainer: "Trainer", memories: Mapping[str, Mapping[str, Tensor]], saved_by: "RunConfig | None"
) -> list[str]:
    """Give each part what stands under its name: controllers on the host, others on the device."""
    names = trainer.names if saved_by is None else Names.of(saved_by)
    found = names.named({name: Memory(memory) for name, memory in memories.items()})
    own, device = set(trainer.names.parts), trainer.device
    trainer.memories = {
        name: memory if name in trainer.names.controllers else _on(device, memory)
        for name, memory in found.items()
        if name in own
    }
    return [name for name in found if name not in own]


def _on(device: torch.device, memory: Memory) -> Memory:
    kinds = {torch.float64: widest(device)}
    return Memory({k: v.to(device, kinds.get(v.dtype, v.dtype)) for k, v in memory.items()})


def all_networks(trainer: "Trainer") -> dict[str, nn.Module]:
    """The players, and the average where there is one."""
    ema = trainer.generator_ema
    return trainer.networks if ema is None else {**trainer.networks, "ema": ema}


def saved_tensors(network: nn.Module) -> dict[str, Tensor]:
    """A network's state without the parts that it declares as frozen."""
    state = network.state_dict()
    return {name: tensor for name, tensor in state.items() if not is_fixed(network, name)}


def own_buffers(network: nn.Module) -> dict[str, Tensor]:
    """The buffers that training moves."""
    return {name: b for name, b in network.named_buffers() if not is_fixed(network, name)}


def _load(network: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Fill a network from its saved tensors; what it declares as frozen stays as it is."""
    fixed = {name: t for name, t in network.state_dict().items() if is_fixed(network, name)}
    network.load_state_dict({**fixed, **tensors})
