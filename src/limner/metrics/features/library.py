"""Any network of torchvision or timm by name, and any ONNX file: features for scores of one's own.

Weights come from a file, never from the net: "timm:NAME=FILE", "torchvision:NAME=FILE", or without
"=FILE" from the place where the library itself keeps what it has downloaded.
"""

import importlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from limner.core.config import nearest
from limner.core.errors import LimnerError, MissingExtra
from limner.core.files import sha256_of
from limner.formats.weights import load_weights, read_weights
from limner.metrics.features.pretrained import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Pretrained,
    PretrainedClassifier,
    normalized,
    scaled,
)
from limner.metrics.features.weights import Published

SIZE = 224
LOGITS = "logits"
HUB_FILE = "model.safetensors"


class Preparation(NamedTuple):
    """Height and width of a network's input, and the mean and deviation it is normalized by."""

    size: tuple[int, int] = (SIZE, SIZE)
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD

    def __call__(self, images: Tensor) -> Tensor:
        return normalized(scaled(images, self.size), self.mean, self.std)

    @property
    def resize(self) -> str:
        return f"bilinear-antialias-{self.size[0]}x{self.size[1]}"


class BeforeLast(nn.Module):
    """A classifier as (what goes into its last linear layer, what comes out at its end)."""

    def __init__(self, network: nn.Module, name: str):
        super().__init__()
        self.network = network
        layers = [layer for layer in network.modules() if isinstance(layer, nn.Linear)]
        if not layers:
            raise LimnerError(f"features '{name}': the network has no linear layer to look behind")
        self.inputs: list[Tensor] = []
        layers[-1].register_forward_pre_hook(lambda _, given: self.inputs.append(given[0]))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        self.inputs.clear()
        logits = self.network(x)
        return self.inputs.pop().flatten(1), logits


def library_model(spec: str, library: str) -> Pretrained:
    """The extractor of "NAME" or "NAME=FILE" in one of LIBRARIES.

    Raises:
        MissingExtra: the library is not installed.
        LimnerError: an unknown network, no weights, weights of another network.
    """
    name, _, given = spec.partition("=")
    network, preparation, published = LIBRARIES[library](name)
    features = f"{library}:{name}"
    path = Path(given).expanduser() if given else published.need(features)
    if not path.is_file():
        raise LimnerError(f"features '{features}': {path}: there is no such file")
    tensors = read_weights(path)
    wanted = network.state_dict()
    if library == "torchvision":  # an auxiliary classifier serves training only
        tensors = {key: value for key, value in tensors.items() if not key.startswith(AUXILIARY)}
    for key in wanted.keys() - tensors.keys():
        if key.endswith("num_batches_tracked"):
            tensors[key] = wanted[key]
    load_weights(network, tensors, path)
    network.eval().requires_grad_(False)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    whole = BeforeLast(network, features)
    sha256 = sha256_of(path)
    return PretrainedClassifier(f"{library}-{name}", sha256, whole, preparation, preparation.resize)


AUXILIARY = ("AuxLogits.", "aux1.", "aux2.")
Found = tuple[nn.Module, Preparation, Published]


def _torchvision(name: str) -> Found:
    models = _library("torchvision.models", "torchvision")
    names = models.list_models(module=models)
    if name not in names:
        raise LimnerError(f"torchvision has no network '{name}'{nearest(name, names)}")
    options = {}
    if name in ("googlenet", "inception_v3"):
        options = {"init_weights": False, "aux_logits": False}
    with torch.random.fork_rng(devices=[]):
        network = models.get_model(name, weights=None, **options)
    weights = models.get_model_weights(name).DEFAULT
    preset = weights.transforms()
    size = getattr(preset, "crop_size", [SIZE])
    preparation = Preparation(
        (size[0], size[-1]),
        tuple(getattr(preset, "mean", IMAGENET_MEAN)),
        tuple(getattr(preset, "std", IMAGENET_STD)),
    )
    return network, preparation, Published(Path(weights.url).name, weights.url, "")


def _timm(name: str) -> Found:
    timm = _library("timm", "timm")
    architecture = name.partition(".")[0]
    if architecture not in timm.list_models():
        raise LimnerError(
            f"timm has no network '{architecture}'{nearest(architecture, timm.list_models())}"
        )
    with torch.random.fork_rng(devices=[]):
        network = timm.create_model(name, pretrained=False)
    config: Mapping[str, Any] = network.pretrained_cfg
    preparation = Preparation(
        tuple(config["input_size"][-2:]), tuple(config["mean"]), tuple(config["std"])
    )
    hub, url = config.get("hf_hub_id"), config.get("url")
    file, others = f"{name}.safetensors", ()
    if hub:
        url, others = f"https://huggingface.co/{hub}/resolve/main/{HUB_FILE}", _in_hub_cache(hub)
    elif url:
        file = Path(url).name
    return network, preparation, Published(file, url or "its publisher", "", others=others)


