"""Model folders: round trip, replacement, strict filling, and finding one by name."""

import json
import os
import sys
from pathlib import Path

import msgspec
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from limner.checkpoints import (
    ModelConfig,
    ModelRecord,
    RunDirectory,
    fill,
    find_model,
    protocol,
    read_model,
    record_from_state,
    save_state,
    write_model,
)
from limner.core.config import Config, encode
from limner.core.errors import CheckpointError, ConfigError
from limner.core.files import sha256_of
from limner.core.protocols import NetworkConfig, Scores


class Painter(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.z_dim = width
        self.linear = nn.Linear(width, 4)
        self.norm = nn.BatchNorm1d(4)

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        return self.norm(self.linear(z)).view(-1, 1, 2, 2)


class Judge(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 1)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Scores:
        return Scores(self.linear(x.flatten(1)).squeeze(1))


class PainterConfig(Config, NetworkConfig, frozen=True):
    width: int = 3

    def build(self, image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        return Painter(self.width)


class JudgeConfig(Config, NetworkConfig, frozen=True):
    def build(self, image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        return Judge()


def record(seed: int = 0, raw: bool = True) -> ModelRecord:
    torch.manual_seed(seed)
    config = ModelConfig(
        generator=PainterConfig(width=5),
        discriminator=JudgeConfig(),
        image_shape=(1, 2, 2),
        num_classes=2,
        class_names=("zero", "one"),
        statistics={"counts": [3, 4]},
        origin={"kind": "test"},
    )
    return ModelRecord(
        config=config,
        generator=dict(Painter(5).state_dict()),
        generator_raw=dict(Painter(5).state_dict()) if raw else None,
        discriminator=dict(Judge().state_dict()),
    )


def same_states(a: dict[str, Tensor] | None, b: dict[str, Tensor] | None) -> bool:
    if a is None or b is None:
        return a is b
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def assert_same(a: ModelRecord, b: ModelRecord) -> None:
    assert same_states(a.generator, b.generator)
    assert same_states(a.generator_raw, b.generator_raw)
    assert same_states(a.discriminator, b.discriminator)
    assert a.sha256 == b.sha256


def with_standing(truncations: tuple[float, ...] = (0.0, 0.5, 1.0), **rows: Tensor) -> ModelRecord:
    made = record()
    made.config = made.config.replace(truncations=truncations)
    made.standing = {
        "norm.running_mean": torch.randn(3, 4),
        "norm.running_var": torch.rand(3, 4),
        **{name.replace("__", "."): tensor for name, tensor in rows.items()},
    }
    return made


def test_standing_statistics_come_back(tmp_path: Path):
    written = with_standing()
    written.config = written.config.replace(statistics_rule="huggingface")
    back = read_model(write_model(tmp_path / "model", written))
    assert same_states(back.standing, written.standing)
    assert back.config.truncations == (0.0, 0.5, 1.0)
    assert back.config.statistics_rule == "huggingface"
    assert back.sha256 == written.sha256 != record().sha256
    raw = find_model(f"{tmp_path}/model:raw")  # they are the moving average's
    assert raw.standing is None
    assert raw.config.truncations == ()


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: with_standing(truncations=()), "2 tensors 'standing.*' for 0 truncations"),
        (lambda: with_standing(truncations=(0.1, 0.2)), r"expected floating point \[2, 4\]"),
        (lambda: with_standing(norm__mean=torch.zeros(3, 4)), "'standing.norm.mean' is no buffer"),
        (
            lambda: with_standing(norm__running_mean=torch.full((3, 4), torch.nan)),
            "'standing.norm.running_mean' holds a value that is not finite",
        ),
        (lambda: with_standing(norm__running_var=-torch.ones(3, 4)), "negative variance"),
        (lambda: with_standing(norm__running_var=torch.ones(3, 4).long()), "is torch.int64"),
    ],
)
def test_standing_statistics_that_do_not_fit_are_neither_written_nor_read(
    made, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with pytest.raises(CheckpointError, match=message):
        write_model(tmp_path / "model", made())
    assert not (tmp_path / "model").exists()
    with monkeypatch.context() as unchecked:
        unchecked.setattr("limner.checkpoints.model_folder.check_standing", lambda *_: None)
        write_model(tmp_path / "model", made())
    with pytest.raises(CheckpointError, match=message):
        read_model(tmp_path / "model")


@pytest.mark.parametrize("given", [(0.5, 0.5), (1.0, 0.5), (-0.1, 0.5), tuple(range(5000))])
def test_truncations_ascend(given: tuple[float, ...]):
    with pytest.raises(ConfigError, match="truncations"):
        ModelConfig(generator=PainterConfig(), image_shape=(1, 2, 2), truncations=given)


@pytest.mark.parametrize("raw", [True, False])
def test_a_model_comes_back(tmp_path: Path, raw: bool):
    written = record(raw=raw)
    folder = write_model(tmp_path / "model", written)
    assert sorted(os.listdir(folder)) == ["config.json", "model.safetensors"]
    back = read_model(folder)
    assert_same(back, written)
    assert back.sha256 == sha256_of(folder / "model.safetensors")
    origin = {**back.config.origin}
    assert origin.pop("weights_sha256") == back.sha256
    assert back.config.replace(origin=origin) == written.config
    assert json.loads((folder / "config.json").read_text())["format_version"] == 1
    assert {name.split(".")[0] for name in load_file(folder / "model.safetensors")} == (
        {"generator", "generator_raw", "discriminator"} - (set() if raw else {"generator_raw"})
    )


def test_a_generator_alone_with_shared_tensors(tmp_path: Path):
    state = dict(Painter(5).state_dict())
    state["linear.bias"] = state["norm.bias"]  # the same memory
    config = ModelConfig(generator=PainterConfig(width=5), image_shape=(1, 2, 2))
    back = read_model(write_model(tmp_path / "m", ModelRecord(config=config, generator=state)))
    assert same_states(back.generator, state)
    assert back.discriminator is None
    assert back.config.discriminator is None


def test_replacing_keeps_what_the_user_added_and_refuses_other_folders(tmp_path: Path):
    folder = write_model(tmp_path / "model", record(0))
    (folder / "README.md").write_text("mine")
    (folder / "pictures").mkdir()
    (folder / "pictures" / "a.png").write_bytes(b"x")
    write_model(folder, record(1))
    assert_same(read_model(folder), record(1))
    assert (folder / "README.md").read_text() == "mine"
    assert (folder / "pictures" / "a.png").read_bytes() == b"x"
    assert os.listdir(tmp_path) == ["model"]
    for other in (tmp_path / "photos", tmp_path / "run"):
        other.mkdir()
        (other / "config.json").write_text("{}")
        with pytest.raises(CheckpointError, match="not a model folder"):
            write_model(other, record(1))
        assert os.listdir(other) == ["config.json"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks its children")
def test_killed_while_replacing_old_or_new_is_there(tmp_path: Path):
    seen = set()
    for at in range(1, 30):
        folder = write_model(tmp_path / str(at) / "model", record(0))
        child = os.fork()
        if not child:
            os.environ[protocol.CRASH_VARIABLE] = str(at)
            try:
                write_model(folder, record(1))
            finally:
                os._exit(0)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        sha256 = find_model(folder).sha256
        seen.add(sha256)
        protocol.remove_leftovers(folder.parent)
        assert os.listdir(folder.parent) == ["model"]
        assert read_model(folder).sha256 == sha256
        if code == 0:
            break
    assert at > 6
    assert seen == {record(0).sha256, record(1).sha256}


def test_a_failing_disk_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = write_model(tmp_path / "model", record(0))

    def fail(_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(
            CheckpointError, match=r"model\.safetensors: No space left.*bytes needed"
        ):
            write_model(folder, record(1))
    assert os.listdir(tmp_path) == ["model"]
    assert_same(read_model(folder), record(0))


# --- reading what is wrong -----------------------------------------------------


def edit_config(folder: Path, **changes) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"format_version": 2, "new_key": 1}, "format_version is 2"),
        ({"format_version": None}, "format_version is None"),
        ({"extra": 1}, "extra: unknown key"),
        ({"image_shape": [1, 2]}, "image_shape: expected 3"),
        ({"image_shape": [0, 2, 2]}, "image_shape must be positive"),
        ({"class_names": ["a"]}, "1 names for 2 classes"),
        ({"discriminator": None}, "holds a discriminator"),
        ({"generator": {"type": "not_imported_module:Thing"}}, "not_imported_module"),
    ],
)
def test_a_wrong_config_is_named(tmp_path: Path, changes: dict, named: str):
    folder = write_model(tmp_path / "model", record())
    edit_config(folder, **changes)
    with pytest.raises((CheckpointError, ConfigError), match=named) as caught:
        read_model(folder)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_reading_imports_nothing_unless_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    module = tmp_path / "limner_test_hostile.py"
    module.write_text(
        f"open({str(tmp_path / 'ran')!r}, 'w').close()\n"
        "from limner.core.config import Config\n"
        "from limner.core.protocols import NetworkConfig\n"
        "class Thing(Config, NetworkConfig, frozen=True):\n    pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    folder = write_model(tmp_path / "model", record())
    edit_config(folder, generator={"type": "limner_test_hostile:Thing"})
    for read in (read_model, find_model):
        with pytest.raises(ConfigError, match="not imported"):
            read(folder)
    assert not (tmp_path / "ran").exists()
    try:
        assert type(find_model(folder, import_modules=True).config.generator).__name__ == "Thing"
    finally:
        sys.modules.pop("limner_test_hostile", None)
    assert (tmp_path / "ran").exists()


def test_wrong_weights_are_named(tmp_path: Path):
    folder = write_model(tmp_path / "model", record())
    weights = folder / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(CheckpointError, match="sha256 is not the one"):
        read_model(folder)
    edit_config(folder, origin={})
    assert read_model(folder).sha256 == sha256_of(weights)
    weights.write_bytes(b"\x80\x02.")
    with pytest.raises(CheckpointError, match="not a safetensors file"):
        read_model(folder)
    save_file({"generator.a": torch.ones(1), "encoder.b": torch.ones(1)}, weights)
    with pytest.raises(CheckpointError, match=r"unknown tensor 'encoder\.b'"):
        read_model(folder)
    save_file({"discriminator.a": torch.ones(1)}, weights)
    with pytest.raises(CheckpointError, match=r"no tensor 'generator"):
        read_model(folder)
    weights.unlink()
    with pytest.raises(CheckpointError, match="no such file"):
        read_model(folder)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda state: state.pop("linear.bias"), "missing 'linear.bias'"),
        (lambda state: state.update(extra=torch.ones(1)), "unexpected 'extra'"),
        (
            lambda state: state.update({"linear.biass": state.pop("linear.bias")}),
            "missing 'linear.bias'; unexpected 'linear.biass'; nearest is 'linear.bias'",
        ),
        (
            lambda state: state.update({"linear.bias": torch.ones(7)}),
            r"'linear.bias' is \[7\], the network has \[4\]",
        ),
        (lambda state: state.clear(), "and 4 more"),
    ],
)
def test_filling_is_strict(change, named: str):
    state = dict(record().generator)
    change(state)
    module = Painter(5)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    with pytest.raises(CheckpointError, match=named) as caught:
        fill(module, state, "here")
    assert str(caught.value).startswith("here: the weights do not fit Painter")
    assert "\n" not in str(caught.value)
    assert same_states(dict(module.state_dict()), before)


