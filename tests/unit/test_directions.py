"""Directions read off the weights: those of the first layer, or of the layers that read styles."""

import numpy as np
import pytest
import torch
from toy_sampling import toy_model

import limner
from limner.api.exploring import (
    crossed_images,
    data_of_run,
    directions_of,
    level_images,
    moved_plan,
    nearest_pictures,
)
from limner.checkpoints import ModelConfig, RunDirectory
from limner.core.errors import LimnerError
from limner.models import (
    BigGanDeepGenerator,
    BigGanGenerator,
    DcganGenerator,
    PgganGenerator,
    StyleGan2Generator,
)
from limner.sampling import Model
from limner.sampling.directions import principal_directions
from runs import toy_data
from styled import styled_model


def test_they_are_the_eigenvectors_of_the_first_layer():
    model = toy_model(num_classes=3)
    weight = model.generator.linear.weight.detach()
    expected = torch.linalg.svd(weight).Vh[:4]
    found = directions_of(model)[:4]
    assert torch.allclose((found * expected).sum(1).abs(), torch.ones(4), atol=1e-5)
    with torch.no_grad():
        gains = (weight @ found.T).norm(dim=0)
    assert (gains.diff() <= 1e-5).all()


def test_with_styles_they_are_those_of_the_layers_that_read_them():
    model = styled_model()
    weights = torch.cat([layer.weight.detach() for layer in model.generator.layers])
    expected = torch.linalg.svd(weights).Vh
    found = directions_of(model)
    assert torch.allclose((found * expected).sum(1).abs(), torch.ones(len(found)), atol=1e-5)


GENERATORS = {
    "dcgan": (DcganGenerator(width=4, z_dim=8, embedding_dim=4), 8),
    "biggan": (BigGanGenerator(width=4), None),
    "biggan-deep": (BigGanDeepGenerator(width=4), None),
    "pggan": (PgganGenerator(z_dim=8, fmap_base=64, fmap_max=8), 8),
    "stylegan2": (StyleGan2Generator(z_dim=8, w_dim=8, num_mapping=2, channel_base=128, channel_max=8), 8),
}  # fmt: skip


@pytest.mark.parametrize("name", GENERATORS)
def test_every_kind_of_generator_has_some_and_stays_as_it_was(name):
    config, width = GENERATORS[name]
    torch.manual_seed(0)
    network = config.build((3, 32, 32), 4 if "biggan" in name else 0)
    network.train()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    found = principal_directions(network, 4 if "biggan" in name else 0, 3)
    assert found.shape == (3, width or network.z_dim)
    assert torch.allclose(found @ found.T, torch.eye(3), atol=1e-4)
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())
    assert network.training
    assert not any(module._forward_hooks for module in network.modules())


@pytest.mark.parametrize("model", [toy_model(), styled_model()], ids=["z", "w"])
def test_a_move_changes_the_picture_and_none_does_not(model):
    plan = model.plan(seeds=3)
    here = model.draw(moved_plan(model, plan, [0.0, 0.0]))
    assert np.array_equal(here, model.draw(plan))
    assert not np.array_equal(model.draw(moved_plan(model, plan, [5.0])), here)
    with pytest.raises(LimnerError, match="finite"):
        moved_plan(model, plan, [float("nan")])


@pytest.mark.parametrize("model", [toy_model(), styled_model()], ids=["z", "w"])
def test_samples_along_a_direction(model, tmp_path):
    options = limner.SampleOptions(seeds="3,4", direction=1, amount=-2.0)
    limner.save_samples(model, tmp_path / "moved.npz", options)
    plan = moved_plan(model, model.plan(seeds="3,4"), [-2.0])
    with np.load(tmp_path / "moved.npz") as made:
        assert np.array_equal(made["images"], model.draw(plan))
    with pytest.raises(LimnerError, match=r"--direction 99: this model has \d"):
        limner.save_samples(model, tmp_path / "no.npz", limner.SampleOptions(num=1, direction=99))
    for wrong in ({"amount": 1.0}, {"direction": 0}):
        with pytest.raises(LimnerError, match=r"--amount 1: say along|--direction 0: 1 is"):
            limner.SampleOptions(**wrong)


@pytest.mark.parametrize("num_classes", [0, 3])
def test_styles_cross_layer_by_layer_from_the_finest(num_classes):
    model = styled_model(num_classes)
    ends = ("2:kind 0", "5:kind 2") if num_classes else ("2", "5")
    images = crossed_images(model, limner.WalkOptions(*ends, truncation=0.8))
    assert len(images) == 4
    of_class = {"classes": [0]} if num_classes else {}
    assert np.array_equal(images[:1], model.sample(seeds=2, truncation=0.8, **of_class))
    of_class = {"classes": [2]} if num_classes else {}
    assert np.array_equal(images[3:], model.sample(seeds=5, truncation=0.8, **of_class))
    assert not np.array_equal(images[1], images[0])
    a, b = (model.styles(model.plan(seeds=seed)) for seed in (2, 5))
    if not num_classes:
        own = np.concatenate([a[:, :2], b[:, 2:]], axis=1)
        assert np.array_equal(images[1:2], model.sample(styles=own, truncation=0.8))
    with pytest.raises(LimnerError, match="no styles"):
        crossed_images(toy_model(), limner.WalkOptions())


def test_levels_of_a_network_that_grew():
    config = PgganGenerator(z_dim=8, fmap_base=64, fmap_max=8)
    model = Model(
        ModelConfig(generator=config, image_shape=(3, 16, 16)), config.build((3, 16, 16), 0).eval()
    )
    plan = model.plan(seeds=1)
    images = level_images(model, plan)
    assert len(images) == 3
    assert np.array_equal(images[-1], model.draw(plan)[0])
    coarse = images[0].reshape(4, 4, 4, 4, 3)
    assert (coarse == coarse[:, :1, :, :1]).all()  # squares of one colour
    assert model.generator.lod == 0
    assert level_images(toy_model(), toy_model().plan(seeds=1)) == []


def test_the_nearest_training_pictures(tmp_path):
    data = toy_data(tmp_path)
    run = RunDirectory(tmp_path / "run")
    run.create()
    run.write_data(data, "toys")
    found = nearest_pictures(data_of_run(run), np.asarray(data.images[5]), 3)
    assert np.array_equal(found[0], data.images[5])
    assert len(found) == 3
    with pytest.raises(LimnerError, match="another shape"):
        nearest_pictures(data, np.zeros((8, 8, 1), np.uint8))
