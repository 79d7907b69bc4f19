"""Labels that are rows of numbers (attributes, cut one-hot): from data to training to samples."""

import json
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from limner.api import evaluate, evaluation_sampler
from limner.checkpoints import RunDirectory
from limner.cli.main import main
from limner.core import distributed
from limner.core.config import Config
from limner.core.errors import ConfigError, DataError, LimnerError
from limner.core.protocols import z_dim_of
from limner.data import (
    DataConfig,
    Item,
    Listing,
    Loader,
    PreparedData,
    Source,
    open_data,
    picture_sheet,
    prepare,
    report,
    write_hdf5,
    write_tfrecords,
    write_zip,
)
from limner.engine import Update
from limner.engine.noise import Noise
from limner.engine.trainer import Trainer
from limner.metrics.evaluation import check_metrics
from limner.metrics.features import default_features
from limner.models import PgganDiscriminator, PgganGenerator
from limner.objectives import (
    AuxiliaryClassifierD,
    AuxiliaryClassifierG,
    WassersteinD,
    WassersteinG,
)
from limner.sampling import load
from limner.sampling.walls import Wall, wall_places
from processes import in_processes
from runs import result
from toys import toy_config

pytestmark = pytest.mark.usefixtures("no_extras")
ATTRIBUTES = np.array(
    [[1, 1, 0], [0, 1, 0], [0, 0, 0], [1, 0, 0.5], [0, 1, 1], [1, 1, 1]], np.float32
)
EIGHT = DataConfig(resolution=8, channels=1)


class Rows(Config, Source, frozen=True):
    """Six pictures 8x8 with these labels."""

    path: str = ""
    rows: Any = tuple(map(tuple, ATTRIBUTES.tolist()))
    names: tuple[str, ...] = ("smiling", "young", "hat")

    def listing(self, labels):
        """See `Source.listing`."""
        rng = np.random.default_rng(0)
        images = rng.integers(0, 256, (len(self.rows), 8, 8), np.uint8)
        items = [
            Item(f"{i}.png", np.array(row, np.float64) if isinstance(row, tuple) else row, x.copy)
            for i, (row, x) in enumerate(zip(self.rows, images, strict=True))
        ]
        if labels == "none":
            return Listing(items=[item._replace(label=None) for item in items])
        return Listing(items=items, class_names=list(self.names))


def rows_data(path: Path, **changes: Any) -> PreparedData:
    return prepare(Rows(), path, EIGHT.replace(**changes))


# --- the prepared form ---------------------------------------------------------------


def test_attributes_are_kept_as_rows(tmp_path: Path):
    data = rows_data(tmp_path / "p")
    assert data.labels.dtype == np.float32
    np.testing.assert_array_equal(data.labels, ATTRIBUTES)
    assert (data.num_classes, data.class_names) == (3, ["smiling", "young", "hat"])
    assert data.class_counts.tolist() == [3, 4, 3]
    assert data.info["version"] == 3
    assert data.info["classes"][2] == {"name": "hat", "count": 3}
    batch = Loader(data, 4, seed=1).next()
    np.testing.assert_array_equal(batch.labels.numpy(), ATTRIBUTES[batch.indices.numpy()])
    kept = rows_data(tmp_path / "kept", crop="random")
    np.testing.assert_array_equal(kept.labels, ATTRIBUTES)
    assert kept.info["settings"]["fit"] == "keep"
    np.testing.assert_array_equal(kept.images[:], data.images)


def test_records_with_attributes_there_and_back(tmp_path: Path):
    data = rows_data(tmp_path / "p")
    out = write_tfrecords(data, tmp_path / "set", shuffle=False)
    held = np.load(out / "set-rxx.labels")
    assert held.dtype == np.float32
    np.testing.assert_array_equal(held, ATTRIBUTES)
    again = prepare(out, tmp_path / "again", EIGHT)
    np.testing.assert_array_equal(again.labels, ATTRIBUTES)
    np.testing.assert_array_equal(again.images, data.images)
    assert any("rows of 3 numbers" in note for note in again.info["notes"])
    one = write_tfrecords(rows_data(tmp_path / "one", max_label_size=1), tmp_path / "one-set")
    order = np.random.RandomState(123).permutation(6)
    read = prepare(one, tmp_path / "read", EIGHT)
    np.testing.assert_array_equal(read.labels, ATTRIBUTES[order, :1])


