"""StyleGAN2-ADA's configurations (`--cfg` of train.py) as variants of the paper's preset."""

from typing import NamedTuple

from limner.presets.variants import Variant, variant

KIMG_BETWEEN_SNAPSHOTS = 200


class Row(NamedTuple):
    """What a configuration of train.py says; `fmaps` is the share of the paper's channels."""

    resolution: int
    batch: int
    group: int
    fmaps: float
    rate: float
    gamma: float
    ema_kimg: float
    rampup: float | None
    num_mapping: int


def changes(row: Row) -> tuple[str, ...]:
    """A row as changes of the paper's preset."""
    channels = int(32768 * row.fmaps)
    steps = KIMG_BETWEEN_SNAPSHOTS * 1000 // row.batch
    return (
        f"data.resolution={row.resolution}",
        f"generator.channel_base={channels}",
        f"generator.num_mapping={row.num_mapping}",
        f"discriminator.channel_base={channels}",
        f"discriminator.group_size={row.group}",
        f"updates.3.terms.0.gamma={row.gamma}",
        f"optim.g.lr={row.rate * 4 / 5}",
        f"optim.d.lr={row.rate * 16 / 17}",
        f"controllers.0.half_life_nimg={row.ema_kimg * 1000}",
        f"controllers.0.rampup={'null' if row.rampup is None else row.rampup}",
        f"batch_size={row.batch}",
        *(f"intervals.{event}={steps}" for event in ("sample", "save", "evaluate")),
    )


def preset(summary: str, row: Row) -> Variant:
    """A row as a variant of the paper's preset."""
    return variant("stylegan2", summary, *changes(row))


def automatic(resolution: int, gpus: int) -> Row:
    """The rules of `--cfg=auto`: batch, widths and penalty by resolution and number of GPUs."""
    batch = max(min(gpus * min(4096 // resolution, 32), 64), gpus)
    return Row(
        resolution,
        batch,
        group=min(batch // gpus, 4),
        fmaps=1.0 if resolution >= 512 else 0.5,
        rate=0.002 if resolution >= 1024 else 0.0025,
        gamma=0.0002 * resolution**2 / batch,
        ema_kimg=batch * 10 / 32,
        rampup=0.05,
        num_mapping=2,
    )


STYLEGAN2 = {
    "stylegan2-paper256": preset(
        "The ADA paper's FFHQ and LSUN cat at 256 px, 8 GPUs.",
        Row(256, 64, 8, 0.5, 0.0025, 1.0, 20, None, 8),
    ),
    "stylegan2-paper512": preset(
        "The ADA paper's BreCaHAD and AFHQ at 512 px, 8 GPUs.",
        Row(512, 64, 8, 1.0, 0.0025, 0.5, 20, None, 8),
    ),
    "stylegan2-paper1024": preset(
        "The ADA paper's MetFaces at 1024 px, 8 GPUs.",
        Row(1024, 32, 4, 1.0, 0.002, 2.0, 10, None, 8),
    ),
}