def test_filling_fills():
    module, state = Painter(5), record().generator
    fill(module, state, "here")
    assert same_states(dict(module.state_dict()), state)


# --- models of runs ------------------------------------------------------------


def make_run(root: Path, ema: bool = True) -> tuple[RunDirectory, dict[int, dict]]:
    """A run with two checkpoints, the earlier one with the better fid; its trees by step."""
    run = RunDirectory(root / "run")
    run.create()
    networks = {
        "name": "test",
        "generator": encode(PainterConfig(width=5)),
        "discriminator": encode(JudgeConfig()),
        "num_classes": None,
    }
    run.config.write_text(json.dumps(networks))
    info = {"image_shape": [1, 2, 2], "num_classes": 2, "class_names": ["a", "b"], "sha256": "0f"}
    run.data.write_text(json.dumps(info))
    trees = {}
    for step in (10, 20):
        trees[step] = {
            "generator": dict(Painter(5).state_dict()),
            "generator_ema": dict(Painter(5).state_dict()) if ema else None,
            "discriminator": dict(Judge().state_dict()),
            "optimizer_g": {"state": {0: torch.ones(3)}},
            "progress": {"step": step, "nimg": step * 8},
        }
        save_state(run.checkpoints, step, trees[step])
        results = [{"metric": "fid", "name": "fd-tiny", "value": float(step)}]
        run.append("scores", {"step": step, "results": results})
    return run, trees


