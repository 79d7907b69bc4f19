"""What a network that grows keeps: all its levels from the start, and where it stands."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from limner.core.errors import ConfigError, LimnerError


class Growing(nn.Module):
    """A network of several levels of resolution, each twice the one before, of which `lod` says
    how many are at work.

    Attributes:
        num_levels: levels of resolution; level 0 is the base grid, the last one the image.
        base: height and width of level 0 in pixels.
        lod: level of detail, a float from 0 (all levels) to num_levels - 1 (level 0 alone). The
            levels up to num_levels - 1 - floor(lod) are at work; the fraction is how much the
            last of them is still the one below it. Settable. It is also the buffer "lod", so it
            is saved with the weights, and a state loaded or averaged into the buffer counts.
    """

    def __init__(self, num_levels: int, base: tuple[int, int]):
        super().__init__()
        self.num_levels = num_levels
        self.base = base
        self._known = 0.0
        self._known_of: tuple[Tensor, int] | None = None
        self._fixed: float | None = None
        self.register_buffer("lod", torch.zeros(()))

    @property
    def lod(self) -> float:
        """Read from the device only after something else than this attribute wrote the buffer."""
        if self._fixed is not None:
            return self._fixed
        buffer = self.__dict__["_buffers"].get("lod")
        if buffer is None:
            raise AttributeError("lod")
        if not buffer.is_meta and not self._is_known(buffer):
            self._known = self._checked(float(buffer))
            self._note(buffer)
        return self._known

    @lod.setter
    def lod(self, value: float) -> None:
        buffer = self._buffers["lod"]
        assert buffer is not None
        # As single precision has it, so that a state that is saved and loaded is the same one.
        self._known = self._checked(float(torch.tensor(value, dtype=torch.float32, device="cpu")))
        with torch.no_grad():
            buffer.fill_(self._known)
        self._note(buffer)

    def prepare(self) -> nn.Module:
        self._fixed = self.lod  # a number, no tensor: what traces the network sees one level
        return self

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "lod" and not isinstance(value, Tensor):
            object.__setattr__(self, name, value)  # nn.Module takes only tensors for a buffer
        else:
            super().__setattr__(name, value)

    def level_and_fade(self) -> tuple[int, float]:
        """The highest level at work, and how much of it is still the level below: 0 to below 1."""
        whole = math.floor(self.lod)
        return self.num_levels - 1 - whole, self.lod - whole

    def _is_known(self, buffer: Tensor) -> bool:
        if self._known_of is None or buffer.is_inference():
            return False
        return self._known_of[0] is buffer and self._known_of[1] == buffer._version

    def _note(self, buffer: Tensor) -> None:
        self._known_of = None if buffer.is_inference() else (buffer, buffer._version)

    def _checked(self, value: float) -> float:
        if not 0.0 <= value <= self.num_levels - 1:
            raise LimnerError(
                f"lod: {value} must be 0 to {self.num_levels - 1} in a network of "
                f"{self.num_levels} levels"
            )
        return value


def num_levels_of(image_shape: tuple[int, int, int], base: tuple[int, int]) -> int:
    """Levels from the base grid to the image: 4x4 to 32x32 are four.

    Raises:
        ConfigError: the image is not the base doubled any number of times; names the nearest.
    """
    channels, *size = image_shape
    if channels < 1:
        raise ConfigError(f"image shape {list(image_shape)}: needs at least one channel")
    doublings = max(0, round(math.log2(max(1, *size) / max(base))))
    reached = [side << doublings for side in base]
    if reached == size:
        return doublings + 1
    raise ConfigError(
        f"image shape {list(image_shape)}: from a base of {_by(base)} pixels this architecture "
        f"reaches {', '.join(_by([side << i for side in base]) for i in range(4))} ..., the "
        f"nearest is {_by(reached)}; set data.resolution to one of them, such as "
        f"{_setting(reached)}{_other_base(size)}"
    )


def _other_base(size: list[int]) -> str:
    while min(size) >= 8 and all(side % 2 == 0 for side in size):
        size = [side // 2 for side in size]
    if not 2 <= min(size) <= max(size) <= 16:
        return ""
    return f", or base of both networks to {size}"


def _setting(size: list[int]) -> str:
    return str(size[0]) if size[0] == size[1] else f"[{size[0]},{size[1]}]"


def _by(size: list[int] | tuple[int, ...]) -> str:
    return "x".join(map(str, size))
