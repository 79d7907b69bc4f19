"""Two whole steps of StyleGAN3's own training loop, reproduced by the Trainer.

What test_stylegan2_training.py says of sums and means over rounds holds here too.
"""

import pytest
import torch
from style_reference import Loop
from test_stylegan2_training import Gradients, Pictures, near_weights
from test_stylegan3 import config_of, to_limner

from golden_files import near
from limner.core.schedules import Linear
from limner.data import DataConfig
from limner.engine import Adam, Players, RunConfig, Update
from limner.engine.augment import Blur
from limner.engine.controllers import Ema
from limner.engine.noise import Draw, Noise
from limner.engine.trainer import Trainer
from limner.objectives import R1, NonSaturatingD, NonSaturatingG

FIXTURES = ["sg3t_16_train", "sg3r_16_train_blur"]
LOSSES = {"Gboth": "G/loss", "Dmain": "D/loss", "Dreg": "D/reg"}


class Fixture(Loop):
    def __init__(self, golden, name):
        super().__init__(golden(f"stylegan3/{name}.safetensors"), original)
        size = self.facts["resolution"]
        self.shape = (3, size, size)

    def part(self, place, net):
        """Tensors under a place's name as limner has them."""
        player = net[0]
        config = self.config.generator if player == "G" else self.config.discriminator
        return to_limner(player, config, self.shape, self.under(place))


class Replay(Noise):
    """Hands out the recorded latents and labels, each pass its own rows."""

    def __init__(self, fixture):
        super().__init__(seed=0)
        self.fixture = fixture

    def draw(self, step, call):
        return ReplayedDraw(self, step, call)


class ReplayedDraw(Draw):
    def __init__(self, noise, step, call):
        super().__init__(noise, step, call)
        self.fixture, self.at = noise.fixture, f"in/step{step + 1}"
        phase, chunk = noise.fixture.calls(step)[call]
        self.first = phase * self.fixture.facts["batch_size"] + chunk * self.fixture.rows

    def latents(self, num, z_dim):
        return self.fixture[f"{self.at}/z"][self.first : self.first + num]

    def labels(self, num, num_classes, rule="drawn"):
        assert rule == "natural"
        return self.fixture[f"{self.at}/gen_c"][self.first : self.first + num]


def original(fixture) -> RunConfig:
    """training_loop.py and loss.py of the original, with a fixture's numbers."""
    facts = fixture.facts
    loss, loop = facts["loss_kwargs"], facts["loop"]
    players = {
        phase["optimizer"].lower(): Adam(
            lr=phase["lr"], betas=tuple(phase["betas"]), eps=phase["eps"] / fixture.rounds
        )
        for phase in fixture.phases
    }
    blur = ()
    if "blur_init_sigma" in loss:
        until = round(loss["blur_fade_kimg"] * 1000)
        blur = (Blur(sigma=Linear(loss["blur_init_sigma"], 0.0, until_nimg=until)),)
    common = {"accumulate": fixture.rounds, "labels": "natural"}
    return RunConfig(
        name="stylegan3",
        generator=config_of("G", facts["G"]),
        discriminator=config_of("D", facts["D"]),
        data=DataConfig(resolution=facts["resolution"]),
        updates=(
            Update(player="g", terms=(NonSaturatingG(),), statistics="keep", **common),
            Update(player="d", terms=(NonSaturatingD(),), **common),
            Update(
                player="d",
                terms=(R1(loss["r1_gamma"]),),
                every=loop["D_reg_interval"],
                reals="same",
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
        ),
        augments=blur,
        batch_size=fixture.rows,
        steps=facts["steps"],
    )


def trainer_of(fixture):
    classes = fixture.facts["c_dim"]
    trainer = Trainer(
        fixture.config,
        fixture.shape,
        classes,
        Pictures(fixture),
        noise=Replay(fixture),
        label_counts=[1] * classes if classes else None,
    )
    for net, network in networks_of(trainer).items():
        network.load_state_dict(fixture.part(f"state/{net[0]}", net))
    return trainer


def networks_of(trainer):
    g, d = trainer.networks["g"], trainer.networks["d"]
    return {"G": g, "D": d, "G_ema": trainer.generator_ema}


def losses_and_gradients_match(fixture, step, seen):
    phases = [p for p in fixture.phases if (step - 1) % p["interval"] == 0]
    for phase, (gradients, losses) in zip(phases, seen, strict=True):
        name, net = phase["name"], phase["optimizer"]
        for chunk, loss in enumerate(losses):
            expected = fixture[f"out/step{step}/{name}/r{chunk}/{LOSSES[name]}"].mean()
            got = torch.tensor(loss * fixture.rounds / phase["interval"])
            near(got, expected, 1e-4, 1e-6, f"{name} {chunk}")
        for key, value in fixture.part(f"grad/step{step}/{name}/{net}", net).items():
            near(gradients[key] * fixture.rounds, value, 1e-3, 1e-6, f"{name} {key}")


@pytest.mark.parametrize("name", FIXTURES)
def test_two_steps_of_the_original(golden, name):
    fixture = Fixture(golden, name)
    trainer = trainer_of(fixture)
    most = dict.fromkeys(("G", "D", "G_ema"), 0.0)
    for step in (1, 2):
        Gradients.seen.clear()
        trainer.step()
        losses_and_gradients_match(fixture, step, list(Gradients.seen))
        for phase in fixture.phases:
            if (step - 1) % phase["interval"] == 0:
                most[phase["optimizer"]] += 2 * phase["lr"]
        most["G_ema"] = most["G"]
        for net, network in networks_of(trainer).items():
            before = fixture.part(f"state/{net[0]}", net)
            expected = before | fixture.part(f"after_step{step}/{net}", net)
            for key, value in network.state_dict().items():
                near_weights(value, expected[key], most[net], f"{step} {net} {key}")
        moments_match(fixture, trainer, step)


def moments_match(fixture, trainer, step):
    for net, player in (("G", "g"), ("D", "d")):
        counters = fixture.record["adam_step_counters"][f"after_step{step}/{net}"]
        config = fixture.config.generator if net == "G" else fixture.config.discriminator
        exceptions = to_limner(net, config, fixture.shape, counters["exceptions"])
        first = fixture.part(f"after_step{step}/{net}_optim/exp_avg", net)
        second = fixture.part(f"after_step{step}/{net}_optim/exp_avg_sq", net)
        state = trainer.optimizers[player].state
        for key, parameter in networks_of(trainer)[net].named_parameters():
            kept = state[parameter]
            assert int(kept["step"]) == exceptions.get(key, counters["steps"]), key
            near(kept["exp_avg"] * fixture.rounds, first[key], 1e-3, 1e-6, f"{step} m {key}")
            scaled = kept["exp_avg_sq"] * fixture.rounds**2
            near(scaled, second[key], 2e-3, 1e-9, f"{step} v {key}")
