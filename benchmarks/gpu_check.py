"""Whether limner is right and fast on this machine's GPU, in at most 8 minutes: `make gpu-check`.

    python benchmarks/gpu_check.py [--device cuda|cpu] [--out FILE.json]

On the CPU the same parts run at small size. Prints one JSON object and writes it to FILE; exits
with 1 where a part failed. Each part says how far both sides were apart.
"""

import argparse
import contextlib
import functools
import json
import os
import platform
import re
import resource
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn

import limner
from limner import presets
from limner.core.config import override
from limner.core.distributed import local_device
from limner.core.protocols import z_dim_of
from limner.data import Batch
from limner.engine import RunConfig
from limner.engine.controllers import Growth
from limner.engine.trainer import Trainer

BUDGET = 420.0  # seconds, after which no further part begins
CLASSES = 10
SMALL = {  # what makes a family fit a CPU
    "dcgan-celeba64": ("generator.width=8", "discriminator.width=8"),
    "biggan-cifar10": ("generator.width=8", "discriminator.width=8"),
    "pggan-cifar10": ("generator.fmap_base=128", "discriminator.fmap_base=128"),
    "stylegan2-cifar": ("generator.channel_base=512", "discriminator.channel_base=512"),
    "stylegan3-t": (
        *("data.resolution=32", "generator.channel_base=512", "discriminator.channel_base=512"),
        "generator.num_layers=6",
    ),
    "r3gan-cifar10": (
        *("generator.widths=[32]", "generator.group_widths=[8]"),
        *("discriminator.widths=[32]", "discriminator.group_widths=[8]"),
    ),
    "wgan-gp-celeba128": ("data.resolution=32", "generator.width=4", "discriminator.width=4"),
}
PARTIAL = {"stylegan3-t": ("data.resolution=64",), "wgan-gp-celeba128": ()}  # on a GPU
NEAR = {
    "outputs": 1e-4,
    "gradients": 1e-3,
}  # relative to the largest magnitude, float32 without TF32


class Place(NamedTuple):
    """Where to check, and how large."""

    device: torch.device

    @property
    def is_small(self) -> bool:
        return self.device.type == "cpu"

    def config(self, preset: str, **changes: Any) -> RunConfig:
        """Of full size on a GPU but for two resolutions; a growing network at its last level."""
        config = presets.get(preset)()
        words = SMALL[preset] if self.is_small else PARTIAL.get(preset, ())
        config = override(config, words)
        if self.is_small:
            config = config.replace(batch_size=8)
        still = tuple(part for part in config.controllers if not isinstance(part, Growth))
        return config.replace(num_classes=None, metrics=(), controllers=still, **changes)

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def shape_of(config: RunConfig) -> tuple[int, int, int]:
    return (config.data.channels or 3, *config.data.size)


def classes_of(config: RunConfig) -> int:
    return 0 if config.data.prepared_labels == "none" else CLASSES


def trainer_of(config: RunConfig, device: torch.device, processes: int = 1) -> Trainer:
    """On noise in the place of pictures, the same in every step and on every device."""
    shape, num_classes = shape_of(config), classes_of(config)
    chooser = torch.Generator().manual_seed(1)
    images = torch.randint(256, (config.batch_size, *shape), dtype=torch.uint8, generator=chooser)
    labels = torch.arange(config.batch_size) % max(num_classes, 1)
    rank = dist.get_rank() if dist.is_initialized() else 0
    own = slice(rank, None, processes)
    batch = Batch(images[own], labels[own], torch.arange(config.batch_size)[own])
    counts = [1] * num_classes or None
    return Trainer(config, shape, num_classes, lambda: batch, device, label_counts=counts)


def apart(one: Tensor, other: Tensor) -> float:
    """The largest difference, relative to the largest magnitude."""
    one, other = one.detach().double().cpu(), other.detach().double().cpu()
    return float((one - other).abs().max() / other.abs().max().clamp(min=1e-30))


# --- the parts -------------------------------------------------------------------


def golden(place: Place) -> dict[str, Any]:
    """The reference tensors, with the networks on the device."""
    root = Path(__file__).resolve().parents[1]
    tests = ["tests/golden/test_dcgan.py"] if place.is_small else ["tests/golden"]
    environment = os.environ | {"LIMNER_TEST_DEVICE": place.device.type}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *tests]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
    last = done.stdout.strip().splitlines()[-1]
    found = {word: int(count) for count, word in re.findall(r"(\d+) (\w+)", last)}
    failed = re.findall(r"^FAILED (\S+)", done.stdout, re.MULTILINE)
    return {"passed": found.get("passed", 0), "failed": failed, "ok": done.returncode == 0}