def test_attributes_beside_pggans_hdf5(tmp_path: Path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "faces.h5", "w") as file:
        file["data8x8"] = np.zeros((6, 3, 8, 8), np.uint8)
    beside = tmp_path / "faces-labels.npy"
    np.save(beside, ATTRIBUTES.astype(np.float64))
    data = prepare(tmp_path / "faces.h5", tmp_path / "p", EIGHT)
    np.testing.assert_array_equal(data.labels, ATTRIBUTES)
    assert data.info["notes"] == [
        "faces-labels.npy: labels are rows of 3 numbers, not one class a picture"
    ]
    for wrong, words in (
        (np.where(ATTRIBUTES == 0.5, np.inf, ATTRIBUTES), "row 3, column 2 is inf"),
        (ATTRIBUTES[:5], r"float32 \(5, 3\) for 6 pictures"),
        (np.zeros((6, 100_001), np.float32), r"float32 \(6, 100001\) for 6"),
    ):
        np.save(beside, wrong)
        with pytest.raises(DataError, match=f"faces-labels.npy: .*{words}"):
            prepare(tmp_path / "faces.h5", tmp_path / "wrong", EIGHT)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (((1.0, 0.0, 0.0), (1.0, float("nan"), 0.0)), "1.png: its label is nan"),
        (((1.0, 0.0, 0.0), (1.0, 1e39, 0.0)), "1.png: its label is 1e"),
        (((1.0, 0.0), (1.0, 0.0)), r"0.png: a label of shape \(2,\), the source names 3 columns"),
    ],
)
def test_rows_that_do_not_fit_name_the_picture(tmp_path: Path, rows: Any, words: str):
    with pytest.raises(DataError, match=words) as caught:
        prepare(Rows(rows=rows), tmp_path / "p", EIGHT)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (np.where(ATTRIBUTES == 0.5, np.nan, ATTRIBUTES), "not finite"),
        (ATTRIBUTES[:, :2].copy(), r"shape \(6, 2\), dataset.json says \(6, 3\)"),
        (ATTRIBUTES.astype(np.float64), "unexpected types"),
        (np.zeros(6, np.int64), r"shape \(6,\), dataset.json says \(6, 3\)"),
    ],
)
def test_damaged_rows_are_refused(tmp_path: Path, labels: np.ndarray, words: str):
    data = rows_data(tmp_path / "p")
    np.save(data.directory / "labels.npy", labels)
    with pytest.raises(DataError, match=rf"labels.npy: .*{words}"):
        PreparedData(data.directory)


# --- the first columns -----------------------------------------------------------------


@pytest.mark.parametrize("most", [None, 0, 1, 2, 3, 9])
def test_the_first_columns_are_kept(tmp_path: Path, most: int | None):
    """As PGGAN's TFRecordDataset: labels[:, :max_label_size]."""
    numbers = (2, 0, 1, 1, 0, 2)
    data = prepare(Rows(rows=numbers), tmp_path / "p", EIGHT.replace(max_label_size=most))
    if most == 0:
        assert (data.num_classes, data.labels.tolist()) == (0, [0] * 6)
    elif most in (1, 2):
        np.testing.assert_array_equal(data.labels, np.eye(3)[list(numbers), :most])
        assert data.class_names == ["smiling", "young"][:most]
        assert data.class_counts.tolist() == [2] * most
    else:
        assert data.labels.tolist() == list(numbers)
        assert data.info["version"] == 1
    attributes = rows_data(tmp_path / "rows", max_label_size=most)
    if most != 0:
        np.testing.assert_array_equal(attributes.labels, ATTRIBUTES[:, :most])


def test_what_is_not_cut_keeps_its_identity():
    """Prepared directories and caches of before are found again."""
    assert set(EIGHT.settings()) == {"resolution", "channels", "labels", "fit", "filter"}
    none = EIGHT.replace(labels="none")
    assert EIGHT.replace(max_label_size=0).settings() == none.settings()
    assert none.replace(max_label_size=2).settings() == none.settings()
    assert EIGHT.replace(max_label_size=2).settings() != EIGHT.settings()
    with pytest.raises(ConfigError, match="max_label_size: -1 is out of range"):
        EIGHT.replace(max_label_size=-1)


def test_another_cut_is_refused_with_the_setting_that_takes_it(tmp_path: Path):
    whole, cut = rows_data(tmp_path / "p"), rows_data(tmp_path / "cut", max_label_size=2)
    assert open_data(cut.directory, EIGHT.replace(max_label_size=2)).num_classes == 2
    with pytest.raises(DataError, match=r"--set data.max_label_size=2$"):
        open_data(cut.directory, EIGHT)
    with pytest.raises(DataError, match=r"--set data.max_label_size=null$"):
        open_data(whole.directory, EIGHT.replace(max_label_size=2))


# --- reports, sheets, other programs -----------------------------------------------------


