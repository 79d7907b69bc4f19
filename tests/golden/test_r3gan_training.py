"""Two whole steps of the original's training loop, reproduced by the Trainer from recorded draws."""

import json
from typing import ClassVar

import pytest
import torch
from ada_draws import RecordedDraws, recorded_calls
from r3gan_reference import config_of, to_limner
from safetensors.torch import load_file

from limner import presets
from limner.core.config import Config
from limner.core.schedules import Cosine
from limner.data import DataConfig
from limner.engine import Adam, Players, RunConfig, Update
from limner.engine.augment import AdaPipe
from limner.engine.controllers import Beta2, Controller, Ema, LearningRate
from limner.engine.noise import Draw, Noise
from limner.engine.trainer import Trainer
from limner.objectives import R1, R2, RelativisticD, RelativisticG

ROUND = 4  # rows of a micro-batch
NETWORKS = {"d": "D", "g": "G"}


class Fixture:
    """One golden file. The original draws all of a player's latents in one go and fetches all its
    reals; its rounds, like limner's micro-batches, take their rows in order."""

    def __init__(self, golden, name):
        path = golden(f"r3gan/{name}.safetensors")
        self.record = json.loads(path.with_suffix(".json").read_text())
        self.config = self.record["config"]
        self.tensors = load_file(path)
        self.num_rounds = self.config["batch_size"] // ROUND

    def player(self, call):
        return ("D", "G")[call // self.num_rounds]

    def rows(self, step, call, name):
        """A player's rows of micro-batch `call` in a step, both from 0; D comes first."""
        place = call % self.num_rounds
        values = self.tensors[f"in/step{step + 1}/{self.player(call)}_{name}"]
        return values[place * ROUND : (place + 1) * ROUND]

    def part(self, place, net):
        begin = f"{place}/"
        found = {k.removeprefix(begin): v for k, v in self.tensors.items() if k.startswith(begin)}
        assert found, place
        return to_limner(net, found)

    def reports(self, step, player, name):
        """What the loss of the original reports of all rounds, a row an image."""
        begin, end = f"out/step{step}/{player}/", f"/{name}"
        keys = sorted(k for k in self.tensors if k.startswith(begin) and k.endswith(end))
        return torch.cat([self.tensors[key] for key in keys])


class Replay(Noise):
    """Hands out the recorded latents."""

    def __init__(self, fixture):
        super().__init__(seed=0)
        self.fixture = fixture

    def draw(self, step, call):
        return ReplayedDraw(self, step, call)


class ReplayedDraw(Draw):
    """The draws of one pass; the calls of its augment come in the order of its forwards."""

    def __init__(self, noise, step, call):
        super().__init__(noise, step, call)
        fixture = noise.fixture
        place = f"in/step{step + 1}/{fixture.player(call)}/r{call % fixture.num_rounds}"
        self.calls = recorded_calls(fixture.tensors, place)

    def tagged(self, tag):
        return RecordedDraws(self.calls.pop(0))

    def latents(self, num, z_dim):
        assert (num, z_dim) == (ROUND, self._noise.fixture.config["G"]["NoiseDimension"])
        return self._noise.fixture.rows(self._step, self._call, "z")


class Pictures:
    """The recorded reals, which were bytes once, with their labels."""

    def __init__(self, fixture):
        self.fixture, self.drawn = fixture, 0
        self.indices = torch.arange(ROUND)

    def __call__(self):
        place = divmod(self.drawn, 2 * self.fixture.num_rounds)
        images = (self.fixture.rows(*place, "real") + 1) * 127.5
        self.images = images.round().to(torch.uint8)
        torch.testing.assert_close(self.images.float(), images, rtol=0, atol=1e-3)
        self.labels = self.fixture.rows(*place, "real_c")
        self.drawn += 1
        return self


class Look(Config, Controller, frozen=True):
    """Keeps the relativistic logits of a step: what the original reports as scores."""

    seen: ClassVar[dict[str, list]] = {"d": [], "g": []}

    def before_step(self, trainer, memory):
        for found in self.seen.values():
            found.clear()

    def after_pass(self, trainer, player, batch, memory):
        difference = batch.real_logits - batch.fake_logits
        self.seen[player].append(difference.detach() * (1 if player == "d" else -1))


def original(fixture) -> RunConfig:
    """training_loop.py of the original with the fixture's schedules."""
    c = fixture.config

    def schedule(name, scale=1.0):
        found = c["loop"][f"{name}_scheduler"]
        start, end = (found[key] / scale for key in ("base_value", "final_value"))
        return Cosine(start, end, until_nimg=found["total_nimg"])

    pipe = AdaPipe(p=schedule("aug"), transforms="r3gan")
    lr, gamma = c["loop"]["lr_scheduler"]["base_value"], schedule("gamma")
    adam = Adam(lr=lr, betas=(0.0, 0.9), eps=c["G_opt"]["eps"])
    return RunConfig(
        name=fixture.record["fixture"],
        generator=config_of("G", c["G"]),
        discriminator=config_of("D", c["D"]),
        data=DataConfig(resolution=c["resolution"]),
        updates=(
            Update(
                player="d",
                terms=(RelativisticD(), R1(gamma=gamma), R2(gamma=gamma)),
                labels="real",
                forwards="real_then_fake",
                accumulate=fixture.num_rounds,
            ),
            Update(
                player="g",
                terms=(RelativisticG(),),
                labels="real",
                forwards="fake_then_real",
                counts=False,
                accumulate=fixture.num_rounds,
            ),
        ),
        optim=Players(g=adam, d=adam),
        controllers=(
            LearningRate(factor=schedule("lr", lr)),
            Beta2(value=schedule("beta2")),
            Ema(half_life_nimg=schedule("ema"), after="step", buffers="copy"),
            Look(),
        ),
        augments=(pipe,) if "augment_kwargs" in c else (),
        batch_size=ROUND,
        steps=c["steps"],
    )


def trainer_of(fixture, config) -> Trainer:
    size = fixture.config["resolution"]
    trainer = Trainer(
        config,
        (3, size, size),
        fixture.config["c_dim"],
        Pictures(fixture),
        noise=Replay(fixture),
    )
    for player, net in NETWORKS.items():
        trainer.networks[player].load_state_dict(fixture.part(f"state/{net}", net))
    trainer.generator_ema.load_state_dict(fixture.part("state/G", "G"))
    return trainer


def excess(got, expected, relative, absolute):
    """The largest gap over what a tensor's largest number allows; 1 or less is within."""
    assert got.shape == expected.shape
    allowed = relative * expected.abs().max() + absolute
    return float((got.detach() - expected).abs().max() / allowed)


def excess_of_weights(got, expected, lr, steps):
    """99.5 % of the entries within 3e-5 + 2e-7 max, all within two steps of Adam."""
    gap = (got.detach() - expected).abs()
    assert got.shape == expected.shape
    near = 3e-5 + 2e-7 * float(expected.abs().max())
    return max(float(gap.quantile(0.995)) / near, float(gap.max()) / (2 * lr * steps))


def moments(trainer, player, key):
    """Of the parameters by name."""
    state = trainer.optimizers[player].state
    return {n: state[p][key] for n, p in trainer.networks[player].named_parameters()}


def gaps_of_state(trainer, fixture, step):
    """Weights, averages and moments after a step over what the fixture allows, by name."""
    place, lr = f"after_step{step}", fixture.config["loop"]["lr_scheduler"]["base_value"]
    averaged = {**trainer.networks, "ema": trainer.generator_ema}
    found = {}
    for name, net, theirs in (("d", "D", "D"), ("g", "G", "G"), ("ema", "G", "G_ema")):
        got, expected = (
            dict(averaged[name].named_parameters()),
            fixture.part(f"{place}/{theirs}", net),
        )
        assert got.keys() == expected.keys()
        for key, value in expected.items():
            found[f"{theirs}/{key}"] = excess_of_weights(got[key], value, lr, step)
    for player, net in NETWORKS.items():
        for kind, relative, absolute in (("exp_avg", 1e-3, 1e-6), ("exp_avg_sq", 2e-3, 1e-9)):
            expected = fixture.part(f"{place}/{net}_optim/{kind}", net)
            got = moments(trainer, player, kind)
            assert got.keys() == expected.keys()
            for key, value in expected.items():
                found[f"{net}/{kind}/{key}"] = excess(got[key], value, relative, absolute)
    return found


def gaps_of_losses(trainer, fixture, step):
    """Of what the losses report; in the original the penalties lack gamma / 2."""
    meters = trainer.meters.drain()
    gamma = fixture.record["rounds"][-1 if step == 2 else 0]["gamma"]
    penalties = {
        name: 0.5 * gamma * fixture.reports(step, "D", f"{name}_penalty") for name in ("r1", "r2")
    }
    pairs = {
        "D scores": (torch.cat(Look.seen["d"]), fixture.reports(step, "D", "scores/real")),
        "G scores": (torch.cat(Look.seen["g"]), fixture.reports(step, "G", "scores/fake")),
    }
    for name, expected in (
        ("term.d.RelativisticD", fixture.reports(step, "D", "D/loss")),
        ("loss_g", fixture.reports(step, "G", "G/loss")),
        ("term.d.R1", penalties["r1"]),
        ("term.d.R2", penalties["r2"]),
    ):
        pairs[name] = (torch.tensor(meters[name]), expected.mean())
    return {name: excess(got, expected, 1e-4, 1e-6) for name, (got, expected) in pairs.items()}


def follows_the_clock(trainer, fixture, step):
    """Images, steps of Adam, its rate and betas."""
    record = fixture.record
    facts = record["per_step"][f"step{step}"]
    clock = (trainer.progress.step_nimg, trainer.progress.nimg)
    assert clock == (facts["nimg_before"], facts["nimg_after"])
    for made in (found for found in record["optimizer_steps"] if found["step"] == step):
        net, player = made["optimizer"], made["optimizer"].lower()
        group = trainer.optimizers[player].param_groups[0]
        assert group["lr"] == pytest.approx(made["lr"], rel=1e-12)
        assert group["betas"] == pytest.approx(made["betas"], rel=1e-12)
        counters = record["adam_step_counters"][f"after_step{step}/{net}"]
        counted = {int(value) for value in moments(trainer, player, "step").values()}
        assert (counted, counters["exceptions"]) == ({counters["steps"]}, {})


@pytest.mark.parametrize("name", ["r3gan16_train", "r3gan16_train_aug"])
def test_two_steps_of_the_original(golden, name):
    fixture = Fixture(golden, name)
    trainer = trainer_of(fixture, original(fixture))
    for step in (1, 2):
        trainer.step()
        follows_the_clock(trainer, fixture, step)
        gaps = gaps_of_state(trainer, fixture, step) | gaps_of_losses(trainer, fixture, step)
        assert len(gaps) == 7 * len(trainer.optimizers["d"].state) + 6
        assert {name: gap for name, gap in gaps.items() if gap > 1} == {}


def with_parts(config, index, **changes):
    """With other fields of one update."""
    updates = list(config.updates)
    updates[index] = updates[index].replace(**changes)
    return config.replace(updates=tuple(updates))


def without(kind, config):
    return config.replace(controllers=tuple(c for c in config.controllers if type(c) is not kind))


WRONG = {
    "constant rates": lambda config: without(LearningRate, config),
    "constant beta2": lambda config: without(Beta2, config),
    "constant gamma": lambda config: with_parts(
        config, 0, terms=(RelativisticD(), R1(gamma=2.0), R2(gamma=2.0))
    ),
    "no R2": lambda config: with_parts(config, 0, terms=config.updates[0].terms[:2]),
    "constant chance": lambda config: config.replace(
        augments=(AdaPipe(p=0.3, transforms="r3gan"),)
    ),
    "both batches counted": lambda config: with_parts(config, 1, counts=True),
    "constant half-life": lambda config: config.replace(
        controllers=(*without(Ema, config).controllers, Ema(half_life_nimg=40.0, after="step"))
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_the_tolerances_tell_wrong_steps(golden, name):
    """All of them differ in the second step at the latest."""
    fixture = Fixture(golden, "r3gan16_train_aug")
    trainer = trainer_of(fixture, WRONG[name](original(fixture)))
    trainer.step()
    trainer.step()
    gaps = gaps_of_state(trainer, fixture, 2)
    assert max(gaps.values()) > 2


PRESETS = {
    "CIFAR10": "r3gan-cifar10",
    "FFHQ-64": "r3gan-ffhq64",
    "FFHQ-256": "r3gan-ffhq256",
    "ImageNet-32": "r3gan-imagenet32",
    "ImageNet-64": "r3gan-imagenet64",
}


def test_schedules_of_the_presets(golden):
    """At eight numbers of images, by the original's own function."""
    record = Fixture(golden, "r3gan16_train").record["preset_schedules"]["values"]
    assert record.keys() == PRESETS.keys()
    for theirs, name in PRESETS.items():
        config = presets.get(name)()
        rate, beta2, ema = config.controllers
        r1, r2 = config.updates[0].terms[1:]
        assert len(record[theirs]) == 8
        for nimg, expected in record[theirs].items():
            found = {
                "lr": config.optim.g.lr * rate.factor(int(nimg)),
                "beta2": beta2.value(int(nimg)),
                "ema": ema.half_life_nimg(int(nimg)),
                "gamma": r1.gamma(int(nimg)),
                "aug": config.augments[0].p(int(nimg)),
            }
            assert r1.gamma == r2.gamma
            assert found == pytest.approx({key: expected[key] for key in found}, rel=1e-9)
