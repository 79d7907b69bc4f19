"""The distances against torch-fidelity's own numbers, within the tolerances its file states."""

import json

import pytest
from safetensors.torch import load_file

from limner.metrics import (
    frechet_distance,
    frechet_from_moments,
    gaussian_kernel,
    inception_score,
    kernel,
    kernel_distance,
    moments,
    polynomial_kernel,
    precision_recall_density_coverage,
)


@pytest.fixture(scope="module")
def expected(golden):
    return json.loads((golden / "torch_fidelity" / "metrics.json").read_text())["expected"]


@pytest.fixture(scope="module")
def f(golden):
    tensors = load_file(golden / "torch_fidelity" / "metrics.safetensors")
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
    [("prc_k3_full", "f2", 3), ("prc_k5_full", "f2", 5), ("prc_k3_f1_f3", "f3", 3)],
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
    assert mean == pytest.approx(expected[name]["inception_score_mean"], rel=1e-5)
    assert deviation == pytest.approx(expected[name]["inception_score_std"], rel=1e-5, abs=1e-9)


@pytest.mark.parametrize("num_splits", [10, 7])
def test_inception_score_with_the_splits_of_biggan_pytorch(golden, num_splits):
    folder = golden / "biggan"
    about = json.loads((folder / "inception_utils.json").read_text())
    probabilities = load_file(folder / "inception_utils.safetensors")["in/probs"]
    wanted = about["expected"][f"calculate_inception_score splits={num_splits} [mean, std]"]
    found = inception_score(probabilities, num_splits, shuffle_seed=None, drop_remainder=True)
    assert found == pytest.approx(wanted, abs=1e-5)
