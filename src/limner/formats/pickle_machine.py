"""Runs pickles of others on inert values: nothing that they name is imported, called or changed.

A pickle is a program for a small machine with a stack. Python's own machine imports and calls what
the program names; this one has the same instructions, but a name stays a `Name`, and calling one
makes a `Record` of the name and its arguments. Only what has a builder becomes what it stands for:
numpy's arrays, and the containers and strings that pickles spell as calls, by those of
pickle_arrays.py.

What data never need is refused: names of Python's standard library (there lies everything that can
do harm), references out of the file, registered extensions, programs out of proportion. The tree
that comes back is finite and at most MAX_DEPTH deep, so that whoever reads it may recurse.
"""

import dataclasses
import pickle
import pickletools
import struct
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from limner.core.errors import RefusedFile

MAX_OPCODES = 5_000_000
MAX_NODES = 1_000_000  # values of a tree, those that are shared counted each time
MAX_DEPTH = 200
MAX_INT_BITS = 256
# What the machine meets in damaged files, beside RefusedFile.
DAMAGE = (
    ValueError, TypeError, LookupError, EOFError, ArithmeticError, MemoryError, RecursionError,
    struct.error,
)  # fmt: skip
KEY_TYPES = (str, bytes, int, float, bool, type(None))  # hashing a nested tuple can take 2^n steps


@dataclasses.dataclass(frozen=True)
class Name:
    """What a file calls a class or function: two texts, never looked up."""

    module: str
    name: str

    def __str__(self) -> str:
        return shown(f"{self.module}.{self.name}")


@dataclasses.dataclass(eq=False)
class Record:
    """An object of a class that is not known here: what the file says about it, and no more.

    Attributes:
        of: the class or function that would have made it, called with `args`.
        state: what would have been given to __setstate__, often a dict of attributes.
        items, entries: what would have been appended to it or set by key.
    """

    of: Name
    args: tuple = ()
    state: Any = None
    items: list = dataclasses.field(default_factory=list)
    entries: dict = dataclasses.field(default_factory=dict)


class Buildable:
    """Base of what a BUILD instruction completes: `finished` returns what takes its place, on the
    stack and in the memo's `places`. It may be completed once."""

    def __init__(self) -> None:
        self.places: list[int] = []

    def finished(self, state: Any) -> Any:
        raise NotImplementedError


Builder = Callable[[tuple], Any]
Builders = Mapping[tuple[str, str], Builder]
Persistent = Callable[[Any], Any]


def shown(text: str) -> str:
    """A text of a file, fit for one line of a message."""
    text = text if len(text) <= 120 else text[:117] + "..."
    return "".join(c if c.isprintable() else "?" for c in text)


# --- names -----------------------------------------------------------------

PYTHON_2 = {"__builtin__", "copy_reg", "cPickle", "commands", "popen2", "imp", "new", "distutils"}
# Harmless as a record, and met in checkpoints.
INERT = {
    ("argparse", "Namespace"),
    ("types", "SimpleNamespace"),
    ("pathlib", "PosixPath"),
    ("pathlib", "WindowsPath"),
    ("pathlib", "PurePosixPath"),
    ("collections", "defaultdict"),
    ("collections", "deque"),
    ("collections", "Counter"),
    ("datetime", "datetime"),
    ("uuid", "UUID"),
    *((home, kind) for home in ("builtins", "__builtin__") for kind in ("set", "frozenset")),
    *((home, kind) for home in ("builtins", "__builtin__") for kind in ("object", "complex")),
    *((home, kind) for home in ("builtins", "__builtin__") for kind in ("slice", "range")),
}


def require_harmless(name: Name) -> None:
    """Raises RefusedFile for names of Python's own library beyond the few that files need."""
    root = name.module.partition(".")[0]
    if (name.module, name.name) in INERT:
        return
    if root in sys.stdlib_module_names or root in PYTHON_2:
        raise RefusedFile(f"it names {name}, which no file of weights needs and which may do harm")


def checked_key(key: Any) -> Any:
    """The key, if it is a text or number: hashing a nested tuple can take 2^n steps."""
    if type(key) not in KEY_TYPES:
        raise RefusedFile(f"a key of a dictionary is a {type(key).__name__}, not a text or number")
    return key


# --- the machine -----------------------------------------------------------


