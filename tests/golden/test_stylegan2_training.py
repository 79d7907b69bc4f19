"""Two whole steps of StyleGAN2-ADA's own training loop, reproduced by the Trainer.

The original sums the gradients of a step's rounds, each a mean; limner takes the mean of them. So
gradients and first moments are those of the original over the number of rounds, second moments over
its square, and with eps over that number too every weight moves as there.
"""

from typing import ClassVar

import pytest
import torch
from ada_draws import RecordedDraws, recorded_calls
from style_reference import Loop

from golden_files import near
from limner.checkpoints.importers.stylegan2_names import to_limner
from limner.core.config import Config
from limner.core.images import to_unit_range
from limner.data import DataConfig
from limner.engine import Adam, Players, RunConfig, Update
from limner.engine.augment import AdaPipe
from limner.engine.controllers import AdaptP, Controller, Ema
from limner.engine.noise import Draw, Noise
from limner.engine.trainer import Trainer
from limner.models import StyleGan2Discriminator, StyleGan2Generator
from limner.objectives import R1, NonSaturatingD, NonSaturatingG, PathLength

FIXTURES = ["sg2_16_train", "sg2_16_train_b2", "sg2_16_train_ada"]
ROLES = {"G": "generator", "D": "discriminator", "G_ema": "generator"}
# What the original reports of a phase's rounds
LOSSES = {"Gmain": "G/loss", "Greg": "G/reg", "Dmain": "D/loss", "Dreg": "D/reg"}


class Fixture(Loop):
    def __init__(self, golden, name):
        super().__init__(golden(f"stylegan2/{name}.safetensors"), original)

    def part(self, place, net=None):
        """Tensors under a place's name as limner has them."""
        role = ROLES[net or place.split("/")[-1]]
        return to_limner(role, getattr(self.config, role), self.under(place))


class Replay(Noise):
    """Hands out the recorded draws, each pass its own."""

    def __init__(self, fixture):
        super().__init__(seed=0)
        self.fixture = fixture

    def draw(self, step, call):
        self.newest = ReplayedDraw(self, step, call)
        return self.newest


class ReplayedDraw(Draw):
    def __init__(self, noise, step, call):
        super().__init__(noise, step, call)
        self.fixture, self.at = noise.fixture, f"in/step{step + 1}"
        self.phase, self.round = noise.fixture.calls(step)[call]
        place = f"{self.at}/{noise.fixture.phases[self.phase]['name']}/r{self.round}/"
        self.recorded = {k.removeprefix(place): k for k in self.fixture.tensors if place in k}
        self.augmented = recorded_calls(self.fixture.tensors, place[:-1])

    def tagged(self, tag):
        """Of the pipe's next call: forwards come in the original's order."""
        return RecordedDraws(self.augmented.pop(0))

    def take(self, kind):
        """The next draw of a kind, each once."""
        name = min(name for name in self.recorded if name[3:].startswith(kind))
        return self.fixture[self.recorded.pop(name)]

    def _rows_of(self, name, num):
        first = self.phase * self.fixture.facts["batch_size"] + self.round * self.fixture.rows
        return self.fixture[f"{self.at}/{name}"][first : first + num]

    def latents(self, num, z_dim):
        return self._rows_of("z", num)

    def labels(self, num, num_classes, rule="drawn"):
        assert rule == "natural"
        return self._rows_of("gen_c", num)

    def mixing_cutoff(self, probability, num_layers):
        cutoff, gate = int(self.take("mix_cutoff")), float(self.take("mix_gate"))
        self.mixes = gate < probability
        if not self.mixes:
            self.take("mix_z")
        return cutoff if self.mixes else num_layers

    def normal(self, purpose, shape):
        kinds = {"mixed latents": "mix_z", "path length": "pl_noise"}
        numbers = self.take(kinds[purpose])
        assert numbers.shape == shape
        return numbers

    def maps(self, shape):
        numbers = self.take("noise_")
        return numbers.view(shape)