def same_as_cpu(place: Place, preset: str) -> dict[str, Any]:
    """Images of the same weights and latents, and gradients of both networks, beside the CPU's."""
    config = place.config(preset)
    shape, num_classes = shape_of(config), classes_of(config)
    sides = []
    for device in (torch.device("cpu"), place.device):
        torch.manual_seed(0)
        g = config.generator.build(shape, num_classes).eval()
        d = config.discriminator.build(shape, num_classes).eval()
        z = torch.randn(4, z_dim_of(g))
        y = torch.arange(4) % num_classes if num_classes else None
        g, d, z = g.to(device), d.to(device), z.to(device)
        y = None if y is None else y.to(device)
        images = g(z, y)
        nn.functional.softplus(d(images, y).logits).mean().backward()
        grads = [p.grad.flatten() for net in (g, d) for p in net.parameters() if p.grad is not None]
        sides.append((images, torch.cat(grads)))
    (expected, expected_grads), (images, grads) = sides
    found = {"outputs": apart(images, expected), "gradients": apart(grads, expected_grads)}
    return {**found, "ok": all(found[name] <= NEAR[name] for name in found)}


def step(place: Place, preset: str, kind: str) -> dict[str, Any]:
    """Training in one kind of arithmetic: images a second, memory, whether it stays finite."""
    precision = "bfloat16" if kind == "bf16" else "float32"
    config = place.config(preset, precision=precision)
    with tensor_floats(kind == "tf32"):
        trainer = trainer_of(config, place.device)
        rounds = max(update.every for update in config.updates)
        num = 2 if place.is_small else max(rounds, 8)
        trainer.step()
        place.wait()
        if place.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(place.device)
        begun = time.perf_counter()
        for _ in range(num):
            trainer.step()
        place.wait()
        seconds = time.perf_counter() - begun
    ok = all(bool(torch.isfinite(p).all()) for p in trainer.networks["g"].parameters())
    images = num * config.images_per_step() / seconds
    return {"images_per_second": round(images, 1), "memory_mb": memory(place), "ok": ok}


@contextlib.contextmanager
def tensor_floats(on: bool) -> Iterator[None]:
    """TF32 in matrix products and convolutions of a GPU."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = on
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def memory(place: Place) -> float:
    if place.device.type == "cuda":
        return round(torch.cuda.max_memory_allocated(place.device) / 1e6, 1)
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3, 1)


def resume(place: Place, preset: str) -> dict[str, Any]:
    """Two steps, saved, two more; beside two steps from what was saved."""
    config = place.config(preset)
    whole = trainer_of(config, place.device)
    for _ in range(2):
        whole.step()
    with tempfile.TemporaryDirectory() as folder:
        torch.save(whole.state_dict(), f"{folder}/state.pt")
        saved = torch.load(f"{folder}/state.pt", weights_only=False)
    again = trainer_of(config, place.device)
    again.load_state_dict(saved)
    for trainer in (whole, again):
        for _ in range(2):
            trainer.step()
    pairs = zip(whole.networks["g"].parameters(), again.networks["g"].parameters(), strict=True)
    largest = max(apart(one, other) for one, other in pairs)
    return {"largest_difference": largest, "ok": largest == 0 or not place.is_small}


def two_processes(place: Place) -> dict[str, Any]:
    """Two on this one device (gloo), beside one, in float64."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = (f"{folder}/store", f"{folder}/weights.pt", place)
        torch.multiprocessing.spawn(_half, arguments, nprocs=2)
        found = torch.load(f"{folder}/weights.pt", map_location="cpu")
    alone = trainer_of(_exact(place), place.device)
    for _ in range(3):
        alone.step()
    largest = apart(_weights(alone), found)
    return {"largest_difference": largest, "ok": largest < 1e-9}


def _exact(place: Place) -> RunConfig:
    config = place.config("biggan-cifar10", precision="float64")
    names = [*SMALL["biggan-cifar10"], "generator.norm=none"]
    return override(config.replace(batch_size=8), names)


def _half(rank: int, store: str, out: str, place: Place) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    trainer = trainer_of(_exact(place), place.device, processes=2)
    for _ in range(3):
        trainer.step()
    if rank == 0:
        torch.save(_weights(trainer), out)
    dist.destroy_process_group()


