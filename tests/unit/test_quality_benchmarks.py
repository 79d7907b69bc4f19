"""benchmarks/quality: judges against known answers, protocol B's networks, runs that go on."""

import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
sys.path.append(str(BENCHMARKS))

import quality.cli  # noqa: E402
from quality import judging, networks, reals, recipes, results  # noqa: E402
from quality.benches import BENCHES  # noqa: E402
from quality.loop import trained  # noqa: E402

from limner.checkpoints import load_state  # noqa: E402
from limner.checkpoints.tree import encode_tree  # noqa: E402
from limner.core.errors import ConfigError  # noqa: E402
from limner.metrics.features.base import hash_of  # noqa: E402


class BrightnessClassifier:
    """Knows its "digits" by their brightness: 25 d."""

    name, weights_sha256, held_out_accuracy = "brightness", None, 1.0

    def features(self, images):
        return images.float().mean(dim=(2, 3)).expand(-1, 2)

    def logits(self, images):
        digit = (images.float().mean(dim=(1, 2, 3)) / 25).round().long()
        return 9.0 * torch.nn.functional.one_hot(digit, 10)


@pytest.fixture(scope="module")
def digits():
    labels = np.repeat(np.arange(10), 12)
    images = np.broadcast_to((25 * labels)[:, None, None, None], (120, 28, 28, 1))
    return reals.array_data(images.astype(np.uint8), labels)


# --- judges ------------------------------------------------------------------------------


def test_points_are_judged_as_in_pacgan():
    ring = reals.ring()
    good = judging.of_points(ring.draw(4000, torch.Generator().manual_seed(0)), ring)
    assert good["modes"] == 8
    assert good["good"] == pytest.approx(1 - math.exp(-4.5), abs=0.006)  # 3 deviations in 2-D
    assert good["kl"] < 0.01
    one = judging.of_points(ring.centres[:1].expand(50, 2), ring)
    assert one == {"modes": 1, "good": 1.0, "kl": pytest.approx(math.log(8))}
    out = torch.cat([ring.centres * 1.029, ring.centres[:2] * 1.031])
    assert judging.of_points(out, ring)["good"] == 0.8
    assert judging.of_points(ring.centres * 2, ring) == {"modes": 0, "good": 0, "kl": math.inf}
    assert len(reals.grid().centres.unique(dim=0)) == 25


def test_triples_have_their_classes_and_follow_from_the_position(digits):
    draw = reals.TripleReals(digits, 32, seed=3)
    batch = draw(64)
    of_channels = batch.images.float().mean(dim=(2, 3)) / 25
    assert torch.equal(of_channels.long() @ torch.tensor([100, 10, 1]), batch.labels)
    assert len(batch.labels.unique()) > 25
    assert torch.equal(batch.images, draw(64).images)
    assert not torch.equal(batch.labels, draw(96).labels)


