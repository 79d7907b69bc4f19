"""Low-pass filters by the Kaiser window, as StyleGAN3's layers have them (Karras et al. 2021)."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor


def lowpass_filter(
    taps: int, cutoff: float, width: float, rate: float, radial: bool = False
) -> Float[Tensor, " taps"] | Float[Tensor, "taps taps"]:
    """An ideal low-pass filter under a Kaiser window, of sum 1; a row for both axes, or a disc.

    Args:
        taps: an even number where `radial`.
        cutoff: the frequency from which on nothing shall pass.
        width: of the band in which the filter falls.
        rate: samples in a unit, that of the frequencies.
        radial: the same in all directions (the paper's appendix C.2, by NVlabs/stylegan3).
    """
    window = np.kaiser(taps, _beta(2.285 * (taps - 1) * np.pi * (width / (rate / 2)) + 7.95))
    places = (np.arange(taps) - (taps - 1) / 2) / rate
    if radial:
        radius = np.hypot(*np.meshgrid(places, places))
        kernel = _bessel_j1(2 * cutoff * np.pi * radius) / (np.pi * radius)
        kernel = kernel * np.outer(window, window)
    else:
        kernel = np.sinc(2 * cutoff * places) * window
    return torch.tensor(kernel / kernel.sum(), dtype=torch.float32)


def _beta(attenuation: float) -> float:
    """The window's parameter for an attenuation in dB (Kaiser 1974)."""
    if attenuation > 50:
        return 0.1102 * (attenuation - 8.7)
    if attenuation > 21:
        return 0.5842 * (attenuation - 21) ** 0.4 + 0.07886 * (attenuation - 21)
    return 0.0


def _bessel_j1(x: np.ndarray) -> np.ndarray:
    """Mean of cos(t - x sin t) over a period: equal steps of a smooth periodic function integrate
    it to rounding, once they are more than x."""
    steps = int(x.max()) + 64
    total = np.zeros_like(x)
    for t in np.arange(steps) * (2 * np.pi / steps):
        total += np.cos(t - x * np.sin(t))
    return total / steps