def _in_hub_cache(hub: str) -> tuple[Path, ...]:
    """What timm itself has fetched of a repository of Hugging Face's hub, the newest first."""
    home = Path(os.environ.get("HF_HOME", "~/.cache/huggingface"))
    cache = Path(os.environ.get("HF_HUB_CACHE", home / "hub")).expanduser()
    links = cache.glob(f"models--{hub.replace('/', '--')}/snapshots/*/{HUB_FILE}")
    found = [path for path in links if path.is_file()]
    return tuple(sorted(found, key=lambda path: path.stat().st_mtime, reverse=True))


def _library(module: str, package: str) -> Any:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError:
        raise MissingExtra(package, "features", f"features '{package}:...'") from None


LIBRARIES: dict[str, Callable[[str], Found]] = {"timm": _timm, "torchvision": _torchvision}


def onnx_file(path: Path) -> Pretrained:
    """A network in ONNX: [n, 3, h, w] normalized as ImageNet's usually are, to rows of features.

    The first output is taken; one with maps is averaged over its pixels. An output that is called
    "logits" is taken for those of the network's classes, which the Inception score needs, and the
    features are then the first other one. Height and width are the file's, or 224 where it leaves
    them open. The metadata entries "mean" and "std" (three numbers for values 0..1, with commas)
    say another normalization.

    Raises:
        MissingExtra: onnxruntime is not installed.
        LimnerError: no network, or one with another kind of input.
    """
    try:
        import onnxruntime  # pyright: ignore[reportMissingImports]

        # its stubs leave the compiled module out, in which all its errors are
        errors = importlib.import_module("onnxruntime.capi.onnxruntime_pybind11_state")
    except ModuleNotFoundError:
        raise MissingExtra("onnxruntime", "onnx", f"features '{path}'") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except (errors.InvalidProtobuf, errors.InvalidGraph, errors.Fail, errors.InvalidArgument) as e:
        raise LimnerError(f"{path}: not a network in ONNX ({str(e).splitlines()[0]})") from None
    given = session.get_inputs()[0]
    if len(session.get_inputs()) != 1 or len(given.shape) != 4 or given.shape[1] not in (3, "c"):
        raise LimnerError(f"{path}: its input is {given.shape}; features need one of [n, 3, h, w]")
    height, width = (side if isinstance(side, int) else SIZE for side in given.shape[2:])
    preparation = Preparation((height, width), **_normalization(session, path))
    alone = isinstance(given.shape[0], int)  # exported for a fixed number of images
    if alone and given.shape[0] != 1:
        raise LimnerError(
            f"{path}: it takes {given.shape[0]} images at once; export it with a free first axis"
        )

    names = [output.name for output in session.get_outputs()]
    others = [name for name in names if name != LOGITS] or names
    asked = [others[0], LOGITS] if LOGITS in names else others[:1]

    def network(x: Tensor) -> tuple[Tensor, Tensor | None]:
        parts = x.split(1) if alone else [x]
        made = [session.run(asked, {given.name: part.contiguous().numpy()}) for part in parts]
        features, *logits = (
            torch.cat([torch.from_numpy(some) for some in of_parts])
            for of_parts in zip(*made, strict=True)
        )
        rows = features.mean(dim=(2, 3)) if features.ndim == 4 else features.flatten(1)
        return rows, logits[0].flatten(1) if logits else None

    kind = PretrainedClassifier if LOGITS in names else Pretrained
    sha256 = sha256_of(path)
    return kind(f"onnx-{path.stem}", sha256, network, preparation, preparation.resize)


def _normalization(session: Any, path: Path) -> dict[str, tuple[float, ...]]:
    entries = session.get_modelmeta().custom_metadata_map
    found = {}
    for name in ("mean", "std"):
        if name not in entries:
            continue
        try:
            found[name] = tuple(float(number) for number in entries[name].split(","))
        except ValueError:
            found[name] = ()
        if len(found[name]) != 3:
            raise LimnerError(f"{path}: its entry '{name}' is no three numbers with commas")
    return found