def test_find_in_a_run(tmp_path: Path):
    run, trees = make_run(tmp_path)
    for spec, step, kind in [
        ("", 20, "generator_ema"),
        ("@best-fid", 10, "generator_ema"),
        ("@best-fd-tiny:raw", 10, "generator"),
        ("@step-10", 10, "generator_ema"),
        (":raw", 20, "generator"),
    ]:
        found = find_model(f"{run.path}{spec}")
        assert same_states(found.generator, trees[step][kind]), spec
        assert same_states(found.discriminator, trees[step]["discriminator"])
        assert found.config.origin["step"] == step
        assert found.config.origin["nimg"] == step * 8
        assert found.config.class_names == ("a", "b")
        assert found.config.generator == PainterConfig(width=5)
    assert find_model(run.path).sha256 != find_model(f"{run.path}:raw").sha256
    whole = find_model(run.path)
    folder = write_model(tmp_path / "model", whole)
    assert find_model(str(folder)).sha256 == whole.sha256
    raw = find_model(f"{folder}:raw")
    assert same_states(raw.generator, trees[20]["generator"])
    assert raw.sha256 == find_model(f"{run.path}:raw").sha256


def test_find_says_what_is_missing(tmp_path: Path):
    run, _ = make_run(tmp_path, ema=False)
    folder = write_model(tmp_path / "model", find_model(run.path))
    (tmp_path / "empty").mkdir()
    for spec, named in [
        (f"{run.path}:raw", "no moving average"),
        (f"{run.path}@step-11", "step-10, step-20"),
        (f"{folder}@best-fid", "no checkpoints; leave"),
        (tmp_path / "absent", "no such run directory or model folder"),
        (f"{tmp_path / 'absent'}@best-fid", "absent: no such run"),
        (tmp_path / "empty", "neither a model folder"),
    ]:
        with pytest.raises(CheckpointError, match=named):
            find_model(spec)
    run.data.write_text('{"image_shape": [1, 2, 2]}')
    with pytest.raises(CheckpointError, match="lacks the key 'num_classes'"):
        find_model(run.path)


