"""Layers that several architectures share."""

from limner.layers.class_table import ClassTable, lookup, required
from limner.layers.conditional_batch_norm import (
    ConditionalBatchNorm2d,
    PlainBatchNorm2d,
    Scale2d,
)
from limner.layers.cross_replica_batch_norm import (
    CrossReplicaBatchNorm2d,
    cross_replica_batch_norm,
)
from limner.layers.resampling import ResampleConv2d, convolve, downsample, upsample
from limner.layers.spectral_norm import PowerIteration, SNConv2d, SNEmbedding, SNLinear

__all__ = [
    "ClassTable",
    "ConditionalBatchNorm2d",
    "CrossReplicaBatchNorm2d",
    "PlainBatchNorm2d",
    "PowerIteration",
    "ResampleConv2d",
    "SNConv2d",
    "SNEmbedding",
    "SNLinear",
    "Scale2d",
    "convolve",
    "cross_replica_batch_norm",
    "downsample",
    "lookup",
    "required",
    "upsample",
]
