"""Every metric and every extractor of the tables: value, direction, processes, determinism."""

import json
import os
import sys

import numpy as np
import pytest
import torch

import limner
from inception_weights import random_file
from limner import api
from limner.checkpoints import RunDirectory
from limner.cli.main import main
from limner.core import distributed
from limner.core.streams import stream
from limner.engine import Intervals
from limner.metrics import METRICS, ImageStream, Reference, score, streams
from limner.metrics.arrays import ArrayData
from limner.metrics.classes import ClassifierSettings
from limner.metrics.equivariance import COMPARE
from limner.metrics.features import EXTRACTORS, classifier_of, inception, make_extractor
from limner.metrics.features.classifier import fitted_network
from processes import in_processes
from runs import toy_pictures
from slow_scores import (
    naive_discrepancy,
    naive_manifold,
    slow_copies,
    slow_distance,
    slow_frechet,
    slow_inception_score,
    slow_modes,
    slow_ms_ssim,
    slow_neighbour_score,
    slow_path_lengths,
    slow_style_lengths,
)
from toys import toy_config

NUM, SIDE, SEED = 24, 16, 3
MATRIX = torch.randn(SIDE**2, 4, generator=torch.Generator().manual_seed(7)) / SIDE**2
DRAWN = torch.randn(4, SIDE**2, generator=torch.Generator().manual_seed(8)) / 8


class Planted:
    """Four linear features, and two classes: which half is brighter."""

    name, weights_sha256, held_out_accuracy = "planted", None, 0.9

    def features(self, images):
        return images.flatten(1).float() @ MATRIX

    def logits(self, images):
        halves = images.float().mean(dim=(1, 2)).unflatten(1, (2, -1)).mean(dim=2)
        return halves / 100

    def features_of_floats(self, images):
        return images.flatten(1) @ MATRIX


