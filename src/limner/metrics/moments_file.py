"""Means and covariances of real features in a file, as BigGAN-PyTorch and others keep them."""

import io
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from limner.core.errors import LimnerError
from limner.core.files import sha256_of, write_atomically
from limner.formats.npy import npz_array
from limner.formats.zips import opened
from limner.metrics.frechet import Gaussian

NUM_FEATURES_MAX = 16_384
FEATURES = "features"
SYMMETRY = 1e-4  # largest difference of sigma and its transpose, against its largest value


@dataclass(frozen=True)
class Moments:
    """Mean and covariance of the features of real images, and the sha256 of the two.

    A file is known by its content: two data sets of one name, or one whose pictures changed, are
    never taken for each other. `features` are those of limner's own files, see `features_id`; files
    of others do not say whose they are.
    """

    mean: Float64[Tensor, " d"]
    covariance: Float64[Tensor, "d d"]
    sha256: str
    path: str
    features: str | None = None

    @property
    def gaussian(self) -> Gaussian:
        return Gaussian(self.mean, self.covariance)

    @property
    def name(self) -> str:
        """What scores against these moments are named after."""
        return f"moments-{self.sha256[:8]}"


def read_moments(path: str | os.PathLike[str]) -> Moments:
    """BigGAN-PyTorch's `<dataset>_inception_moments.npz`: "mu" [D] and "sigma" [D, D].

    They belong to the features of one network (there torchvision's Inception). Limner's own files
    say which; of those of others only the width can be checked.

    Raises:
        LimnerError: no such file, damaged, other arrays than these, or values that are no moments.
    """
    place = Path(path).expanduser()
    if not place.is_file():
        raise LimnerError(f"{place}: no such file; give an .npz with 'mu' and 'sigma'")
    mean, covariance = _array(place, "mu", 1), _array(place, "sigma", 2)
    if covariance.shape != (len(mean), len(mean)):
        raise LimnerError(
            f"{place}: mu is {mean.shape}, sigma {covariance.shape}; they are of different features"
        )
    if not (np.isfinite(mean).all() and np.isfinite(covariance).all()):
        raise LimnerError(f"{place}: holds values that are not finite; compute the moments again")
    difference, largest = np.abs(covariance - covariance.T).max(), np.abs(covariance).max()
    if difference > SYMMETRY * largest or (np.diag(covariance) < 0).any():
        raise LimnerError(f"{place}: sigma is no covariance; compute the moments again")
    tensors = torch.from_numpy(mean), torch.from_numpy(covariance)
    return Moments(*tensors, sha256_of(place), str(place), _features(place))


def features_id(name: str, weights_sha256: str | None) -> str:
    """Whose features: the extractor's name and, where it has any, its weights."""
    return name if weights_sha256 is None else f"{name} {weights_sha256}"


def write_moments(
    path: str | os.PathLike[str], gaussian: Gaussian, features: str | None = None
) -> None:
    """An .npz of "mu" [D] and "sigma" [D, D] in float64, as BigGAN-PyTorch, pytorch-fid and TTUR
    read them, and beside them whose features they are ("features", UTF-8 as uint8 [n]).

    Raises:
        LimnerError: a name that does not end in .npz.
    """
    if Path(path).suffix.lower() != ".npz":
        raise LimnerError(f"{path}: moments are written as FILE.npz")
    content = io.BytesIO()
    whose = {} if features is None else {FEATURES: np.frombuffer(features.encode(), np.uint8)}
    mu, sigma = gaussian.mean.numpy(), gaussian.covariance.numpy()
    np.savez(content, allow_pickle=False, mu=mu, sigma=sigma, **whose)
    write_atomically(Path(path).expanduser(), content.getvalue())


def _features(path: Path) -> str | None:
    with opened(str(path), "an .npz") as archive:
        if f"{FEATURES}.npy" not in archive.namelist():
            return None
    return _array(path, FEATURES, 1, "u").tobytes().decode(errors="replace")


def _array(path: Path, key: str, num_axes: int, kind: str = "f") -> np.ndarray:
    where = f"{path}: {key}"
    with npz_array(str(path), key, "compute the moments again") as (file, header):
        shape = header.shape
        if len(shape) != num_axes or header.dtype.kind != kind or 0 in shape:
            raise LimnerError(f"{where}: {header.dtype} {shape}; mu is [D] and sigma [D, D]")
        if max(shape) > NUM_FEATURES_MAX:
            raise LimnerError(f"{where}: shape {shape} is too large; compute it again")
        values = header.values(file, where)
    return np.array(values, np.float64 if kind == "f" else np.uint8, order="C")