class Machine:
    """Runs one pickle; see this module.

    Args:
        num_bytes: the size of what it is read from.
        builders: (module, name) -> function of the call's arguments.
        persistent: makes what references out of the pickle stand for; None refuses them.
        allow: raises RefusedFile for names that have no builder and shall not be read.
        keep_bytes: texts of Python 2 stay the bytes that they are; else they are read as Latin-1.
    """

    def __init__(
        self,
        num_bytes: int,
        builders: Builders,
        persistent: Persistent | None = None,
        allow: Callable[[Name], None] = require_harmless,
        keep_bytes: bool = False,
    ):
        own: Builders = {("_codecs", "encode"): self._encoded}
        # Protocol 0 and 1: an object of a class, with the class that it derives from.
        recreated: Builders = {
            (home, "_reconstructor"): lambda args: self.call(args[0], ())
            for home in ("copyreg", "copy_reg")
        }
        self.builders = {**own, **recreated, **builders}
        self.persistent, self.allow, self.keep_bytes = persistent, allow, keep_bytes
        self.num_bytes, self.num_encoded = num_bytes, 0
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}

    def run(self, stream: Any) -> Any:
        """The tree of the pickle that begins where the stream stands; the stream is left behind it.
        Raises RefusedFile, or one of `DAMAGE`."""
        self.stack, self.marks, self.memo = [], [], {}
        for number, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
            if number >= MAX_OPCODES:
                raise RefusedFile(f"it has more than {MAX_OPCODES} instructions")
            if self.keep_bytes and opcode.name in TEXTS_OF_PYTHON_2:
                self.stack.append(str(argument).encode("latin-1"))
            elif opcode.name in VALUES:
                self.stack.append(_value(argument))
            elif opcode.name in INSTRUCTIONS:
                INSTRUCTIONS[opcode.name](self, argument)
            else:
                raise RefusedFile(f"it holds the instruction {opcode.name}")
        tree = self.stack.pop()
        if self.stack or self.marks:
            raise ValueError("values are left over at its end")
        check_tree(tree)
        return tree

    # --- calls -------------------------------------------------------------

    def _encoded(self, args: tuple) -> bytes:
        text, encoding = args
        if not isinstance(text, str) or encoding not in ("latin1", "latin-1", b"latin1"):
            raise ValueError("a text in an unexpected encoding")
        self.num_encoded += len(text)
        if self.num_encoded > self.num_bytes:  # one text encoded over and over fills the memory
            raise RefusedFile("it encodes more text than it holds")
        return text.encode("latin-1")

    def call(self, function: Any, args: Any) -> Any:
        """What takes the place of a call: a builder's value, or a record."""
        if not isinstance(function, Name):
            raise RefusedFile("it calls something that it made itself")
        if not isinstance(args, tuple):
            raise ValueError("the arguments of a call are no tuple")
        build = self.builders.get((function.module, function.name))
        return Record(function, args) if build is None else build(args)

    # --- instructions ------------------------------------------------------

    def to_mark(self, _: Any = None) -> list[Any]:
        items, self.stack = self.stack, self.marks.pop()
        return items

    def mark(self, _: Any) -> None:
        self.marks.append(self.stack)
        self.stack = []

    def drop(self, _: Any) -> None:
        if self.stack:
            self.stack.pop()
        else:
            self.to_mark()

    def put(self, index: int) -> None:
        value = self.memo[int(index)] = self.stack[-1]
        if isinstance(value, Buildable):
            value.places.append(int(index))

    def get(self, index: int) -> None:
        self.stack.append(self.memo[int(index)])

    def pack(self, count: int) -> None:
        items = self.to_mark() if count < 0 else self.take(count)
        self.stack.append(tuple(items))

    def take(self, count: int) -> list[Any]:
        if len(self.stack) < count:
            raise ValueError("it takes values that it has not")
        items = self.stack[-count:]
        del self.stack[-count:]
        return items

    def list_of_marked(self, _: Any) -> None:
        items = self.to_mark()
        self.stack.append(items)

    def dictionary(self, _: Any) -> None:
        items = self.to_mark()
        self.stack.append({})
        self.set_items(items)

    def append_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if isinstance(target, Record):
            target = target.items
        if not isinstance(target, list):
            raise ValueError("items that belong to no list")
        target.extend(items)

    def set_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if isinstance(target, Record):
            target = target.entries
        if not isinstance(target, dict) or len(items) % 2:
            raise ValueError("keys and values that belong to no dictionary")
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[checked_key(key)] = value

    def name(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        self.stack.append(self._named(module, name))

    def name_from_stack(self, _: Any) -> None:
        module, name = self.take(2)
        if not isinstance(module, str) or not isinstance(name, str):
            raise ValueError("a name that is no text")
        self.stack.append(self._named(module, name))

    def _named(self, module: str, name: str) -> Name:
        found = Name(module, name)
        if (module, name) not in self.builders:
            self.allow(found)
        return found

    def reduce(self, _: Any) -> None:
        function, args = self.take(2)
        self.stack.append(self.call(function, args))

    def new_object_with_keywords(self, _: Any) -> None:
        cls, args, keywords = self.take(3)
        made = self.call(cls, args)
        if keywords:
            if not isinstance(made, Record):
                raise ValueError("arguments with names for something that has none")
            made.entries.update({checked_key(key): value for key, value in keywords.items()})
        self.stack.append(made)

    def instance(self, argument: str) -> None:
        args = tuple(self.to_mark())
        module, _, name = argument.partition(" ")
        self.stack.append(self.call(self._named(module, name), args))

    def frozen_set(self, _: Any) -> None:
        items = self.to_mark()
        self.stack.append(Record(Name("builtins", "frozenset"), items=items))

    def object_from_stack(self, _: Any) -> None:
        cls, *args = self.to_mark()
        self.stack.append(self.call(cls, tuple(args)))

    def build(self, _: Any) -> None:
        target, state = self.take(2)
        if isinstance(target, Buildable):
            places, target = target.places, target.finished(state)
            self.memo.update(dict.fromkeys(places, target))
        elif isinstance(target, Record):
            target.state = state
        elif not isinstance(target, dict):  # a dictionary's attributes say nothing about weights
            raise ValueError("a state for something that has none")
        self.stack.append(target)

    def refer(self, argument: Any) -> None:
        if self.persistent is None:
            raise RefusedFile("it refers to something outside the file")
        self.stack.append(self.persistent(argument))

    def protocol(self, number: int) -> None:
        if number > pickle.HIGHEST_PROTOCOL:
            raise ValueError(f"protocol {number} is not known")


def _value(argument: Any) -> Any:
    if isinstance(argument, int) and argument.bit_length() > MAX_INT_BITS:
        raise RefusedFile(f"it holds an integer of {argument.bit_length()} bits")
    return argument


TEXTS_OF_PYTHON_2 = ("STRING", "BINSTRING", "SHORT_BINSTRING")
# Instructions whose argument is the value itself.
VALUES = frozenset((
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT",
    *TEXTS_OF_PYTHON_2, "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8",
    "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8",
))  # fmt: skip


def _push(make: Callable[[], Any]) -> Callable[[Machine, Any], None]:
    return lambda machine, _: machine.stack.append(make())


INSTRUCTIONS: dict[str, Callable[[Machine, Any], Any]] = {
    "PROTO": Machine.protocol,
    **dict.fromkeys(("FRAME", "STOP"), lambda machine, _: None),
    "NONE": _push(lambda: None),
    "NEWTRUE": _push(lambda: True),
    "NEWFALSE": _push(lambda: False),
    "EMPTY_LIST": _push(list),
    "EMPTY_DICT": _push(dict),
    "EMPTY_TUPLE": _push(tuple),
    "MARK": Machine.mark,
    "DUP": lambda machine, _: machine.stack.append(machine.stack[-1]),
    "POP": Machine.drop,
    "POP_MARK": lambda machine, _: machine.to_mark(),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), Machine.put),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), Machine.get),
    "MEMOIZE": lambda machine, _: machine.put(len(machine.memo)),
    "TUPLE": lambda machine, _: machine.pack(-1),
    "TUPLE1": lambda machine, _: machine.pack(1),
    "TUPLE2": lambda machine, _: machine.pack(2),
    "TUPLE3": lambda machine, _: machine.pack(3),
    "LIST": Machine.list_of_marked,
    "DICT": Machine.dictionary,
    "EMPTY_SET": _push(lambda: Record(Name("builtins", "set"))),
    "ADDITEMS": lambda machine, _: machine.append_items(machine.to_mark()),
    "FROZENSET": Machine.frozen_set,
    "APPEND": lambda machine, _: machine.append_items(machine.take(1)),
    "APPENDS": lambda machine, _: machine.append_items(machine.to_mark()),
    "SETITEM": lambda machine, _: machine.set_items(machine.take(2)),
    "SETITEMS": lambda machine, _: machine.set_items(machine.to_mark()),
    "GLOBAL": Machine.name,
    "STACK_GLOBAL": Machine.name_from_stack,
    **dict.fromkeys(("REDUCE", "NEWOBJ"), Machine.reduce),
    "NEWOBJ_EX": Machine.new_object_with_keywords,
    "INST": Machine.instance,
    "OBJ": Machine.object_from_stack,
    "BUILD": Machine.build,
    "PERSID": Machine.refer,
    "BINPERSID": lambda machine, _: machine.refer(machine.stack.pop()),
}


# --- the tree --------------------------------------------------------------


def check_tree(root: Any) -> None:
    """Raises RefusedFile where a tree is no tree (it holds itself), too deep, or, with what is
    shared counted each time, too large."""
    num_nodes = 0
    waiting: list[Iterator[Any]] = [iter((root,))]
    while waiting:
        value = next(waiting[-1], waiting)
        if value is waiting:
            waiting.pop()
            continue
        num_nodes += 1
        if num_nodes > MAX_NODES:
            raise RefusedFile(f"it unfolds to more than {MAX_NODES} values")
        inner = _inside(value)
        if inner:
            waiting.append(iter(inner))
            if len(waiting) > MAX_DEPTH:
                raise RefusedFile(f"it is nested more than {MAX_DEPTH} deep, or holds itself")


def _inside(value: Any) -> Any:
    if isinstance(value, Buildable):
        raise ValueError("an array without content")
    if isinstance(value, (list, tuple)):
        return value
    if isinstance(value, dict):
        return value.values()
    if isinstance(value, Record):
        return (value.args, value.state, value.items, value.entries)
    return ()
