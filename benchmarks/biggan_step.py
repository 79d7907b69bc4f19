"""BigGAN's CIFAR training step: limner's against the same algorithm computed the plain way.

    OMP_WAIT_POLICY=PASSIVE python benchmarks/biggan_step.py --width 16 --batch-size 25 --repeats 3
    OMP_WAIT_POLICY=PASSIVE python benchmarks/biggan_step.py --critic-steps 4     as the preset

"Plain" is how the reference systems do it: doubling, then a 3x3 convolution; a 3x3 convolution,
then pooling; 1x1 shortcuts at the high resolution; NCHW; Adam and the moving average parameter by
parameter. Both start from the same weights and see the same pictures, latents and labels. A first
step without learning (rates of zero, for Adam's own first step is a sign and blows up rounding)
checks that losses and gradients are equal; then steps alternate (A, B, A, B ...) in one process.

Prints one JSON object: seconds a step (median; CPU time of all threads, and wall), and the ratio
plain / limner. Only the CPU time is to be trusted on a machine that does other work.
"""

import argparse
import copy
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from limner import presets
from limner.core.config import override
from limner.core.images import to_unit_range
from limner.engine import Adam, Intervals, Players, RunConfig
from limner.engine.controllers import Ema
from limner.engine.noise import Noise
from limner.engine.trainer import Trainer
from limner.layers import PowerIteration
from limner.layers.spectral_norm import normalized

SHAPE, NUM_CLASSES, DECAY, RATE = (3, 32, 32), 10, 0.9999, 2e-4
BETAS = (0.0, 0.999)
TOLERANCE = 1e-4  # of the first losses
GRADIENT_TOLERANCE = 1e-2  # over their norm: up to 1e-3 by rounding at the start, 4e-15 in float64
POWER = PowerIteration()


class Reals:
    """Noise as pictures: batch k is a function of k, so that both sides see the same."""

    def __init__(self, batch_size: int):
        self.batch_size, self.drawn = batch_size, 0
        self.indices = torch.arange(batch_size)

    def __call__(self) -> "Reals":
        generator = torch.Generator().manual_seed(self.drawn)
        self.drawn += 1
        size = (self.batch_size, *SHAPE)
        self.images = torch.randint(0, 256, size, generator=generator, dtype=torch.uint8)
        self.labels = torch.randint(NUM_CLASSES, (self.batch_size,), generator=generator)
        return self


def config_of(width: int, batch_size: int, num_critic_steps: int) -> RunConfig:
    """The preset biggan-cifar10 in any width, and without learning: see `first_step`."""
    widths = [f"{network}.width={width}" for network in ("generator", "discriminator")]
    config = override(presets.biggan_cifar10(), widths)
    d, g = config.updates
    still = Adam(lr=0.0, betas=BETAS)
    return config.replace(
        updates=(d.replace(repeats=num_critic_steps), g),
        optim=Players(g=still, d=still),
        controllers=(Ema(decay=DECAY),),
        batch_size=batch_size,
        intervals=Intervals(health=0, singular_values=0),
    )


# --- the plain way ---------------------------------------------------------


