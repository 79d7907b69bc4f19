"""Progressive growing's networks and losses against the TensorFlow original's own numbers."""

import json

import pytest
import torch
from safetensors.torch import load_file

from limner.checkpoints.importers.pggan_names import to_limner, to_reference
from limner.models import PgganDiscriminator, PgganGenerator
from limner.objectives import (
    AuxiliaryClassifierD,
    AuxiliaryClassifierG,
    Drift,
    GradientPenalty,
    Memory,
    WassersteinD,
    WassersteinG,
)

ROLES = {"G": "generator", "D": "discriminator"}
CONFIGS = {"G": PgganGenerator, "D": PgganDiscriminator}
# (the original's argument, limner's field)
FIELDS = {
    "use_wscale": "equalized",
    "use_pixelnorm": "pixel_norm",
    "use_leakyrelu": "leaky",
    "normalize_latents": "normalize_latents",
    "fused_scale": "fused_scale",
    "latent_size": "z_dim",
    "mbstd_group_size": "group_size",
}
CASES = {
    "pggan32_l0": [0, 0.5, 1, 1.3, 2, 3],
    "pggan32_l10": [0, 0.5, 1, 1.3, 2, 3],
    "pggan16_variants": [0, 0.25, 2],
    "pggan16_nowscale_latent": [0, 1.5],
    "pggan16_train": [0.4],
}
KEYS = {"celeba128": 128, "celebahq1024": 1024, "cifar10_cond": 32, "nofuse256": 256}

at_every_lod = pytest.mark.parametrize(
    ("name", "lod"), [(name, lod) for name, lods in CASES.items() for lod in lods]
)


class Fixture:
    """One golden file, and the two networks in the state that it begins with."""

    def __init__(self, golden, name):
        stem = golden(f"pggan/{name}.safetensors")
        self.record = json.loads(stem.with_suffix(".json").read_text())["config"]
        self.tensors = load_file(stem.with_suffix(".safetensors"))
        self.labels = self.tensors.get("in/labels")
        sizes = {"fmap_base": self.record["fmap_base"], "fmap_max": self.record["fmap_max"]}
        self.configs = {
            net: kind(**sizes, **{FIELDS[k]: v for k, v in self.record.get(net, {}).items()})
            for net, kind in CONFIGS.items()
        }

    def __getitem__(self, name):
        return self.tensors[name]

    def part(self, place, net):
        """Tensors under a place's name as limner has them."""
        begin = f"{place}/{net}/"
        part = {k.removeprefix(begin): v for k, v in self.tensors.items() if k.startswith(begin)}
        return to_limner(ROLES[net], self.configs[net], part)

    def fresh(self, net, lod):
        size = self.record["resolution"]
        shape = (self.record["num_channels"], size, size)
        network = self.configs[net].build(shape, self.record["label_size"])
        network.load_state_dict({"lod": torch.zeros(()), **self.part("state", net)})
        network.lod = lod
        return network


class Replay:
    """A Pass over a fixture's recorded tensors, every forward on first use."""

    nimg = 0

    def __init__(self, fixture, lod, player):
        self.fixture = fixture
        self.g, self.d = fixture.fresh("G", lod), fixture.fresh("D", lod)
        self.latents, self.real = fixture["in/latents"], fixture["in/reals"]
        self.real_labels = self.fake_labels = fixture.labels
        with torch.set_grad_enabled(player == "g"):
            self.fake = self.g(self.latents, self.fake_labels)
        self.real_scores, self.fake_scores = self.d(self.real), self.d(self.fake)
        self.real_logits, self.fake_logits = self.real_scores.logits, self.fake_scores.logits
        self.noise = self

    def uniform(self, purpose, shape):
        assert purpose == "mix"
        return self.fixture["in/mixing_factors"]

    def critic(self, images, labels):
        self.mixed, self.mixed_scores = images, self.d(images)
        return self.mixed_scores

    def mean(self, *terms):
        classes = self.real_labels is not None
        return sum(t(self, Memory()) for t in terms if classes or "Auxiliary" not in str(t))


def near(got, expected, relative=2e-4, absolute=1e-5, what=""):
    assert got.shape == expected.shape, what
    gap = (got.detach() - expected).abs().max().item()
    assert gap <= relative * expected.abs().max().item() + absolute, (what, gap)


def gradients_match(net, expected, what):
    """The original's gradients of levels that are not at work are zeros, limner has none."""
    assert expected.keys() == dict(net.named_parameters()).keys()
    for key, parameter in net.named_parameters():
        if parameter.grad is None:
            assert not expected[key].any(), (what, key)
        else:
            near(parameter.grad, expected[key], 2e-3, 1e-5, f"{what} {key}")


@at_every_lod
def test_images(golden, name, lod):
    fixture = Fixture(golden, name)
    with torch.no_grad():
        images = fixture.fresh("G", lod)(fixture["in/latents"], fixture.labels)
    near(images[:4], fixture[f"out/recursive/lod{lod}/images"])