def test_stacked_digits_are_judged_by_modes_and_by_distance(digits):
    classifier = BrightnessClassifier()
    every = torch.arange(1000)
    channels = torch.stack([every // 100, every // 10 % 10, every % 10], dim=1)
    images = (25 * channels).to(torch.uint8)[:, :, None, None].expand(-1, -1, 28, 28)
    figures = judging.of_stacked(images, digits, classifier)
    assert (figures["modes"], figures["kl"]) == (1000, pytest.approx(0.0, abs=1e-12))
    half = judging.of_stacked(images[:500], digits, classifier)
    assert (half["modes"], half["kl"]) == (500, pytest.approx(math.log(2)))
    assert half["digit_distance"] > figures["digit_distance"] + 1
    floor = judging.floor_of_stacked(digits, classifier, 3000)
    assert floor["modes"] > 930


def test_the_split_keeps_held_out_digits_out(digits):
    numbered = digits.images.copy()
    numbered[:, 0, 0, 0] = np.arange(120)
    train, held_out = reals.split(reals.array_data(numbered, digits.labels), 30)
    seen, unseen = (set(part.images[:, 0, 0, 0].tolist()) for part in (train, held_out))
    assert (len(seen), len(unseen)) == (90, 30)
    assert not seen & unseen


# --- recipes -----------------------------------------------------------------------------


def num_parameters(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_protocol_b_has_the_published_networks():
    g = networks.UnrolledGenerator().build((3, 28, 28), 0)
    fc = 256 * 1024 + 1024
    convs = (64 * 32 + 32 * 16 + 16 * 8 + 8 * 3) * 9 + 32 + 16 + 8 + 3
    assert num_parameters(g) == fc + convs + 2 * (64 + 32 + 16 + 8)
    image = g(torch.randn(4, 256))
    assert image.shape == (4, 3, 28, 28)
    for widths, divisor in (((4, 8, 16), 2), ((2, 4, 8), 4)):
        d = networks.UnrolledDiscriminator(widths=widths).build((3, 28, 28), 0)
        assert d(image).logits.shape == (4,)
        assert [conv.out_channels for conv in d.convs] == [n // divisor for n in (8, 16, 32)]
    config = recipes.protocol_b(0, 60_000, (4, 8, 16))
    assert (config.optim.d.lr, config.optim.g.lr, config.batch_size) == (2e-4, 1e-4, 128)


def test_same_padding_is_tensorflows():
    """Of an even side the odd pixel goes to the right: the first output sees pixels 0 to 2."""
    d = networks.UnrolledDiscriminator().build((3, 28, 28), 0)
    d.convs[0].register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    seen: list[torch.Tensor] = []
    d(torch.ones(2, 3, 28, 28))
    assert seen[0].shape[-2:] == (29, 29)
    assert bool((seen[0][:, :, 0] != 0).any())
    assert not bool(seen[0][:, :, -1].any())


def test_digit_networks_take_classes_or_none():
    for channels, num_classes in ((1, 10), (3, 0)):
        shape, y = (channels, 28, 28), torch.arange(4) if num_classes else None
        g = networks.DigitGenerator(width=4).build(shape, num_classes)
        d = networks.DigitDiscriminator(width=4).build(shape, num_classes)
        images = g(torch.randn(4, g.z_dim), y)
        assert images.shape == (4, *shape)
        logits = d(images, y).logits
        logits.sum().backward()
        if num_classes:
            other = d(images, y.flip(0)).logits
            assert not torch.allclose(other, logits)


# --- runs --------------------------------------------------------------------------------


def test_a_broken_run_of_points_ends_as_an_unbroken_one(tmp_path: Path):
    config = recipes.mixture("ring", 0, 5)
    setting = BENCHES["ring"].setting(config, None)
    cut = trained(
        config, setting.shape, setting.reals, tmp_path / "broken", lambda clock: clock.wall > 0
    )
    assert (cut.cut, cut.trainer.progress.step) == (True, 1)
    trees = []
    for name in ("broken", "whole"):
        ran = trained(config, setting.shape, setting.reals, tmp_path / name)
        assert (ran.cut, ran.trainer.progress.step) == (False, 5)
        trees.append(load_state(tmp_path / name / "checkpoints" / "step-00000005"))
    assert [tree.pop("clock")["sessions"] for tree in trees] == [2, 1]
    assert hashes_of(trees[0]) == hashes_of(trees[1])
    other = recipes.mixture("ring", 0, 6)
    with pytest.raises(ConfigError, match="another config"):
        trained(other, setting.shape, setting.reals, tmp_path / "broken")


def hashes_of(tree) -> str:
    tensors: dict[str, torch.Tensor] = {}
    return json.dumps([encode_tree(tree, "tree", tensors), hash_of(tensors)])


def run(folder: Path, *words: str) -> int:
    places = ("--runs", str(folder / "runs"), "--results", str(folder / "results"))
    return quality.cli.main([*words, *places])


def test_a_result_is_recorded_once_with_seed_times_and_command(tmp_path: Path, capsys):
    for _ in range(2):
        assert run(tmp_path, "ring", "--steps", "2", "--seeds", "0-1") == 0
    lines = results.records(tmp_path / "results", "ring")
    assert [line["seed"] for line in lines] == [0, 1]
    assert "nothing to do" in capsys.readouterr().err
    line = lines[1]
    assert line["command"] == "python benchmarks/quality ring --seeds 1 --threads 1 --steps 2"
    assert line["cpu_seconds"] >= 0
    assert line["floor"]["modes"] == 8
    assert line["reached"] is False
    assert str(tmp_path) not in json.dumps(line)


def test_a_run_that_diverges_is_recorded_too(tmp_path: Path, monkeypatch):
    bench = BENCHES["ring"]

    def hot(seed: int, steps: int):
        config = bench.config(seed, steps)
        return config.replace(optim=config.optim.replace(g=config.optim.g.replace(lr=1e38)))

    hot_bench = quality.benches.Bench(hot, bench.setting, 5, bench.goal, "ring", False)
    monkeypatch.setitem(BENCHES, "ring", hot_bench)
    assert run(tmp_path, "ring", "--steps", "5") == 1
    (line,) = results.records(tmp_path / "results", "ring")
    assert "finite" in line["failure"]
    assert not results.finished(tmp_path / "results", "ring", 0, 5, "points")
    page = results.render(tmp_path / "results", {"ring": "ring"})
    assert "FAILED at step" in page


def test_the_page_keeps_protocols_apart(tmp_path: Path):
    line = {
        "benchmark": "stacked", "seed": 0, "steps": 90, "planned_steps": 100, "failure": None,
        "figures": {"modes": 1000, "kl": 0.055, "digit_distance": 4.0},
        "floor": {"modes": 1000, "kl": 0.027, "digit_distance": 0.3},
        "reached": True, "goal": "modes >= 1000", "command": "python x", "cpu_seconds": 60.0,
        "wall_seconds": 90.0, "load": 1.0,
    }  # fmt: skip
    for seed, kl in ((0, 0.05), (1, 0.07)):
        figures = {**line["figures"], "kl": kl}
        results.append(tmp_path, {**line, "seed": seed, "figures": figures})
    page = results.render(tmp_path, {"stacked": "free-10k"})
    sections = page.split("\n## ")
    (free,) = (part for part in sections if part.startswith("Stacked MNIST, protocol free-10k"))
    own, *published = free.split("\n### ")[1:]
    assert "| stacked | 1 | 90 of 100 | 1000 | 0.07 | 4 | reached | 1.0 | 1.5 | 1.0 |" in own
    assert "| 1000+-0 | 0.06+-0.01 |" in own
    assert "PacDCGAN2" not in own
    assert [part.split('"')[0].split(":")[1].strip() for part in published] == [
        "Stacked MNIST, protocol A (",
        "Stacked MNIST, protocol C",
    ]
    assert all("Source (" in part for part in published)
    assert "limner" not in "".join(published)


def test_the_page_is_that_of_the_lines():
    folder = BENCHMARKS / "results"
    families = {name: bench.family for name, bench in BENCHES.items()}
    assert (folder / "README.md").read_text() == results.render(folder, families)
