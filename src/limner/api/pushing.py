"""A model on the Hugging Face hub, with its card."""

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from limner.api.cards import write_card
from limner.checkpoints.hub import PREFIX, HubPlace, hub_errors, require_hub
from limner.checkpoints.model_place import CARD_NAME, SHEET_NAME, model_place
from limner.core.errors import LimnerError

FILES = (CARD_NAME, SHEET_NAME)  # beside the model, which go along


@dataclass(frozen=True)
class Pushed:
    """Where a model is on the hub.

    Attributes:
        name: with the commit as its revision; it stands wherever MODEL does.
        sha256: of the weights.
    """

    name: str
    address: str
    sha256: str


def check_repository(text: str) -> str:
    """USER/NAME, of "hf:USER/NAME" as well; LimnerError for another text."""
    place = HubPlace.of(text if text.startswith(PREFIX) else f"{PREFIX}{text}")
    if place.revision or place.file:
        raise LimnerError(f"{text}: give USER/NAME alone; the hub gives the revision")
    return place.repository


def push(
    model: str | Path, repository: str, licence: str | None = None, private: bool = False
) -> Pushed:
    """Write a model folder with its card to the hub, as one commit. Who writes the hub knows from
    `hf auth login` or $HF_TOKEN.

    Args:
        model: a run, or a model folder, see `load`; its README.md and sheet.png go along.
        repository: "USER/NAME"; it is made where there is none.
        licence: as the hub names it, for example cc-by-4.0.
        private: a repository that is made then is not seen by others.

    Raises:
        MissingExtra: huggingface_hub is not installed; CheckpointError: no such model, or the hub
            refuses.
    """
    name = check_repository(repository)
    place = model_place(model)
    require_hub("limner push")
    from huggingface_hub import HfApi

    from limner.checkpoints import find_model, write_model

    record = find_model(model)
    with tempfile.TemporaryDirectory() as temporary:
        folder = write_model(Path(temporary) / "model", record)
        for file in FILES if place.run is None else ():
            if (place.path / file).exists():
                shutil.copyfile(place.path / file, folder / file)
        write_card(folder, place.run, licence=licence, name=f"{PREFIX}{name}")
        api = HfApi()
        with hub_errors(f"{PREFIX}{name}"):
            api.create_repo(name, private=private or None, exist_ok=True)
            commit = api.upload_folder(
                repo_id=name, folder_path=folder, commit_message="A model of limner"
            )
    return Pushed(f"{PREFIX}{name}@{commit.oid}", f"{api.endpoint}/{name}", record.sha256)
