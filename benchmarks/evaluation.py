"""FID's two costs against the reference: features a second, and the distance of 2048 dimensions.

    OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE python benchmarks/evaluation.py
    ... --part features --images 32 --batch-size 8      ... --part distance --dimensions 2048

Features: torch-fidelity's FeatureExtractorInceptionV3 and limner's `inception`, float32 on the CPU,
with the same random weights and the same noise as pictures, batches in turn (A, B, A, B ...) in one
process; features and logits must agree within 1e-4 of the largest. Distance: limner's
`frechet_from_moments` (Cholesky, eigvalsh) and scipy's sqrtm of the product, in float64; they must
agree within 1e-7 of the distance.

Prints one JSON object. The ratios are of CPU time, for the wall clock is not to be trusted on a
machine that does other work. What the packages of the extra `test` lack is skipped and said so.
"""

import argparse
import importlib.util
import json
import math
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from limner.metrics import frechet_from_moments
from limner.metrics.features import pretrained
from limner.metrics.features.inception import InceptionNetwork, fid_inception

FEATURES_TOLERANCE, DISTANCE_TOLERANCE = 1e-4, 1e-7


class Clock:
    """CPU seconds of all threads, and wall seconds, summed over calls."""

    def __init__(self):
        self.cpu = self.wall = 0.0

    def __call__(self, work: Callable[[], Any]) -> Any:
        cpu, wall = time.process_time(), time.perf_counter()
        found = work()
        self.cpu += time.process_time() - cpu
        self.wall += time.perf_counter() - wall
        return found

    def figures(self, num: int) -> dict[str, float]:
        """Both, and images a second of each."""
        return {
            "cpu_seconds": round(self.cpu, 2),
            "wall_seconds": round(self.wall, 2),
            "images_per_cpu_second": round(num / self.cpu, 2),
            "images_per_second": round(num / self.wall, 2),
        }


def random_weights() -> dict[str, Tensor]:
    """Inception's names with values that keep the maps in bounds."""
    with torch.device("meta"):
        shapes = {name: value.shape for name, value in InceptionNetwork(True).state_dict().items()}
    draws, state = torch.Generator().manual_seed(0), {}
    for name, shape in shapes.items():
        drawn = torch.randn(shape, generator=draws)
        if name.endswith("num_batches_tracked"):
            state[name] = torch.zeros((), dtype=torch.int64)
        elif name.endswith(("running_var", "bn.weight")):
            state[name] = 1 + 0.1 * drawn.abs()
        elif drawn.ndim == 4:
            state[name] = drawn * math.sqrt(2 / drawn[0].numel())
        else:
            state[name] = 0.1 * drawn
    return state


def measure_features(num: int, batch_size: int, side: int) -> dict[str, Any]:
    """Images a second of both extractors, and how far they are apart."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "inception.pth"
        torch.save(random_weights(), path)
        theirs = FeatureExtractorInceptionV3(
            "peer", ["2048", "logits_unbiased"], feature_extractor_weights_path=str(path)
        )
        ours = fid_inception(path=path)
    pretrained.BATCH_SIZE = batch_size  # the same for both
    draws = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (num, 3, side, side), generator=draws, dtype=torch.uint8)
    clocks, apart = {"torch-fidelity": Clock(), "limner": Clock()}, 0.0
    with torch.inference_mode():
        ours.rows(images[:batch_size])  # both warm up
        theirs(images[:batch_size])
        for batch in images.split(batch_size):
            wanted = clocks["torch-fidelity"](lambda batch=batch: theirs(batch))
            found = clocks["limner"](lambda batch=batch: ours.rows(batch))
            for a, b in zip(found, wanted, strict=True):
                apart = max(apart, float((a - b).abs().max() / b.abs().max()))
    assert apart <= FEATURES_TOLERANCE, f"features are {apart} apart"
    return {
        "images": num,
        "batch_size": batch_size,
        "side": side,
        **{name: clock.figures(num) for name, clock in clocks.items()},
        "ratio": round(clocks["torch-fidelity"].cpu / clocks["limner"].cpu, 3),
        "ratio_wall": round(clocks["torch-fidelity"].wall / clocks["limner"].wall, 3),
        "largest_difference": apart,
    }


def measure_distance(dimensions: int) -> dict[str, Any]:
    """CPU seconds of limner's form and of scipy's root, for two covariances of full rank."""
    import scipy
    from scipy.linalg import sqrtm

    draws = torch.Generator().manual_seed(2)
    sides = []
    for shift in (0.0, 0.05):
        mix = torch.randn(dimensions, dimensions, generator=draws, dtype=torch.float64)
        rows = mix @ mix.T / dimensions + 0.1 * torch.eye(dimensions, dtype=torch.float64)
        mean = torch.randn(dimensions, generator=draws, dtype=torch.float64) * 0.1 + shift
        sides.append((mean, rows))
    (mean_a, cov_a), (mean_b, cov_b) = sides
    theirs, ours = Clock(), Clock()
    found = ours(lambda: frechet_from_moments(mean_a, cov_a, mean_b, cov_b))
    root = theirs(lambda: sqrtm(cov_a.numpy() @ cov_b.numpy()))
    traces = np.trace(cov_a) + np.trace(cov_b) - 2 * np.trace(np.real(root))
    wanted = float((mean_a - mean_b).square().sum() + traces)
    apart = abs(found - wanted) / wanted
    assert apart <= DISTANCE_TOLERANCE, f"distances {found} and {wanted} are {apart} apart"
    return {
        "dimensions": dimensions,
        "scipy": scipy.__version__,
        "sqrtm_cpu_seconds": round(theirs.cpu, 2),
        "sqrtm_wall_seconds": round(theirs.wall, 2),
        "limner_cpu_seconds": round(ours.cpu, 2),
        "limner_wall_seconds": round(ours.wall, 2),
        "ratio": round(theirs.cpu / ours.cpu, 2),
        "relative_difference": apart,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--part", choices=("features", "distance", "both"), default="both")
    parser.add_argument("--images", type=int, default=32)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--side", type=int, default=64, help="pixels of a picture")
    parser.add_argument("--dimensions", type=int, default=2048)
    options = parser.parse_args()
    torch.set_num_threads(1)
    report: dict[str, Any] = {"benchmark": "evaluation", "torch": torch.__version__, "threads": 1}
    if options.part != "distance":
        report["features"] = _if_there(
            "torch_fidelity",
            lambda: measure_features(options.images, options.batch_size, options.side),
        )
    if options.part != "features":
        report["distance"] = _if_there("scipy", lambda: measure_distance(options.dimensions))
    print(json.dumps(report))


def _if_there(module: str, measure: Callable[[], dict[str, Any]]) -> dict[str, Any] | str:
    if importlib.util.find_spec(module) is None:
        return f"not measured: {module} is not installed"
    return measure()


if __name__ == "__main__":
    main()
