"""What real pictures leave in the cache: never taken for another's, and never in the way."""

import errno
import warnings
from pathlib import Path

import pytest
import torch

from limner.core.files import cache_directory
from limner.data import DataConfig, open_data
from limner.metrics import Reference, evaluate_images, frechet_distance
from limner.metrics import reference as module
from limner.metrics.features.base import images_at
from limner.metrics.reference import halves

METRICS = ("fid", "swd")


class Means:
    """Features with a name and an identity of their own; counts its pictures."""

    name = "means"

    def __init__(self, resize: str | None = None, weights: str = "w" * 64):
        self.resize = resize
        self.weights_sha256: str | None = weights
        self.seen = 0

    def features(self, images: torch.Tensor) -> torch.Tensor:
        self.seen += len(images)
        rows = images.float().flatten(2)
        return torch.cat([rows.mean(2), rows.var(2), rows[:, :, :4].flatten(1)], 1)


@pytest.fixture
def digits():
    return open_data("digits", DataConfig(resolution=16, channels=1))


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("LIMNER_CACHE", str(tmp_path / "cache"))
    return cache_directory() / "statistics"


def scored(digits, extractor):
    fakes = images_at(digits, torch.arange(0, 600, 2))
    return evaluate_images(fakes, None, digits, ("fid",), extractor)


def test_only_the_same_pictures_network_and_resize_hit_the_cache(cache, digits):
    num = len(digits)
    first = Means("bilinear")
    wanted = Reference(digits, first).features
    for other, misses in (
        (Means("bilinear"), False),
        (Means("bicubic"), True),
        (Means(None), True),
        (Means("bilinear", weights="v" * 64), True),
    ):
        found = Reference(digits, other).features
        assert torch.equal(found, wanted)
        assert (other.seen == num) is misses
    again = Means("bilinear")
    for config in (DataConfig(resolution=16, channels=3), DataConfig(resolution=8, channels=1)):
        again.seen = 0
        assert len(Reference(open_data("digits", config), again).features) == again.seen == num


@pytest.mark.parametrize("damage", [b"", b"rubbish", b"[]", b'{"fd": "x"}', None])
def test_a_damaged_file_is_computed_again(cache, digits, damage):
    wanted = scored(digits, Means())
    files = sorted(cache.iterdir())
    assert {file.suffix for file in files} == {".json", ".safetensors"}
    contents = [file.read_bytes() for file in files]
    for file, content in zip(files, contents, strict=True):
        file.write_bytes(content[: len(content) // 2] if damage is None else damage)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        assert scored(digits, Means()) == wanted
    lines = [str(warning.message) for warning in told]
    assert len(lines) == len(files)
    assert all("broken statistics" in line and "computed again" in line for line in lines)
    assert [file.read_bytes() for file in files] == contents
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert scored(digits, Means()) == wanted


def test_a_cache_that_cannot_be_written_costs_no_scores(cache, digits, monkeypatch):
    wanted = scored(digits, Means())

    def refuse(path, content):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(module, "write_atomically", refuse)
    with pytest.warns(UserWarning, match="No space left on device; not cached"):
        assert scored(digits, Means("other"))[0].value == wanted[0].value


def test_few_pictures_have_no_floor_but_a_score(cache, digits):
    class Few:
        images, labels, num_classes, sha256 = digits.images[:3], digits.labels[:3], 0, "few"
        image_shape = digits.image_shape

        def __len__(self):
            return 3

    fakes = images_at(digits, torch.arange(10))
    with pytest.warns(UserWarning, match="'fid' has no floor: it is of halves .* there are 3"):
        (result,) = evaluate_images(fakes, None, Few(), ("fid",), Means())
    assert result.floor is None
    rows = Means().features
    real = images_at(digits, torch.arange(3))
    assert result.value == pytest.approx(frechet_distance(rows(fakes), rows(real)), rel=1e-9)


def test_a_floor_within_classes_has_all_classes_in_both_halves():
    """Of 100 classes a random choice of 200 rows lacks a dozen."""
    labels = torch.arange(100).repeat_interleave(torch.arange(100) % 5 + 4)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    first, second = halves(order, 200, labels)
    assert torch.equal(labels[first].bincount(), torch.full((100,), 2))
    assert int(labels[second].bincount().min()) == 2
    both = torch.cat([first, second])
    assert len(both.unique()) == len(both)
    plain, _ = halves(order, 200)
    assert int(labels[plain].bincount(minlength=100).min()) < 2
    assert sum(map(len, halves(order, 10_000, labels))) == len(labels)


def test_the_distance_within_classes_has_a_floor_for_as_few_images_as_it_takes(cache, digits):
    fakes = images_at(digits, torch.arange(20))
    classes = (torch.arange(20) + 5) % 10  # those of others
    (result,) = evaluate_images(fakes, classes, digits, ("intra-fid",), Means())
    assert result.floor is not None
    assert 0 < result.floor < result.value