class Pictures:
    """The recorded reals with their labels, in rounds; conversion from bytes is undone."""

    def __init__(self, fixture):
        self.fixture, self.drawn = fixture, 0

    def __call__(self):
        step, chunk = divmod(self.drawn, self.fixture.rounds)
        rows = slice(chunk * self.fixture.rows, (chunk + 1) * self.fixture.rows)
        real = self.fixture[f"in/step{step + 1}/real"][rows]
        self.images = ((real + 1) * 127.5).round().to(torch.uint8)
        assert torch.equal(to_unit_range(self.images), real)
        labels = self.fixture.tensors.get(f"in/step{step + 1}/real_c")
        self.labels = torch.zeros(self.fixture.rows) if labels is None else labels[rows]
        self.indices = torch.arange(self.fixture.rows)
        self.drawn += 1
        return self


class Gradients(Config, Controller, frozen=True):
    """Keeps what the optimizer got, and the losses of the rounds, update by update."""

    seen: ClassVar[list] = []

    def after_update(self, trainer, player, memory):
        network = trainer.networks[player]
        gradients = {k: p.grad.clone() for k, p in network.named_parameters() if p.grad is not None}
        self.seen.append((gradients, [float(batch.loss) for batch in trainer.watch.batches]))


def original(fixture) -> RunConfig:
    """training_loop.py and loss.py of the original, with a fixture's numbers."""
    facts = fixture.facts
    loss, loop, given = facts["loss_kwargs"], facts["loop"], facts["G"]
    sizes = {name: given["synthesis_kwargs"][name] for name in ("channel_base", "channel_max")}
    players = {}
    for phase in fixture.phases:
        adam = Adam(lr=phase["lr"], betas=tuple(phase["betas"]), eps=phase["eps"] / fixture.rounds)
        players[phase["optimizer"].lower()] = adam
    augmented = "augment_kwargs" in facts
    common = {"accumulate": fixture.rounds, "labels": "natural"}
    mixing = {"style_mixing": loss["style_mixing_prob"]}
    path_length = PathLength(loss["pl_weight"], loss["pl_decay"])
    return RunConfig(
        name="stylegan2-ada",
        generator=StyleGan2Generator(
            z_dim=given["z_dim"],
            w_dim=given["w_dim"],
            num_mapping=given["mapping_kwargs"]["num_layers"],
            clamp=None,
            **sizes,
        ),
        discriminator=StyleGan2Discriminator(clamp=None, **sizes),
        data=DataConfig(resolution=facts["resolution"]),
        updates=(
            Update(player="g", terms=(NonSaturatingG(),), **common, **mixing),
            Update(
                player="g",
                terms=(path_length,),
                every=loop["G_reg_interval"],
                latent_share=1 / loss["pl_batch_shrink"],
                unreached="zero",
                **common,
                **mixing,
            ),
            Update(player="d", terms=(NonSaturatingD(),), **common, **mixing),
            Update(
                player="d",
                terms=(R1(loss["r1_gamma"]),),
                every=loop["D_reg_interval"],
                reals="same",
                unreached="zero",
                **common,
            ),
        ),
        optim=Players(**players),
        controllers=(
            Ema(
                half_life_nimg=loop["ema_kimg"] * 1000,
                rampup=loop["ema_rampup"],
                after="step",
                buffers="copy",
            ),
            Gradients(),
            *((adapting(loop),) if augmented else ()),
        ),
        augments=(AdaPipe(p=loop["augment_p"]),) if augmented else (),
        batch_size=fixture.rows,
        steps=facts["steps"],
    )


def adapting(loop):
    return AdaptP(target=loop["ada_target"], every=loop["ada_interval"], kimg=loop["ada_kimg"])


