"""The step: one pass over a list of updates. Knows players, passes and clocks, no algorithm."""

import copy
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from limner.core import distributed
from limner.core.errors import CheckpointError, ConfigError
from limner.core.images import to_unit_range
from limner.core.protocols import NetworkConfig
from limner.core.streams import stream
from limner.engine.config import RunConfig
from limner.engine.finite import checked_norm
from limner.engine.frozen import frozen_parameters
from limner.engine.noise import Draw, Noise, checked_counts
from limner.engine.optimizers import adam, lay_out
from limner.engine.passes import Pass
from limner.engine.precision import DTYPES, Forwards
from limner.engine.progress import Meters, Progress, rate_factor, salted
from limner.engine.update import Update
from limner.engine.watch import Watch
from limner.objectives.base import Memory


class RealBatch(Protocol):
    """uint8 images [n, C, H, W], labels int64 [n] or float32 rows [n, classes], indices int64 [n]
    of this process."""

    @property
    def images(self) -> Tensor: ...

    @property
    def labels(self) -> Tensor: ...

    @property
    def indices(self) -> Tensor: ...


class Trainer:
    """Both players, their optimizers, and everything else that evolves.

    Args:
        config: the run, resolved against the data.
        image_shape: (channels, height, width).
        num_classes: 0 for an unconditional model.
        next_reals: returns this process's next `RealBatch`, its share of `batch_size` pictures.
        device: where to train.
        noise: replaces the run's own noise (tests replay recorded latents).
        label_counts: pictures of each class in the data, where an update's labels ask for them.
        label_rows: the labels of all its pictures, where they are rows of numbers.

    Attributes:
        batch_size: real images a micro-batch over all processes; the config's, or a controller's.
    """

    def __init__(
        self,
        config: RunConfig,
        image_shape: tuple[int, int, int],
        num_classes: int,
        next_reals: Callable[[], RealBatch],
        device: torch.device | str = "cpu",
        noise: Noise | None = None,
        label_counts: Sequence[int] | None = None,
        label_rows: Tensor | None = None,
    ):
        rank, world_size = distributed.rank(), distributed.world_size()
        self.config, self.num_classes = config, num_classes
        self.device, self.dtype = torch.device(device), DTYPES[config.precision]
        counts = checked_counts(config.updates, num_classes, label_counts, label_rows)
        self.noise = noise or Noise(
            config.seed, rank, world_size, self.device, self.dtype, counts, label_rows
        )
        self.progress, self.meters, self.watch = Progress(), Meters(), Watch()
        self._next_reals, self._calls = next_reals, 0
        self._indices = torch.empty(0, dtype=torch.int64)
        self.image_shape, self.batch_size = image_shape, config.batch_size
        self.networks: dict[str, nn.Module] = {
            "g": self._built(config.generator, "generator", image_shape),
            "d": self._built(config.discriminator, "discriminator", image_shape),
        }
        self._frozen = frozen_parameters(config.frozen, self.networks)
        self._forwards = Forwards(self.networks, config.precision, self.device)
        self.generator_ema: nn.Module | None = None
        if any(controller.averages for controller in config.controllers):
            self.generator_ema = copy.deepcopy(self.networks["g"]).eval().requires_grad_(False)
        self.optimizers = {
            "g": adam(self.networks["g"], config.optim.g),
            "d": adam(self.networks["d"], config.optim.d),
        }
        self.memories: dict[str, Memory] = {}
        self._begin()

    def _built(self, config: NetworkConfig, name: str, shape: tuple[int, int, int]) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream(self.config.seed, "weights", name).initial_seed())
            try:
                network = config.build(shape, self.num_classes)
            except ConfigError as error:
                raise ConfigError(f"{name}.{error}") from None
        return network.to(self.device, self.dtype, memory_format=torch.channels_last).train()  # pyright: ignore[reportCallIssue]

    def _begin(self) -> None:
        for index, controller in enumerate(self.config.controllers):
            controller.begin(self, self.memory("controller", index))
        _share(self.batch_size, "batch_size")

    def base_lr(self, player: str) -> float:
        """The learning rate that the config, and rollbacks, give a player."""
        adam = self.config.optim.g if player == "g" else self.config.optim.d
        return adam.lr * rate_factor(self.progress.rollbacks)

    def set_rollbacks(self, rollbacks: int) -> None:
        """How often the run has gone back; order, noise and base rates follow from it."""
        self.progress.rollbacks = self.noise.salt = rollbacks

    # --- one step ----------------------------------------------------------

    def step(self) -> None:
        """One pass over the updates.

        Raises:
            DivergenceError: a loss or gradient is not finite; no weight has been touched by it.
        """
        # Whatever a network draws by itself (dropout) is a function of the step as well.
        seed = salted(self.config.seed, self.progress.rollbacks)
        own = stream(seed, "network", self.progress.step, distributed.rank())
        torch.manual_seed(own.initial_seed())
        self._calls = 0
        self.watch.begin_step()
        for index, controller in enumerate(self.config.controllers):
            controller.before_step(self, self.memory("controller", index))
        for index, update in enumerate(self.config.updates):
            if self.progress.step % update.every == 0:
                for _ in range(update.repeats):
                    self._apply(index, update)
        self.progress.step += 1
        for index, controller in enumerate(self.config.controllers):
            controller.after_step(self, self.memory("controller", index))

    def _apply(self, index: int, update: Update) -> None:
        network, optimizer = self.networks[update.player], self.optimizers[update.player]
        for player, other in self.networks.items():
            other.requires_grad_(player == update.player)
        for parameter in self._frozen:
            parameter.requires_grad_(False)
        optimizer.zero_grad(set_to_none=True)
        self.watch.begin_update()
        total = torch.zeros((), dtype=torch.float64, device=self.device)
        for _ in range(update.accumulate):
            total += self._accumulate(index, update)
        distributed.average_gradients(network.parameters())
        for place, part in enumerate(update.direct):
            part(network, self.memory("direct", index, place))
        norm = checked_norm(update, self.progress, self.networks, total, self.watch)
        self.meters.add(f"loss_{update.player}", total)
        self.meters.add(f"grad_norm_{update.player}", norm)
        optimizer.step()
        for place, controller in enumerate(self.config.controllers):
            controller.after_update(self, update.player, self.memory("controller", place))

    def _accumulate(self, index: int, update: Update) -> Tensor:
        batch = self._pass(update)
        loss = torch.zeros((), dtype=self.dtype, device=self.device)
        values: dict[str, Tensor] = {}
        for place, term in enumerate(update.terms):
            value = term(batch, self.memory("term", index, place))
            self.meters.add(f"term.{update.player}.{type(term).__name__}", value)
            values[type(term).__name__] = value
            loss = loss + value
        loss = loss * (update.every / update.accumulate)
        if loss.requires_grad:
            loss.backward()
        loss = loss.detach().double()
        self.watch.see(batch, self._indices, loss, values)
        self.watch.count(update.player, batch, self.meters)
        return loss

    def _pass(self, update: Update) -> Pass:
        draw = self._draw()
        reals = self._reals(draw) if update.reads_real else None
        num_fakes = _share(self.batch_size, "batch_size")
        if update.num_latents is not None:
            num_fakes = _share(update.num_latents, "num_latents")
        return Pass(
            update=update,
            forwards=self._forwards,
            noise=draw,
            nimg=self.progress.nimg,
            num_fakes=num_fakes,
            reals=reals,
            num_classes=self.num_classes,
        )

    def _draw(self) -> Draw:
        self._calls += 1
        return self.noise.draw(self.progress.step, self._calls - 1)

    def _reals(self, draw: Draw) -> tuple[Tensor, Tensor | None]:
        batch = self._next_reals()
        self.progress.nimg += self.batch_size
        self._indices = batch.indices
        images = to_unit_range(batch.images.to(self.device, non_blocking=True)).to(self.dtype)
        for index, controller in enumerate(self.config.controllers):
            images = controller.reals(self, images, self.memory("controller", index))
        if self.config.data.flip:
            mirrored = draw.uniform("flip", (len(images), 1, 1, 1)) < 0.5
            images = torch.where(mirrored, images.flip(3), images)
        labels = batch.labels.to(self.device, non_blocking=True) if self.num_classes else None
        return images, labels

    # --- state -------------------------------------------------------------

    def memory(self, kind: str, *place: int) -> Memory:
        """The tensors that one part keeps; made empty on first use."""
        return self.memories.setdefault(".".join([kind, *map(str, place)]), Memory())

    def state_dict(self) -> dict[str, Any]:
        """Everything that evolves and is equal on all processes; plain values and tensors."""
        ema = self.generator_ema
        return {
            "generator": dict(self.networks["g"].state_dict()),
            "discriminator": dict(self.networks["d"].state_dict()),
            "generator_ema": None if ema is None else dict(ema.state_dict()),
            "optimizer_g": self.optimizers["g"].state_dict(),
            "optimizer_d": self.optimizers["d"].state_dict(),
            "memories": {name: dict(memory) for name, memory in self.memories.items() if memory},
            "meters": self.meters.state_dict(),
            "progress": dataclasses.asdict(self.progress),
        }

    def rank_state_dict(self) -> dict[str, Any] | None:
        """What differs between processes: buffers (running statistics), memories and meters, which
        saw this process's share of the pictures; None for a single one."""
        if distributed.world_size() == 1:
            return None
        buffers = {name: dict(net.named_buffers()) for name, net in self._all_networks().items()}
        own = self.state_dict()
        return {**buffers, "memories": own["memories"], "meters": own["meters"]}

    def _all_networks(self) -> dict[str, nn.Module]:
        ema = self.generator_ema
        return self.networks if ema is None else {**self.networks, "ema": ema}

    def load_state_dict(self, state: dict[str, Any], rank_state: dict | None = None) -> None:
        """Take up a saved state, exactly.

        Args:
            state: what `state_dict` returned on the first process.
            rank_state: what `rank_state_dict` returned on this one; without it this process goes
                on with the first one's.

        Raises:
            CheckpointError: the state does not fit this config; nothing of it may be trained on.
        """
        names = {"generator": self.networks["g"], "discriminator": self.networks["d"]}
        if self.generator_ema is not None:
            names["generator_ema"] = self.generator_ema
        try:
            for name, network in names.items():
                network.load_state_dict(state[name])
            for player, optimizer in self.optimizers.items():
                optimizer.load_state_dict(state[f"optimizer_{player}"])
                lay_out(optimizer)
        except (KeyError, RuntimeError, ValueError, TypeError, AttributeError) as error:
            line = " ".join(str(error).split())
            raise CheckpointError(f"the saved state does not fit this config: {line}") from None
        own = rank_state or state
        self.memories = {
            name: Memory({key: value.to(self.device) for key, value in memory.items()})
            for name, memory in own["memories"].items()
        }
        self.meters.load_state_dict(own["meters"], self.device)
        self.progress = Progress(**state["progress"])
        self.set_rollbacks(self.progress.rollbacks)
        if rank_state is not None:
            for name, network in self._all_networks().items():
                _fill_buffers(network, rank_state[name])
        self._begin()


def _fill_buffers(network: nn.Module, values: dict[str, Tensor]) -> None:
    for key, buffer in network.named_buffers():
        buffer.copy_(values[key])


def _share(total: int, name: str) -> int:
    world_size = distributed.world_size()
    if total % world_size:
        raise ConfigError(
            f"{name}: {total} images cannot be shared by {world_size} processes; give a positive "
            f"multiple of {world_size}"
        )
    return total // world_size
