"""A generator as one ONNX file, which programs without Python run."""

import json
import warnings
from collections.abc import Mapping
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from limner.checkpoints.foreign import Exporter, Training
from limner.checkpoints.model_folder import ModelConfig, ModelRecord
from limner.core.config import Config, tag_of
from limner.core.errors import CheckpointError, MissingExtra
from limner.core.files import whole_file
from limner.core.protocols import StyleGenerator, mean_style_of, z_dim_of
from limner.core.undrawn import undrawn
from limner.layers.prepared import prepared

FILE = "model.onnx"
PACKAGES = ("onnx", "onnxscript", "onnxruntime")
TRACED, TRIED = 2, (1, 3)  # images of a batch: that is traced, and at which the file is run
LARGEST_GAP = 1e-5  # of the largest magnitude of an image, or of 1


class Onnx(Config, Exporter, frozen=True):
    """model.onnx: z [N, z_dim], rows of classes y [N, classes], which may mix, and for a model with
    styles a truncation (1: none) -> images [N, C, H, W] nominally in [-1, 1]."""

    def write(self, record: ModelRecord, folder: Path, training: Training | None) -> list[Path]:
        """See `Exporter.write`; a training and the discriminator are left out. The file has been
        run against the model by the time it has its name.

        Raises:
            MissingExtra: a package that writes or runs such files is not there.
            CheckpointError: the network cannot be traced, or the file computes something else.
        """
        for package in PACKAGES:
            if find_spec(package) is None:
                raise MissingExtra(package, "onnx", "writing an ONNX file")
        config = record.config
        what = tag_of(type(config.generator))
        graph = _Graph(record)
        with whole_file(folder / FILE) as temporary:
            _trace(graph, config, what, facts_of(config, graph)).save(str(temporary))
            for num in TRIED:
                gap = _gap(graph, temporary, _inputs(graph, config, num))
                if not gap <= LARGEST_GAP:
                    raise CheckpointError(
                        f"{what}: the ONNX file differs by {gap:.1e} from the model at a batch of "
                        f"{num}, more than {LARGEST_GAP:g}; it is not kept"
                    )
        return [folder / FILE]


class _Graph(nn.Module):
    """The prepared generator, with constant noise where it has styles."""

    def __init__(self, record: ModelRecord):
        super().__init__()
        config = record.config
        with undrawn():
            network = config.generator.build(config.image_shape, config.num_classes)
        network.load_state_dict(record.generator)
        self.z_dim = z_dim_of(network)
        self.network = prepared(network.eval()).requires_grad_(False)
        self.has_styles = isinstance(network, StyleGenerator)
        self.eval()

    def forward(
        self, z: Tensor, y: Tensor | None = None, truncation: Tensor | None = None
    ) -> Tensor:
        if truncation is None:
            return self.network(z, y)
        halves, mean = cast("StyleGenerator", self.network), mean_style_of(self.network)
        styles = mean + truncation * (halves.mapping(z, y) - mean)
        return halves.synthesis(styles, noise="const")


def facts_of(config: ModelConfig, graph: _Graph) -> dict[str, str]:
    """The file's metadata."""
    latent = "standard normal; for a truncation t, drawn again until all entries are in [-t, t]"
    facts = {
        "limner": version("limner"),
        "network": tag_of(type(config.generator)),
        "z": f"{graph.z_dim} numbers, {latent}",
        "images": "N, C, H, W, nominally in [-1, 1]: red, green, blue where C is 3",
    }
    if config.num_classes:
        facts["y"] = f"a row of {config.num_classes} shares of the classes, which sum to 1"
        facts["class_names"] = json.dumps(list(config.class_names), ensure_ascii=False)
    if graph.has_styles:
        facts["z"] = f"{graph.z_dim} numbers, standard normal"
        facts["truncation"] = "one number: styles become mean + truncation (style - mean)"
    return facts


def plain_facts(record: ModelRecord) -> dict[str, Any]:
    """What a program that runs the file has to know, as plain JSON."""
    config, graph = record.config, _Graph(record)
    return {
        "network": tag_of(type(config.generator)),
        "image_shape": list(config.image_shape),
        "num_classes": config.num_classes,
        "class_names": list(config.class_names),
        "z_dim": graph.z_dim,
        "has_styles": graph.has_styles,
    }


def _inputs(graph: _Graph, config: ModelConfig, num: int) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(num)
    inputs = {"z": torch.randn(num, graph.z_dim, generator=draw)}
    if config.num_classes:
        rows = torch.rand(num, config.num_classes, generator=draw)
        inputs["y"] = rows / rows.sum(1, keepdim=True)
    if graph.has_styles:
        inputs["truncation"] = torch.tensor([0.7])
    return inputs


def _trace(graph: _Graph, config: ModelConfig, what: str, facts: Mapping[str, str]) -> Any:
    inputs = _inputs(graph, config, TRACED)
    num = torch.export.Dim("n", min=1)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of the tracer, about its own internals
        try:
            program = torch.onnx.export(
                graph,
                kwargs=inputs,
                dynamo=True,
                dynamic_shapes={name: {0: num} if name in "zy" else None for name in inputs},
                input_names=list(inputs),
                output_names=["images"],
                verbose=False,
            )
        except torch.onnx.OnnxExporterError as error:
            reason = str(error.__cause__ or error).strip().splitlines()[0]
            raise CheckpointError(f"{what}: it cannot be traced for ONNX: {reason}") from None
    assert program is not None
    program.model.metadata_props.update(facts)
    return program


def _gap(graph: _Graph, file: Path, inputs: Mapping[str, Tensor]) -> float:
    """The largest difference of the file's images from the model's."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {name: tensor.numpy() for name, tensor in inputs.items()})
    with torch.no_grad():
        images = graph(**inputs)
    return float((torch.from_numpy(found) - images).abs().max() / images.abs().max().clamp(min=1))
