"""Layers that several architectures share."""

from limner.layers.activation import biased_activation
from limner.layers.attention import SelfAttention2d
from limner.layers.class_table import ClassTable, lookup, projected, required, rows_of, with_class
from limner.layers.cross_replica_batch_norm import (
    CrossReplicaBatchNorm2d,
    cross_replica_batch_norm,
)
from limner.layers.equalized import EqualizedConv2d, EqualizedLinear
from limner.layers.fir import BINOMIAL, filtered_convolve, fir_filter, resample, upfirdn
from limner.layers.minibatch_deviation import minibatch_deviation
from limner.layers.modulated import demodulation, modulated_convolve, squares_of
from limner.layers.norms import ConditionalNorm2d, NormKind, PlainNorm2d
from limner.layers.pixel_norm import pixel_norm
from limner.layers.precision import at_least_single, full_precision
from limner.layers.resampling import ResampleConv2d, convolve, downsample, upsample
from limner.layers.spectral_norm import (
    PowerIteration,
    SNConv2d,
    SNEmbedding,
    SNLinear,
    SNStridedConv2d,
    keep_vectors,
)

__all__ = [
    "BINOMIAL",
    "ClassTable",
    "ConditionalNorm2d",
    "CrossReplicaBatchNorm2d",
    "EqualizedConv2d",
    "EqualizedLinear",
    "NormKind",
    "PlainNorm2d",
    "PowerIteration",
    "ResampleConv2d",
    "SNConv2d",
    "SNEmbedding",
    "SNLinear",
    "SNStridedConv2d",
    "SelfAttention2d",
    "at_least_single",
    "biased_activation",
    "convolve",
    "cross_replica_batch_norm",
    "demodulation",
    "downsample",
    "filtered_convolve",
    "fir_filter",
    "full_precision",
    "keep_vectors",
    "lookup",
    "minibatch_deviation",
    "modulated_convolve",
    "pixel_norm",
    "projected",
    "required",
    "resample",
    "rows_of",
    "squares_of",
    "upfirdn",
    "upsample",
    "with_class",
]
