"""Presets that fit themselves to the pictures and to the machine. Nothing here imports torch."""

from typing import NamedTuple

from limner.core.facts import Machine, Pictures


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


USUAL_PICTURES, USUAL_MACHINE = Pictures(num=1500, side=256), Machine()
