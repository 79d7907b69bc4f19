"""What a loaded model says of itself: a line, and in a notebook a few of its pictures."""

import base64
from html import escape
from io import BytesIO
from typing import TYPE_CHECKING

from PIL import Image

from limner.core.config import tag_of
from limner.sampling.sheets import sheet

if TYPE_CHECKING:
    from limner.sampling.model import Model

MOST_PICTURES = 10
MOST_PIXELS = 8 * 256**2  # of all pictures: a notebook's cell should not wait for them
MOST_NAMES = 10
WIDEST = 800  # pixels of the sheet


def line_of(model: "Model") -> str:
    """Network, size, classes, parameters, device."""
    shape = "x".join(map(str, model.image_shape))
    classes = f"{model.num_classes:,} classes" if model.num_classes else "no classes"
    num = sum(parameter.numel() for parameter in model.generator.parameters())
    kind = tag_of(type(model.config.generator))
    return f"{kind}, {shape}, {classes}, {num:,} parameters, on {model.device.type}"


def html_of(model: "Model") -> str:
    """That line and a sheet of the first seeds, each of the next class, as one piece of HTML that
    needs nothing else."""
    _, height, width = model.image_shape
    num = max(1, min(MOST_PICTURES, MOST_PIXELS // (height * width)))
    if model.num_classes:
        num = min(num, model.num_classes)
    images = model.sample(num=num)
    headings = [model.class_name(index) for index in range(num)] if model.num_classes else None
    facts = [line_of(model)]
    if len(model.class_names) > num:
        facts.append(", ".join([*model.class_names[:MOST_NAMES], "..."]))
    picture = html_picture(sheet(images, columns=num, headings=headings), WIDEST)
    return "".join(f"<div>{escape(fact)}</div>" for fact in facts) + picture


def html_picture(image: Image.Image, widest: int) -> str:
    """The picture, made smaller where it is wider, inside the HTML itself."""
    image = image.copy()
    image.thumbnail((widest, widest))
    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=90, subsampling=0)
    encoded = base64.b64encode(buffer.getvalue()).decode()
    return f'<img alt="samples" src="data:image/jpeg;base64,{encoded}">'
