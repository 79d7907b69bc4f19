"""PGGAN pickles of the TensorFlow and the Theano code give the original's pictures and scores."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from limner.checkpoints.filling import check_fit
from limner.checkpoints.importers.pggan import Pggan
from limner.checkpoints.importers.pggan_names import to_limner, to_reference
from limner.cli.main import main
from limner.core.images import to_uint8
from limner.models import PgganDiscriminator, PgganGenerator

PICKLES = ("pickle32_nosource", "pickle16_cond_lod_nosource", "pickle_theano16")
KEYS = {
    "keys_pggan_celeba128": ((3, 128, 128), 0, True),
    "keys_pggan_celebahq1024": ((3, 1024, 1024), 0, True),
    "keys_pggan_cifar10_cond": ((3, 32, 32), 10, True),
    "keys_pggan_nofuse256": ((3, 256, 256), 0, False),
}


@pytest.fixture(params=PICKLES)
def case(request, golden):
    """(fixture's tensors, its record)."""
    base = golden(f"pggan/{request.param}.pkl")
    return load_file(base.with_suffix(".safetensors")), Pggan().read(base.with_suffix(".pkl"))


def near(found, wanted):
    """The fixtures' own tolerance."""
    torch.testing.assert_close(found, wanted, rtol=0, atol=2e-4 * float(wanted.abs().max()) + 1e-5)


def alike(found, wanted):
    """Equal, but for a rare value so near to a half that the last bit rounds it."""
    gap = (found.int() - wanted.int()).abs()
    assert int(gap.max()) <= 1
    assert float(gap.float().mean()) < 2e-3


def network(record, part):
    config = record.config
    described = config.discriminator if part == "discriminator" else config.generator
    net = described.build(config.image_shape, config.num_classes).eval()
    net.load_state_dict(getattr(record, part))
    return net


@torch.no_grad()
def test_pictures_and_scores(case):
    tensors, record = case
    y = tensors.get("in/labels")
    for part, name in (("generator", "Gs"), ("generator_raw", "G")):
        images = network(record, part)(tensors["in/latents"], y)
        near(images, tensors[f"out/{name}_images"])
        if f"out/{name}_images_uint8" in tensors:
            alike(to_uint8(images), tensors[f"out/{name}_images_uint8"])
            small = to_uint8(torch.nn.functional.avg_pool2d(images, 2))
            alike(small, tensors[f"out/{name}_images_uint8_shrink2"])
    scores = network(record, "discriminator")(tensors["in/reals"], y)
    near(scores.logits[:, None], tensors["out/D_scores"])
    if y is not None:
        near(scores.class_logits, tensors["out/D_labels"])


def test_every_variable_is_the_original_one(case):
    """Those of the Theano code after their turns, flips and scales."""
    tensors, record = case
    parts = {"G": "generator_raw", "D": "discriminator", "Gs": "generator"}
    for name, part in parts.items():
        role = "discriminator" if name == "D" else "generator"
        held = to_reference(role, getattr(record.config, role), getattr(record, part))
        wanted = {k.removeprefix(f"state/{name}/"): v for k, v in tensors.items()
                  if k.startswith(f"state/{name}/")}  # fmt: skip
        assert held.keys() == wanted.keys()
        for key, value in wanted.items():
            torch.testing.assert_close(held[key].reshape(value.shape), value, rtol=1e-6, atol=1e-7)


def test_configs(golden):
    """Arguments of the file, and the function's defaults for those that it leaves out."""
    record = Pggan().read(golden("pggan/pickle32_nosource.pkl"))
    assert record.config.generator == PgganGenerator(fmap_base=64, fmap_max=12)
    assert record.config.discriminator == PgganDiscriminator(fmap_base=64, fmap_max=12)
    assert record.config.image_shape == (3, 32, 32)
    record = Pggan().read(golden("pggan/pickle16_cond_lod_nosource.pkl"))
    assert record.config.num_classes == 4
    assert record.config.origin["lod"] == pytest.approx(0.6)
    assert network(record, "generator").lod == pytest.approx(0.6)
    record = Pggan().read(golden("pggan/pickle_theano16.pkl"))
    assert record.config.generator == PgganGenerator(
        z_dim=10, fmap_base=64, fmap_max=10, fused_scale=False
    )
    assert record.config.discriminator == PgganDiscriminator(
        fmap_base=64, fmap_max=10, fused_scale=False, group_size=16
    )


@torch.no_grad()
def test_an_unfinished_network_is_at_its_level(golden):
    """lod 0.6: neither the finished picture nor the coarser one."""
    tensors = load_file(golden("pggan/pickle16_cond_lod_nosource.safetensors"))
    net = network(Pggan().read(golden("pggan/pickle16_cond_lod_nosource.pkl")), "generator")
    wanted = tensors["out/Gs_images"]
    for lod in (0.0, 1.0):
        net.lod = lod
        images = net(tensors["in/latents"], tensors["in/labels"])
        assert float((images - wanted).abs().max()) > 0.01


@torch.no_grad()
def test_latents_are_normalized_inside(golden):
    """Twice the latents, the same picture; with labels, which are normalized along, another."""
    for name, alike in (("pickle32_nosource", True), ("pickle16_cond_lod_nosource", False)):
        tensors = load_file(golden(f"pggan/{name}.safetensors"))
        net = network(Pggan().read(golden(f"pggan/{name}.pkl")), "generator")
        z, y = tensors["in/latents"], tensors.get("in/labels")
        gap = float((net(2 * z, y) - net(z, y)).abs().max())
        assert (gap < 1e-4) is alike


@pytest.mark.parametrize("name", KEYS)
@pytest.mark.parametrize("player", ["G", "D"])
def test_the_published_networks_variables(golden, name, player):
    """Names, shapes and order of all that a published file holds, there and back."""
    shape, num_classes, fused = KEYS[name]
    keys = json.loads(golden(f"pggan/{name}.json").read_text())[player]
    role = "generator" if player == "G" else "discriminator"
    config = (PgganGenerator if player == "G" else PgganDiscriminator)(fused_scale=fused)
    with torch.device("meta"):
        net = config.build(shape, num_classes)
        theirs = {key: torch.empty(size) for key, size in keys.items()}
    check_fit(net, to_limner(role, config, theirs), name)
    back = to_reference(role, config, net.state_dict())
    assert [(key, list(value.shape)) for key, value in back.items()] == list(keys.items())


# --- commands ------------------------------------------------------------------


def done(capsys, *words):
    assert main([str(word) for word in words]) == 0, capsys.readouterr().err
    return capsys.readouterr().out


def test_commands_make_the_originals_pictures(golden, tmp_path, capsys):
    """import, sample (uint8 and float, which goes beyond 1) and interpolate."""
    name = "pickle16_cond_lod_nosource"
    tensors = load_file(golden(f"pggan/{name}.safetensors"))
    model = tmp_path / "model"
    said = done(capsys, "import", "pggan", golden(f"pggan/{name}.pkl"), "--out", model)
    assert "PgganGenerator, 3x16x16, 4 classes" in said
    assert "lod: 0.6" in said
    for key, file in (("latents", "z.npy"), ("labels", "y.npy")):
        np.save(tmp_path / file, tensors[f"in/{key}"].numpy())
    given = ("--z", tmp_path / "z.npy", "--y", tmp_path / "y.npy", "--device", "cpu")
    done(capsys, "sample", model, *given, "--float", "--out", tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz") as held:
        wanted = tensors["out/Gs_images_uint8"].permute(0, 2, 3, 1)
        alike(torch.from_numpy(held["images"]), wanted)
        near(torch.from_numpy(held["images_float"]), tensors["out/Gs_images"])
        assert abs(held["images_float"]).max() > 1.5
    done(capsys, "sample", f"{model}:raw", *given, "--float", "--out", tmp_path / "b.npz")
    with np.load(tmp_path / "b.npz") as held:
        near(torch.from_numpy(held["images_float"]), tensors["out/G_images"])
    walk = ("--from", "0:3", "--to", "1:2", "--steps", 3, "--out", tmp_path / "walk.png")
    done(capsys, "interpolate", model, *walk)
    with Image.open(tmp_path / "walk.png") as picture:
        assert picture.width >= 3 * 16


def test_one_network_by_the_command(golden, tmp_path, capsys):
    file = golden("pggan/pickle_theano16.pkl")
    done(capsys, "import", "pggan", file, "--out", tmp_path / "m", "--set", "net=G")
    done(capsys, "sample", tmp_path / "m", "--num", 2, "--grid", "--out", tmp_path / "a.png")
    assert main(["import", "pggan", str(file), "--out", str(tmp_path / "n"), "--set", "net=D"]) == 1
    assert "needs a generator; take Gs or G" in capsys.readouterr().err