def test_names_with_signs_and_runs_without_checkpoints(tmp_path: Path):
    odd = tmp_path / "me@home" / "fid@best:raw"
    odd.parent.mkdir()
    written = record()
    write_model(odd, written)
    assert same_states(find_model(odd).generator, written.generator)
    assert same_states(find_model(f"{odd}:raw").generator, written.generator_raw)
    run = RunDirectory(tmp_path / "shipped")
    write_model(run.model, written)
    assert_same(find_model(run.path), written)


def test_record_from_state_of_the_running_trainer():
    painter = Painter(5)
    tree = {
        "generator": painter.state_dict(),
        "generator_ema": None,
        "discriminator": Judge().state_dict(),
        "progress": {"step": 3, "nimg": 24},
    }
    run_config = {"generator": encode(PainterConfig(width=5)), "discriminator": None}
    data_info = {"image_shape": (1, 2, 2), "num_classes": 0, "class_names": ["all"]}
    found = record_from_state(run_config, data_info, tree)
    assert found.generator_raw is None
    assert found.config.class_names == ()
    assert found.config.origin["step"] == 3
    with pytest.raises(CheckpointError, match="no 'generator'"):
        record_from_state(run_config, data_info, {"progress": {}})


def test_config_is_frozen():
    with pytest.raises(AttributeError):
        record().config.num_classes = 3  # type: ignore[misc]
    assert isinstance(record().config, msgspec.Struct)
