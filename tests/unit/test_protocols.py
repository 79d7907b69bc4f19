"""Protocols of published figures, and how far images move with their generator's input."""

import numpy as np
import pytest
import torch
from test_equivariance import waves

from limner.api.judging import Asked, Judge
from limner.api.scoring import evaluation_sampler
from limner.core.errors import LimnerError
from limner.metrics import (
    PROTOCOLS,
    ImageStream,
    Reference,
    find_metric,
    make_evaluator,
    score,
)
from limner.metrics.arrays import ArrayData
from limner.metrics.base import Fixed
from limner.metrics.equivariance import rotation
from limner.metrics.protocols import num_reals, settings_of
from limner.models import StyleGan2Generator, StyleGan3Generator

SHAPE = (3, 32, 32)


def pictures(num, side=32):
    values = np.random.default_rng(0).integers(0, 256, (num, side, side, 3), np.uint8)
    return ArrayData(values, np.zeros(num, np.int64), 0, "random")


def found(*names):
    return {name: find_metric(name) for name in names}


# --- protocols ---------------------------------------------------------------------


def test_a_protocol_fixes_number_and_features():
    assert settings_of(found("fid50k-full", "kid50k-full", "is50k"), None, None) == (
        50_000,
        "inception",
    )
    assert settings_of(found("fid50k-full"), 50_000, "inception") == (50_000, "inception")
    assert settings_of(found("pr50k3-full"), None, None) == (50_000, "torchvision:vgg16")
    assert settings_of(found("fid", "kid"), 7, "pixels") == (7, "pixels")


@pytest.mark.parametrize(
    ("names", "num", "features", "message"),
    [
        (["fid50k-full"], 10_000, None, "fixes --num 50000, not 10000; leave it out"),
        (["is50k"], None, "effnet-lite0", "fixes --features inception, not effnet-lite0"),
        (["fid", "fid50k-full"], None, None, "'fid50k-full' fixes 50000 images and features"),
        (["fid50k-full", "pr50k3-full"], None, None, "'pr50k3-full' does not; ask for one"),
    ],
)
def test_nothing_of_a_protocol_can_be_changed(names, num, features, message):
    with pytest.raises(LimnerError, match=message):
        settings_of(found(*names), num, features)
    with pytest.raises(LimnerError, match=message):
        Judge(pictures(9), Asked(names, num, features), SHAPE)
    with pytest.raises(LimnerError, match=message):
        make_evaluator(pictures(9), names, num or 50_000, features)


def test_a_protocols_reals_are_all_that_there_are():
    data = pictures(40, 8)
    assert num_reals(found("fid50k-full", "kid50k-full")) is None
    assert num_reals(found("pr50k3-full")) == 200_000
    assert num_reals(found("fid50k", "kid50k")) == num_reals(found("pr50k3")) == 50_000
    assert num_reals(found("fid")) == 50_000
    assert num_reals({}) is None
    assert len(Reference(data, "pixels", most=None)) == 40
    assert len(Reference(data, "pixels", most=30)) == 30


def test_another_number_of_images_is_no_protocol():
    images = torch.zeros(60, 3, 8, 8, dtype=torch.uint8)
    with pytest.raises(LimnerError, match=r"is of 50,000 generated images, and there are 60"):
        score(Reference(pictures(40, 8), "random-conv"), images, None, ["fid50k-full"])


def test_the_whole_way_of_one(monkeypatch):
    kind = type("Small", (PROTOCOLS["fid50k-full"],), {"fixed": Fixed(60, "random-conv")})
    monkeypatch.setitem(PROTOCOLS, "fid50k-full", kind)
    data = pictures(40, 8)
    judge = Judge(data, Asked(["fid50k-full"]), data.image_shape)
    assert (judge.num, judge.reference.extractor.name) == (60, "random-conv")
    images = torch.randint(0, 256, (60, 3, 8, 8), dtype=torch.uint8)
    (result,) = judge.score(images, None)
    assert (result.metric, result.num, result.num_real) == ("fid50k-full", 60, 40)
    (plain,) = score(Reference(data, "random-conv"), images, None, ["fid"])
    assert (result.name, result.value) == (plain.name, plain.value)


def test_precision_and_recall_of_all_images_on_both_sides(monkeypatch):
    metric = find_metric("pr50k3-full")
    assert metric.num_used(50_000, 70_000) == 50_000
    assert metric.num_used(70_000, 50_000) == 70_000
    assert metric.figures == ("precision", "recall")
    kind = type("Small", (type(metric),), {"fixed": Fixed(60, "random-conv")})
    monkeypatch.setitem(PROTOCOLS, "pr50k3-full", kind)
    images = torch.randint(0, 256, (60, 3, 8, 8), dtype=torch.uint8)
    results = score(Reference(pictures(40, 8), "random-conv"), images, None, ["pr50k3-full"])
    assert [(r.name, r.num, r.num_real) for r in results] == [
        ("precision-random-conv", 60, 40),
        ("recall-random-conv", 60, 40),
    ]


# --- equivariance --------------------------------------------------------------------


def stream_of(moved):
    return ImageStream(
        10,
        SHAPE,
        lambda begin, end: torch.zeros(end - begin, *SHAPE, dtype=torch.uint8),
        z_dim=4,
        moved=moved,
    )


def test_images_that_move_with_the_input_score_high_and_others_low():
    reference = Reference(pictures(9), "pixels")

    def along(z, y, numbers, matrix):
        assert z.shape == (len(numbers), 4)
        return waves(matrix, 32).expand(len(z), 3, -1, -1)

    def against(z, y, numbers, matrix):
        return along(z, y, numbers, torch.linalg.inv(matrix))

    scores = {r.name: r for r in score(reference, stream_of(along), None, ["eq"])}
    assert list(scores) == ["eq-t", "eq-t-frac", "eq-r"]
    assert all(r.value > 40 and r.floor is None and r.num == 10 for r in scores.values())
    assert all(r.value < 25 for r in score(reference, stream_of(against), None, ["eq"]))


def test_what_has_no_such_input_has_no_such_score():
    with pytest.raises(LimnerError, match="whose input can be moved and turned: a StyleGAN3"):
        score(Reference(pictures(9), "pixels"), stream_of(None), None, ["eq"])


@pytest.mark.usefixtures("unchecked")
def test_the_sampler_moves_the_input_and_puts_it_back():
    torch.manual_seed(0)
    config = StyleGan3Generator(
        z_dim=4, w_dim=4, num_mapping=1, channel_base=64, channel_max=4, num_layers=3
    )
    generator = config.build(SHAPE, 0)
    stream, _ = evaluation_sampler(generator, 0)(4, 0)
    assert stream.moved is not None
    z, numbers, matrix = torch.randn(2, 4), torch.arange(2), rotation(0.3)
    own = stream.generate(z, None, numbers)
    moved = stream.moved(z, None, numbers, matrix)
    assert torch.equal(generator.input.transform, torch.eye(3))
    assert torch.equal(stream.generate(z, None, numbers), own)
    generator.input.transform.copy_(matrix)
    assert torch.equal(stream.generate(z, None, numbers), moved)
    assert not torch.equal(moved, own)
    other = StyleGan2Generator(z_dim=4, w_dim=4, num_mapping=1, channel_base=32, channel_max=4)
    assert evaluation_sampler(other.build((3, 8, 8), 0), 0)(4, 0)[0].moved is None
