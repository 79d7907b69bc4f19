"""The distances against torch-fidelity's own numbers, within the tolerances its file states."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from limner.metrics import (
    Reference,
    frechet_distance,
    frechet_from_moments,
    gaussian_kernel,
    inception_score,
    kernel,
    kernel_distance,
    moments,
    polynomial_kernel,
    precision_recall_density_coverage,
    score,
    streams,
)
from limner.metrics.arrays import ArrayData

ZEROS = np.zeros(500, np.int64)


@pytest.fixture(scope="module")
def expected(golden):
    return json.loads(golden("torch_fidelity/metrics.json").read_text())["expected"]


@pytest.fixture(scope="module")
def f(golden):
    tensors = load_file(golden("torch_fidelity/metrics.safetensors"))
    return {key.removeprefix("in/"): tensors[key] for key in tensors} | {"tensors": tensors}


def fid(expected, name):
    return expected[name]["frechet_inception_distance"]


def test_frechet_distance(f, expected):
    f1, f2, f3 = f["f1"], f["f2"], f["f3"]
    assert frechet_distance(f1, f2) == pytest.approx(fid(expected, "fid_double_f1_f2"), rel=1e-6)
    assert frechet_distance(f1, f2) == pytest.approx(fid(expected, "fid_f1_f2"), rel=1e-4)
    assert frechet_distance(f1, f3) == pytest.approx(
        fid(expected, "fid_f1_f3 (subset, 300)"), rel=1e-4
    )
    assert frechet_distance(f1, f1) == pytest.approx(0.0, abs=1e-9)


def test_frechet_distance_of_fewer_images_than_dimensions(f, expected):
    reference = fid(expected, "fid_rank_deficient_f1[:40]_f2[:40]")
    assert frechet_distance(f["f1"][:40], f["f2"][:40]) == pytest.approx(reference, rel=1e-6)
    both = (*moments(f["f1"][:40]), *moments(f["f2"][:40]))
    assert frechet_from_moments(*both) == pytest.approx(reference, rel=1e-6)


def test_moments(f):
    mean, covariance = moments(f["f1"])
    assert (mean - f["tensors"]["out/fid_mu_f1"]).abs().max() < 1e-6  # float32 in the peer
    assert (covariance - f["tensors"]["out/fid_sigma_f1"]).abs().max() < 1e-9


@pytest.mark.parametrize(
    ("name", "other", "options"),
    [
        ("kid_20x100", "f2", {"num_subsets": 20, "subset_size": 100, "seed": 2020}),
        ("kid_seed7_5x250_f3", "f3", {"num_subsets": 5, "subset_size": 250, "seed": 7}),
        (
            "kid_rbf_sigma10",
            "f2",
            {"num_subsets": 20, "subset_size": 100, "seed": 2020, "kernel": gaussian_kernel(10.0)},
        ),
        (
            "kid_degree2_gamma0.1_coef0.5",
            "f2",
            {
                "num_subsets": 20,
                "subset_size": 100,
                "seed": 2020,
                "kernel": polynomial_kernel(2, 0.1, 0.5),
            },
        ),
    ],
)
@pytest.mark.parametrize("one_matrix", [4096, 0])  # both ways of computing the subsets
def test_kernel_distance(f, expected, name, other, options, one_matrix, monkeypatch):
    monkeypatch.setattr(kernel, "NUM_ROWS_OF_ONE_MATRIX", one_matrix)
    mean, deviation = kernel_distance(f["f1"], f[other], **options)
    reference = expected[name]
    # float32 kernels in the peer: relative 1e-4 of the kernel's terms
    assert mean == pytest.approx(reference["kernel_inception_distance_mean"], rel=1e-4, abs=1e-7)
    assert deviation == pytest.approx(
        reference["kernel_inception_distance_std"], rel=1e-4, abs=1e-7
    )


@pytest.mark.parametrize(
    ("name", "real", "k"),
    [
        ("prc_k3_full", "f2", 3),
        ("prc_k3_part", "f2", 3),
        ("prc_k5_full", "f2", 5),
        ("prc_k5_part", "f2", 5),
        ("prc_k3_f1_f3", "f3", 3),
    ],
)
def test_precision_and_recall(f, expected, name, real, k):
    found = precision_recall_density_coverage(f[real], f["f1"], k)
    assert found.precision == pytest.approx(expected[name]["precision"], abs=1e-6)
    assert found.recall == pytest.approx(expected[name]["recall"], abs=1e-6)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("isc_splits10_shuffle_seed2020", {}),
        ("isc_splits10_noshuffle", {"shuffle_seed": None}),
        ("isc_splits7", {"num_splits": 7}),
        ("isc_splits1", {"num_splits": 1}),
    ],
)
def test_inception_score(f, expected, name, options):
    mean, deviation = inception_score(f["logits"].double().softmax(dim=1), **options)
    assert mean == pytest.approx(expected[name]["inception_score_mean"], rel=1e-9)
    assert deviation == pytest.approx(expected[name]["inception_score_std"], rel=1e-9, abs=1e-9)


class Planted:
    """Features and logits of the golden file, for images that say which row they stand for."""

    name, weights_sha256 = "planted", None

    def __init__(self, f):
        self.tables, self.classes = (f["f1"], f["f2"]), f["logits"]

    def rows(self, images):
        table, high, low = images.flatten(1).long().T
        places = 256 * high + low
        features = [self.tables[t][i] for t, i in zip(table, places, strict=True)]
        return torch.stack(features), self.classes[places]

    def features(self, images):
        return self.rows(images)[0]

    def logits(self, images):
        return self.rows(images)[1]


def pictures_of(table, num):
    """uint8 [num, 1, 1, 3]: the table, and the row's number in two digits."""
    places = torch.arange(num)
    return torch.stack([torch.full((num,), table), places // 256, places % 256], 1).view(
        num, 1, 1, 3
    )


@pytest.mark.parametrize("together", [True, False])
def test_evaluation_itself_gives_the_peers_values(f, expected, monkeypatch, together):
    """The same numbers by the way that `limner evaluate` takes, part by part, all at once or not:
    with the peer's seed the subsets and splits are the peer's, too."""
    monkeypatch.setattr(kernel, "NUM_SUBSETS", 20)
    monkeypatch.setattr(kernel, "SUBSET_SIZE", 100)
    monkeypatch.setattr(streams, "IMAGES_PER_PART", 64)
    real = ArrayData(pictures_of(1, 500).permute(0, 2, 3, 1).byte().numpy(), ZEROS, 0, "f2")
    metrics = ["fid", "kid", "is", "prdc"]
    asked = [metrics] if together else [[name] for name in metrics]
    found = {}
    for names in asked:
        reference = Reference(real, Planted(f), seed=2020)
        results = score(reference, pictures_of(0, 500).byte(), None, names)
        found |= {result.name: result for result in results}
    distance, kd, inception = (found[f"{key}-planted"] for key in ("fd", "kd", "is"))
    assert distance.value == pytest.approx(fid(expected, "fid_double_f1_f2"), rel=1e-6)
    wanted = expected["kid_20x100"]
    for value, key in ((kd.value, "mean"), (kd.std, "std")):
        reference = wanted[f"kernel_inception_distance_{key}"]
        assert value == pytest.approx(reference, rel=1e-4, abs=1e-7)
    wanted = expected["isc_splits10_shuffle_seed2020"]
    for value, key in ((inception.value, "mean"), (inception.std, "std")):
        assert value == pytest.approx(wanted[f"inception_score_{key}"], rel=1e-9)
    for key in ("precision", "recall"):
        assert found[key].value == pytest.approx(expected["prc_k3_full"][key], abs=1e-6)


@pytest.mark.parametrize("num_splits", [10, 7])
def test_inception_score_with_the_splits_of_biggan_pytorch(golden, num_splits):
    about = json.loads(golden("biggan/inception_utils.json").read_text())
    probabilities = load_file(golden("biggan/inception_utils.safetensors"))["in/probs"]
    wanted = about["expected"][f"calculate_inception_score splits={num_splits} [mean, std]"]
    found = inception_score(probabilities, num_splits, shuffle_seed=None, drop_remainder=True)
    assert found == pytest.approx(wanted, abs=1e-5)
