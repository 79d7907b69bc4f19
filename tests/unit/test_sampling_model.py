"""Generation leaves the generator alone; a model's sample keeps the promised order."""

import numpy as np
import pytest
import torch
from toy_sampling import ToyNetwork, toy_description, toy_generator, toy_model

from limner.checkpoints import ModelRecord, write_model
from limner.core.errors import CheckpointError, LimnerError
from limner.core.files import sha256_of
from limner.core.images import to_uint8
from limner.sampling import Model, generate, generate_batches, latents_from_seeds, load


def test_generation_restores_modes_and_touches_no_buffer_or_random_state():
    generator = toy_generator()
    generator.train()
    generator.norm.eval()
    before = {name: value.clone() for name, value in generator.state_dict().items()}
    state = torch.get_rng_state()
    images = generate(generator, latents_from_seeds(range(5), 6), batch_size=2)
    assert images.shape == (5, 3, 8, 8)
    assert images.dtype == torch.float32
    assert (generator.training, generator.drop.training, generator.norm.training) == (
        True,
        True,
        False,
    )
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(before[name], value) for name, value in generator.state_dict().items())


def test_modes_are_back_between_batches_and_after_an_error():
    generator = toy_generator().train()
    for _ in generate_batches(generator, torch.zeros(4, 6), batch_size=2):
        assert generator.training
        assert not torch.is_inference_mode_enabled()
    with pytest.raises(RuntimeError):
        generate(generator, torch.zeros(2, 7))
    assert generator.training


def test_generation_is_in_eval_mode_and_gives_ordinary_tensors():
    generator = toy_generator().train()
    z = latents_from_seeds(range(4), 6)
    images = generate(generator, z)
    with torch.no_grad():
        assert torch.allclose(images, generator.eval()(z), atol=1e-6)
    assert not images.is_inference()
    assert not images.requires_grad


def test_batches_agree_within_the_promise():
    generator, z = toy_generator(), latents_from_seeds(range(13), 6)
    assert torch.allclose(
        generate(generator, z, batch_size=13), generate(generator, z, batch_size=3), atol=1e-5
    )


def test_double_precision_networks_are_fed_doubles():
    images = generate(
        toy_generator(4).double(), latents_from_seeds([0], 6), torch.eye(4)[:1].double()
    )
    assert images.dtype == torch.float32


def test_one_image_per_class_and_seed_class_major():
    model = toy_model(4)
    images = model.sample(seeds="5-6,9", classes=[3, 1])
    z = latents_from_seeds([5, 6, 9, 5, 6, 9], 6)
    y = torch.tensor([3, 3, 3, 1, 1, 1])
    expected = to_uint8(generate(model.generator, z, y)).permute(0, 2, 3, 1).numpy()
    assert images.dtype == np.uint8
    assert images.shape == (6, 8, 8, 3)
    assert np.array_equal(images, expected)


def test_num_means_seeds_from_seed_on():
    model = toy_model()
    assert np.array_equal(model.sample(num=3, seed=7), model.sample(seeds=[7, 8, 9]))
    assert len(model.sample()) == 16


def test_without_classes_each_seed_has_its_own():
    model = toy_model(3)
    plan = model.plan(seeds=[4, 0, 2])
    assert plan.y is not None
    assert plan.y.tolist() == [1, 0, 2]
    assert np.array_equal(model.sample(seeds=[4]), model.sample(seeds=[4], classes=1))


def test_classes_by_name_number_and_all():
    model = toy_model(3)
    assert model.class_indices("all") == [0, 1, 2]
    assert model.class_indices(["kind 2", 0]) == [2, 0]
    assert model.class_indices(1) == model.class_indices(np.int64(1)) == [1]
    assert model.class_indices(np.array([2, 1])) == [2, 1]
    assert model.plan(seeds=np.int64(4)).seeds == model.plan(seeds=4).seeds == [4]
    assert model.plan(seeds=np.arange(3)).seeds == [0, 1, 2]


def test_given_latents_and_labels_are_used_as_they_are():
    model = toy_model(3)
    z = np.random.default_rng(0).normal(size=(2, 6))
    rows = np.array([[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]], np.float64)
    images = model.sample(z=z, y=rows, as_float=True)
    expected = generate(model.generator, torch.tensor(z).float(), torch.tensor(rows).float())
    assert np.array_equal(images, expected.numpy())
    assert np.abs(images).max() > 1, "floats are not clipped"
    one_hot = model.sample(z=z, y=np.eye(3, dtype=np.float32)[[2, 0]], as_float=True)
    assert np.allclose(model.sample(z=z, y=np.array([2, 0]), as_float=True), one_hot, atol=1e-5)


def test_latents_meet_classes_and_labels_meet_seeds():
    model = toy_model(3)
    z = torch.zeros(2, 6)
    assert model.plan(z=z).y.tolist() == [0, 1]
    assert model.plan(z=z, classes=[2, 0]).y.tolist() == [2, 2, 0, 0]
    plan = model.plan(y=[2, 2, 1], seed=5)
    assert plan.seeds == [5, 6, 7]
    assert plan.y.tolist() == [2, 2, 1]


