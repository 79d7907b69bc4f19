"""FID's two costs, and batches of pictures as floats, against what pip installs."""

import io
import math
import tempfile
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from limner.core.images import to_unit_range
from limner.data import DataConfig, Loader, indices, prepare
from limner.metrics import frechet_from_moments
from limner.metrics.features import pretrained
from limner.metrics.features.inception import InceptionNetwork, fid_inception
from peers.work import Row, Sides, apart

NUM_FEATURES, BATCH, SIDE = 16, 8, 64  # pictures, of a batch, pixels
DIMENSIONS = 2048
NUM_PICTURES, PIXELS, SHOWN = 2000, 128, 64  # prepared, of a side, of a batch
BATCHES = NUM_PICTURES // SHOWN  # of a call


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


def features(_: Path | None) -> Sides:
    """Inception's, by torch-fidelity and by limner, the same random weights and noise."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "inception.pth"
        torch.save(random_weights(), path)
        theirs = FeatureExtractorInceptionV3(
            "peer", ["2048", "logits_unbiased"], feature_extractor_weights_path=str(path)
        )
        ours = fid_inception(path=path)
    pretrained.BATCH_SIZE = BATCH  # the same for both
    draws = torch.Generator().manual_seed(1)
    images = torch.randint(
        0, 256, (NUM_FEATURES, 3, SIDE, SIDE), generator=draws, dtype=torch.uint8
    )

    @torch.inference_mode()
    def all_of(rows: Callable[[Tensor], tuple[Tensor, ...]]) -> list[tuple[Tensor, ...]]:
        return [rows(batch) for batch in images.split(BATCH)]

    pairs = zip(all_of(ours.rows), all_of(theirs), strict=True)
    distance = max(apart(a, b) for pair in pairs for a, b in zip(*pair, strict=True))
    limner = {"float32": partial(all_of, ours.rows)}
    return Sides(limner, partial(all_of, theirs), NUM_FEATURES, distance)


def distance(_: Path | None) -> Sides:
    """The Frechet distance of two Gaussians of full rank in float64, by scipy's root."""
    from scipy.linalg import sqrtm

    draws = torch.Generator().manual_seed(2)
    sides = []
    for shift in (0.0, 0.05):
        mix = torch.randn(DIMENSIONS, DIMENSIONS, generator=draws, dtype=torch.float64)
        rows = mix @ mix.T / DIMENSIONS + 0.1 * torch.eye(DIMENSIONS, dtype=torch.float64)
        mean = torch.randn(DIMENSIONS, generator=draws, dtype=torch.float64) * 0.1 + shift
        sides.append((mean, rows))
    (mean_a, cov_a), (mean_b, cov_b) = sides

    def theirs() -> float:
        root = sqrtm(cov_a.numpy() @ cov_b.numpy())
        traces = np.trace(cov_a) + np.trace(cov_b) - 2 * np.trace(np.real(root))
        return float((mean_a - mean_b).square().sum() + traces)

    def ours() -> float:
        return frechet_from_moments(mean_a, cov_a, mean_b, cov_b)

    wanted = theirs()
    return Sides({"float64": ours}, theirs, 1, abs(ours() - wanted) / wanted)


def pictures() -> np.ndarray:
    """uint8 [N, H, W, 3] that compress about as photographs do: noise on slow waves."""
    generator = np.random.default_rng(0)
    waves = 100 + 60 * np.sin(np.arange(PIXELS) / 9)
    noise = generator.integers(0, 24, (NUM_PICTURES, PIXELS, PIXELS, 3))
    return (waves[:, None] + noise).astype(np.uint8)


def batches(reader: Callable[[Path, np.ndarray], Callable[[int], np.ndarray]], _: object) -> Sides:
    """Shuffled batches as float tensors in [-1, 1], from a file that `reader` writes and reads."""
    place = Path(tempfile.mkdtemp())  # until the process ends
    images = pictures()
    np.savez(place / "a.npz", images=images)
    data = prepare(place / "a.npz", place / "prepared", DataConfig(resolution=PIXELS))
    loader = Loader(data, SHOWN, seed=0)
    read, order = reader(place, images), iter(range(0, 10**9, SHOWN))

    def ours() -> Tensor:
        return to_unit_range(loader.next().images)

    def theirs() -> Tensor:
        rows = indices(0, next(order), SHOWN, NUM_PICTURES)
        stacked = torch.from_numpy(np.stack([read(int(row)) for row in rows]))
        return stacked.permute(0, 3, 1, 2).float().div(127.5).sub(1)

    def epoch(batch: Callable[[], Tensor]) -> None:
        for _ in range(BATCHES):
            batch()

    distance = apart(ours(), theirs())
    return Sides(
        {"float32": partial(epoch, ours)}, partial(epoch, theirs), BATCHES * SHOWN, distance
    )


def zipped(place: Path, images: np.ndarray) -> Callable[[int], np.ndarray]:
    """PNG files stored in a zip, as StyleGAN's programs keep them."""
    with zipfile.ZipFile(place / "a.zip", "w") as archive:
        for number, image in enumerate(images):
            file = io.BytesIO()
            Image.fromarray(image).save(file, "PNG", compress_level=0)
            archive.writestr(f"{number}.png", file.getvalue())
    archive = zipfile.ZipFile(place / "a.zip")

    def read(row: int) -> np.ndarray:
        with archive.open(f"{row}.png") as file:
            return np.asarray(Image.open(file))

    return read


def in_hdf5(place: Path, images: np.ndarray) -> Callable[[int], np.ndarray]:
    """HDF5 without compression, a picture a chunk, read one by one: its fastest form."""
    import h5py

    with h5py.File(place / "a.hdf5", "w") as file:
        file.create_dataset("images", data=images, chunks=(1, *images.shape[1:]))
    rows = h5py.File(place / "a.hdf5")["images"]
    return lambda row: rows[row]  # pyright: ignore


def rows() -> dict[str, Row]:
    """All of this file."""
    return {
        "Inception features, against torch-fidelity": Row(features, "", "image", {"float32": 1.8}),
        "Frechet distance of 2,048 dimensions, against scipy": Row(
            distance, "", "distance", {"float64": 10.0}
        ),
        "batches of 128 px, against PNG in a zip": Row(
            partial(batches, zipped), "", "image", {"float32": 15.0}
        ),
        "batches of 128 px, against HDF5": Row(
            partial(batches, in_hdf5), "", "image", {"float32": 2.0}
        ),
    }
