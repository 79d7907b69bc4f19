"""What the first process needs of real images, computed by all: their features, and the floors."""

import json
from collections.abc import Mapping

import torch
from torch import Tensor

from limner.core import distributed
from limner.core.errors import LimnerError
from limner.metrics.base import Metric
from limner.metrics.features.base import PIXELS_PER_BATCH, rows_in_parts
from limner.metrics.reference import Reference

IMAGES_PER_SHARE = 1024


def share(reference: Reference, metrics: Mapping[str, Metric], num: int) -> None:
    """Have the reference know its features, and the floors of metrics for `num` generated images.

    All processes call it. Of the features each computes every so many-th part, in the batches of
    one process; of the floors every so many-th. What cannot be had is left to who asks for it.

    Raises:
        Interrupted: a process was; then all raise it.
    """
    if distributed.world_size() == 1 or len(reference) == 0:
        return
    if any(metric.reads == "features" for metric in metrics.values()):
        _share_features(reference)
    own: dict[str, dict[str, float]] = {}
    number, count = distributed.rank(), distributed.world_size()
    with distributed.apart():
        for name in list(metrics)[number::count]:
            try:
                own[name] = dict(reference.floors(name, metrics[name], num))
            except LimnerError:
                continue  # the first process meets it again, and tells
    for text in _texts(json.dumps(own)):
        for name, floors in json.loads(text).items():
            reference.known_floors[name, num] = floors


def _share_features(reference: Reference) -> None:
    if not distributed.any_rank(not reference.has_features()):
        return
    height, width = reference.real.image_shape[1:]
    batch = min(max(PIXELS_PER_BATCH // (height * width), 1), IMAGES_PER_SHARE)
    parts = reference.order.split(batch * (IMAGES_PER_SHARE // batch))
    number, count = distributed.rank(), distributed.world_size()
    own: list[Tensor] = []
    with distributed.apart():
        rows = reference.extractor.features
        own = [rows_in_parts(rows, reference.real, part) for part in parts[number::count]]
        # One that has no part needs the width.
        like = own[0] if own else rows_in_parts(rows, reference.real, parts[0][:1])
    whole = like.new_zeros((len(reference), *like.shape[1:]))
    for part, place in zip(own, range(number, len(parts), count), strict=True):
        begin = place * len(parts[0])
        whole[begin : begin + len(part)] = part
    whole = distributed.summed(whole)  # with zeros, which is exact
    reference.take_features(whole, distributed.rank() == 0)


def _texts(own: str) -> list[str]:
    """The texts of all processes, in their order."""
    content = own.encode()
    width = distributed.largest(len(content))
    rows = torch.zeros(distributed.world_size(), width, dtype=torch.uint8)
    rows[distributed.rank(), : len(content)] = torch.frombuffer(
        bytearray(content), dtype=torch.uint8
    )
    return [bytes(row.tolist()).rstrip(b"\0").decode() for row in distributed.summed(rows)]
