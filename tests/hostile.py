"""Pickles that would do harm under Python's own reader, and some that would only fill the memory.

`HARMFUL` write a file named by the environment variable MARKER where anything in them runs;
`BOMBS` run nothing, but would hang, crash or eat memory.
"""

import io
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from typing import Any

COMMAND = 'echo x > "$MARKER"'
STATEMENT = "open(__import__('os').environ['MARKER'], 'w').close()"


class Call:
    """Pickles as a call of a function."""

    def __init__(self, function: Callable[..., Any], *args: Any, state: Any = None):
        self.made = (function, args) if state is None else (function, args, state)

    def __reduce__(self) -> tuple:
        return self.made


def text(value: str) -> bytes:
    """The instruction that pushes a text."""
    content = value.encode()
    return b"X" + struct.pack("<I", len(content)) + content


def named(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def program(*parts: bytes) -> bytes:
    return b"\x80\x02" + b"".join(parts) + b"."


EVAL = named("builtins", "eval")
GETATTR = named("builtins", "getattr")
IMPORT = named("importlib", "import_module")
RUN_IT = text(STATEMENT) + b"\x85R"

HARMFUL: dict[str, bytes] = {
    "os.system": pickle.dumps(Call(os.system, COMMAND), 2),
    "posix.system": program(named("posix", "system"), text(COMMAND), b"\x85R"),
    "protocol 0": f"cos\nsystem\n(V{COMMAND}\ntR.".encode(),
    "protocol 4": pickle.dumps(Call(os.system, COMMAND), 4),
    "protocol 5": pickle.dumps({"state": [Call(os.system, COMMAND)]}, 5),
    "builtins.exec": program(named("builtins", "exec"), RUN_IT),
    "builtins.eval": program(EVAL, RUN_IT),
    "__builtin__ of Python 2": program(named("__builtin__", "eval"), RUN_IT),
    "instance": f"(V{COMMAND}\nios\nsystem\n.".encode(),
    "object": program(b"(", named("os", "system"), text(COMMAND), b"o"),
    "new object of a class": program(
        named("subprocess", "Popen"), b"(", text(COMMAND), b"K\xff", b"N" * 5, b"\x88", b"\x88"
        b"t\x81"
    ),
    "new object with keywords": b"\x80\x04"
    + named("subprocess", "Popen") + text(COMMAND) + b"\x85}" + text("shell") + b"\x88s\x92.",
    "subprocess": program(named("subprocess", "getoutput"), text(COMMAND), b"\x85R"),
    "import then getattr": program(
        GETATTR, IMPORT, text("os"), b"\x85R", text("system"), b"\x86R", text(COMMAND), b"\x85R"
    ),
    "getattr chain": program(
        GETATTR, GETATTR, named("os", "path"), text("os"), b"\x86R", text("system"), b"\x86R",
        text(COMMAND), b"\x85R",
    ),
    "dotted name": b"\x80\x04" + text("os") + text("path.os.system") + b"\x93"
    + text(COMMAND) + b"\x85R.",
    "runpy": program(named("runpy", "_run_code"), text(STATEMENT), b"}\x86R"),
    "timeit": program(named("timeit", "timeit"), b"(", text("0"), text(STATEMENT), b"tR"),
    "a nested pickle": program(
        named("pickle", "loads"),
        b"U" + bytes([len(inner := f"cos\nsystem\n(V{COMMAND}\ntR.".encode())]) + inner,
        named("_codecs", "encode"), b"0", b"\x85R",
    ),
    "map, which runs later": program(
        named("builtins", "list"), named("builtins", "map"), named("os", "system"),
        b"](", text(COMMAND), b"e\x86R\x85R",
    ),
    "a state that is run": program(
        named("functools", "partial"), named("builtins", "eval"), b"\x85R",
        b"(", EVAL, text(STATEMENT), b"\x85}Ntb", b")R",
    ),
    "a memoized function": program(
        named("os", "system"), b"q\x05", b"0", b"h\x05", text(COMMAND), b"\x85R"
    ),
    "in a key": program(b"}", named("os", "system"), text(COMMAND), b"\x85RK\x01s"),
    "by numpy": program(named("numpy", "f2py.diagnose.os.system"), text(COMMAND), b"\x85R"),
    "by numpy's own": program(named("numpy.testing._private.utils", "runstring"), RUN_IT[:-2],
                              b"}\x86R"),
    "by torch's own": program(named("torch.utils.collect_env", "run"), text(COMMAND), b"\x85R"),
    "operator": program(
        named("operator", "methodcaller"), text("system"), text(COMMAND), b"\x86R",
        IMPORT, text("os"), b"\x85R\x85R",
    ),
    "code objects": program(named("code", "interact"), b"(NNc__builtin__\ndict\n)RNtR"),
}  # fmt: skip


def _doubling(levels: int) -> bytes:
    """A tuple of a tuple of ... each twice: hashing or unfolding it takes 2^levels steps."""
    return b")" + b"".join(b"q%ch%c\x86" % (i, i) for i in range(levels))


BOMBS: dict[str, bytes] = {
    "tuples as a key": program(b"}", _doubling(60), b"K\x01s"),
    "unfolding": program(_doubling(60)),
    "deep lists": program(b"]" * 20_000 + b"a" * 19_999),
    "deep tuples": program(b"N" + b"\x85" * 20_000),
    "holds itself": program(b"]q\x00h\x00a"),
    "a huge length": b"\x80\x04\x8e" + struct.pack("<Q", 2**62) + b"abc.",
    "a huge text": b"\x80\x02X" + struct.pack("<I", 2**32 - 1) + b"abc.",
    "a huge integer": b"\x80\x02\x8b" + struct.pack("<i", 2**20) + b"\x01" * 2**20 + b".",
    "a long decimal": b"L" + b"9" * 100_000 + b"L\n.",
    "a text encoded often": program(
        named("_codecs", "encode"), b"q\x00", text("x" * 10_000), text("latin1"), b"\x86q\x01",
        b"0](" + b"h\x00h\x01R" * 10_000, b"e",
    ),
    "an array of objects": program(
        named("numpy._core.multiarray", "_reconstruct"), b")R(", b"(K\x01t",
        named("numpy", "dtype"), b"U\x02O8\x85R", b"\x89]Nat" b"b",
    ),
    "a huge array": program(
        named("numpy._core.multiarray", "_reconstruct"), b")R(", b"(J\xff\xff\xff\x7ft",
        named("numpy", "dtype"), b"U\x02f4\x85R", b"\x89U\x04abcdt" b"b",
    ),
    "bytes of a number": program(named("builtins", "bytes"), b"J\xff\xff\xff\x7f\x85R"),
    "an extension": program(b"\x82\x01"),
    "a wide extension": program(b"\x84\x01\x00\x00\x00"),
    "a persistent id": program(text("storage") + b"Q"),
    "a persistent text": b"Pstorage\n.",
    "a buffer from outside": b"\x80\x05\x97.",
    "a call of a record": program(named("thing", "Maker"), b")R)R"),
    "a call of a text": program(text("os.system"), text(COMMAND), b"\x85R"),
    "arguments that are no tuple": program(named("thing", "Maker"), b"]R"),
    "a state for a list": program(b"]", b"}b"),
    "too little on the stack": program(b"\x86"),
    "no mark": program(b"t"),
    "left over": program(b"NN"),
    "unknown memo": program(b"h\x07"),
    "no end": b"\x80\x02N",
    "empty": b"",
    "more after its end": program(b"N") + b"x",
    "a future protocol": b"\x80\xffN.",
}  # fmt: skip

# Read as None: the numbers in them mean nothing here, where others reserve memory for them.
EMPTY_THREATS: dict[str, bytes] = {
    "a memo index": program(b"Nr\xff\xff\xff\x7f"),
    "a huge frame": b"\x80\x04\x95" + struct.pack("<Q", 2**63 - 1) + b"N.",
}


def as_torch_zip(content: bytes, storages: dict[str, bytes] | None = None) -> bytes:
    """The same program as torch.save's newer files hold it."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", content)
        archive.writestr("archive/version", b"3\n")
        for key, memory in (storages or {}).items():
            archive.writestr(f"archive/data/{key}", memory)
    return file.getvalue()


def as_torch_legacy(content: bytes) -> bytes:
    """The same program as torch.save's older files hold it."""
    before = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})
    return b"".join(pickle.dumps(part, 2) for part in before) + content + pickle.dumps([], 2)
