"""Everything that BigGAN-PyTorch's scripts/sample_BigGAN_bs256x8.sh yields, of a limner model.

    python examples/sample_biggan.py MODEL --data DATA --out samples/

writes samples.npz (x uint8 [N, 3, H, W], y), class sheets of all classes, interpolation sheets
along z, y and zy, a random sheet, scores.json, and the truncation curve with standing statistics
accumulated anew for each point. MODEL is a run or a model folder (see `limner import`).
"""

import argparse
import json
from pathlib import Path

import limner
from limner.api.curve import CurveOptions, parse_truncations, truncation_curve, write_curve
from limner.core.config import encode
from limner.core.images import to_uint8
from limner.sampling import (
    Model,
    NpzWriter,
    StandingPlan,
    WalkStyle,
    interpolation_rows,
    save_png,
    sheet,
)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("model")
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--num", type=int, default=50_000, help="images of samples.npz and scores")
    parser.add_argument("--truncations", default="0.05:1.0:0.05")
    parser.add_argument("--standing", default="32x256", help="PASSESxBATCH for each point")
    parser.add_argument("--metrics", default="fid,is")
    parser.add_argument("--classes-per-sheet", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=64)
    return parser.parse_args()


def write_samples(model: Model, out: Path, num: int, batch_size: int) -> None:
    plan = model.plan(num=num)
    with NpzWriter(out / "samples.npz", num, model.image_shape, layout="biggan-pytorch") as file:
        for images in model.batches(plan, batch_size):
            file.add(to_uint8(images).permute(0, 2, 3, 1).cpu().numpy())
        file.finish(None if plan.y is None else plan.y.numpy(), plan.z.numpy())


def write_sheets(model: Model, out: Path, classes_per_sheet: int) -> None:
    for first in range(0, model.num_classes, classes_per_sheet):
        classes = list(range(model.num_classes)[first : first + classes_per_sheet])
        images = model.sample(num=10, classes=classes)
        names = [model.class_name(index) for index in classes]
        picture = sheet(images, columns=10, row_headings=names)
        save_png(picture, out / f"classes-{first:04d}.png", {"classes": f"{first}-{classes[-1]}"})
    for along in ("z", "y", "zy") if model.num_classes else ("z",):
        images = interpolation_rows(model, "0", 16, WalkStyle(10, along))
        save_png(sheet(images, columns=10), out / f"interpolation-{along}.png", {"along": along})
    save_png(sheet(model.sample(num=100), columns=10), out / "random.png", {"seeds": "0-99"})


def main() -> None:
    options = parsed()
    model, out = limner.load(options.model), options.out
    metrics = options.metrics.split(",")
    write_samples(model, out, options.num, options.batch_size)
    write_sheets(model, out, options.classes_per_sheet)
    scores = limner.evaluate(model, options.data, metrics, options.num)
    (out / "scores.json").write_text(json.dumps([encode(score) for score in scores], indent=2))
    asked = CurveOptions(
        truncations=parse_truncations(options.truncations),
        metrics=metrics,
        num=options.num,
        standing=StandingPlan.parse(options.standing),
        batch_size=options.batch_size,
    )
    write_curve(truncation_curve(model, options.data, asked), out, options.model)
    print(f"samples, sheets, scores and curve: {out}")


if __name__ == "__main__":
    main()