def conv(layer: Any, x: Tensor) -> Tensor:
    """A spectrally normalized convolution that keeps the resolution."""
    weight = normalized(layer, layer.weight, POWER)
    return F.conv2d(x, weight, layer.bias, padding=layer.weight.shape[-1] // 2)


def conditional_norm(norm: Any, x: Tensor, y: Tensor) -> Tensor:
    """F.batch_norm, then scale and shift as operations of their own."""
    x = F.batch_norm(
        x, norm.running_mean, norm.running_var, training=True, momentum=norm.momentum, eps=norm.eps
    )
    gain = 1 + F.embedding(y, norm.gain.weight)
    return x * gain[:, :, None, None] + F.embedding(y, norm.bias.weight)[:, :, None, None]


def generated(net: Any, z: Tensor, y: Tensor) -> Tensor:
    """Images of a BigGanGeneratorNetwork with tables of its own in every layer."""
    h = F.linear(z, normalized(net.linear, net.linear.weight, POWER), net.linear.bias)
    h = h.view(len(z), -1, 4, 4)
    for block in net.blocks:
        inner = F.interpolate(F.relu(conditional_norm(block.norm1, h, y)), scale_factor=2.0)
        inner = conv(block.conv1, inner)
        inner = conv(block.conv2, F.relu(conditional_norm(block.norm2, inner, y)))
        h = inner + conv(block.shortcut, F.interpolate(h, scale_factor=2.0))
    norm = net.output_norm
    statistics = (norm.running_mean, norm.running_var, norm.weight, norm.bias)
    h = F.batch_norm(h, *statistics, training=True, momentum=norm.momentum, eps=norm.eps)
    return torch.tanh(conv(net.output, F.relu(h)))


def judged(net: Any, x: Tensor, y: Tensor) -> Tensor:
    """Logits of a BigGanDiscriminatorNetwork."""
    first = net.first
    h = F.avg_pool2d(conv(first.conv2, F.relu(conv(first.conv1, x))), 2)
    h = h + conv(first.shortcut, F.avg_pool2d(x, 2))
    for block in net.blocks:
        inner = conv(block.conv2, F.relu(conv(block.conv1, F.relu(h))))
        shortcut = h if block.shortcut is None else conv(block.shortcut, h)
        if block.conv2.resample == "down":
            inner, shortcut = F.avg_pool2d(inner, 2), F.avg_pool2d(shortcut, 2)
        h = inner + shortcut
    h = F.relu(h).sum((2, 3))
    out = F.linear(h, normalized(net.linear, net.linear.weight, POWER), net.linear.bias)
    embedding = F.embedding(y, normalized(net.embed, net.embed.weight, POWER))
    return out.squeeze(1) + (embedding * h).sum(1)


def plain_copy(network: Any) -> Any:
    """In NCHW."""
    return copy.deepcopy(network).to(memory_format=torch.contiguous_format)


class Plain:
    """The whole step on copies of a trainer's networks, with the noise that the trainer draws."""

    def __init__(self, trainer: Trainer, reals: Reals):
        self.config, self.reals = trainer.config, reals
        self.noise, self.steps = Noise(trainer.config.seed), 0
        nets = trainer.networks
        self.g, self.d, self.ema = map(plain_copy, (nets["g"], nets["d"], nets["g"]))
        self.players = {"g": self.g, "d": self.d}
        self.adam_g, self.adam_d = (
            torch.optim.Adam(net.parameters(), lr=0.0, betas=BETAS, foreach=False)
            for net in (self.g, self.d)
        )

    def step(self) -> tuple[float, float]:
        """Losses of (the discriminator, as a mean over its updates; the generator)."""
        repeats = self.config.updates[0].repeats
        self.d.requires_grad_(True)
        self.g.requires_grad_(False)
        losses = [self._critic_step(call) for call in range(repeats)]
        self.d.requires_grad_(False)
        self.g.requires_grad_(True)
        z, y = self._drawn(repeats)
        self.adam_g.zero_grad()
        loss = -judged(self.d, generated(self.g, z, y), y).mean()
        loss.backward()
        self.adam_g.step()
        self._average()
        self.steps += 1
        return sum(losses) / repeats, loss.item()

    def _critic_step(self, call: int) -> float:
        z, y = self._drawn(call)
        batch = self.reals()
        x = to_unit_range(batch.images)
        self.adam_d.zero_grad()
        with torch.no_grad():
            fake = generated(self.g, z, y)
        logits = judged(self.d, torch.cat([fake, x]), torch.cat([y, batch.labels]))
        of_fake, of_real = logits.split(len(x))
        loss = F.relu(1.0 - of_real).mean() + F.relu(1.0 + of_fake).mean()
        loss.backward()
        self.adam_d.step()
        return loss.item()

    def _drawn(self, call: int) -> tuple[Tensor, Tensor]:
        draw, num = self.noise.draw(self.steps, call), self.config.batch_size
        return draw.latents(num, self.g.z_dim), draw.labels(num, NUM_CLASSES)

    @torch.no_grad()
    def _average(self) -> None:
        own = self.g.state_dict()
        for name, target in self.ema.state_dict().items():
            target.copy_(target * DECAY + own[name] * (1 - DECAY))


# --- measuring -------------------------------------------------------------


def timed(step: Callable[[], object]) -> tuple[float, float]:
    """CPU seconds of all threads, and wall seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    step()
    return time.process_time() - cpu, time.perf_counter() - wall


def compare(sides: dict[str, Callable[[], object]], repeats: int) -> dict[str, dict[str, float]]:
    """Medians of alternating steps."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
    for _ in range(repeats):
        for name, step in sides.items():
            found[name].append(timed(step))
    return {
        name: {
            "cpu_seconds": round(statistics.median(cpu for cpu, _ in times), 3),
            "wall_seconds": round(statistics.median(wall for _, wall in times), 3),
        }
        for name, times in found.items()
    }


def both(width: int, batch_size: int, num_critic_steps: int) -> tuple[Trainer, Plain]:
    """The two sides, of equal weights."""
    config = config_of(width, batch_size, num_critic_steps)
    trainer = Trainer(config, SHAPE, NUM_CLASSES, Reals(batch_size))
    return trainer, Plain(trainer, Reals(batch_size))


def first_step(trainer: Trainer, plain: Plain) -> dict[str, Any]:
    """One step of each without learning; afterwards both learn. It also warms them up.

    Returns:
        losses (discriminator's, generator's) by side, and how far the gradients are apart.

    Raises:
        SystemExit: the sides do not compute the same.
    """
    trainer.step()
    means = trainer.meters.drain()
    losses = {"limner": [means["loss_d"], means["loss_g"]], "plain": list(plain.step())}
    off = max(abs(a - b) for a, b in zip(*losses.values(), strict=True))
    apart = {p: relative_distance(trainer.networks[p], net) for p, net in plain.players.items()}
    if off > TOLERANCE or max(apart.values()) > GRADIENT_TOLERANCE:
        raise SystemExit(f"the two sides differ: losses {losses}, gradients by {apart}")
    for optimizer in (*trainer.optimizers.values(), plain.adam_g, plain.adam_d):
        for group in optimizer.param_groups:
            group["lr"] = RATE
    return {"losses": losses, "gradients_apart": apart}


def relative_distance(one: Any, other: Any) -> float:
    """Of two networks' gradients."""
    grads = [
        torch.cat([parameter.grad.flatten() for parameter in network.parameters()])
        for network in (one, other)
    ]
    return float((grads[0] - grads[1]).norm() / grads[1].norm())


def main() -> None:
    parser = argparse.ArgumentParser(description="The step of BigGAN's CIFAR recipe, A/B")
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=50)
    parser.add_argument("--critic-steps", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    trainer, plain = both(options.width, options.batch_size, options.critic_steps)
    first = first_step(trainer, plain)
    times = compare({"plain": plain.step, "limner": trainer.step}, options.repeats)
    ratio = {
        kind: round(times["plain"][kind] / times["limner"][kind], 2)
        for kind in ("cpu_seconds", "wall_seconds")
    }
    result = {
        "benchmark": "biggan_step",
        "torch": torch.__version__,
        **vars(options),
        "first_step": first,
        **times,
        "plain_over_limner": ratio,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
