"""R3GAN's networks, losses and penalties against the original's own numbers."""

import json

import pytest
import torch
from r3gan_reference import config_of, to_limner
from safetensors.torch import load_file

from golden_files import near
from limner.objectives import R1, R2, Memory, RelativisticD, RelativisticG

NAMES = ("r3gan16", "r3gan32_cond")


class Fixture:
    """One golden file, and the two networks in its state; of labels the kind that is asked for."""

    def __init__(self, golden, name, integers=False):
        path = golden(f"r3gan/{name}.safetensors")
        self.record = json.loads(path.with_suffix(".json").read_text())["config"]
        self.tensors = load_file(path)
        self.labels = self.tensors.get("in/c")
        num_classes = 0 if self.labels is None else self.labels.shape[1]
        if integers and self.labels is not None:
            self.labels = self.labels.argmax(1)
        self.real = self["in/real"].requires_grad_()
        shape = tuple(self.real.shape[1:])
        networks = []
        for net in "GD":
            network = config_of(net, self.record[net]).build(shape, num_classes)
            network.load_state_dict(self.part("state", net))
            networks.append(network)
        self.g, self.d = networks
        assert (self.record["G"]["c_dim"], self.record["G"]["img_resolution"]) == (
            num_classes,
            shape[-1],
        )

    def __getitem__(self, name):
        return self.tensors[name]

    def part(self, place, net):
        begin = f"{place}/{net}/"
        return to_limner(
            net, {k.removeprefix(begin): v for k, v in self.tensors.items() if k.startswith(begin)}
        )


class Phase:
    """A Pass of one player over the recorded tensors."""

    nimg = 0

    def __init__(self, fixture, player):
        self.real = fixture.real
        with torch.set_grad_enabled(player == "G"):
            self.fake = fixture.g(fixture["in/z"], fixture.labels)
        if player == "D":
            self.fake.requires_grad_()
        self.real_logits = fixture.d(self.real, fixture.labels).logits
        self.fake_logits = fixture.d(self.fake, fixture.labels).logits


def gradients_match(network, expected):
    """To the fixture's tolerance."""
    found = dict(network.named_parameters())
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        near(found[key].grad, value, 2e-3, 1e-6, key)


@pytest.mark.parametrize("integers", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_images_and_scores(golden, name, integers):
    fixture = Fixture(golden, name, integers)
    near(fixture.g(fixture["in/z"], fixture.labels), fixture["out/images"])
    near(fixture.d(fixture.real, fixture.labels).logits, fixture["out/D_real"])
    near(fixture.d(fixture["out/images"], fixture.labels).logits, fixture["out/D_fake"])


@pytest.mark.parametrize("name", NAMES)
def test_losses_of_the_discriminator_and_their_gradients(golden, name):
    fixture = Fixture(golden, name)
    batch, gamma = Phase(fixture, "D"), fixture.record["gamma"]
    loss, r1, r2 = (term(batch, Memory()) for term in (RelativisticD(), R1(gamma), R2(gamma)))
    near(batch.real_logits - batch.fake_logits, fixture["out/D_phase/relativistic_logits"])
    near(loss, fixture["out/D_phase/adversarial_loss"].mean())
    near(r1, gamma / 2 * fixture["out/D_phase/R1"].mean())
    near(r2, gamma / 2 * fixture["out/D_phase/R2"].mean())
    near(loss + r1 + r2, fixture["out/D_phase/total"])
    (loss + r1 + r2).backward(inputs=list(fixture.d.parameters()))
    gradients_match(fixture.d, fixture.part("grad/D_phase", "D"))


@pytest.mark.parametrize("name", NAMES)
def test_the_loss_of_the_generator_and_its_gradients(golden, name):
    fixture = Fixture(golden, name)
    batch = Phase(fixture, "G")
    loss = RelativisticG()(batch, Memory())
    near(batch.fake_logits - batch.real_logits, fixture["out/G_phase/relativistic_logits"])
    near(loss, fixture["out/G_phase/adversarial_loss"].mean())
    loss.backward(inputs=list(fixture.g.parameters()))
    gradients_match(fixture.g, fixture.part("grad/G_phase", "G"))
