"""--init: other classes, none, or the same; what is made anew, what is kept, what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from limner.api import TrainOptions, train
from limner.checkpoints import (
    ModelConfig,
    ModelRecord,
    fill,
    load_state,
    read_model,
    refill,
    write_model,
)
from limner.core.errors import CheckpointError
from limner.data import DataConfig
from limner.engine import Adam, Intervals, Players, RunConfig, Update
from limner.engine.controllers import Ema
from limner.models import ARCHITECTURES, BigGanDiscriminator, BigGanGenerator
from limner.objectives import HingeD, HingeG

pytestmark = pytest.mark.usefixtures("no_extras")
SHAPE = (1, 8, 8)
KINDS = {
    "shared": {"shared_dim": 6},
    "tables": {"shared_dim": 0},
    "skip_z": {"shared_dim": 6, "skip_z": True},
    "plain": {"shared_dim": 0, "spectral_norm": False, "norm": "none"},
}


def networks_of(kind: str, **more) -> tuple[BigGanGenerator, BigGanDiscriminator]:
    options = {"width": 2, "multipliers": (1, 2), "z_dim": 4, **KINDS[kind], **more}
    d = BigGanDiscriminator(
        width=2, multipliers=(1, 2), spectral_norm=options.get("spectral_norm", True)
    )
    return BigGanGenerator(**options), d


def config_of(kind: str = "shared", **changes) -> RunConfig:
    """A run whose rates are zero, so that its first state is what it started from."""
    generator, discriminator = networks_of(kind)
    config = RunConfig(
        name="transfer",
        generator=generator,
        discriminator=discriminator,
        data=DataConfig(resolution=8, channels=1),
        updates=(
            Update(player="d", terms=(HingeD(),)),
            Update(player="g", terms=(HingeG(),)),
        ),
        optim=Players(g=Adam(lr=0.0), d=Adam(lr=0.0)),
        controllers=(Ema(decay=0.9),),
        batch_size=4,
        steps=1,
        seed=5,
        intervals=Intervals(log=1, sample=0, save=1),
    )
    return config.replace(**changes)


def pictures(folder: Path, num_classes: int, size: int = 8) -> Path:
    rng = np.random.default_rng(num_classes)
    arrays = {"images": rng.integers(0, 256, (12, size, size, 1), dtype=np.uint8)}
    if num_classes:
        arrays["labels"] = np.arange(12) % num_classes
    path = folder / f"pictures-{num_classes}-{size}.npz"
    np.savez(path, **arrays)
    return path


def model(folder: Path, kind: str, num_classes: int, discriminator: bool = True, **more) -> Path:
    """A model folder whose average differs from the weights that were trained."""
    torch.manual_seed(1)
    g, d = networks_of(kind, **more)
    ema, raw = (g.build(SHAPE, num_classes).state_dict() for _ in range(2))
    config = ModelConfig(
        generator=g,
        discriminator=d if discriminator else None,
        image_shape=SHAPE,
        num_classes=num_classes,
    )
    critic = d.build(SHAPE, num_classes).state_dict() if discriminator else None
    return write_model(folder / "model", ModelRecord(config, ema, raw, critic))


def events(run: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in (run / "events.jsonl").read_text().splitlines():
        event = json.loads(line)
        found.setdefault(event["event"], []).append(event["message"])
    return found


def tensors_of(folder: Path) -> dict[str, dict[str, torch.Tensor]]:
    record = read_model(folder)
    return {
        "generator": record.generator_raw or record.generator,
        "discriminator": record.discriminator or {},
        "generator_ema": record.generator,
    }


def parameters(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Without what a forward in training mode moves."""
    moving = ("u0", "sv0", "running_mean", "running_var", "num_batches_tracked")
    return {name: value for name, value in state.items() if name.split(".")[-1] not in moving}


# Per kind: what belongs to the classes in the generator.
OWN = {
    "shared": {"shared.weight"},
    "tables": {f"blocks.0.norm{i}.{part}.weight" for i in (1, 2) for part in ("gain", "bias")},
}


@pytest.mark.parametrize("kind", ["shared", "tables"])
def test_other_classes_make_only_what_is_theirs_anew(kind: str, tmp_path: Path):
    folder = model(tmp_path, kind, 3)
    run = tmp_path / "run"
    config = config_of(kind, controllers=(Ema(decay=0.9, every=7),))
    train(config, pictures(tmp_path, 5), run, TrainOptions(device="cpu", init=str(folder)))
    state, before = load_state(run / "checkpoints/step-00000001"), tensors_of(folder)
    train(config, pictures(tmp_path, 5), tmp_path / "fresh", TrainOptions(device="cpu"))
    fresh = load_state(tmp_path / "fresh/checkpoints/step-00000001")
    anew = {"generator": OWN[kind], "generator_ema": OWN[kind], "discriminator": {"embed.weight"}}
    for part, names in anew.items():
        for name, value in parameters(state[part]).items():
            expected = (fresh if name in names else before)[part][name]
            assert torch.equal(value, expected), (part, name)
    lines = events(run)
    assert lines["initialized"] == [f"from {folder}"]
    generator, discriminator = lines["made anew"]
    assert generator.startswith("3 -> 5 classes, of the generator: ")
    for name in OWN[kind]:
        shape = before["generator"][name].shape
        assert f"'{name}' {list(shape)} -> [5, {shape[1]}]" in generator
    assert "'embed.weight' [3, 4] -> [5, 4]" in discriminator
    assert "'embed.u0' [1, 3] -> [1, 5]" in discriminator


