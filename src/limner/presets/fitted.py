"""Presets that fit themselves to the pictures and to the machine. Nothing here imports torch."""

from typing import TYPE_CHECKING, Literal, NamedTuple

from limner.core.facts import Machine, Pictures

if TYPE_CHECKING:
    from limner.engine.config import RunConfig
    from limner.objectives import R1


class Choice(NamedTuple):
    """One thing that a preset picked: what, its value, why, and the option that changes it."""

    what: str
    value: str
    why: str
    change: str


class Fitted(NamedTuple):
    """A preset whose function takes pictures and machine, with usual ones as defaults.

    Attributes:
        function: "module:function".
        choices: "module:function" of (config, pictures, machine), which returns Choices.
    """

    function: str
    choices: str


SMALL_CLASS = 50  # pictures; of fewer no class can be learned
USUAL_PICTURES, USUAL_MACHINE = Pictures(num=1500, side=256), Machine()


def has_classes(pictures: Pictures) -> bool:
    """Whether there are several classes with pictures, each with enough of them to learn from."""
    filled = [count for count in pictures.class_counts if count]
    return len(filled) > 1 and min(filled) >= SMALL_CLASS


def labels_for(pictures: Pictures) -> Literal["classes", "used", "none"]:
    """The classes that are worth learning: those with pictures, if they have enough of them."""
    if not has_classes(pictures):
        return "none"
    return "classes" if all(pictures.class_counts) else "used"


def gammas(config: "RunConfig", kind: "type[R1]") -> str:
    """Those of all penalties of a kind that the updates have."""
    terms = (term for update in config.updates for term in update.terms)
    return ", ".join(f"{term.gamma}" for term in terms if isinstance(term, kind))
