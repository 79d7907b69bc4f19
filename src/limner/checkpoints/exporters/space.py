"""A folder that is a Hugging Face Space: the studio with one model, started by `python app.py`."""

import json
from importlib.metadata import version
from pathlib import Path

from limner.checkpoints.foreign import Exporter, Training
from limner.checkpoints.model_folder import ModelRecord, write_model
from limner.core.config import Config, tag_of
from limner.core.errors import CheckpointError
from limner.core.files import whole_file

GRADIO = "6.31.0"  # the oldest that the studio takes
MODEL = "model"

APP = '''"""The studio of limner with the model beside this file."""

from pathlib import Path

from limner.studio import launch_in_space

launch_in_space(Path(__file__).parent / "model")
'''

CARD = """---
title: {title}
sdk: gradio
sdk_version: {gradio}
app_file: app.py
pinned: false
---

# {name}

Pictures of a generator trained or imported by limner: {architecture}, {size}, {classes}.

- weights: `model/model.safetensors`, sha256 of the model {sha256}
- here or anywhere: `pip install -r requirements.txt`, then `python app.py`; it needs no network
- its pictures say in themselves how they were made; `limner sample model` makes the same ones

Write here which pictures it learned from, what it may be used for, and under which licence.
"""


class Space(Config, Exporter, frozen=True):
    """app.py, requirements.txt, a card, and the model folder with the generator alone."""

    def write(self, record: ModelRecord, folder: Path, training: Training | None) -> list[Path]:
        """See `Exporter.write`; a training is left out.

        Raises:
            CheckpointError: the generator is of a class of the user's own, which is not there.
        """
        config = record.config
        tag = tag_of(type(config.generator))
        if ":" in tag:
            raise CheckpointError(f"{tag}: a class of your own; a Space has those of limner alone")
        alone = ModelRecord(
            config.replace(discriminator=None), record.generator, standing=record.standing
        )
        model = write_model(folder / MODEL, alone)
        channels, height, width = config.image_shape
        name = folder.resolve().name
        card = CARD.format(
            title=json.dumps(name),
            gradio=GRADIO,
            name=name,
            architecture=tag,
            size=f"{width}x{height} with {channels} channel{'s' * (channels != 1)}",
            classes=f"{config.num_classes:,} classes" if config.num_classes else "no classes",
            sha256=alone.sha256,
        )
        needed = f"limner[studio]>={version('limner')}\n"
        texts = {"app.py": APP, "requirements.txt": needed, "README.md": card}
        for file, text in texts.items():
            with whole_file(folder / file) as temporary:
                temporary.write_text(text, encoding="utf-8")
        return [model, *(folder / file for file in texts)]
