"""What a user's name of a model leads to, found without opening its weights: no torch here."""

import re
from dataclasses import dataclass
from pathlib import Path

from limner.checkpoints.hub import PREFIX, HubPlace, fetched
from limner.checkpoints.protocol import settled
from limner.checkpoints.run_directory import RunDirectory
from limner.core.errors import CheckpointError
from limner.core.files import read_json

CONFIG_NAME = "config.json"
WEIGHTS_NAME = "model.safetensors"
CARD_NAME, SHEET_NAME = "README.md", "sheet.png"  # beside them, for people
BUILTIN = Path(__file__).parent / "builtin"  # model folders that the package brings along

_SPEC = re.compile(r"(?P<path>.+?)(?:@(?P<selector>[^@/\\:]+))?(?P<raw>:raw)?")


@dataclass(frozen=True)
class ModelPlace:
    """Where a model is.

    Attributes:
        path: of the model folder, where `run` is None, or of the run.
        selector: "best-fid", "step-400" or "" of the run's checkpoints.
        raw: whether the weights without moving average are meant.
    """

    path: Path
    run: RunDirectory | None
    selector: str = ""
    raw: bool = False

    def classes(self) -> tuple[int, list[str]]:
        """Number of classes, and their names where they have any; (0, []) without classes."""
        if self.run is not None:
            known = self.run.read_data("num_classes", "class_names")
        else:
            known = read_json(settled(self.path) / CONFIG_NAME, {"num_classes": int})
        return known.get("num_classes", 0), list(known.get("class_names", ()))


def model_place(spec: str | Path) -> ModelPlace:
    """The place of what a user names, see `find_model`; a folder of the user's goes before a
    model of the package that has the same name.

    Raises:
        CheckpointError: there is no such thing; says what was looked for.
    """
    text = str(spec)
    if text.startswith(PREFIX):
        return _on_the_hub(text)
    match = _SPEC.fullmatch(text)
    path, selector, raw = Path(text), "", False
    if match is not None and not settled(path).exists():
        path = Path(match["path"])
        selector, raw = match["selector"] or "", bool(match["raw"])
    if path.parent == Path() and not settled(path).exists() and is_model(BUILTIN / path):
        path = BUILTIN / path
    if not settled(path).is_dir():
        raise CheckpointError(f"{path}: no such run directory or model folder")
    run = RunDirectory(path)
    if is_model(settled(path)):
        if selector:
            raise CheckpointError(
                f"{path}: a model folder has no checkpoints; leave '@{selector}' out"
            )
        return ModelPlace(path, None, raw=raw)
    if run.checkpoints.is_dir() and run.config.is_file():
        run.named(selector)
        return ModelPlace(path, run, selector, raw)
    if is_model(settled(run.model)) and not selector:
        return ModelPlace(run.model, None, raw=raw)
    raise CheckpointError(
        f"{path}: neither a model folder ({CONFIG_NAME} and {WEIGHTS_NAME}) nor a run directory "
        "(config.json and checkpoints)"
    )


def _on_the_hub(text: str) -> ModelPlace:
    """The copy of a model folder that lies on the hub."""
    name = text.removesuffix(":raw")
    place = HubPlace.of(name)
    if place.file is not None:
        raise CheckpointError(f"{name}: a model is a whole repository; leave /{place.file} out")
    path = fetched(place, (CONFIG_NAME, WEIGHTS_NAME, CARD_NAME, SHEET_NAME)).path
    if not is_model(path):
        raise CheckpointError(
            f"{name}: it holds no {CONFIG_NAME} and {WEIGHTS_NAME} of limner; files of another "
            f"program are read by limner import FORMAT {name}"
        )
    return ModelPlace(path, None, raw=text.endswith(":raw"))


def is_model(folder: Path) -> bool:
    """Whether a folder holds a model."""
    return (folder / CONFIG_NAME).is_file() and (folder / WEIGHTS_NAME).is_file()
