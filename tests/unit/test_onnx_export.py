"""ONNX files of generators: run at other batches than they were traced at, they make the model's
pictures, and their metadata say what goes in."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import limner
from limner.api.exporting import export
from limner.checkpoints import ModelConfig, ModelRecord, write_model
from limner.checkpoints.exporters import onnx_graph
from limner.core.errors import CheckpointError, MissingExtra
from limner.models import (
    BigGanDeepGenerator,
    BigGanGenerator,
    DcganGenerator,
    FastGanGenerator,
    PgganGenerator,
    R3ganGenerator,
    SaganGenerator,
    SnganGenerator,
    StyleGan2Generator,
    StyleGan3Generator,
    WganGpGenerator,
)

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

SMALL = {
    "biggan": (BigGanGenerator(width=4, z_dim=24, attention=(16,), shared_dim=6), (3, 32, 32), 3),
}
OTHERS = {
    "pggan": (PgganGenerator(fmap_base=64, fmap_max=8, z_dim=8), (1, 16, 16), 0),
    "stylegan2": (
        StyleGan2Generator(z_dim=8, w_dim=8, channel_base=128, channel_max=8),
        (3, 16, 16),
        2,
    ),
    "biggan-deep": (BigGanDeepGenerator(width=4, z_dim=8, attention=(16,)), (3, 32, 32), 3),
    "dcgan": (DcganGenerator(width=4, z_dim=8, max_channels=8), (3, 32, 32), 0),
    "fastgan": (FastGanGenerator(), (3, 64, 64), 0),
    "r3gan": (R3ganGenerator(widths=(16, 16, 16)), (3, 16, 16), 2),
    "sagan": (SaganGenerator(width=4), (3, 32, 32), 3),
    "sngan": (SnganGenerator(width=4), (3, 32, 32), 3),
    "stylegan3": (
        StyleGan3Generator(z_dim=8, w_dim=8, channel_base=128, channel_max=8),
        (3, 16, 16),
        2,
    ),
    "wgan-gp": (WganGpGenerator(width=4, max_channels=8), (3, 16, 16), 0),
}
CASES = [
    *SMALL,
    *(pytest.param(name, marks=pytest.mark.full) for name in OTHERS),
]


def model(place: Path, name: str) -> Path:
    config, shape, num_classes = (SMALL | OTHERS)[name]
    torch.manual_seed(0)
    network = config.build(shape, num_classes)
    with torch.no_grad():  # running statistics that fit: else what comes out has any size
        for _ in range(10):
            labels = torch.arange(6) % num_classes if num_classes else None
            network(torch.randn(6, network.z_dim), labels)
    names = tuple("abc"[:num_classes])
    record = ModelConfig(
        generator=config, image_shape=shape, num_classes=num_classes, class_names=names
    )
    write_model(place / "model", ModelRecord(record, network.state_dict()))
    return place / "model"


@pytest.mark.parametrize("name", CASES)
def test_the_file_makes_the_models_pictures(name, tmp_path):
    place = model(tmp_path, name)
    (file,) = export(place, "onnx", tmp_path / "out")
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    loaded = limner.load(place, "cpu")
    for num in (1, 5):
        feed = {"z": np.random.default_rng(num).normal(size=(num, loaded.z_dim)).astype(np.float32)}
        if loaded.num_classes:
            feed["y"] = np.random.default_rng(0).random((num, loaded.num_classes), np.float32)
        expected = loaded.draw_float(loaded.plan(**feed))
        if name.startswith("stylegan"):
            feed["truncation"] = np.ones(1, np.float32)
        (images,) = session.run(None, feed)
        assert np.abs(images - expected).max() <= 1e-5 * max(1, np.abs(images).max())
    facts = session.get_modelmeta().custom_metadata_map
    assert facts["network"] == type((SMALL | OTHERS)[name][0]).__name__
    if loaded.num_classes:
        assert json.loads(facts["class_names"]) == list("abc"[: loaded.num_classes])


def test_a_file_that_computes_something_else_is_not_kept(tmp_path, monkeypatch):
    place = model(tmp_path, "pggan")
    trace = onnx_graph._trace

    def other(graph, *given):
        program = trace(graph, *given)
        with torch.no_grad():
            list(graph.network.parameters())[-1].add_(0.01)
        return program

    monkeypatch.setattr(onnx_graph, "_trace", other)
    with pytest.raises(CheckpointError, match=r"differs by .* at a batch of 1, more than 1e-05"):
        export(place, "onnx", tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_without_its_packages_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_graph, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"pip install 'limner\[onnx\]'"):
        export(model(tmp_path, "pggan"), "onnx", tmp_path / "out")
