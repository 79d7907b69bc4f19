"""Ranges stand in the annotations of a config's fields: `every: PositiveInt = 1`.

`Config` settles each value by its field's annotation when it is built, in Python and from JSON: a
number must lie in the range, an integer given for a float becomes one and a list given for a tuple
likewise, as they would by way of JSON. So a config is what its file says.
"""

import types
import typing
from collections.abc import Callable
from typing import Annotated, Any

from msgspec import Meta

from limner.core.errors import ConfigError, shown

PositiveInt = Annotated[int, Meta(ge=1)]
NonNegativeInt = Annotated[int, Meta(ge=0)]
Positive = Annotated[float, Meta(gt=0)]
NonNegative = Annotated[float, Meta(ge=0)]
Share = Annotated[float, Meta(ge=0, le=1)]
BelowOne = Annotated[float, Meta(ge=0, lt=1)]  # decays, Adam's betas

UNIONS = (typing.Union, types.UnionType)
Settle = Callable[[Any, str], Any]  # (value, its dotted key) -> the value as the config holds it


def settler(annotation: Any, also: str = "") -> Settle | None:
    """What settles the values of an annotation; None where they stay as they are.

    `also` is added to the range in words. The settler raises ConfigError for a number out of range,
    and leaves what has another type than annotated: that is refused where it meets JSON.
    """
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        inner = settler(arguments[0])
        metas = [meta for meta in annotation.__metadata__ if isinstance(meta, Meta)]
        return _in_turn([inner, *(_within(meta, also) for meta in metas)])
    if origin in UNIONS:
        also = " or null" if type(None) in arguments else ""
        members = [member for member in arguments if member is not float or int not in arguments]
        return _in_turn([settler(member, also) for member in members])
    if origin is tuple:
        return _of_tuple(arguments)
    return _to_float if annotation is float else None


def bare(annotation: Any) -> Any:
    """An annotation without its range."""
    if typing.get_origin(annotation) is Annotated:
        return typing.get_args(annotation)[0]
    return annotation


def _in_turn(settlers: list[Settle | None]) -> Settle | None:
    steps = [each for each in settlers if each is not None]
    if len(steps) <= 1:
        return steps[0] if steps else None

    def settle(value: Any, key: str) -> Any:
        for step in steps:
            value = step(value, key)
        return value

    return settle


def _of_tuple(arguments: tuple) -> Settle:
    repeated = arguments[-1] is Ellipsis
    kinds = [settler(kind) for kind in (arguments[:1] if repeated else arguments)]

    def settle(value: Any, key: str) -> Any:
        if not isinstance(value, (list, tuple)) or not (repeated or len(value) == len(kinds)):
            return value
        if not any(kinds):
            return tuple(value)
        places = kinds * len(value) if repeated else kinds
        return tuple(
            each(item, f"{key}.{place}") if each else item
            for place, (each, item) in enumerate(zip(places, value, strict=True))
        )

    return settle


def _to_float(value: Any, key: str) -> Any:
    if not isinstance(value, int) or isinstance(value, bool):
        return value
    try:
        return float(value)
    except OverflowError:
        raise ConfigError(f"{key}: an integer of {value.bit_length()} bits is no float") from None


def _within(meta: Meta, also: str) -> Settle:
    ge, gt, le, lt = meta.ge, meta.gt, meta.le, meta.lt
    others = (meta.multiple_of, meta.pattern, meta.min_length, meta.max_length)
    assert not any(others), f"{meta}: only ge, gt, le and lt are checked"
    lower = f"{ge} or more" if ge is not None else f"more than {gt}" if gt is not None else ""
    upper = f"{le} or less" if le is not None else f"less than {lt}" if lt is not None else ""
    words = " and ".join(filter(None, (lower, upper)))
    if ge is not None and le is not None:
        words = f"{ge} to {le}"

    def settle(value: Any, key: str) -> Any:
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            return value
        inside = (
            (ge is None or value >= ge)
            and (gt is None or value > gt)
            and (le is None or value <= le)
            and (lt is None or value < lt)
        )
        if not inside:
            raise ConfigError(f"{key}: {shown(value)} is out of range; give {words}{also}")
        return value

    return settle