@pytest.mark.parametrize(
    ("num_classes", "arguments", "message"),
    [
        (3, {"classes": [3]}, "class 3 is out of range"),
        (3, {"classes": []}, "classes is empty"),
        (0, {"classes": [0]}, "has no classes"),
        (0, {"classes": "all"}, "has no classes"),
        (0, {"y": [0]}, "has no classes"),
        (3, {"z": torch.zeros(2, 5)}, r"needs \[N, 6\]"),
        (3, {"z": torch.zeros(6)}, r"needs \[N, 6\]"),
        (3, {"z": torch.full((1, 6), torch.nan)}, "not finite"),
        (3, {"z": torch.zeros(2, 6), "num": 2}, "leave out num"),
        (3, {"z": torch.zeros(2, 6), "truncation": 0.5}, "leave out num"),
        (3, {"y": [0, 3]}, "class 3 is out of range"),
        (3, {"y": torch.zeros(2, 4)}, r"numbers \[N, 3\]"),
        (3, {"y": [0.5, 0.5]}, r"integers \[N\]"),
        (3, {"y": [0, 1], "num": 3}, "y has 2 rows"),
        (3, {"y": [0], "classes": [1]}, "either y or classes"),
        (3, {"num": 2, "seeds": [1]}, "either num or seeds"),
        (3, {"num": 0}, "num 0 is less than 1"),
        (3, {"seeds": []}, "seeds is empty"),
        (3, {"truncation": -1.0}, "finite number > 0"),
        (3, {"batch_size": 0}, "batch_size 0"),
    ],
)
def test_wrong_requests_are_refused_in_words(num_classes, arguments, message):
    with pytest.raises(LimnerError, match=message):
        toy_model(num_classes).sample(**arguments)


def test_a_live_generator_stays_in_training():
    generator = toy_generator().train()
    Model(toy_description(), generator).sample(num=2)
    assert generator.training
    assert all(p.requires_grad for p in generator.parameters())


def test_a_picture_describes_itself():
    model = toy_model(3)
    text = model.describe(model.plan(seeds=[8], classes=[1], truncation=0.7), 0)
    assert text["seed"] == "8"
    assert text["truncation"] == "0.7"
    assert (text["label"], text["class_name"]) == ("1", "kind 1")
    assert text["model_sha256"] == model.sha256


def test_the_hash_follows_the_weights_alone():
    model, same, other = toy_model(), toy_model(), toy_model()
    with torch.no_grad():
        other.generator.linear.weight[0, 0] += 1
    assert model.sha256 == same.sha256
    assert model.sha256 != other.sha256


def record_of(model, **changes) -> ModelRecord:
    weights = {**model.generator.state_dict(), **changes}
    return ModelRecord(toy_description(model.num_classes), weights)


def test_a_record_becomes_the_same_model_without_drawing_numbers():
    model = toy_model(3)
    state = torch.get_rng_state()
    built = Model.from_record(record_of(model), device="cpu")
    assert torch.equal(state, torch.get_rng_state())
    assert built.sha256 == model.sha256
    assert (built.z_dim, built.image_shape, built.num_classes) == (ToyNetwork().z_dim, (3, 8, 8), 3)
    assert not built.generator.training
    assert not any(p.requires_grad for p in built.generator.parameters())
    assert np.array_equal(built.sample(num=4), model.sample(num=4))


def test_weights_that_do_not_fit_are_named():
    record = record_of(toy_model(), **{"linear.bias": torch.zeros(3)})
    with pytest.raises(CheckpointError, match=r"generator: .*'linear.bias' is \[3\]"):
        Model.from_record(record, device="cpu")


def test_a_model_folder_is_loaded_whole(tmp_path):
    model = toy_model(3)
    write_model(tmp_path / "m", record_of(model))
    loaded = load(tmp_path / "m", device="cpu")
    assert loaded.config.generator == ToyNetwork()
    assert loaded.class_names == ("kind 0", "kind 1", "kind 2")
    assert loaded.discriminator is None
    assert loaded.sha256 == sha256_of(tmp_path / "m" / "model.safetensors") == model.sha256
    assert np.array_equal(loaded.sample(num=4), model.sample(num=4))
    with pytest.raises(CheckpointError, match="no such run"):
        load(tmp_path / "other")


def test_raw_weights_and_the_discriminator_are_found(tmp_path):
    model = toy_model()
    raw = {name: value + 1 for name, value in model.generator.state_dict().items()}
    record = ModelRecord(
        toy_description().replace(discriminator=ToyNetwork()),
        model.generator.state_dict(),
        generator_raw=raw,
        discriminator=model.generator.state_dict(),
    )
    write_model(tmp_path / "m", record)
    loaded = load(f"{tmp_path / 'm'}:raw", device="cpu")
    assert torch.equal(loaded.generator.linear.bias, model.generator.linear.bias + 1)
    assert loaded.sha256 != load(tmp_path / "m", device="cpu").sha256
    assert loaded.discriminator is not None
    assert not loaded.discriminator.training
