"""Readers of what limner itself writes: configs, checkpoints, logs, models."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from limner import presets
from limner.checkpoints import (
    RunDirectory,
    find_model,
    load_rank_state,
    load_state,
    newest_verified,
    save_state,
)
from limner.checkpoints.manifest import render_manifest, sha256_of_bytes
from limner.core.config import from_json, override, to_json
from limner.engine import RunConfig
from limner.models.dcgan import DcganDiscriminator, DcganGenerator
from limner.sampling import load
from readers.base import Reader, refused_or_read


class Configs(Reader):
    """config.json of a run, and the text after --set."""

    name = "config"

    def __init__(self, root: Path):
        super().__init__(root)
        self.base = presets.get("digits")()
        for preset in ("digits", "dcgan-celeba64"):
            self.files[f"{preset}.json"] = to_json(presets.get(preset)()).encode()
        for number, text in enumerate(("optim.g.lr=2e-4", 'updates.0.terms.0={"type": "HingeD"}')):
            self.files[f"set{number}"] = text.encode()

    def read(self, name: str, content: bytes) -> None:
        if name.startswith("set"):
            config = override(self.base, [content.decode(errors="surrogateescape")])
        else:
            config = from_json(RunConfig, content, name)
        again = from_json(RunConfig, to_json(config).encode(), name)
        assert again == config, "a config does not come back from its own JSON"


class Checkpoints(Reader):
    """A training state. "sealed X" are files whose manifest is made to fit the damage, as one who
    means harm would; damage to the others must be found."""

    name = "checkpoint"
    SEALED = "sealed "

    def __init__(self, root: Path):
        super().__init__(root)
        tree = {
            "generator": {"a.weight": torch.arange(6.0).reshape(2, 3), "n": torch.tensor(3)},
            "optimizer_g": {
                "state": {0: {"step": torch.tensor(1.0)}},
                "groups": [{"betas": (0, 1)}],
            },
            "progress": {"step": 4, "nimg": 32, "note": None},
        }
        self.state = save_state(root, 4, tree, {"noise": torch.arange(3)}, {"names": ["x", "y"]})
        held = {path.name: path.read_bytes() for path in self.state.iterdir()}
        self.files = {**held, **{self.SEALED + name: content for name, content in held.items()}}
        self.files["sealed manifest.json"] = json.dumps(self._body()).encode()

    def _body(self) -> dict[str, Any]:
        body = json.loads((self.state / "manifest.json").read_bytes())
        del body["manifest_sha256"]
        return body

    def read(self, name: str, content: bytes) -> None:
        plain = name.removeprefix(self.SEALED)
        valid = {held: self.files[held] for held in (plain, "manifest.json")}
        try:
            if name != plain:
                self._seal(plain, content)
            else:
                (self.state / plain).write_bytes(content)
            self._load()
            assert name != plain or content == valid[plain], "damage was not found"
        finally:
            for held, text in valid.items():
                (self.state / held).write_bytes(text)

    def _seal(self, name: str, content: bytes) -> None:
        body = self._body()
        if name == "manifest.json":
            try:
                body = json.loads(content)
                rendered = render_manifest(body)
            except (ValueError, TypeError, RecursionError):  # cannot be sealed: as it is
                rendered = content
            (self.state / name).write_bytes(rendered)
            return
        (self.state / name).write_bytes(content)
        body["files"][name] = {"size": len(content), "sha256": sha256_of_bytes(content)}
        (self.state / "manifest.json").write_bytes(render_manifest(body))

    def _load(self) -> None:
        newest_verified(self.root, lambda line: None)
        load_state(self.state)
        load_rank_state(self.state, 0)


class Logs(Reader):
    """log.jsonl, scores.jsonl and events.jsonl, and what a resume does with them."""

    name = "logs"

    def __init__(self, root: Path):
        super().__init__(root)
        figure = {"metric": "fid", "name": "fd-classifier", "value": 3.5, "std": None}
        lines = {
            "log.jsonl": {"step": 5, "nimg": 40, "seconds": 1.5, "loss_d": 0.25},
            "scores.jsonl": {"step": 5, "nimg": 40, "results": [figure]},
            "events.jsonl": {"step": 5, "time": "2026-01-01", "event": "saved", "message": "é"},
        }
        for name, line in lines.items():
            records = [{**line, "step": step} for step in (5, 10)]
            self.files[name] = "".join(json.dumps(record) + "\n" for record in records).encode()
        save_state(root / "checkpoints", 5, {"progress": {"step": 5}})

    def read(self, name: str, content: bytes) -> None:
        (self.root / name).write_bytes(content)
        run = RunDirectory(self.root)
        try:
            for reading in (
                lambda: run.read_log(name.removesuffix(".jsonl")),
                lambda: run.best_steps("fd-classifier"),
                lambda: run.select("best-fid"),
                lambda: run.truncate_logs(7),
            ):
                refused_or_read(reading)
            run.append(name.removesuffix(".jsonl"), {"step": 6})
        finally:
            (self.root / name).write_bytes(self.files[name])


SHAPE = (1, 8, 8)


def toy_networks() -> tuple[DcganGenerator, DcganDiscriminator, dict[str, Any]]:
    g, d = DcganGenerator(width=2, z_dim=2), DcganDiscriminator(width=2)
    state = {
        "generator": g.build(SHAPE, 0).state_dict(),
        "discriminator": d.build(SHAPE, 0).state_dict(),
        "generator_ema": None,
        "progress": {"step": 4, "nimg": 32},
    }
    return g, d, state


class Models(Reader):
    """A run read as a model, and model folders, one with standing statistics: the networks are built
    and filled."""

    name = "model"

    def __init__(self, root: Path):
        super().__init__(root)
        g, d, state = toy_networks()
        run = root / "run"
        (run / "checkpoints").mkdir(parents=True)
        config = presets.get("digits")().replace(generator=g, discriminator=d, num_classes=0)
        (run / "config.json").write_text(to_json(config))
        facts = {"image_shape": SHAPE, "num_classes": 0, "class_names": [], "sha256": "0" * 64}
        (run / "data.json").write_text(json.dumps(facts))
        save_state(run / "checkpoints", 4, state)
        from limner.checkpoints import write_model

        record = find_model(run)
        write_model(root / "folder", record)
        rows = {k: torch.stack((v, v)) for k, v in state["generator"].items() if "running" in k}
        standing = record.config.replace(truncations=(0.5, 1.0))
        write_model(root / "standing", replace(record, config=standing, standing=rows))
        for folder in ("folder", "standing"):
            plain = json.loads((root / folder / "config.json").read_bytes())
            del plain["origin"]["weights_sha256"]  # so that damage to the weights is read
            (root / folder / "config.json").write_text(json.dumps(plain))
            for name in ("config.json", "model.safetensors"):
                self.files[f"{folder}/{name}"] = (root / folder / name).read_bytes()
        for name in ("run/config.json", "run/data.json"):
            self.files[name] = (root / name).read_bytes()

    def read(self, name: str, content: bytes) -> None:
        (self.root / name).write_bytes(content)
        try:
            model = load(self.root / name.partition("/")[0], "cpu")
            if model.standing is not None:
                model.standing.at(0.75)
        finally:
            (self.root / name).write_bytes(self.files[name])