class Steps:
    """A Trainer in a fixture's first state, and what each of its steps has left."""

    def __init__(self, fixture):
        facts = fixture.facts
        self.fixture, self.noise = fixture, Replay(fixture)
        size, classes = facts["resolution"], facts["c_dim"]
        counts = [1] * classes if classes else None
        self.trainer = Trainer(
            fixture.config,
            (3, size, size),
            classes,
            Pictures(fixture),
            noise=self.noise,
            label_counts=counts,
        )
        self.networks = {
            "G": self.trainer.networks["g"],
            "D": self.trainer.networks["d"],
            "G_ema": self.trainer.generator_ema,
        }
        for name, network in self.networks.items():
            network.load_state_dict(fixture.part(f"state/{name[0]}"))
        generator = self.networks["G"]
        generator.synthesis = lambda styles, update_statistics: type(generator).synthesis(
            generator, styles, update_statistics, self.noise.newest.maps
        )

    def step(self):
        Gradients.seen.clear()
        self.trainer.step()
        return list(Gradients.seen)


def near_weights(got, expected, most, what):
    """At least 99.5 % of the entries within the fixture's figure, every one within `most`."""
    gap = (got.detach() - expected).abs()
    close = 3e-5 + 2e-7 * expected.abs().max()
    assert (gap > close).float().mean() <= 0.005, (what, gap.max())
    assert gap.max() <= most, what


def losses_and_gradients_match(fixture, networks, step, seen):
    phases = [p for p in fixture.phases if (step - 1) % p["interval"] == 0]
    for phase, (gradients, losses) in zip(phases, seen, strict=True):
        name, net = phase["name"], phase["optimizer"]
        for chunk, loss in enumerate(losses):
            expected = fixture[f"out/step{step}/{name}/r{chunk}/{LOSSES[name]}"].mean()
            got = torch.tensor(loss * fixture.rounds / phase["interval"])
            near(got, expected, 1e-4, 1e-6, f"{name} {chunk}")
        expected = fixture.part(f"grad/step{step}/{name}/{net}")
        relative, absolute = (2e-3, 0.0) if name == "Greg" else (1e-3, 1e-6)
        for key, value in expected.items():
            near(gradients[key] * fixture.rounds, value, relative, absolute, f"{name} {key}")
        assert len(gradients) == len(list(networks[net].parameters())), name


@pytest.mark.parametrize("name", FIXTURES)
def test_two_steps_of_the_original(golden, name):
    fixture = Fixture(golden, name)
    steps = Steps(fixture)
    taken = {"G": 0, "D": 0}
    most = dict.fromkeys(ROLES, 0.0)
    for step in (1, 2):
        seen = steps.step()
        losses_and_gradients_match(fixture, steps.networks, step, seen)
        for phase in fixture.phases:
            if (step - 1) % phase["interval"] == 0:
                taken[phase["optimizer"]] += 1
                most[phase["optimizer"]] += 2 * phase["lr"]
        most["G_ema"] = most["G"]
        for net, network in steps.networks.items():
            before = fixture.part(f"state/{net[0]}")
            expected = before | fixture.part(f"after_step{step}/{net}")
            for key, value in network.state_dict().items():
                near_weights(value, expected[key], most[net], f"{step} {net} {key}")
        moments_match(fixture, steps, step, taken)
        mean = steps.trainer.memory("term.g.PathLength")["mean"]
        near(mean, fixture[f"after_step{step}/loss/pl_mean"], 0.0, 1e-5, "pl_mean")
        if fixture.config.augments:
            p = steps.trainer.memory("augment.AdaPipe")["p"]
            near(p.float(), fixture[f"after_step{step}/augment_pipe/p"], 0.0, 1e-6, "p")


def moments_match(fixture, steps, step, taken):
    for net, player in (("G", "g"), ("D", "d")):
        state = steps.trainer.optimizers[player].state
        first = fixture.part(f"after_step{step}/{net}_optim/exp_avg", net)
        second = fixture.part(f"after_step{step}/{net}_optim/exp_avg_sq", net)
        for key, parameter in steps.networks[net].named_parameters():
            kept = state[parameter]
            assert int(kept["step"]) == taken[net], key
            near(kept["exp_avg"] * fixture.rounds, first[key], 1e-3, 1e-6, f"{step} m {key}")
            scaled = kept["exp_avg_sq"] * fixture.rounds**2
            near(scaled, second[key], 2e-3, 1e-9, f"{step} v {key}")
