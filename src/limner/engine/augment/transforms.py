"""The transforms of the ADA pipe: how often each is applied, and how far it goes."""

from limner.core.config import Config
from limner.core.ranges import NonNegative, Share


class Multipliers(Config, frozen=True, kw_only=True):
    """How often each transform is applied, as a multiple of p; 0 leaves it out.

    Attributes:
        xflip, rotate90, xint: mirror images, quarter turns, shifts by whole pixels.
        scale, rotate, aniso, xfrac: size, any angle, aspect, shifts by parts of pixels.
        brightness, contrast, lumaflip, hue, saturation: of colors; the last two need three
            channels, and gray pictures go without them.
        imgfilter: strength of frequency bands.
        noise, cutout: normal noise, a black square.
    """

    xflip: NonNegative = 0.0
    rotate90: NonNegative = 0.0
    xint: NonNegative = 0.0
    scale: NonNegative = 0.0
    rotate: NonNegative = 0.0
    aniso: NonNegative = 0.0
    xfrac: NonNegative = 0.0
    brightness: NonNegative = 0.0
    contrast: NonNegative = 0.0
    lumaflip: NonNegative = 0.0
    hue: NonNegative = 0.0
    saturation: NonNegative = 0.0
    imgfilter: NonNegative = 0.0
    noise: NonNegative = 0.0
    cutout: NonNegative = 0.0


class Strengths(Config, frozen=True, kw_only=True):
    """How far the transforms go.

    Attributes:
        xint: the furthest shift, of a side.
        scale, aniso, contrast, saturation, imgfilter: deviation of log2 of the factor.
        rotate, hue: the largest angle, of a half turn.
        xfrac: deviation of the shift, of a side.
        brightness: deviation; images reach from -1 to 1.
        bands: how often each band, from low to high, is filtered, as a multiple of imgfilter's.
        noise: deviation of the noise's own deviation around 0.
        cutout: the square's side, of the image's.
    """

    xint: NonNegative = 0.125
    scale: NonNegative = 0.2
    rotate: NonNegative = 1.0
    aniso: NonNegative = 0.2
    xfrac: NonNegative = 0.125
    brightness: NonNegative = 0.2
    contrast: NonNegative = 0.5
    hue: NonNegative = 1.0
    saturation: NonNegative = 1.0
    imgfilter: NonNegative = 1.0
    bands: tuple[NonNegative, NonNegative, NonNegative, NonNegative] = (1.0, 1.0, 1.0, 1.0)
    noise: NonNegative = 0.1
    cutout: Share = 0.5


BLIT = {"xflip": 1.0, "rotate90": 1.0, "xint": 1.0}
GEOM = {"scale": 1.0, "rotate": 1.0, "aniso": 1.0, "xfrac": 1.0}
COLOR = dict.fromkeys(("brightness", "contrast", "lumaflip", "hue", "saturation"), 1.0)
FILTER, NOISE, CUTOUT = {"imgfilter": 1.0}, {"noise": 1.0}, {"cutout": 1.0}
HALF_COLOR = dict.fromkeys(COLOR, 0.5)

# The sets of stylegan2-ada-pytorch (training/train.py, augpipe), and R3GAN's.
SETS = {
    "blit": Multipliers(**BLIT),
    "geom": Multipliers(**GEOM),
    "color": Multipliers(**COLOR),
    "filter": Multipliers(**FILTER),
    "noise": Multipliers(**NOISE),
    "cutout": Multipliers(**CUTOUT),
    "bg": Multipliers(**BLIT, **GEOM),
    "bgc": Multipliers(**BLIT, **GEOM, **COLOR),
    "bgcf": Multipliers(**BLIT, **GEOM, **COLOR, **FILTER),
    "bgcfn": Multipliers(**BLIT, **GEOM, **COLOR, **FILTER, **NOISE),
    "bgcfnc": Multipliers(**BLIT, **GEOM, **COLOR, **FILTER, **NOISE, **CUTOUT),
    "r3gan": Multipliers(**BLIT, **GEOM, **HALF_COLOR, **CUTOUT),
}
