"""The features of a small classifier, trained in seconds on the labelled data itself.

Two classifiers rank damage alike but differ in scale, so its scores compare only where the hash of
the weights is the same.
"""

import hashlib
import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock
import safetensors
import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional as F

from limner.core.config import Config, encode
from limner.core.errors import LimnerError
from limner.core.files import cache_directory, write_atomically
from limner.core.images import to_unit_range
from limner.core.streams import stream
from limner.metrics.arrays import ImageSet, num_single_classes
from limner.metrics.features.base import hash_of, images_at, in_batches, without_draws


class ClassifierSettings(Config, frozen=True):
    """How the classifier is trained. All of it is part of the cached weights' identity."""

    version: int = 1  # rises when the network or its training changes
    seed: int = 0
    width: int = 16
    num_features: int = 64
    batch_size: int = 64
    lr: float = 4e-3
    # pulls each class together, which makes a missing class about 1.7 times as visible in the
    # Frechet distance, measured in floors
    label_smoothing: float = 0.1
    num_shown: int = 60_000  # images, as far as the bounds on the epochs allow
    min_epochs: int = 4
    max_epochs: int = 12
    held_out_share: float = 0.2


class SmallNetwork(nn.Module):
    """A 5x5 and two or three 3x3 convolutions down to 2 to 4 pixels, then two linear layers.

    Takes [N, C, H, W] in [-1, 1]: `features` gives [N, num_features], forward [N, classes].
    """

    def __init__(
        self, image_shape: tuple[int, int, int], num_classes: int, settings: ClassifierSettings
    ):
        super().__init__()
        channels, height, width = image_shape
        layers: list[nn.Module] = []
        for i, stride in enumerate(_strides(max(height, width))):
            out = settings.width if i == 0 else 2 * settings.width
            kernel = max(5, 2 * stride + 1) if i == 0 else 3
            conv = without_draws(nn.Conv2d, channels, out, kernel, stride, kernel // 2)
            layers += [conv, nn.ReLU()]
            channels, height, width = out, -(-height // stride), -(-width // stride)
        self.trunk = nn.Sequential(*layers)
        self.embed = without_draws(nn.Linear, channels * height * width, settings.num_features)
        self.head = without_draws(nn.Linear, settings.num_features, num_classes)

    def features(self, x: Tensor) -> Tensor:
        return F.relu(self.embed(self.trunk(x).flatten(1)))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))

    def initialize(self, generator: torch.Generator) -> None:
        """LeCun's normal weights, which bend more in training than He's, and zero biases."""
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.kaiming_normal_(module.weight, nonlinearity="linear", generator=generator)
                assert module.bias is not None
                nn.init.zeros_(module.bias)


def _strides(size: int) -> list[int]:
    # above 64 pixels the first kernel grows with its stride, so that the cost does not
    first = 1 if size <= 8 else 2 * math.ceil(size / 64)
    return [first, 2, 2] + [2] * (size > 32)


class DataClassifier:
    """The extractor `classifier`: see `train_classifier`."""

    name = "classifier"

    def __init__(self, network: SmallNetwork, held_out_accuracy: float):
        self.network = network.eval()
        self.held_out_accuracy = held_out_accuracy
        self.weights_sha256: str | None = hash_of(network.state_dict())

    def features(self, images: Tensor) -> Tensor:
        return in_batches(self.network.features, images)

    def logits(self, images: Tensor) -> Tensor:
        return in_batches(self.network, images)


# --- training --------------------------------------------------------------


def classifier_of(data: ImageSet, settings: ClassifierSettings | None = None) -> DataClassifier:
    """From the cache, or trained now and put there.

    Raises:
        LimnerError: the data have no labels, too few images, or a broken cached file.
    """
    settings = ClassifierSettings() if settings is None else settings
    if num_single_classes(data) < 2:
        raise LimnerError(
            "features 'classifier' need data with at least two classes; "
            "use 'random-conv' for data without labels"
        )
    key = hashlib.sha256(json.dumps([data.sha256, encode(settings)]).encode()).hexdigest()
    path = cache_directory() / "classifiers" / f"{key[:32]}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(path.with_suffix(".lock")):
        if not path.exists():
            tensors, accuracy = train_classifier(data, settings)
            metadata = {
                "held_out_accuracy": repr(accuracy),
                "data_sha256": data.sha256,
                "settings": json.dumps(encode(settings)),
            }
            write_atomically(path, save(tensors, metadata))
    return _load(path, data, settings)


