"""Images of a plan, written batch after batch: an .npz, or a folder of PNGs."""

import re
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from torch import Tensor

from limner.core.counting import Progress
from limner.core.images import to_uint8
from limner.sampling.archives import NpzLayout, NpzWriter
from limner.sampling.model import Model
from limner.sampling.plans import SamplePlan
from limner.sampling.sheets import save_png


def drawn(
    model: Model, plan: SamplePlan, batch_size: int, progress: Progress
) -> Iterator[tuple[Tensor, np.ndarray]]:
    """The network's output float32 [n, C, H, W] on the CPU and its uint8 [n, H, W, C]."""
    done = 0
    for images in model.batches(plan, batch_size):
        done += len(images)
        progress(done, len(plan))
        yield images.cpu(), to_uint8(images).permute(0, 2, 3, 1).cpu().numpy()


def write_npz(
    model: Model,
    plan: SamplePlan,
    path: Path,
    layout: NpzLayout = "limner",
    with_floats: bool = False,
    batch_size: int = 64,
    progress: Progress = lambda done, total: None,
) -> None:
    """The plan's images, labels and latents (or styles) in one file; see NpzWriter."""
    with NpzWriter(path, len(plan), model.image_shape, with_floats, layout) as file:
        for output, images in drawn(model, plan, batch_size, progress):
            file.add(images, output.numpy() if with_floats else None)
        file.finish(None if plan.y is None else plan.y.numpy(), plan.z.numpy())


def write_folder(
    model: Model,
    plan: SamplePlan,
    folder: Path,
    batch_size: int = 64,
    progress: Progress = lambda done, total: None,
) -> None:
    """One PNG an image under its name of `picture_names`, which says where it comes from; a warning
    where other pictures stay in the folder."""
    names = picture_names(model, plan)
    written = {folder / name for name in names}
    others = sum(path not in written for path in folder.rglob("*.png"))
    if others:
        warnings.warn(
            f"{folder}: {others} other pictures lie there, and stay; a score of the folder is of "
            "all of them",
            stacklevel=2,
        )
    done = 0
    for _, images in drawn(model, plan, batch_size, progress):
        for image in images:
            save_png(image, folder / names[done], model.describe(plan, done))
            done += 1


def picture_names(model: Model, plan: SamplePlan) -> list[str]:
    """CLASS/seed-00000007.png for each image, without classes seed-00000007.png, with given
    latents image-00000000.png in their order; a repeated one gets a number. So the folder can be
    used as data with the model's classes."""
    folders = class_folders(model) if plan.y is not None and plan.y.ndim == 1 else None
    names: list[str] = []
    seen: Counter[str] = Counter()
    for i in range(len(plan)):
        name = f"image-{i:08d}" if plan.seeds is None else f"seed-{plan.seeds[i]:08d}"
        if folders is not None and plan.y is not None:
            name = f"{folders[int(plan.y[i])]}/{name}"
        seen[name] += 1
        names.append(f"{name}.png" if seen[name] == 1 else f"{name}-{seen[name]}.png")
    return names


def class_folders(model: Model) -> list[str]:
    """One folder name a class; sorted they stand in the order of the classes."""
    width = len(str(model.num_classes - 1))
    names = [
        re.sub(r"[^\w .+-]+", "_", model.class_name(i)).strip(" .")[:80]
        for i in range(model.num_classes)
    ]
    if names == sorted(set(names)) and all(names):
        return names
    return [
        f"{i:0{width}d}" if name in ("", str(i)) else f"{i:0{width}d}-{name}"
        for i, name in enumerate(names)
    ]