def test_reports_and_sheets_have_a_row_a_column(tmp_path: Path):
    data = rows_data(tmp_path / "p")
    for found in (data, Rows()):
        made = report(found)
        assert made.classes == [("smiling", 3), ("young", 4), ("hat", 3)]
        sheet = picture_sheet(found, columns=5, cell=8)
        assert sheet.size[1] == 3 * 10 + 2
    prepared, source = (
        np.asarray(picture_sheet(found, columns=5, cell=8))[:, 96:] for found in (data, Rows())
    )
    np.testing.assert_array_equal(prepared, source)
    assert "one_class" not in {
        f.kind for f in report(rows_data(tmp_path / "1", max_label_size=1)).warnings
    }


def test_a_wall_of_rows(tmp_path: Path):
    places = wall_places(ATTRIBUTES, 3, (2, 4), "row_per_class", 0)
    for row, own in enumerate(places.reshape(4, 2)):
        assert (ATTRIBUTES[own, row % 3] != 0).all()
    network = PgganGenerator(fmap_base=32, fmap_max=4).build((1, 8, 8), 3).eval()
    labels = ATTRIBUTES[places]
    drawn = np.asarray(Wall(z_dim_of(network), 2, 4, labels)(network))
    other = np.asarray(Wall(z_dim_of(network), 2, 4, 1 - labels)(network))
    assert (drawn != other).any()


def test_exports(tmp_path: Path):
    data = rows_data(tmp_path / "p")
    with zipfile.ZipFile(write_zip(data, tmp_path / "out.zip")) as archive:
        held = json.loads(archive.read("dataset.json"))["labels"]
    assert [row for _, row in held] == ATTRIBUTES.tolist()
    pytest.importorskip("h5py")
    with pytest.raises(DataError, match="rows of numbers"):
        write_hdf5(data, tmp_path / "out.hdf5")


# --- training ------------------------------------------------------------------------------


def noise(rank: int = 0, world_size: int = 1) -> Noise:
    rows = torch.from_numpy(np.arange(40, dtype=np.float32).reshape(20, 2))
    return Noise(3, rank, world_size, label_rows=rows)


def drawn(step: int = 0, call: int = 0, num: int = 16, **share: int) -> torch.Tensor:
    return noise(**share).draw(step, call).labels(num, 2, "natural")


def test_natural_labels_are_whole_rows_of_the_data():
    rows = drawn(num=400)
    assert rows.dtype == torch.float32
    torch.testing.assert_close(rows[:, 1], rows[:, 0] + 1)
    counts = (rows[:, 0] / 2).long().bincount(minlength=20)
    assert int(counts.min()) > 5
    assert torch.equal(drawn(2, 1), drawn(2, 1))
    assert not torch.equal(drawn(2, 1), drawn(2, 2))
    assert not torch.equal(drawn(2, 1), drawn(3, 1))


def test_two_of_eight_are_one_of_sixteen():
    parts = [drawn(5, num=8, rank=rank, world_size=2) for rank in (0, 1)]
    assert torch.equal(torch.cat(parts), drawn(5))


def config(labels: str = "natural"):
    d = Update(player="d", terms=(WassersteinD(), AuxiliaryClassifierD()), labels="real")
    g = Update(player="g", terms=(WassersteinG(), AuxiliaryClassifierG()), labels=labels)  # type: ignore[arg-type]
    return toy_config(
        generator=PgganGenerator(fmap_base=32, fmap_max=4),
        discriminator=PgganDiscriminator(fmap_base=32, fmap_max=4, group_size=0),
        updates=(d, g),
        precision="float64",
        batch_size=8,
        num_classes=3,
        data=EIGHT,
    )


def trained(data: PreparedData) -> dict[str, Any]:
    asked, rank, world_size = config(), distributed.rank(), distributed.world_size()
    loader = Loader(data, asked.batch_size, asked.seed, rank=rank, world_size=world_size)
    rows = torch.from_numpy(np.array(data.labels))
    trainer = Trainer(asked, data.image_shape, 3, loader.next, label_rows=rows)
    for _ in range(2):
        trainer.step()
    state = trainer.state_dict()
    return {part: state[part] for part in ("generator", "discriminator")}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks its children")