def _load(path: Path, data: ImageSet, settings: ClassifierSettings) -> DataClassifier:
    network = SmallNetwork(data.image_shape, data.num_classes, settings)
    try:
        with safetensors.safe_open(path, "pt") as file:
            names = network.state_dict()
            network.load_state_dict({name: file.get_tensor(name) for name in names})
            accuracy = float(file.metadata()["held_out_accuracy"])
    except (safetensors.SafetensorError, RuntimeError, KeyError) as error:
        raise LimnerError(f"{path}: not a usable classifier ({error}); delete the file") from None
    return DataClassifier(network, accuracy)


def train_classifier(
    data: ImageSet, settings: ClassifierSettings
) -> tuple[dict[str, Tensor], float]:
    """Train twice: without a held-out part, for its accuracy there, and on everything.

    Deterministic on one machine: own random streams and one thread, whatever the caller uses.
    Returns the weights of the network trained on everything, and the held-out accuracy.
    """
    num = len(data)
    num_held_out = max(int(num * settings.held_out_share), 1)
    if num - num_held_out < 2:
        raise LimnerError(f"{num} images are too few to train the classifier of 'classifier'")
    order = torch.randperm(num, generator=stream(settings.seed, "classifier", "held out"))
    held_out, rest = order[:num_held_out], order[num_held_out:]
    with one_thread(), torch.enable_grad():
        network = _fitted(data, rest, settings)
        labels = torch.from_numpy(data.labels[held_out.numpy()])
        predicted = in_batches(network, images_at(data, held_out)).argmax(dim=1)
        accuracy = int((predicted == labels).sum()) / len(labels)
    network = fitted_network(data, settings)
    weights = {name: value.detach().contiguous() for name, value in network.state_dict().items()}
    return weights, accuracy


def fitted_network(data: ImageSet, settings: ClassifierSettings) -> SmallNetwork:
    """The network trained on all images, with one thread and streams of its own."""
    with one_thread(), torch.enable_grad():
        return _fitted(data, torch.arange(len(data)), settings)


def _fitted(data: ImageSet, members: Tensor, settings: ClassifierSettings) -> SmallNetwork:
    network = SmallNetwork(data.image_shape, data.num_classes, settings)
    network.initialize(stream(settings.seed, "classifier", "weights"))
    network.to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(network.parameters(), lr=settings.lr, foreach=True)
    num, size = len(members), min(settings.batch_size, len(members))
    epochs = min(max(settings.num_shown / num, settings.min_epochs), settings.max_epochs)
    num_steps = max(int(epochs * num) // size, 1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.lr, total_steps=num_steps)
    draws = stream(settings.seed, "classifier", "order")
    for indices in _batches(members, size, num_steps, draws):
        images = to_unit_range(images_at(data, indices))
        labels = torch.from_numpy(data.labels[indices.numpy()])
        optimizer.zero_grad()
        logits = network(images)
        F.cross_entropy(logits, labels, label_smoothing=settings.label_smoothing).backward()
        optimizer.step()
        schedule.step()
    return network.eval()


def _batches(members: Tensor, size: int, left: int, generator: torch.Generator) -> Iterator[Tensor]:
    while left:
        shuffled = members[torch.randperm(len(members), generator=generator)]
        for indices in shuffled[: len(shuffled) // size * size].split(size)[:left]:
            yield indices.sort().values  # in rising order, as a memory map likes it
            left -= 1


@contextmanager
def one_thread() -> Iterator[None]:
    """One torch thread inside, so that sums have one order; the caller's number afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
