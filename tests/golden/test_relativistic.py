"""R3GAN's pairing loss, from the logits that its own loop recorded."""

import pytest
import torch
from safetensors.torch import load_file

from limner.objectives import Memory, RelativisticD, RelativisticG


class Logits:
    def __init__(self, real, fake):
        self.real_logits, self.fake_logits = real, fake


@pytest.mark.parametrize("name", ["r3gan16", "r3gan32_cond"])
def test_losses_are_the_originals(golden, name):
    tensors = load_file(golden(f"r3gan/{name}.safetensors"))
    batch = Logits(tensors["out/D_real"], tensors["out/D_fake"])
    for term, phase in ((RelativisticD(), "D_phase"), (RelativisticG(), "G_phase")):
        expected = tensors[f"out/{phase}/adversarial_loss"].mean()
        found = term(batch, Memory())  # type: ignore[arg-type]
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
