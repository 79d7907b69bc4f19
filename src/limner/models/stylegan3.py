"""StyleGAN3's generator (Karras et al. 2021, "Alias-Free GAN"), as NVlabs/stylegan3 has it.

Signals of a limited band, sampled: Fourier features that can be moved and turned at will, modulated
convolutions, and leaky relus between filters that keep each layer within its band. So whatever is
done to the input happens to the image. Its discriminator is StyleGAN2's.
"""

import math
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from limner.core import distributed
from limner.core.config import Config
from limner.core.errors import ConfigError
from limner.core.protocols import LayerNoise, NetworkConfig
from limner.core.ranges import Positive, Share
from limner.layers import at_least_single, demodulation, full_precision, squares_of
from limner.layers.activation import LEAKY_GAIN, SLOPE
from limner.layers.filtered_leaky import filtered_leaky
from limner.layers.lowpass import lowpass_filter
from limner.layers.mapping import StyleLinear
from limner.layers.prepared import fixed, scaled
from limner.models.common import Few, FewOrNone, Size, num_doublings
from limner.models.styled import StyledNetwork

MAX_TAPS = 256  # the paper's have 24 at most
SMALLEST = 4  # pixels on a side that images double from


class StyleGan3Generator(Config, NetworkConfig, frozen=True, kw_only=True):
    """From latents by way of styles to an image of any range; frequencies are in cycles an image.

    z_dim, w_dim, num_mapping, mapping_rate, mean_style_decay: as in StyleGan2Generator.
    channel_base, channel_max: a layer that lets frequencies up to f pass has
        min(channel_base / 2 / f, channel_max) channels.
    num_layers, num_critical: layers before that of the image, and of these the last ones, whose
        band is the image's.
    first_cutoff, first_stopband: what the first layer lets pass, and from where on it stops all.
    last_stopband: the last layer's over its cutoff, which is half the image's side.
    margin: pixels around the image that layers compute for the sake of their filters.
    kernel: pixels of the convolutions, 3 ("t", moves) or 1 ("r", turns too).
    radial: filters treat all directions alike.
    filter_size: taps of a filter for each sample that it makes of one.
    oversampling: of the leaky relus.
    clamp: activations stay within +- this; null: no bound.
    output_scale: what images are multiplied by.
    magnitude_decay: of the running mean of a layer's squared inputs, which it divides by.
    """

    z_dim: Size = 512
    w_dim: Size = 512
    num_mapping: Few = 2
    mapping_rate: Positive = 0.01
    channel_base: Size = 32768
    channel_max: Size = 512
    num_layers: Few = 14
    num_critical: FewOrNone = 2
    first_cutoff: Positive = 2.0
    first_stopband: Positive = 2**2.1
    last_stopband: Positive = 2**0.3
    margin: FewOrNone = 10
    kernel: Few = 3
    radial: bool = False
    filter_size: Few = 6
    oversampling: Few = 2
    clamp: Positive | None = 256.0
    output_scale: Positive = 0.25
    magnitude_decay: Share = 0.999
    mean_style_decay: Share = 0.998

    def __post_init__(self) -> None:
        if self.num_critical >= self.num_layers:
            raise ConfigError(
                f"num_critical: {self.num_critical} of {self.num_layers} layers leave none to rise "
                f"in; give {self.num_layers - 1} or less"
            )

    def build(self, image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        """forward(z [N, z_dim], y) -> images [N, C, H, W], nominally in [-1, 1]."""
        return StyleGan3GeneratorNetwork(self, image_shape, num_classes)


class Signal(NamedTuple):
    """What a layer puts out: the frequency that it passes, half the width of the band in which its
    filters fall, samples across the image, samples across the map with its margins, channels."""

    cutoff: float
    half_width: float
    rate: int
    size: int
    channels: int


def signals_of(config: StyleGan3Generator, image_shape: tuple[int, int, int]) -> list[Signal]:
    """Those of all layers and, last, of the image (the paper's section 3.2 and figure 4a).

    Raises:
        ConfigError: the image is out of reach.
    """
    num_doublings(image_shape, SMALLEST)
    side = image_shape[1]
    last = side / 2
    # In float64 and in the original's order: at 256 px a stopband is 64.0 exactly, whose double is
    # the rate of its layer, and one ulp more would be twice that.
    share = np.minimum(
        np.arange(config.num_layers + 1) / (config.num_layers - config.num_critical), 1.0
    )
    cutoffs = config.first_cutoff * (last / config.first_cutoff) ** share
    end = last * config.last_stopband
    stopbands = config.first_stopband * (end / config.first_stopband) ** share
    rates = np.exp2(np.ceil(np.log2(np.minimum(stopbands * 2, side))))
    half_widths = np.maximum(stopbands, rates / 2) - cutoffs
    sizes = rates + config.margin * 2
    sizes[-2:] = side
    channels = np.rint(np.minimum(config.channel_base / 2 / cutoffs, config.channel_max))
    channels[-1] = image_shape[0]
    if channels.min() < 1:
        raise ConfigError(
            f"channel_base: {config.channel_base} leaves no channel at {side} pixels; give "
            f"{side} or more"
        )
    rows = zip(cutoffs, half_widths, rates, sizes, channels, strict=True)
    return [Signal(float(c), float(h), int(r), int(s), int(n)) for c, h, r, s, n in rows]


class Place(NamedTuple):
    """A layer's: from which signal to which, and what is special about it."""

    source: Signal
    target: Signal
    is_critical: bool
    is_image: bool


def places_of(config: StyleGan3Generator, image_shape: tuple[int, int, int]) -> list[Place]:
    """Those of all layers, the image's last; each reads what the one before puts out."""
    signals = signals_of(config, image_shape)
    first_critical = config.num_layers - config.num_critical
    return [
        Place(signals[max(i - 1, 0)], signal, i >= first_critical, i == config.num_layers)
        for i, signal in enumerate(signals)
    ]


class StyleGan3GeneratorNetwork(StyledNetwork):
    """See StyleGan3Generator and core.protocols.StyleGenerator. `y` is needed with classes and
    ignored without. There is no noise in its layers: what is asked of it is ignored."""

    def __init__(
        self, config: StyleGan3Generator, image_shape: tuple[int, int, int], num_classes: int
    ):
        super().__init__(config)
        places = places_of(config, image_shape)
        self.input = FourierInput(places[0].source, config.w_dim)
        self.layers = nn.ModuleList(SynthesisLayer(config, place) for place in places)
        self.add_mapping(num_classes, num_styles=len(places) + 1)

    def synthesis(
        self,
        styles: Float[Tensor, "n layers w_dim"],
        update_statistics: bool = True,
        noise: LayerNoise = "random",
    ) -> Float[Tensor, "n c h w"]:
        """Images from styles; in training mode the running magnitudes of the layers move."""
        first, *rows = styles.unbind(1)
        x = self.input(first)
        for layer, style in zip(self.layers, rows, strict=True):
            x = layer(x, style, self.training and update_statistics)
        return at_least_single(x) * self.config.output_scale


class FourierInput(nn.Module):
    """Waves of random frequencies within the first layer's band, moved and turned by the style and
    then by `transform` (appendix F), mixed by a learned matrix. In single precision at least.

    transform: [3, 3], from where in the image (1 wide, its middle at 0) a point is taken, as a
        matrix for (x, y, 1); the identity unless somebody sets it.
    """

    transform: Tensor
    frequencies: Tensor
    phases: Tensor

    def __init__(self, signal: Signal, w_dim: int):
        super().__init__()
        self.signal, channels = signal, signal.channels
        drawn = torch.randn(channels, 2)
        radius = drawn.square().sum(1, keepdim=True).sqrt()
        frequencies = drawn / radius * torch.exp(-radius.square() / 4) * signal.cutoff
        self.weight = nn.Parameter(torch.randn(channels, channels))
        self.affine = StyleLinear(w_dim, 4)
        nn.init.zeros_(self.affine.weight)
        with torch.no_grad():
            self.affine.bias[0] = 1.0
        self.register_buffer("transform", torch.eye(3))
        self.register_buffer("frequencies", frequencies)
        self.register_buffer("phases", torch.rand(channels) - 0.5)
        self.scale = 1.0 / math.sqrt(channels)

    def forward(self, style: Float[Tensor, "n w_dim"]) -> Float[Tensor, "n c h w"]:
        with full_precision(style.device):
            matrix = self._placed(self.affine(style))
            phases = self.phases + (self.frequencies @ matrix[:, :2, 2:])[:, :, 0]
            frequencies = self.frequencies @ matrix[:, :2, :2]
            room = self.signal.rate / 2 - self.signal.cutoff
            lengths = frequencies.square().sum(2).sqrt()
            amplitudes = (1 - (lengths - self.signal.cutoff) / room).clamp(0, 1)
            places = self._grid(style.device).to(phases.dtype)
            # f . (x, y) + phase = (f_y y + phase) + f_x x
            rows = frequencies[:, None, :, 1] * places[:, None] + phases[:, None]
            columns = frequencies[:, None, :, 0] * places[:, None]
            waves = torch.sin((rows[:, :, None] + columns[:, None]) * (2 * math.pi))
            mixed = (waves * amplitudes[:, None, None]) @ scaled(self.weight, self.scale).t()
            return mixed.permute(0, 3, 1, 2).contiguous()

    def _placed(self, placing: Float[Tensor, "n 4"]) -> Float[Tensor, "n 3 3"]:
        """Turn by (cos, sin), shift by (x, y), both relative to the length of (cos, sin), then the
        user's transform."""
        cos, sin, x, y = (placing / placing[:, :2].norm(dim=1, keepdim=True)).unbind(1)
        zero, one = torch.zeros_like(cos), torch.ones_like(cos)
        turn = torch.stack([cos, -sin, zero, sin, cos, zero, zero, zero, one], 1).view(-1, 3, 3)
        shift = torch.stack([one, zero, -x, zero, one, -y, zero, zero, one], 1).view(-1, 3, 3)
        return turn @ shift @ self.transform

    def _grid(self, device: torch.device) -> Float[Tensor, " size"]:
        """Middles of samples across the map, in widths of the image."""
        size = self.signal.size
        return (torch.arange(size, device=device) + (0.5 - size / 2)) / self.signal.rate

    def prepare(self) -> nn.Module:
        self.weight, self.scale = fixed(self.weight * self.scale), 1.0
        return self


class SynthesisLayer(nn.Module):
    """A modulated convolution over inputs of unit magnitude, and a filtered leaky relu; for the
    image neither demodulation nor relu.

    magnitude: running mean of the squares of its inputs.
    """

    magnitude: Tensor
    up_filter: Tensor | None
    down_filter: Tensor | None

    def __init__(self, config: StyleGan3Generator, place: Place):
        super().__init__()
        source, target = place.source, place.target
        self.is_image, self.clamp, self.decay = place.is_image, config.clamp, config.magnitude_decay
        size = 1 if place.is_image else config.kernel
        self.weight = nn.Parameter(torch.randn(target.channels, source.channels, size, size))
        self.bias = nn.Parameter(torch.zeros(target.channels))
        self.affine = StyleLinear(config.w_dim, source.channels, first_bias=1.0)
        self.style_scale = 1.0 / math.sqrt(source.channels * size**2)
        self.register_buffer("magnitude", torch.ones(()))
        between = rate_within(config, place)
        self.up, self.down = between // source.rate, between // target.rate
        for name, kernel in filters_of(config, place).items():
            self.register_buffer(name, kernel, persistent=False)
        self.padding = _padding(self, source.size + size - 1, target.size)
        self.squares: Tensor | None = None  # of the normalized weight, where that stays as it is

    def forward(
        self, x: Float[Tensor, "n i h w"], style: Float[Tensor, "n w_dim"], moves: bool
    ) -> Float[Tensor, "n o new_h new_w"]:
        """`moves`: the running magnitude takes up that of x before it is divided by."""
        if moves:
            self._see(x)
        gain = self.magnitude.rsqrt()
        scales = self.affine(style)
        if self.is_image:
            h = _scaled(x, scales * (gain * self.style_scale))
            h = F.conv2d(h, self.weight.to(h.dtype))
            return filtered_leaky(
                h, self.bias, None, None, 1, 1, self.padding, 1.0, 1.0, self.clamp
            )
        with full_precision(x.device):
            weight, squares = self._normalized()
            scales = scales * scales.square().mean().rsqrt()
            back = demodulation(squares, scales) * gain
        h = F.conv2d(_scaled(x, scales), weight, padding=weight.shape[-1] - 1)
        h = _scaled(h, back)
        filters = self.up_filter, self.down_filter, self.up, self.down, self.padding
        return filtered_leaky(h, self.bias, *filters, LEAKY_GAIN, SLOPE, self.clamp)

    @torch.no_grad()
    def _see(self, x: Tensor) -> None:
        mean = distributed.average(at_least_single(x).square().mean().to(self.magnitude.dtype))
        self.magnitude.copy_(mean.lerp(self.magnitude, self.decay))

    def _normalized(self) -> tuple[Tensor, Tensor]:
        """The weight with unit mean square for each output, and sums of its squares."""
        if self.squares is not None:
            return self.weight, self.squares
        weight = self.weight * self.weight.square().mean((1, 2, 3), keepdim=True).rsqrt()
        return weight, squares_of(weight)

    def prepare(self) -> nn.Module:
        if not self.is_image:
            weight, self.squares = self._normalized()
            self.weight = fixed(weight)
        return self


def _scaled(x: Float[Tensor, "n c h w"], by: Float[Tensor, "n c"]) -> Float[Tensor, "n c h w"]:
    return x * by.to(x.dtype)[:, :, None, None]


def rate_within(config: StyleGan3Generator, place: Place) -> int:
    """Samples across the image at which a layer's leaky relu works."""
    rate = max(place.source.rate, place.target.rate)
    return rate if place.is_image else rate * config.oversampling


def filters_of(config: StyleGan3Generator, place: Place) -> dict[str, Tensor | None]:
    """A layer's two filters, by their names; None where nothing is resampled."""
    rate = rate_within(config, place)
    disc = config.radial and not place.is_critical
    kernels: dict[str, Tensor | None] = {}
    for name, signal, radial in (("up", place.source, False), ("down", place.target, disc)):
        factor = rate // signal.rate
        kernels[f"{name}_filter"] = None
        if factor > 1 and not place.is_image:
            taps, width = config.filter_size * factor, signal.half_width * 2
            if taps > MAX_TAPS:
                raise ConfigError(
                    f"filter_size: {config.filter_size} makes filters of {taps} taps, for layers "
                    f"resample by {factor}; give less, less oversampling or more num_layers"
                )
            kernels[f"{name}_filter"] = lowpass_filter(taps, signal.cutoff, width, rate, radial)
    return kernels


def _padding(layer: SynthesisLayer, size: int, target: int) -> tuple[int, int, int, int]:
    """What keeps pictures in place while `size` samples become `target`."""
    taps = sum(1 if f is None else len(f) for f in (layer.up_filter, layer.down_filter))
    total = (target - 1) * layer.down + 1 - size * layer.up + taps - 2
    first = (total + layer.up) // 2
    return first, total - first, first, total - first