def pictures(seed):
    """uint8 [NUM, 1, SIDE, SIDE] of two classes in turn, and their classes."""
    rng = np.random.default_rng(seed)
    labels = np.arange(NUM) % 2
    images = rng.normal(100, 25, (NUM, 1, SIDE, SIDE))
    for image, label in zip(images, labels, strict=True):
        image[..., label * SIDE // 2 : (label + 1) * SIDE // 2] += rng.uniform(20, 90)
    return torch.from_numpy(images.round().clip(0, 255).astype(np.uint8)), torch.from_numpy(labels)


REAL, REAL_LABELS = pictures(0)
FAKE, FAKE_LABELS = pictures(1)
DATA = ArrayData(REAL.permute(0, 2, 3, 1).numpy(), REAL_LABELS.numpy(), 2, "planted pictures")


def stream_of(images, scale=1.0):
    """Images of a generator that is linear in latents, and bent in the styles of its last layer."""

    def styles(z, y):
        return torch.stack([z.sin(), z**3], dim=1)

    def generate(z, y, numbers):
        rows = z if z.ndim == 2 else z[:, 1] ** 2
        return (rows @ (scale * DRAWN)).view(-1, 1, SIDE, SIDE)

    def part(begin, end):
        return images[begin:end]

    def moved(z, y, numbers, there):
        places = (torch.arange(SIDE) + 0.5) / SIDE - 0.5
        x, y = torch.meshgrid(places, places, indexing="xy")
        at = torch.stack([x, y, torch.ones_like(x)], -1) @ there.t()
        wave = torch.sin(3 * at[..., 0] + 1) * torch.cos(2 * at[..., 1]) + scale * x * y
        return wave * z.norm(dim=1)[:, None, None, None] / 4

    stream = (NUM, (1, SIDE, SIDE), part, generate)
    return ImageStream(*stream, z_dim=4, styles=styles, moved=moved)


def scored(images, labels, names, scale=1.0):
    reference = Reference(DATA, Planted(), SEED)
    return score(reference, stream_of(images, scale), labels, names)


# --- the value ------------------------------------------------------------------------------------

FEATURES, REAL_FEATURES = Planted().features(FAKE).double(), Planted().features(REAL).double()


def slow_prdc():
    shares = naive_manifold(REAL_FEATURES, FEATURES, 3)
    return dict(zip(("precision", "recall", "density", "coverage"), shares, strict=True))


def slow_swd():
    real = REAL[Reference(DATA, Planted(), SEED).order]
    sides = (images.expand(-1, 3, -1, -1).numpy() for images in (FAKE, real))
    return {f"swd-{level}": value for level, value in slow_distance(*sides, SEED).items()}


def slow_pairs():
    draws = stream("metrics", "pairs", SEED)
    order = torch.randperm(NUM, generator=draws)
    pairs = order.view(-1, 2).tolist()
    found = [slow_ms_ssim(FAKE[a].numpy(), FAKE[b].numpy(), 5) for a, b in pairs]
    return {"ms-ssim": sum(found) / len(found)}


def slow_intra():
    distances = [
        slow_frechet(FEATURES[label == FAKE_LABELS], REAL_FEATURES[label == REAL_LABELS])
        for label in (0, 1)
    ]
    return {"intra-fd-planted": sum(distances) / 2}


def slow_neighbours():
    sides = FAKE.flatten(1).tolist(), FAKE_LABELS.tolist(), REAL.flatten(1).tolist()
    return {"cas-1nn": slow_neighbour_score(*sides, REAL_LABELS.tolist())}


def slow_network():
    made = ArrayData(FAKE.permute(0, 2, 3, 1).numpy(), FAKE_LABELS.numpy(), 2, "fakes")
    network = fitted_network(made, ClassifierSettings(seed=SEED))
    told = [int(network(image[None].float() / 127.5 - 1).argmax()) for image in REAL]
    return {
        "cas-network": np.mean([a == b for a, b in zip(told, REAL_LABELS.tolist(), strict=True)])
    }


def slow_accuracy():
    brighter = [int(half) for half in Planted().logits(FAKE)[:, 1] > Planted().logits(FAKE)[:, 0]]
    return {"accuracy": np.mean(np.array(brighter) == FAKE_LABELS.numpy())}


def modes_of_loop():
    predicted = [int(classifier_of(DATA).logits(image[None]).argmax()) for image in FAKE]
    return slow_modes(predicted, 2)


def slow_ppl():
    matrix = (DRAWN.double() @ MATRIX.double()).numpy()
    full, end = (slow_path_lengths(matrix, NUM, SEED, where) for where in ("full", "end"))
    in_w = [slow_style_lengths(matrix, NUM, SEED, where) for where in ("full", "end")]
    names = ("ppl-planted", "ppl-end-planted", "ppl-w-planted", "ppl-w-end-planted")
    return dict(zip(names, (full, end, *in_w), strict=True))


def slow_equivariance():
    moved, sums = stream_of(FAKE).moved, {kind: [0.0, 0.0] for kind in COMPARE}
    draws = stream("metrics", "equivariance", SEED)
    latents = stream("metrics", "equivariance", "latents", SEED)
    for _ in range(NUM // 4):
        a, b, turn = (torch.rand(3, generator=draws, dtype=torch.float64) * 2 - 1).tolist()
        z = torch.randn(4, 4, generator=latents)
        for kind, compare in COMPARE.items():
            synthesize = lambda there, z=z: moved(z, None, None, there)  # noqa: E731
            still = synthesize(torch.eye(3))
            expected, got, mask = compare(synthesize, still, a / 8, b / 8, turn * np.pi)
            for number in range(4):
                errors = (expected[number] - got[number]).double().square() * mask[0]
                sums[kind][0] += float(errors.sum())
                sums[kind][1] += float(mask.sum())
    return {k: 10 * np.log10(4 * count / errors) for k, (errors, count) in sums.items()}


SLOW = {
    "fid": lambda: {"fd-planted": slow_frechet(FEATURES, REAL_FEATURES)},
    "kid": lambda: {"kd-planted": naive_discrepancy(FEATURES, REAL_FEATURES)},
    "is": lambda: {
        "is-planted": slow_inception_score(Planted().logits(FAKE).double().softmax(dim=1))[0]
    },
    "prdc": slow_prdc,
    "copies": lambda: {"copies": slow_copies(REAL_FEATURES, FEATURES)},
    "accuracy": slow_accuracy,
    "cas": slow_neighbours,
    "swd": slow_swd,
    "msssim": slow_pairs,
    "intra-fid": slow_intra,
    "cas-network": slow_network,
    "modes": lambda: {"modes": modes_of_loop()[0]},
    "modes-kl": lambda: {"modes-kl": modes_of_loop()[1]},
    "ppl": slow_ppl,
    "eq": slow_equivariance,
}
# float32 patches; float32 latents at a step of 1e-4
TOLERANCES = {"swd": 1e-4, "ppl": 2e-2}


def test_every_metric_has_its_slow_formula():
    assert SLOW.keys() == METRICS.keys()


@pytest.mark.parametrize("name", METRICS)
def test_the_value_is_that_of_a_slow_formula(name):
    results = scored(FAKE, FAKE_LABELS, [name])
    expected = SLOW[name]()
    assert {result.name: result.value for result in results} == pytest.approx(
        expected, rel=TOLERANCES.get(name, 1e-5), abs=1e-9
    )
    metric = METRICS[name]
    suffix = "-planted" if metric.named_by_features else ""
    assert {f"{figure}{suffix}" for figure in metric.figures} <= expected.keys()
    assert {result.higher_is_better for result in results} == {metric.higher_is_better}


# --- processes ------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks its children")
@pytest.mark.parametrize("images_per_part", [5, 512], ids=["several parts", "less than processes"])
def test_two_processes_give_what_one_does(images_per_part, tmp_path, monkeypatch):
    monkeypatch.setattr(streams, "IMAGES_PER_PART", images_per_part)
    alone = {result.name: result for result in scored(FAKE, FAKE_LABELS, list(METRICS))}

    def work(rank):
        distributed.start()
        found = scored(FAKE, FAKE_LABELS, list(METRICS))
        if rank == 0:
            (tmp_path / "found").write_text(json.dumps([(r.name, r.value) for r in found]))
        distributed.stop()
        return int(bool(found) != (rank == 0))

    assert in_processes(2, work) == [0, 0]
    together = dict(json.loads((tmp_path / "found").read_text()))
    assert together.keys() == alone.keys()
    for name, value in together.items():
        summed = name.startswith(("fd-", "is-"))
        expected = alone[name].value
        assert value == (pytest.approx(expected, rel=1e-12) if summed else expected), name


# --- directions -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", METRICS)
def test_the_direction_is_that_of_an_obviously_better_pair(name):
    noise = torch.randint(0, 256, REAL[:1].shape, generator=torch.Generator().manual_seed(2))
    one = noise.to(torch.uint8).expand(NUM, -1, -1, -1).contiguous()
    better = scored(REAL, REAL_LABELS, [name], scale=0.1)
    worse = scored(one, 1 - REAL_LABELS, [name], scale=1.0)
    if name == "copies":  # which the real images themselves are
        better, worse = worse, better
    for good, bad in zip(better, worse, strict=True):
        assert good.name == bad.name
        assert (good.value > bad.value) if good.higher_is_better else (good.value < bad.value)


# --- extractors -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    return {"tensorflow": random_file(folder), "torchvision": random_file(folder, False)}


# In bfloat16 a processor without such units takes a third of the time of all of them.
HEAVY = pytest.param("inception-bfloat16", marks=pytest.mark.full)


@pytest.mark.parametrize("name", [HEAVY if name in HEAVY.values else name for name in EXTRACTORS])
def test_an_extractor_gives_an_image_its_own_row(name, weights, monkeypatch):
    monkeypatch.setenv(inception.TENSORFLOW.variable, str(weights["tensorflow"]))
    monkeypatch.setenv(inception.TORCHVISION.variable, str(weights["torchvision"]))
    state, images = torch.get_rng_state(), FAKE[:2]
    extractor = make_extractor(name, DATA)
    rows = extractor.features(images)
    assert set(name.split("-")) <= set(extractor.name.split("-"))  # with other weights their hash
    assert (len(rows), rows.ndim, rows.device.type) == (2, 2, "cpu")
    assert rows.is_floating_point()
    assert not rows.requires_grad
    assert bool(torch.isfinite(rows).all())
    assert torch.equal(make_extractor(name, DATA).features(images), rows)
    assert torch.equal(torch.get_rng_state(), state)
    # bfloat16 rounds its sums by their order
    near = 3e-2 if "bfloat16" in name else 1e-4
    for alone in (extractor.features(images[1:]), extractor.features(images.flip(0))[:1]):
        assert float((alone - rows[1:]).abs().max()) <= near * float(rows.abs().max())


# --- of a user's own ------------------------------------------------------------------------------

OWN = '''
from limner.core import distributed
from limner.metrics import Figure, Metric


class Mean:
    """An accumulator: the mean of all features."""

    places = None

    def __init__(self):
        self.num = self.total = 0.0

    def add(self, rows, places):
        self.num += rows.numel()
        self.total += float(rows.double().sum())

    def share(self):
        pass


class Brightness(Metric):
    figures = ("brightness",)
    higher_is_better = True
    named_by_features = True

    def begin(self, side):
        return Mean()

    def compare(self, fake, real):
        gap = fake.total / fake.num - real.total / real.num
        return {"brightness": Figure(-abs(gap))}


class Pixels:
    name, weights_sha256 = "my-pixels", None

    def __init__(self, data):
        pass

    def features(self, images):
        return images.flatten(1).float()


class NoMetric:
    pass
'''


@pytest.fixture
def own(tmp_path, monkeypatch):
    """The name of a module outside limner that is not imported yet, and its file."""
    name = f"own_scores_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(OWN)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield name, tmp_path / f"{name}.py"
    sys.modules.pop(name, None)


@pytest.mark.usefixtures("no_extras")
def test_a_metric_and_an_extractor_of_ones_own_work_by_name(own, tmp_path, capsys):
    module, file = own
    data, run = toy_pictures(tmp_path / "p.npz", num=32), tmp_path / "run"
    names = {"metrics": (f"{file}:Brightness", "fid"), "features": f"{file}:Pixels"}
    evaluate = Intervals(log=2, sample=0, save=0, evaluate=2)
    config = toy_config(steps=4, num_evaluate=40, intervals=evaluate, **names)
    limner.train(config, data, run, api.TrainOptions(device="cpu"))
    *_, line = RunDirectory(run).read_log("scores")
    mine, distance = line["results"]
    assert (mine["name"], distance["name"]) == ("brightness-my-pixels", "fd-my-pixels")
    assert (mine["higher_is_better"], distance["higher_is_better"]) == (True, False)
    assert mine["floor"] <= 0
    values = RunDirectory(run).figures()["brightness-my-pixels"]
    best = max(values, key=lambda step: (values[step], step))
    assert RunDirectory(run).select("best-brightness-my-pixels").name == f"step-{best:08d}"
    asked = [f"{module}:Brightness"], 40, f"{module}:Pixels"
    (again,) = limner.evaluate(run, data, *asked)
    assert again.value == mine["value"]
    # as two words of a command, the module named beside them
    sys.modules.pop(module)
    sys.path[:] = [path for path in sys.path if path != str(file.parent)]
    words = ["--metrics", asked[0][0], "--features", asked[2], "--num", "40", "--json"]
    capsys.readouterr()
    assert main(["evaluate", str(run), "--data", str(data), "--module", str(file), *words]) == 0
    assert json.loads(capsys.readouterr().out)["results"][0]["value"] == mine["value"]


def test_floors_of_ones_own_metric_are_not_kept_for_another_formula(own, tmp_path, monkeypatch):
    monkeypatch.setenv("LIMNER_CACHE", str(tmp_path / "cache"))
    reference = Reference(DATA, "random-conv", SEED)
    module, file = own
    (first,) = score(reference, FAKE, None, [f"{file}:Brightness"])
    mine = sys.modules[module]
    monkeypatch.setattr(mine.Brightness, "compare", lambda *_: {"brightness": mine.Figure(-7.0)})
    (second,) = score(reference, FAKE, None, [f"{file}:Brightness"])
    assert second.floor == -7.0 != first.floor


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("{file}:NoMetric", "derive it from limner.metrics.Metric"),
        ("{file}:Brightnes", "has no 'Brightnes'"),
        ("fidd", "unknown metric 'fidd'; nearest is 'fid'"),
        ("nowhere:Brightness", "'nowhere' cannot be imported"),
    ],
)
def test_what_is_no_metric_says_why(own, name, message):
    with pytest.raises(limner.core.errors.LimnerError, match=message):
        score(Reference(DATA, Planted()), FAKE, None, [name.format(file=own[1])])
