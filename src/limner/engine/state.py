"""What a trainer saves and takes up again: everything that evolves, as plain values and tensors."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from limner.core import distributed
from limner.core.devices import widest
from limner.core.errors import CheckpointError
from limner.core.protocols import is_fixed, without_frozen
from limner.engine.config import RunConfig
from limner.engine.naming import Names
from limner.engine.optimizers import load_moments
from limner.engine.progress import Meters, Progress
from limner.objectives.base import Memory


class State:
    """The half of a trainer that evolves; what moves it is `Trainer`."""

    device: torch.device
    names: Names
    networks: dict[str, nn.Module]
    generator_ema: nn.Module | None
    optimizers: Mapping[str, Optimizer]
    memories: dict[str, Memory]
    meters: Meters
    progress: Progress

    def memory(self, name: str) -> Memory:
        """The tensors that the part of a name keeps (see `Names`); made empty on first use."""
        return self.memories.setdefault(name, Memory())

    def state_dict(self) -> dict[str, Any]:
        """Everything that evolves and is equal on all processes; plain values and tensors."""
        ema = self.generator_ema
        progress = dataclasses.asdict(self.progress)
        del progress["step_nimg"]  # each step begins by setting it
        return {
            "generator": saved_tensors(self.networks["g"]),
            "discriminator": saved_tensors(self.networks["d"]),
            "generator_ema": None if ema is None else saved_tensors(ema),
            "optimizer_g": self.optimizers["g"].state_dict(),
            "optimizer_d": self.optimizers["d"].state_dict(),
            "memories": {name: dict(memory) for name, memory in self.memories.items() if memory},
            "meters": self.meters.state_dict(),
            "progress": progress,
        }

    def rank_state_dict(self) -> dict[str, Any] | None:
        """What differs between processes: buffers (running statistics), memories and meters, which
        saw this process's share of the pictures; None for a single one."""
        if distributed.world_size() == 1:
            return None
        buffers = {name: moving_buffers(net) for name, net in self._all_networks().items()}
        own = self.state_dict()
        return {**buffers, "memories": own["memories"], "meters": own["meters"]}

    def take(
        self,
        saved: Mapping[str, Any],
        rank_state: Mapping[str, Any] | None,
        saved_by: RunConfig | None,
    ) -> list[str]:
        """Take up a saved state; see `Trainer.load_state_dict`."""
        networks = {"generator": self.networks["g"], "discriminator": self.networks["d"]}
        if self.generator_ema is not None:
            networks["generator_ema"] = self.generator_ema
        try:
            for name, network in networks.items():
                _load(network, saved[name])
            for player, optimizer in self.optimizers.items():
                load_moments(optimizer, saved[f"optimizer_{player}"])
        except (KeyError, RuntimeError, ValueError, TypeError, AttributeError) as error:
            line = " ".join(str(error).split())
            raise CheckpointError(f"the saved state does not fit this config: {line}") from None
        own = saved if rank_state is None else rank_state
        left = self._take_memories(own["memories"], saved_by)
        self.meters.load_state_dict(own["meters"], self.device)
        progress = saved["progress"]
        # A state of limner 0.1.0 lacks it: all images that it drew were counted.
        self.progress = Progress(**{"num_drawn": progress["nimg"], **progress})
        if rank_state is not None:
            for name, network in self._all_networks().items():
                for key, buffer in moving_buffers(network).items():
                    buffer.copy_(rank_state[name][key])
        return left

    def _take_memories(
        self, memories: Mapping[str, Mapping[str, Tensor]], saved_by: RunConfig | None
    ) -> list[str]:
        """Give each part what stands under its name: controllers on the host, others on the device;
        the names of those that are not here."""
        names = self.names if saved_by is None else Names.of(saved_by)
        found = names.named({name: Memory(memory) for name, memory in memories.items()})
        own = set(self.names.parts)
        self.memories = {
            name: memory if name in self.names.controllers else _on(self.device, memory)
            for name, memory in found.items()
            if name in own
        }
        return [name for name in found if name not in own]

    def _all_networks(self) -> dict[str, nn.Module]:
        ema = self.generator_ema
        return self.networks if ema is None else {**self.networks, "ema": ema}


def _on(device: torch.device, memory: Memory) -> Memory:
    kinds = {torch.float64: widest(device)}
    return Memory({k: v.to(device, kinds.get(v.dtype, v.dtype)) for k, v in memory.items()})


def saved_tensors(network: nn.Module) -> dict[str, Tensor]:
    """A network's state without the parts that it declares as frozen."""
    return without_frozen(network, network.state_dict().items())


def moving_buffers(network: nn.Module) -> dict[str, Tensor]:
    """The buffers that training moves."""
    return without_frozen(network, network.named_buffers())


def _load(network: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Fill a network from its saved tensors; what it declares as frozen stays as it is."""
    fixed = {name: t for name, t in network.state_dict().items() if is_fixed(network, name)}
    network.load_state_dict({**fixed, **tensors})
