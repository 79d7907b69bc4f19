"""A part of each kind that lives outside the package: no line of limner is touched."""

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import limner
from limner.api import TrainedRun, TrainOptions
from limner.api.configs import load_config
from limner.api.preparing import source_as
from limner.core.config import from_json, override
from limner.core.errors import ConfigError
from limner.core.parts import Part, resolve_part, table
from limner.core.protocols import NetworkConfig
from limner.core.schedules import SCHEDULES, Schedule
from limner.data import SOURCES, Source, prepare
from limner.engine import RunConfig
from limner.engine.controllers import CONTROLLERS, Controller
from limner.models import NETWORKS
from limner.objectives import DIRECTS, TERMS, Direct, Term
from own_parts import MODULE
from runs import computed_log, learned

KINDS: dict[type[Part], tuple[str, ...]] = {
    Term: ("MyLoss",),
    Direct: ("MyDirect",),
    NetworkConfig: ("MyGenerator", "MyDiscriminator"),
    Controller: ("MyController",),
    Schedule: ("MySchedule",),
    Source: ("MySource",),
}
TABLES = (TERMS, DIRECTS, NETWORKS, CONTROLLERS, SCHEDULES, SOURCES)


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    (tmp_path / "own_gan.py").write_text(MODULE)
    (tmp_path / "scans.raw").write_bytes(bytes(range(256)) * 2)
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("own_gan")
    del sys.modules["own_gan"]


def train(config: RunConfig, folder: Path, run: str) -> TrainedRun:
    options = TrainOptions(device="cpu")
    return limner.train(config, folder / "scans.raw", folder / run, options)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_part_is_found_by_its_module_and_class(own: ModuleType, kind: type[Part]):
    for name in KINDS[kind]:
        assert resolve_part(kind, f"own_gan:{name}") is getattr(own, name)


@pytest.mark.parametrize("parts", TABLES, ids=lambda parts: next(iter(parts)))
def test_a_table_is_a_plain_list_of_classes_under_their_saved_names(parts: dict[str, type[Part]]):
    assert parts == table(*parts.values())
    for name, cls in parts.items():
        assert name == cls.__name__
        assert resolve_part(cls, name) is cls


@pytest.mark.usefixtures("no_extras")
def test_a_run_of_own_parts_trains_saves_and_resumes(own: ModuleType, tmp_path: Path):
    config = own.config().replace(steps=2, intervals=own.config().intervals.replace(save=1))
    whole = train(config, tmp_path, "whole")
    train(config.replace(steps=1), tmp_path, "run")
    saved = from_json(RunConfig, (tmp_path / "run/config.json").read_bytes(), "config.json")
    again = train(saved.replace(steps=2), tmp_path, "run")
    assert (again.began_at, again.outcome.step) == (1, 2)
    ends = [learned(run.path / "checkpoints/step-00000002") for run in (whole, again)]
    assert ends[0] == ends[1]
    assert computed_log(whole.path) == computed_log(again.path)
    named = json.dumps(json.loads((whole.path / "config.json").read_text()))
    for names in KINDS.values():
        assert all(f'"own_gan:{name}"' in named for name in names), names


def test_a_preset_is_a_function_in_a_file(own: ModuleType, tmp_path: Path):
    config = load_config(f"{tmp_path}/own_gan.py:config")
    assert config == own.config()
    assert override(config, ["updates.0.terms.0.margin=2"]).updates[0].terms[0] == own.MyLoss(2.0)


def test_a_source_is_named_where_data_is_prepared(own: ModuleType, tmp_path: Path):
    source = source_as(str(tmp_path / "scans.raw"), "own_gan:MySource")
    assert source == own.MySource(path=str(tmp_path / "scans.raw"))
    data = prepare(source, tmp_path / "prepared", own.config().data.replace(source=None))
    assert data.images.shape == (32, 4, 4, 1)
    assert data.info["source"]["kind"] == "own_gan:MySource"


def test_what_no_saved_config_can_name_is_refused_before_it_trains(own: ModuleType, tmp_path: Path):
    class Local(own.MyLoss, frozen=True):
        pass

    config = own.config()
    d, g = config.updates
    with pytest.raises(
        ConfigError, match=r"^updates\.0\.terms\.0: class Local stands inside .*; move"
    ):
        train(config.replace(updates=(d.replace(terms=(Local(),)), g)), tmp_path, "run")
    assert not (tmp_path / "run/config.json").exists()