def test_the_average_starts_as_the_models(tmp_path: Path):
    folder = model(tmp_path, "shared", 3)
    run = tmp_path / "run"
    train(
        config_of(controllers=(Ema(decay=0.9, every=7),)),
        pictures(tmp_path, 5),
        run,
        TrainOptions(device="cpu", init=str(folder)),
    )
    state, before = load_state(run / "checkpoints/step-00000001"), tensors_of(folder)
    for name, value in state["generator_ema"].items():
        expected = (state["generator"] if name in OWN["shared"] else before["generator_ema"])[name]
        assert torch.equal(value, expected), name
    raw, averaged = state["generator"]["linear.weight"], state["generator_ema"]["linear.weight"]
    assert not torch.equal(raw, averaged)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("before", "after"), [(3, 0), (0, 3)])
def test_classes_come_and_go(kind: str, before: int, after: int):
    """Convolutions, statistics and the first layer stay; embeddings and norms' tables change."""
    torch.manual_seed(0)
    for config in networks_of(kind):
        source, target = config.build(SHAPE, before), config.build(SHAPE, after)
        own = {name: value.clone() for name, value in target.state_dict().items()}
        anew = refill(target, source.state_dict(), source, "here", both_conditional=False)
        assert anew
        for name, value in target.state_dict().items():
            taken = name not in {one.name for one in anew}
            assert torch.equal(value, (source.state_dict() if taken else own)[name]), name
        touched = {one.name for one in anew}
        assert all("norm" in name or name.startswith(("shared", "embed")) for name in touched)
        assert not any("running" in name or "output_norm" in name for name in touched)
        assert all(one.after is None or one.before is None or kind == "skip_z" for one in anew)


def test_a_run_without_classes_from_one_with(tmp_path: Path):
    folder = model(tmp_path, "tables", 3)
    run = tmp_path / "run"
    train(
        config_of("tables"),
        pictures(tmp_path, 0),
        run,
        TrainOptions(device="cpu", init=str(folder)),
    )
    generator, discriminator = events(run)["made anew"]
    assert generator.startswith("3 -> 0 classes")
    assert "'blocks.0.norm1.gain.weight' [3, 4] -> none" in generator
    assert "'blocks.0.norm1.weight' none -> [4]" in generator
    assert "'embed.weight' [3, 4] -> none" in discriminator


def test_the_same_classes_are_taken_as_they_are(tmp_path: Path):
    folder = model(tmp_path, "shared", 3)
    run = tmp_path / "run"
    train(config_of(), pictures(tmp_path, 3), run, TrainOptions(device="cpu", init=str(folder)))
    state, before = load_state(run / "checkpoints/step-00000001"), tensors_of(folder)
    assert torch.equal(state["generator"]["shared.weight"], before["generator"]["shared.weight"])
    assert "made anew" not in events(run)


def test_a_model_without_discriminator_says_so(tmp_path: Path):
    folder = model(tmp_path, "shared", 3, discriminator=False)
    run = tmp_path / "run"
    train(config_of(), pictures(tmp_path, 3), run, TrainOptions(device="cpu", init=str(folder)))
    assert "it has no discriminator" in events(run)["initialized"][0]


@pytest.mark.parametrize(
    ("more", "size", "num_classes", "named"),
    [
        ({"width": 4}, 8, 3, r"the generator does not fit.*is \[\d+, 4\].*and \d+ more$"),
        ({"width": 4}, 8, 5, r"the generator does not fit.*3 classes, the data 5"),
        ({"shared_dim": 7}, 8, 5, r".*'blocks.0.norm1.gain.weight' is \[4, 7\].*has \[4, 6\]"),
        ({}, 16, 5, r".*pictures are \[1, 8, 8\], the run's \[1, 16, 16\]: data.resolution"),
    ],
)
def test_everything_else_is_refused(tmp_path: Path, more, size: int, num_classes: int, named: str):
    folder = model(tmp_path, "shared", 3, **more)
    config = config_of(data=DataConfig(resolution=size, channels=1))
    source = pictures(tmp_path, num_classes, size)
    with pytest.raises(CheckpointError, match=f"^--init {folder}: {named}") as caught:
        train(config, source, tmp_path / "run", TrainOptions(device="cpu", init=str(folder)))
    assert "\n" not in str(caught.value)


def test_a_failed_refill_leaves_the_network_alone():
    torch.manual_seed(0)
    g = networks_of("shared")[0]
    target = g.build(SHAPE, 5)
    own = {name: value.clone() for name, value in target.state_dict().items()}
    source = networks_of("shared", width=4)[0].build(SHAPE, 3)
    with pytest.raises(CheckpointError, match="here: the weights do not fit"):
        refill(target, source.state_dict(), source, "here")
    state = {name: value for name, value in own.items() if name != "linear.bias"}
    with pytest.raises(CheckpointError, match=r"missing 'linear.bias'"):
        refill(target, state, target, "here")
    assert all(torch.equal(value, own[name]) for name, value in target.state_dict().items())
    fill(target, own, "here")


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize(("before", "after"), [(3, 5), (3, 0), (0, 3)])
def test_every_architecture_declares_what_belongs_to_classes(name: str, before: int, after: int):
    for kind in ARCHITECTURES[name]:
        shape = (1, 64, 64) if name == "dcgan" else (1, 32, 32)
        sizes = {"pggan": {"fmap_max": 8}, "r3gan": {"widths": (8,)}}
        sizes |= {key: {"channel_max": 8} for key in ("stylegan2", "stylegan3")}
        config = kind(**sizes.get(name, {"width": 8}))
        source, target = config.build(shape, before), config.build(shape, after)
        anew = refill(target, source.state_dict(), source, "here", bool(before and after))
        kept = set(target.state_dict()) - {one.name for one in anew}
        assert all(torch.equal(target.state_dict()[n], source.state_dict()[n]) for n in kept)
        assert anew
        assert any(("conv" in n or "layers.0" in n) and n.endswith("weight") for n in kept)