def test_two_processes_train_as_one(tmp_path: Path):
    data = rows_data(tmp_path / "p")

    def work(rank: int) -> None:
        distributed.start()
        torch.save(trained(data), tmp_path / f"{rank}.pt")
        distributed.stop()

    assert in_processes(2, work) == [0, 0]
    alone, share = trained(data), torch.load(tmp_path / "1.pt")
    for part in alone:
        torch.testing.assert_close(share[part], alone[part], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("rule", ["drawn", "balanced"])
def test_rules_of_single_classes_are_refused(rule: str):
    rows = torch.from_numpy(ATTRIBUTES)
    with pytest.raises(ConfigError, match=rf"updates.1.labels: '{rule}' .*natural or real"):
        Trainer(config(rule), (1, 8, 8), 3, lambda: None, label_rows=rows)  # type: ignore[arg-type]


# --- a run ------------------------------------------------------------------------------------


def words(run: Path, data: Path, steps: int) -> list[str]:
    changes = ["data.resolution=8", "data.filter=lanczos", "generator.fmap_base=32"]
    changes += ["generator.fmap_max=4", "generator.z_dim=4", "discriminator.fmap_base=32"]
    changes += ["discriminator.fmap_max=4", "batch_size=4", "metrics=[]", "controllers.0.schedule"]
    changes[-1:] = ["controllers.0.schedule.batch_sizes=[]", "controllers.0.read_every=1"]
    changes += ["controllers.0.schedule.training_kimg=0.004", "intervals.log=1"]
    changes += ["controllers.0.schedule.transition_kimg=0.01", "sheet.grid=3x2"]
    changes += ["intervals.sample_ticks=0", "intervals.sample=2", "intervals.save_ticks=0"]
    settings = [word for change in changes for word in ("--set", change)]
    start = ["train", "pggan-digits", "--data", str(data), "--run", str(run), "--device", "cpu"]
    return [*start, "--steps", str(steps), *settings]


@pytest.fixture(scope="module")
def a_run(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], tuple[Path, Path]]:
    """A prepared directory read from TFRecords, and a run of two steps on it."""
    root = tmp_path_factory.mktemp("run")
    records = write_tfrecords(rows_data(root / "source"), root / "faces", shuffle=False)
    prepare(records, root / "prepared", DataConfig(resolution=8))
    assert main(words(root / "run", root / "prepared", 2)) == 0
    return lambda: (root / "prepared", root / "run")


def test_a_run_resumes_exactly(a_run, tmp_path: Path):
    data, run = a_run()
    for name, steps in (("resumed", 4), ("whole", 4)):
        if name == "resumed":
            shutil.copytree(run, tmp_path / name)
        assert main(words(tmp_path / name, data, steps)) == 0
    assert result(tmp_path / "resumed") == result(tmp_path / "whole")
    facts = json.loads(RunDirectory(run).data.read_text())
    assert facts["num_classes"] == 3


def test_a_run_leaves_sheets(a_run):
    _, run = a_run()
    names = {path.name for path in run.rglob("*.png")}
    assert any(name.startswith("classes-step-") for name in names), names
    assert "reals.png" in names


def test_its_model_samples_columns_and_rows(a_run, tmp_path: Path):
    """Without y an image has one column alone (seed s the column s modulo their number)."""
    _, run = a_run()
    model = load(run)
    y = model.plan(num=4).y
    assert y is not None
    assert y.tolist() == [0, 1, 2, 0]
    alone = np.arange(3)
    z = np.random.default_rng(0).standard_normal((3, model.z_dim)).astype(np.float32)
    np.testing.assert_array_equal(
        model.sample(z=z, y=np.eye(3, dtype=np.float32)), model.sample(z=z, y=alone)
    )
    mixed = model.sample(z=z, y=ATTRIBUTES[:3])
    assert (np.asarray(mixed) != np.asarray(model.sample(z=z, y=alone))).any()
    np.save(tmp_path / "y.npy", ATTRIBUTES)
    out = tmp_path / "out.npz"
    assert main(["sample", str(run), "--y", str(tmp_path / "y.npy"), "--out", str(out)]) == 0
    np.testing.assert_array_equal(np.load(out)["y"], ATTRIBUTES)


def test_scores_leave_rows_alone(a_run):
    data = PreparedData(a_run()[0])
    assert default_features(data) == "random-conv"
    for name in ("accuracy", "cas", "intra-fid"):
        with pytest.raises(LimnerError, match=f"'{name}' needs one class an image.*of 3 numbers"):
            check_metrics([name], data)
    results = evaluate(str(a_run()[1]), data.directory, metrics=["kid"], num=6, features="pixels")
    assert np.isfinite(results[0].value)


def test_ways_between_latents_have_rows_of_the_data():
    """The path length draws places of rows where others draw classes."""
    given = []

    class Recorder(nn.Module):
        z_dim = 2

        def forward(self, z, y=None):
            given.append(y)
            return torch.zeros(len(z), 1, 8, 8)

    sample = evaluation_sampler(Recorder(), 3, label_rows=ATTRIBUTES)
    images, _ = sample(4, 0)
    assert images.num_classes == len(ATTRIBUTES)
    places = torch.tensor([5, 3, 0])
    assert images.generate(torch.zeros(3, 2), places, torch.arange(3)).shape == (3, 1, 8, 8)
    assert torch.equal(given[-1], torch.from_numpy(ATTRIBUTES[[5, 3, 0]]))
