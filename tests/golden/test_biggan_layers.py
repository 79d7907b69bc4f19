"""The residual pair in the shape of BigGAN's CIFAR net, against BigGAN-PyTorch's own numbers."""

import re

import pytest
import torch
from safetensors.torch import load_file

from limner.layers import PowerIteration, SNConv2d, SNEmbedding, SNLinear
from limner.models import ResidualDiscriminator, ResidualGenerator
from limner.objectives import Memory, Orthogonal

SHAPE = (3, 32, 32)


def ours(key):
    key = re.sub(r"^blocks\.(\d+)\.0\.", r"blocks.\1.", key)
    key = key.replace("stored_", "running_").replace(".bn", ".norm").replace("conv_sc", "shortcut")
    key = key.replace("output_layer.0.gain", "output_norm.weight")
    return key.replace("output_layer.0.", "output_norm.").replace("output_layer.2.", "output.")


def ours_d(key):
    key = re.sub(r"^blocks\.(\d+)\.0\.", lambda m: f"blocks.{int(m[1]) - 1}.", key)
    return key.replace("blocks.-1.", "first.").replace("conv_sc", "shortcut")


def part(tensors, prefix, rename):
    return {rename(k[len(prefix) :]): v for k, v in tensors.items() if k.startswith(prefix)}


def near(got, expected, relative=1e-4, absolute=1e-5, what=""):
    gap = (got.detach() - expected).abs().max().item()
    assert gap <= relative * expected.abs().max().item() + absolute, (what, gap)


@pytest.fixture(scope="module")
def tensors(golden):
    return load_file(golden / "biggan" / "biggan32_cifar.safetensors")


@pytest.fixture
def generator(tensors):
    config = ResidualGenerator(
        width=4, z_dim=12, embedding_dim=0, multipliers=(4,), spectral_norm=True
    )
    net = config.build(SHAPE, 10)
    net.load_state_dict(part(tensors, "state/G/", ours))
    return net


@pytest.fixture
def discriminator(tensors):
    config = ResidualDiscriminator(width=4, multipliers=(4,), bottom=8, num_last_blocks=2)
    net = config.build(SHAPE, 10)
    net.load_state_dict(part(tensors, "state/D/", ours_d))
    return net


def buffers_match(net, expected):
    state = net.state_dict()
    assert expected
    for key, value in expected.items():
        near(state[key], value, what=key)


def test_generator_outputs_and_buffers(tensors, generator):
    z, y = tensors["in/z"], tensors["in/y"]
    before = {k: v.clone() for k, v in generator.state_dict().items()}
    near(generator.eval()(z, y), tensors["out/G_eval"])
    assert all(torch.equal(v, before[k]) for k, v in generator.state_dict().items())
    near(generator.train()(z, y), tensors["out/G_train"])
    buffers_match(generator, part(tensors, "after_G_train/G/", ours))


def test_discriminator_outputs_and_buffers(tensors, discriminator):
    x, y = tensors["in/x_real"], tensors["in/y_real"]
    near(discriminator.eval()(x, y).logits, tensors["out/D_eval_real"][:, 0])
    near(discriminator.train()(x, y).logits, tensors["out/D_train_real"][:, 0])
    buffers_match(discriminator, part(tensors, "after_D_train/D/", ours_d))


def test_hinge_gradients_of_both(tensors, generator, discriminator):
    z, y = tensors["in/z"], tensors["in/y"]
    stored = {k: v.clone() for k, v in discriminator.state_dict().items()}
    with torch.no_grad():
        fake = generator(z, y)
    images = torch.cat([fake, tensors["in/x_real"]])
    fake_logits, real_logits = discriminator(
        images, torch.cat([y, tensors["in/y_real"]])
    ).logits.chunk(2)
    near(fake_logits, tensors["out/D_fake"][:, 0])
    near(real_logits, tensors["out/D_real"][:, 0])
    (torch.relu(1 - real_logits).mean() + torch.relu(1 + fake_logits).mean()).backward()
    compare_gradients(discriminator, part(tensors, "grad/hinge_dis/D/", ours_d))

    discriminator.load_state_dict(stored)
    generator.load_state_dict(part(tensors, "state/G/", ours))
    generator.zero_grad()
    loss = -discriminator(generator(z, y), y).logits.mean()
    near(loss, tensors["out/G_loss"])
    loss.backward()
    compare_gradients(generator, part(tensors, "grad/hinge_gen/G/", ours))


def compare_gradients(net, expected):
    parameters = dict(net.named_parameters())
    assert expected
    for key, value in expected.items():
        near(parameters[key].grad, value, 2e-3, 3e-6, key)


def test_orthogonal_gradients(tensors, generator, discriminator):
    for net, variant, group, rename in (
        (generator, "modified", "ortho_1e-4/G", ours),
        (discriminator, "modified", "ortho_1e-4/D", ours_d),
        (discriminator, "plain", "default_ortho_1e-4/D", ours_d),
    ):
        for parameter in net.parameters():
            parameter.grad = torch.zeros_like(parameter)
        Orthogonal(1e-4, variant=variant)(net, Memory())
        compare_gradients(net, part(tensors, f"grad/{group}/", rename))


def test_several_singular_values_and_iterations(golden):
    tensors = load_file(golden / "biggan" / "biggan32_multi_sv.safetensors")
    power = PowerIteration(num_values=2, num_iterations=2, eps=1e-6)
    after = "after_D_train/D/"
    names = [k[len(after) : -len(".sv0")] for k in tensors if k.startswith(after) and "sv0" in k]
    assert len(names) > 10
    for name in names:
        state = part(tensors, f"state/D/{name}.", str)
        weight = state["weight"]
        if name == "embed":
            layer, x = SNEmbedding(*weight.shape, power=power), torch.zeros(1, dtype=torch.int64)
        elif weight.ndim == 2:
            layer = SNLinear(weight.shape[1], weight.shape[0], power=power)
            x = torch.zeros(1, weight.shape[1])
        else:
            out_channels, in_channels, size, _ = weight.shape
            layer = SNConv2d(in_channels, out_channels, size, power=power)
            x = torch.zeros(1, in_channels, 4, 4)
        layer.load_state_dict(state)
        layer(x)
        buffers_match(layer, part(tensors, f"{after}{name}.", str))