def _weights(trainer: Trainer) -> Tensor:
    return torch.cat([p.detach().flatten().cpu() for p in trainer.networks["g"].parameters()])


def compiled(place: Place, preset: str, how: str) -> dict[str, Any]:
    """One image and eight by torch.compile, or by a CUDA graph, beside the plain network."""
    config = place.config(preset)
    num_classes = classes_of(config)
    g = config.generator.build(shape_of(config), num_classes).eval().to(place.device)
    found: dict[str, Any] = {"ok": True}
    for batch in (1, 8):
        z = torch.randn(batch, z_dim_of(g), device=place.device)
        y = torch.arange(batch, device=place.device) % num_classes if num_classes else None
        given = (z,) if y is None else (z, y)
        with torch.inference_mode():
            fast = torch.compile(g) if how == "compile" else graph(g, given)
            difference = apart(fast(*given), g(*given))
            found["ok"] &= difference <= NEAR["outputs"]
            seconds = [_seconds(place, functools.partial(n, *given)) for n in (g, fast)]
        found[f"ratio_at_{batch}"] = round(seconds[0] / seconds[1], 2)
        found[f"difference_at_{batch}"] = difference
    return found


def graph(network: nn.Module, given: tuple[Tensor, ...]) -> Callable[..., Tensor]:
    """The network as one CUDA graph for these inputs."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            network(*given)
    torch.cuda.current_stream().wait_stream(stream)
    recorded = torch.cuda.CUDAGraph()
    with torch.cuda.graph(recorded):
        images = network(*given)

    def replay(*_: Tensor) -> Tensor:
        recorded.replay()
        return images

    return replay


def _seconds(place: Place, work: Callable[[], object]) -> float:
    """Median of repeats after a warm-up."""
    marks = []
    for _ in range(3 if place.is_small else 20):
        place.wait()
        begun = time.perf_counter()
        work()
        place.wait()
        marks.append(time.perf_counter() - begun)
    return sorted(marks)[len(marks) // 2]


# --- all of them -----------------------------------------------------------------


def parts(place: Place) -> Iterator[tuple[str, Callable[[], dict[str, Any]]]]:
    """(name, work) of every part, those that say whether anything is right first."""
    for preset in SMALL:
        yield f"same as CPU: {preset}", functools.partial(same_as_cpu, place, preset)
    yield "golden", functools.partial(golden, place)
    yield "two processes", functools.partial(two_processes, place)
    for preset in SMALL:
        yield f"resume: {preset}", functools.partial(resume, place, preset)
    for preset in SMALL:
        for kind in ("fp32", "bf16") if place.is_small else ("fp32", "tf32", "bf16"):
            yield f"step {kind}: {preset}", functools.partial(step, place, preset, kind)
    for preset in ("dcgan-celeba64",) if place.is_small else ("biggan-cifar10", "stylegan2-cifar"):
        for how in ("compile",) if place.is_small else ("compile", "graph"):
            yield f"{how}: {preset}", functools.partial(compiled, place, preset, how)


def checked(place: Place) -> dict[str, Any]:
    """Every part's result by its name; a failing one keeps no other from running."""
    begun, results = time.perf_counter(), {}
    for name, work in parts(place):
        if time.perf_counter() - begun > BUDGET:
            results[name] = {"ok": False, "left_out": "the time is over"}
            continue
        try:
            results[name] = work()
        except Exception as error:
            results[name] = {"ok": False, "error": traceback.format_exception_only(error)[-1]}
        print(name, json.dumps(results[name]), file=sys.stderr, flush=True)
    return results


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    place = Place(local_device(options.device))
    torch.backends.cudnn.allow_tf32 = False
    on_gpu = place.device.type == "cuda"
    name = torch.cuda.get_device_name(place.device) if on_gpu else platform.machine()
    begun = time.perf_counter()
    results = checked(place)
    text = json.dumps(
        {
            "benchmark": "gpu-check",
            "device": name,
            "torch": torch.__version__,
            "limner": limner.__version__,
            "ok": all(result["ok"] for result in results.values()),
            "seconds": round(time.perf_counter() - begun, 1),
            "parts": results,
        },
        indent=1,
    )
    print(text)
    if options.out:
        options.out.write_text(text + "\n")
    return 0 if json.loads(text)["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