@at_every_lod
def test_scores_and_class_logits(golden, name, lod):
    fixture = Fixture(golden, name)
    net, reals = fixture.fresh("D", lod), fixture["in/reals"]
    with torch.no_grad():
        scores, few = net(reals), net(reals[:3])
    for structure in fixture.record["structures"]:
        place = f"out/{structure}/lod{lod}"
        near(scores.logits, fixture[f"{place}/scores"][:, 0])
        near(few.logits, fixture[f"{place}/scores_batch3"][:, 0])
        if fixture.labels is None:
            assert scores.class_logits is None
        else:
            near(scores.class_logits, fixture[f"{place}/labels"])


TERMS_D = (WassersteinD(), GradientPenalty(10.0), Drift(1e-3), AuxiliaryClassifierD())
TERMS_G = (WassersteinG(), AuxiliaryClassifierG())


@pytest.mark.parametrize(
    ("name", "lod"),
    [(n, lod) for n, lods in CASES.items() for lod in lods if n[:7] == "pggan32"]
    + [("pggan16_variants", 0.25), ("pggan16_nowscale_latent", 1.5), ("pggan16_train", 0.4)],
)
def test_losses_and_gradients(golden, name, lod):
    """Of the mean: in the original a sample's loss is [N, N] by broadcasting, its mean the same."""
    fixture = Fixture(golden, name)
    assert lod in fixture.record["loss_lods"]
    for player, net, terms in (("d", "D", TERMS_D), ("g", "G", TERMS_G)):
        batch = Replay(fixture, lod, player)
        loss = batch.mean(*terms)
        near(loss, fixture[f"out/loss_{net}/lod{lod}/per_sample"].mean())
        if player == "d":
            terms_match(batch, fixture, f"out/loss_D/lod{lod}")
        if lod in fixture.record["grad_lods"]:
            network = getattr(batch, player)
            loss.backward(inputs=list(network.parameters()))
            gradients_match(network, fixture.part(f"grad/loss_{net}_lod{lod}", net), net)


def terms_match(batch, fixture, place):
    """What the original logs of its discriminator's loss."""
    near(batch.real_logits, fixture[f"{place}/real_scores"][:, 0])
    near(batch.fake_logits, fixture[f"{place}/fake_scores"][:, 0])
    near(batch.mixed_scores.logits, fixture[f"{place}/mixed_scores"][:, 0])
    near(Drift(1.0)(batch, Memory()), fixture[f"{place}/epsilon_penalty"].mean())
    norms = fixture[f"{place}/mixed_norms"]
    (gradient,) = torch.autograd.grad(
        batch.mixed_scores.logits.sum(), batch.mixed, retain_graph=True
    )
    near(gradient.flatten(1).norm(dim=1), norms)
    for target in (1.0, 750.0):
        penalty = GradientPenalty(10.0, target)(batch, Memory())
        near(penalty, 10.0 / target**2 * (norms - target).square().mean())
    if fixture.labels is not None:
        total = sum(fixture[f"{place}/label_penalty_{side}"].mean() for side in ("reals", "fakes"))
        near(AuxiliaryClassifierD()(batch, Memory()), total)
        fakes = fixture[f"{place}/label_penalty_fakes"].mean()
        near(AuxiliaryClassifierG(0.5)(batch, Memory()), 0.5 * fakes)


@pytest.mark.parametrize("net", ["G", "D"])
@pytest.mark.parametrize("stem", KEYS)
def test_names_shapes_and_sizes_of_published_networks(golden, stem, net):
    record = json.loads(golden(f"pggan/keys_pggan_{stem}.json").read_text())
    config = CONFIGS[net](fused_scale=stem != "nofuse256")
    num_classes = 10 if stem == "cifar10_cond" else 0
    with torch.device("meta"):
        network = config.build((3, KEYS[stem], KEYS[stem]), num_classes)
        theirs = {key: torch.empty(shape) for key, shape in record[net].items()}
    assert sum(p.numel() for p in network.parameters()) == record[f"{net}_params"]
    ours = network.state_dict()
    named = to_limner(ROLES[net], config, theirs)
    assert {k: v.shape for k, v in named.items()} == {k: v.shape for k, v in ours.items()}
    back = to_reference(ROLES[net], config, ours)
    assert {k: list(v.shape) for k, v in back.items()} == record[net]
    assert list(back) == list(record[net])  # in the order of the pickles


@pytest.mark.parametrize("net", ["G", "D"])
@pytest.mark.parametrize("name", ["pggan32_l10", "pggan16_variants"])
def test_names_and_values_there_and_back(golden, name, net):
    fixture = Fixture(golden, name)
    ours = fixture.part("state", net)
    back = to_reference(ROLES[net], fixture.configs[net], ours | {"stranger": torch.ones(2, 3)})
    assert back.pop("stranger").shape == (2, 3)
    theirs = {k: v for k, v in fixture.tensors.items() if k.startswith(f"state/{net}/")}
    assert {f"state/{net}/{key}" for key in back} == theirs.keys()
    for key, value in back.items():
        assert torch.equal(value, theirs[f"state/{net}/{key}"])
