"""The step: one pass over a list of updates. Knows players, passes and clocks, no algorithm."""

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from limner.core import distributed
from limner.core.devices import seed_device, widest
from limner.core.errors import ConfigError
from limner.core.memory import keep_freed_memory
from limner.core.protocols import NetworkConfig
from limner.core.streams import stream
from limner.engine.config import RunConfig
from limner.engine.controllers.base import Controller
from limner.engine.finite import checked_norm
from limner.engine.frozen import first_layers, fixed_parameters, frozen_parameters
from limner.engine.naming import Names
from limner.engine.noise import Draw, Noise, checked_counts
from limner.engine.optimizers import adam, require_rate, set_rate
from limner.engine.passes import Pass
from limner.engine.precision import DTYPES, Forwards
from limner.engine.progress import Meters, Progress, rate_factor, salted
from limner.engine.reals import RealBatch, Shown, flipped, on_device
from limner.engine.state import State
from limner.engine.update import Update, require_styles
from limner.engine.watch import Watch
from limner.objectives.base import Memory


class Trainer(State):
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
        keep_freed_memory()
        rank, world_size = distributed.rank(), distributed.world_size()
        self.config, self.num_classes = config, num_classes
        self.device, self.dtype = torch.device(device), DTYPES[config.precision]
        counts = checked_counts(config.updates, num_classes, label_counts, label_rows)
        self.noise = noise or Noise(
            config.seed, rank, world_size, self.device, self.dtype, counts, label_rows
        )
        self.progress, self.meters, self.watch = Progress(), Meters(), Watch()
        self.names = Names.of(config)
        self._next_reals, self._calls = next_reals, 0
        self._shown: list[Shown] = []  # by the newest update of the step that drew
        self._indices = torch.empty(0, dtype=torch.int64)  # of the newest, also of a step before
        self.image_shape, self.batch_size = image_shape, config.batch_size
        self.networks: dict[str, nn.Module] = {
            "g": self._built(config.generator, "generator", image_shape),
            "d": self._built(config.discriminator, "discriminator", image_shape),
        }
        require_styles(config.updates, self.networks["g"])
        self._frozen = [
            *frozen_parameters(config.frozen, self.networks),
            *first_layers(config.freeze_d, self.networks["d"]),
            *(p for network in self.networks.values() for p in fixed_parameters(network)),
        ]
        self._forwards = Forwards(self.networks, config.precision, self.device)
        self.generator_ema: nn.Module | None = None
        if any(controller.averages for controller in config.controllers):
            self.generator_ema = copy.deepcopy(self.networks["g"]).eval().requires_grad_(False)
        self.optimizers = {
            "g": adam(self.networks["g"], config.optim.g),
            "d": adam(self.networks["d"], config.optim.d),
        }
        self.memories: dict[str, Memory] = {}
        self._rates: dict[str, float] = {}  # as this object has set them
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
        for controller, memory in self._controllers():
            controller.begin(self, memory)
        _share(self.batch_size, "batch_size")

    def _controllers(self) -> Iterator[tuple[Controller, Memory]]:
        for name, controller in zip(self.names.controllers, self.config.controllers, strict=True):
            yield controller, self.memory(name)

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
        seed_device(self.device, own.initial_seed())
        self.progress.step_nimg = self.progress.nimg
        self._calls, self._shown = 0, []
        self.watch.begin_step()
        self._before_step()
        for index, update in enumerate(self.config.updates):
            if self.progress.step % update.every == 0:
                for _ in range(update.repeats):
                    self._apply(index, update)
        self.progress.step += 1
        for controller, memory in self._controllers():
            controller.after_step(self, memory)

    def _before_step(self) -> None:
        for controller, memory in self._controllers():
            controller.before_step(self, memory)
        for player, optimizer in self.optimizers.items():
            require_rate(optimizer, self._rates.get(player))
            factors = [c.rate(self, player, memory) for c, memory in self._controllers()]
            self._rates[player] = math.prod(factors, start=self.base_lr(player))
            set_rate(optimizer, self._rates[player])

    def _apply(self, index: int, update: Update) -> None:
        network, optimizer = self.networks[update.player], self.optimizers[update.player]
        for player, other in self.networks.items():
            other.requires_grad_(player == update.player)
        for parameter in self._frozen:
            parameter.requires_grad_(False)
        optimizer.zero_grad(set_to_none=True)
        self.watch.begin_update()
        if update.draws_real:
            self._shown = []
        total = torch.zeros((), dtype=widest(self.device), device=self.device)
        for chunk in range(update.accumulate if update.terms else 0):
            total += self._accumulate(index, update, chunk)
        distributed.average_gradients(network.parameters())
        if update.unreached == "zero" or not update.terms:
            for parameter in (p for p in network.parameters() if p.requires_grad):
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
        if update.direct:
            self._add_direct(index, update, network)
        norm = checked_norm(update, self.progress, self.networks, total, self.watch)
        name = self.names.updates[index]
        self.meters.add(f"loss_{name}", total)
        self.meters.add(f"grad_norm_{name}", norm)
        optimizer.step()
        for controller, memory in self._controllers():
            controller.after_update(self, update.player, memory)

    def _accumulate(self, index: int, update: Update, chunk: int) -> Tensor:
        batch = self._pass(update, chunk)
        loss = torch.zeros((), dtype=self.dtype, device=self.device)
        values: dict[str, Tensor] = {}
        for name, term in zip(self.names.terms[index], update.terms, strict=True):
            value = term(batch, self.memory(name))
            self.meters.add(name, value)
            values[name.split(".", 2)[-1]] = value
            loss = loss + value
        loss = loss * (update.every / update.accumulate)
        if loss.requires_grad:
            loss.backward()
        loss = loss.detach().to(widest(self.device))
        self.watch.see(batch, self._indices, loss, values)
        if self.names.updates[index] == update.player:
            self.watch.count(update.player, batch, self.meters)
        for controller, memory in self._controllers():
            controller.after_pass(self, update.player, batch, memory)
        return loss

    def _add_direct(self, index: int, update: Update, network: nn.Module) -> None:
        trained = [p for p in network.parameters() if p.requires_grad]
        if update.every > 1:  # what the terms gave carries the factor already
            torch._foreach_div_([p.grad for p in trained if p.grad is not None], update.every)
        for name, part in zip(self.names.directs[index], update.direct, strict=True):
            part(network, self.memory(name))
        if update.every > 1:
            torch._foreach_mul_([p.grad for p in trained if p.grad is not None], update.every)

    def _pass(self, update: Update, chunk: int) -> Pass:
        draw, shown = self._draw(), None
        if update.draws_real:
            self._shown.append(self._reals(draw, update.counts))
        if update.reads_real:
            shown = self._shown[chunk]
            self._indices = shown.indices
        num_fakes = _share(self.batch_size, "batch_size")
        if update.num_latents is not None:
            num_fakes = _share(update.num_latents, "num_latents")
        return Pass(
            update=update,
            forwards=self._forwards,
            noise=draw,
            nimg=self.progress.step_nimg,
            num_fakes=max(int(num_fakes * update.latent_share), 1),
            reals=None if shown is None else (shown.images, shown.labels),
            num_classes=self.num_classes,
            augment=lambda images, purpose: self._augmented(images, draw, purpose),
        )

    def _augmented(self, images: Tensor, draw: Draw, purpose: str) -> Tensor:
        for name, augment in zip(self.names.augments, self.config.augments, strict=True):
            noise = draw.tagged(f"{name} {purpose}")
            images = augment(images, noise, self.progress.step_nimg, self.memory(name))
        return images

    def _draw(self) -> Draw:
        self._calls += 1
        return self.noise.draw(self.progress.step, self._calls - 1)

    def _reals(self, draw: Draw, counts: bool) -> Shown:
        batch = self._next_reals()
        self.progress.num_drawn += self.batch_size
        self.progress.nimg += self.batch_size if counts else 0
        images, labels = on_device(batch, self.device, self.dtype, self.num_classes)
        for controller, memory in self._controllers():
            images = controller.reals(self, images, memory)
        if self.config.data.flip:
            images = flipped(images, draw)
        return Shown(images, labels, batch.indices)

    # --- state -------------------------------------------------------------

    def load_state_dict(
        self,
        saved: dict[str, Any],
        rank_state: dict[str, Any] | None = None,
        saved_by: RunConfig | None = None,
    ) -> list[str]:
        """Take up a saved state, exactly. A part's memory is found by the part's name.

        Args:
            saved: what `state_dict` returned on the first process.
            rank_state: what `rank_state_dict` returned on this one; without it this process goes
                on with the first one's.
            saved_by: the config that wrote it, where that is another.

        Returns:
            names of the parts whose memory this config has no use for.

        Raises:
            CheckpointError: the state does not fit this config; nothing of it may be trained on.
        """
        self._rates = {}
        left = self.take(saved, rank_state, saved_by)
        self.set_rollbacks(self.progress.rollbacks)
        self._begin()
        return left


def _share(total: int, name: str) -> int:
    world_size = distributed.world_size()
    if total % world_size:
        raise ConfigError(
            f"{name}: {total} images cannot be shared by {world_size} processes; give a positive "
            f"multiple of {world_size}"
        )
    return total // world_size
