"""Latents belong to their seed; truncation; texts that name seeds and classes."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from limner.core.errors import LimnerError
from limner.sampling import latents_from_seeds, parse_classes, parse_seeds

SEEDS = st.lists(st.integers(0, 2**63), min_size=1, max_size=6)
THRESHOLDS = st.floats(1e-6, 6.0)


@settings(max_examples=30, deadline=None)
@given(
    SEEDS,
    st.integers(1, 40),
    st.one_of(st.none(), THRESHOLDS),
    st.sampled_from(["resample", "scale"]),
)
def test_a_row_depends_on_its_seed_alone(seeds, z_dim, truncation, mode):
    together = latents_from_seeds(seeds, z_dim, truncation, mode)
    assert together.shape == (len(seeds), z_dim)
    assert together.dtype == torch.float32
    for i, seed in enumerate(seeds):
        alone = latents_from_seeds([seed], z_dim, truncation, mode)[0]
        assert torch.equal(alone, together[i])


def test_latents_ignore_and_keep_the_global_random_state():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = latents_from_seeds([3], 8, 0.5)
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(2)
    assert torch.equal(first, latents_from_seeds([3], 8, 0.5))


def test_neighbouring_seeds_are_independent_standard_normals():
    z = latents_from_seeds(range(400), 100)
    assert abs(z.mean()) < 0.02
    assert abs(z.std() - 1) < 0.02
    assert abs((z[1:] * z[:-1]).mean()) < 0.02


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1000), THRESHOLDS)
def test_resampled_values_are_inside_and_the_others_stay(seed, truncation):
    plain = latents_from_seeds([seed], 64)
    cut = latents_from_seeds([seed], 64, truncation)
    assert (cut.abs() <= truncation).all()
    stays = plain.abs() < truncation * 0.9999
    assert torch.equal(cut[stays], plain[stays])


@pytest.mark.parametrize("truncation", [0.1, 0.7, 2.0])
def test_resampling_has_the_law_of_the_cut_normal(truncation):
    values = latents_from_seeds(range(300), 200, truncation).double().reshape(-1).sort().values
    scale = math.erf(truncation / math.sqrt(2))
    expected = (torch.erf(values / math.sqrt(2)) / scale + 1) / 2
    empirical = torch.arange(len(values), dtype=torch.float64) / len(values)
    assert (expected - empirical).abs().max() < 1.63 / math.sqrt(len(values))  # KS, 1 %


def test_scaling_multiplies():
    plain = latents_from_seeds([0, 1], 16)
    assert torch.allclose(latents_from_seeds([0, 1], 16, 0.5, "scale"), plain * 0.5)


@pytest.mark.parametrize("truncation", [0.0, -1.0, math.inf, math.nan])
def test_an_impossible_threshold_is_refused(truncation):
    with pytest.raises(LimnerError, match="finite number > 0"):
        latents_from_seeds([0], 4, truncation)


@pytest.mark.usefixtures("unchecked")
def test_wrong_mode_and_negative_seed_are_refused():
    with pytest.raises(LimnerError, match="nearest is 'resample'"):
        latents_from_seeds([0], 4, 1.0, "resampel")  # type: ignore[arg-type]
    with pytest.raises(LimnerError, match="seed -1 is negative"):
        latents_from_seeds([-1], 4)


def test_no_seeds_give_no_rows():
    assert latents_from_seeds([], 4).shape == (0, 4)


def test_seeds_are_parsed_in_order():
    assert parse_seeds("0-3,70, 5 ,2-2") == [0, 1, 2, 3, 70, 5, 2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is no seed or range"),
        ("1,,2", "is no seed or range"),
        ("a", "'a' is no seed"),
        ("-1", "is no seed"),
        ("5-2", "runs backwards"),
        ("0-99999999999", "more than"),
    ],
)
def test_wrong_seeds_are_named(text, message):
    with pytest.raises(LimnerError, match=message):
        parse_seeds(text)


def test_classes_by_index_range_name_and_all():
    names = ["hen", "golden retriever", "tench, Tinca tinca"]
    assert parse_classes("all", 3) == [0, 1, 2]
    assert parse_classes("2,0-1", 3) == [2, 0, 1]
    assert parse_classes("golden retriever, hen", 3, names) == [1, 0]
    assert parse_classes("tench, Tinca tinca", 3, names) == [2]


def test_a_number_is_never_another_numbers_class():
    """Folders called 1 to 3, or the classes of labels 5, 900: index 1 is called otherwise."""
    assert parse_classes("1", 3, ["1", "2", "3"]) == [0]
    assert parse_classes("1-3", 3, ["1", "2", "3"]) == [0, 1, 2]
    assert parse_classes("900,5", 2, ["5", "900"]) == [1, 0]
    assert parse_classes("7", 2, ["07", "8"]) == [0]
    assert parse_classes("10", 12, [str(i) for i in range(12)]) == [10]
    assert parse_classes("1", 2, ["7", "cat"]) == [1]
    with pytest.raises(LimnerError, match="class 0: no class is called so; these are: 1, 2, 3"):
        parse_classes("0", 3, ["1", "2", "3"])


@pytest.mark.parametrize(
    ("text", "num_classes", "message"),
    [
        ("3", 3, "class 3 is out of range: this model has the classes 0-2"),
        ("-1", 3, "class -1 is out of range"),
        ("0-99999999999", 3, "out of range"),
        ("2-1", 3, "runs backwards"),
        ("hne", 3, "'hne' is no class.*nearest is 'hen'"),
        ("0", 0, "has no classes"),
    ],
)
def test_wrong_classes_are_named(text, num_classes, message):
    with pytest.raises(LimnerError, match=message):
        parse_classes(text, num_classes, ["hen", "cat", "dog"][:num_classes])
