"""The feature extractors: deterministic, cached, blind to the caller's state."""

import sys
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from limner.core.errors import LimnerError
from limner.data import DataConfig, open_data
from limner.metrics import Classifier, Extractor, make_extractor
from limner.metrics.features import ClassifierSettings, classifier, classifier_of, train_classifier
from limner.metrics.features.base import hash_of, images_at, made_small

QUICK = ClassifierSettings(min_epochs=1, max_epochs=1)


@dataclass
class Pictures:
    """Random pictures whose brightness tells the class, in the shape of PreparedData."""

    image_shape: tuple[int, int, int]
    num_classes: int = 2
    num: int = 40

    def __post_init__(self):
        c, h, w = self.image_shape
        random = np.random.default_rng(0)
        self.labels = np.arange(self.num) % max(self.num_classes, 1)
        noise = random.integers(0, 100, (self.num, h, w, c))
        self.images = (noise + 100 * self.labels[:, None, None, None]).clip(0, 255).astype(np.uint8)
        self.sha256 = f"{self.image_shape} {self.num_classes} {self.num}"

    def __len__(self):
        return self.num


@pytest.fixture(scope="module")
def digits():
    return open_data("digits", DataConfig(resolution=8))


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LIMNER_CACHE", str(tmp_path))
    return tmp_path


def test_training_twice_gives_the_same_weights_and_leaves_the_caller_alone(digits):
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    first, accuracy = train_classifier(digits, QUICK)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(123)
    torch.set_num_threads(2)
    try:
        with torch.no_grad():
            second, again = train_classifier(digits, QUICK)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert hash_of(first) == hash_of(second)
    assert accuracy == again
    other, _ = train_classifier(digits, QUICK.replace(seed=1))
    assert hash_of(other) != hash_of(first)


def test_the_second_call_does_not_train(digits, empty_cache, monkeypatch):
    first = classifier_of(digits, QUICK)
    files = list((empty_cache / "classifiers").glob("*.safetensors"))
    assert len(files) == 1

    def refuse(*_):
        raise AssertionError("trained again")

    monkeypatch.setattr(classifier, "train_classifier", refuse)
    second = classifier_of(digits, QUICK)
    assert second.weights_sha256 == first.weights_sha256
    assert second.held_out_accuracy == first.held_out_accuracy
    with pytest.raises(AssertionError, match="trained again"):
        classifier_of(digits, QUICK.replace(lr=1e-3))
    files[0].write_bytes(b"damaged")
    with pytest.raises(LimnerError, match="delete the file"):
        classifier_of(digits, QUICK)


def test_the_classifier_knows_digits_that_it_has_not_seen(digits):
    found = classifier_of(digits)
    assert found.held_out_accuracy >= 0.97
    images = images_at(digits, torch.arange(300))
    labels = torch.from_numpy(np.array(digits.labels[:300]))
    assert (found.logits(images).argmax(1) == labels).double().mean() >= 0.99


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 16, 16), (4, 20, 28), (1, 64, 64), (3, 100, 100)])
@pytest.mark.parametrize("name", ["classifier", "random-conv"])
def test_extractors_fit_any_size_and_number_of_channels(shape, name, empty_cache):
    data = Pictures(shape)
    state = torch.get_rng_state()
    extractor = make_extractor(name, data)
    assert torch.equal(torch.get_rng_state(), state)
    assert isinstance(extractor, Extractor)
    assert extractor.name == name
    assert len(extractor.weights_sha256) == 64
    images = images_at(data, torch.arange(len(data)))
    rows = extractor.features(images)
    assert rows.shape[0] == len(data)
    assert rows.ndim == 2
    assert not rows.requires_grad
    # a row is the image's own, whatever else is in its batch
    torch.testing.assert_close(extractor.features(images[3:5]), rows[3:5], rtol=1e-5, atol=1e-5)
    assert make_extractor(name, data).weights_sha256 == extractor.weights_sha256


def test_small_drawings_have_a_classifier_of_their_own_by_default(empty_cache):
    assert make_extractor(None, Pictures((1, 8, 8))).name == "classifier"
    assert isinstance(make_extractor(None, Pictures((1, 8, 8))), Classifier)
    assert not isinstance(make_extractor("random-conv", Pictures((1, 8, 8))), Classifier)


def test_features_that_cannot_be_had_say_why():
    data = Pictures((1, 8, 8), num_classes=0)
    with pytest.raises(LimnerError, match="use 'random-conv' for data without labels"):
        make_extractor("classifier", data)
    with pytest.raises(LimnerError, match="nearest is 'random-conv'"):
        make_extractor("random-con", data)
    with pytest.raises(LimnerError, match="too few to train"):
        make_extractor("classifier", Pictures((1, 8, 8), num=2))


def test_a_users_extractor_is_found_by_module_and_class(tmp_path, monkeypatch):
    (tmp_path / "my_features.py").write_text(
        "class Mean:\n"
        "    name, weights_sha256 = 'mean', None\n"
        "    def __init__(self, data):\n"
        "        pass\n"
        "    def features(self, images):\n"
        "        return images.float().mean((2, 3))\n"
        "class Nothing:\n"
        "    def __init__(self, data):\n"
        "        pass\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    data = Pictures((2, 8, 8))
    try:
        extractor = make_extractor("my_features:Mean", data)
        assert extractor.features(images_at(data, torch.arange(5))).shape == (5, 2)
        by_file = make_extractor(f"{tmp_path / 'my_features.py'}:Mean", data)
        assert type(by_file) is type(extractor)
        with pytest.raises(LimnerError, match="has no 'Meen'"):
            make_extractor("my_features:Meen", data)
        with pytest.raises(LimnerError, match="an extractor has name"):
            make_extractor("my_features:Nothing", data)
    finally:
        sys.modules.pop("my_features", None)


def test_pixels_of_large_images_are_averaged_down():
    small = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    assert torch.equal(made_small(small), small)
    large = small.repeat_interleave(2, 2).repeat_interleave(2, 3)
    assert torch.equal(made_small(large), small)
