"""DiffAugment: the same few random changes to all real and generated images."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from limner.core.config import Config
from limner.core.errors import ConfigError
from limner.core.ranges import Share
from limner.engine.augment.base import Augment
from limner.objectives.base import Memory, Noise

Images = Float[Tensor, "n c h w"]
TRANSLATION = 0.125  # of a side


class DiffAugment(Config, Augment, frozen=True):
    """Every image changed in each way of a policy, with numbers of its own (Zhao et al. 2020;
    mit-han-lab/data-efficient-gans, DiffAugment_pytorch.py). At least for up to some ten thousand
    pictures; there is nothing to tune.

    Attributes:
        policy: groups of changes in their order, separated by commas. "color": brightness,
            saturation, contrast; "translation": by up to an eighth of the side, zeros enter;
            "cutout": a square of zeros.
        cutout: the square's side as a share of the image's (0.2 in Projected GAN).
    """

    policy: str = "color,translation,cutout"
    cutout: Share = 0.5

    def __post_init__(self) -> None:
        for group in self._groups():
            if group not in GROUPS:
                known = ", ".join(GROUPS)
                raise ConfigError(f"policy: '{group}' is none of {known}; write some, with commas")

    def __call__(self, images: Images, noise: Noise, nimg: int, memory: Memory) -> Images:
        for group in self._groups():
            images = GROUPS[group](images, noise, self.cutout)
        return images

    def _groups(self) -> list[str]:
        return [group.strip() for group in self.policy.split(",")]


def _color(x: Images, noise: Noise, cutout: float) -> Images:
    brightness, saturation, contrast = (
        noise.uniform(name, (len(x), 1, 1, 1)) for name in ("brightness", "saturation", "contrast")
    )
    x = x + (brightness - 0.5)
    mean = x.mean(1, keepdim=True)
    x = torch.lerp(mean, x, 2.0 * saturation)
    mean = x.mean((1, 2, 3), keepdim=True)
    return torch.lerp(mean, x, contrast + 0.5)


def _translation(x: Images, noise: Noise, cutout: float) -> Images:
    rows, columns = (
        torch.arange(size, device=x.device) + _shift(noise, name, len(x), size)
        for name, size in (("translation rows", x.shape[2]), ("translation columns", x.shape[3]))
    )
    inside = _inside(rows, x.shape[2])[:, :, None] & _inside(columns, x.shape[3])[:, None, :]
    rows, columns = rows.clamp(0, x.shape[2] - 1), columns.clamp(0, x.shape[3] - 1)
    places = rows[:, :, None] * x.shape[3] + columns[:, None, :]
    places = places.flatten(1)[:, None, :].expand(-1, x.shape[1], -1)
    return x.flatten(2).gather(2, places).view(x.shape) * inside[:, None]


def _shift(noise: Noise, name: str, num: int, size: int) -> Tensor:
    """Whole pixels [num, 1] from -furthest to furthest."""
    furthest = int(size * TRANSLATION + 0.5)
    return _whole(noise.uniform(name, (num, 1)), 2 * furthest + 1) - furthest


def _inside(places: Tensor, size: int) -> Tensor:
    return (places >= 0) & (places < size)


def _cutout(x: Images, noise: Noise, cutout: float) -> Images:
    rows, columns = (
        _hole(noise.uniform(name, (len(x), 1)), size, int(size * cutout + 0.5))
        for name, size in (("cutout rows", x.shape[2]), ("cutout columns", x.shape[3]))
    )
    return x * ~(rows[:, None, :, None] & columns[:, None, None, :])


def _hole(u: Tensor, size: int, length: int) -> Tensor:
    """Which of `size` places [n, size] the hole covers; centres may stand at either border, so that
    less of it is seen."""
    first = _whole(u, size + 1 - length % 2) - length // 2
    places = torch.arange(size, device=u.device)
    return (places >= first) & (places < first + length)


def _whole(u: Tensor, num: int) -> Tensor:
    """Uniform numbers in [0, 1) as integers from 0 to num - 1."""
    return (u * num).long()


GROUPS: dict[str, Callable[[Images, Noise, float], Images]] = {
    "color": _color,
    "translation": _translation,
    "cutout": _cutout,
}
