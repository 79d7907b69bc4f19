"""Pickles that would do harm under Python's own reader, and some that would only fill the memory.

`HARMFUL` write a file named by the environment variable MARKER where anything in them runs;
`BOMBS` run nothing, but would hang, crash or eat memory. `SNAPSHOT_HARM`, `SOURCES` and
`SNAPSHOT_BOMBS` are of the form of progressive_growing_of_gans.
"""

import io
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np

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


# --- pickles of progressive_growing_of_gans -------------------------------------

RUN = named("os", "system") + text(COMMAND) + b"\x85R"  # the command, run, as a value
EXEC = named("__builtin__", "exec") + RUN_IT


def short(number: int) -> bytes:
    return b"J" + struct.pack("<i", number)


def row(*items: bytes) -> bytes:
    return b"(" + b"".join(items) + b"t"


def listing(*items: bytes) -> bytes:
    return b"](" + b"".join(items) + b"e"


def mapping(entries: dict[str, bytes]) -> bytes:
    return b"}(" + b"".join(text(key) + value for key, value in entries.items()) + b"u"


def ndarray(*shape: int, **parts: bytes) -> bytes:
    """A float32 array of ones; its shape, dtype and content may be replaced."""
    num = int(np.prod(shape, dtype=int))
    content = struct.pack(f"<{num}f", *[1.0] * num)
    whole = {
        "make": named("numpy.core.multiarray", "_reconstruct")
        + named("numpy", "ndarray")
        + b"K\x00\x85"
        + text("b")
        + b"\x87R",
        "shape": row(*map(short, shape)),
        "dtype": named("numpy", "dtype") + text("f4") + b"\x85R",
        "content": b"B" + struct.pack("<I", len(content)) + content,
    }
    whole |= parts
    state = row(b"K\x01", whole["shape"], whole["dtype"], b"\x89", whole["content"])
    return whole["make"] + state + b"b"


LOD = b"G" + struct.pack(">d", 0.0)
SHAPES = {
    "4x4/Dense/weight": (1, 16), "4x4/Dense/bias": (1,), "4x4/Conv/weight": (3, 3, 1, 1),
    "4x4/Conv/bias": (1,), "ToRGB_lod0/weight": (1, 1, 1, 1), "ToRGB_lod0/bias": (1,),
}  # fmt: skip
KWARGS = {"resolution": b"K\x04", "fmap_base": b"K\x02", "fmap_max": b"K\x01"}


def variables(**changed: bytes) -> bytes:
    """The list of the variables of a generator of 4x4; "lod" or others (by leaf) replaced."""
    values = {"lod": LOD, **{name: ndarray(*shape) for name, shape in SHAPES.items()}}
    for key, value in changed.items():
        name = next(name for name in values if name.replace("/", "_").endswith(key))
        values[name] = value
    return listing(*(row(text(name), value) for name, value in values.items()))


def network(made: bytes = named("tfutil", "Network") + b")\x81", **changed: bytes) -> bytes:
    """A tfutil.Network, whole and small, with parts of its state replaced."""
    state = {
        "version": b"K\x02",
        "name": text("Gs"),
        "static_kwargs": mapping(KWARGS),
        "build_module_src": text("pass\n"),
        "build_func_name": text("G_paper"),
        "variables": variables(),
    }
    return made + mapping(state | changed) + b"b"


def old_network(**changed: bytes) -> bytes:
    """A network.Network of the Theano code, whole and small, with parts replaced."""
    shapes = ((1, 1, 4, 4), (1, 1, 3, 3), (1, 1))
    spec = mapping({"func": text("G_paper"), **KWARGS})
    values = [part for shape in shapes for part in (ndarray(*shape), LOD, ndarray(1))]
    state = {
        "build_func_spec": spec,
        "build_module_src": text("pass\n"),
        "param_values": listing(*values),
        "toplevel_params": mapping({"cur_lod": LOD}),
    }
    return named("network", "Network") + b")\x81" + mapping(state | changed) + b"b"


NESTED = f"cos\nsystem\n(V{COMMAND}\ntR.".encode()
NESTED_TEXT = b"U" + bytes([len(NESTED)]) + NESTED
SOURCE = text(STATEMENT + "\ndef G_paper(latents_in, labels_in, **kwargs): return latents_in\n")

# Read, for nothing in them is looked at: the source that the originals run before all else.
SOURCES: dict[str, bytes] = {
    "embedded source": program(network(build_module_src=SOURCE)),
    "embedded source of Theano": program(old_network(build_module_src=SOURCE)),
    "source in a tuple of one": program(row(network(build_module_src=SOURCE))),
    "source in a default argument": program(
        network(build_module_src=text(f"def G_paper(a, b=[{STATEMENT}]): return a\n"))
    ),
    "source in a decorator": program(
        network(build_module_src=text(f"@(lambda f: {STATEMENT})\ndef G_paper(a): return a\n"))
    ),
    "source with an import": program(
        network(build_module_src=text("import os\nos.system(os.environ.get('COMMAND', "
                                      f"{COMMAND!r}))\n"))
    ),
}  # fmt: skip

SNAPSHOT_HARM: dict[str, bytes] = {
    "a call for the version": program(network(version=RUN)),
    "a call for the name": program(network(name=RUN)),
    "a call for the source": program(network(build_module_src=RUN)),
    "a call for the function": program(network(build_func_name=RUN)),
    "a call for the arguments": program(network(static_kwargs=RUN)),
    "a call for the variables": program(network(variables=RUN)),
    "a call as an argument": program(network(static_kwargs=mapping({**KWARGS, "dtype": RUN}))),
    "a call as the resolution": program(
        network(static_kwargs=mapping({**KWARGS, "resolution": RUN}))
    ),
    "a call as a key of the arguments": program(network(static_kwargs=b"}" + RUN + b"K\x01s")),
    "a call for lod": program(network(variables=variables(lod=RUN))),
    "a call for a weight": program(network(variables=variables(Conv_weight=RUN))),
    "a call as a variable's name": program(network(variables=listing(row(RUN, LOD)))),
    "a call among the variables": program(network(variables=listing(RUN))),
    "a reduced weight, eval": program(
        network(variables=variables(Dense_bias=named("builtins", "eval") + RUN_IT))
    ),
    "a call as a shape": program(
        network(variables=variables(Dense_bias=ndarray(1, shape=RUN)))
    ),
    "a call as a dtype": program(
        network(variables=variables(Dense_bias=ndarray(1, dtype=RUN)))
    ),
    "a call as the numbers": program(
        network(variables=variables(Dense_bias=ndarray(1, content=RUN)))
    ),
    "an array of objects that call": program(
        network(variables=variables(Dense_bias=ndarray(
            1, dtype=named("numpy", "dtype") + text("O8") + b"\x85R", content=listing(RUN))))
    ),
    "a scalar that is a pickle": program(
        network(variables=variables(lod=named("numpy.core.multiarray", "scalar")
                + named("numpy", "dtype") + text("O8") + b"\x85R" + NESTED_TEXT
                + b"\x86R"))
    ),
    "a pickle loaded as a weight": program(
        network(variables=variables(Conv_bias=named("pickle", "loads")
                + named("_codecs", "encode") + NESTED_TEXT + text("latin1") + b"\x86R\x85R"))
    ),
    "a call before the class": program(RUN, b"0", network()),
    "a call after the network": program(network(), RUN, b"0"),
    "a call as argument of the class": program(
        network(made=named("tfutil", "Network") + RUN + b"\x85\x81")
    ),
    "an object made the older way": program(
        network(made=named("copy_reg", "_reconstructor")
                + row(RUN, named("__builtin__", "object"), b"N") + b"R")
    ),
    "the state of Popen": program(
        network(made=named("subprocess", "Popen") + listing(text("sh"), text("-c"), text(COMMAND))
                + b"\x85R")
    ),
    "an instance": program(b"(" + text(COMMAND) + b"ios\nsystem\n" + b"0", network()),
    "an object": program(b"(" + named("os", "system") + text(COMMAND) + b"o0", network()),
    "a fourth in the tuple": program(row(network(), network(), network(), RUN)),
    "in place of the discriminator": program(row(network(name=text("G")), RUN, network())),
    "after an honest network": program(row(network(), RUN)),
    "a list instead of a tuple": program(listing(network(), RUN)),
    "appended to a network": program(network(), RUN, b"a"),
    "set in a network": program(network(), text("k"), RUN, b"s"),
    "exec of Python 2": program(network(version=EXEC)),
    "the import of the source's module": program(
        network(build_module_src=named("builtins", "getattr") + IMPORT + text("os") + b"\x85R"
                + text("system") + b"\x86R" + text(COMMAND) + b"\x85R")
    ),
    "code compiled": program(
        network(build_module_src=named("builtins", "exec") + named("builtins", "compile")
                + row(text(STATEMENT), text("networks.py"), text("exec")) + b"R\x85R")
    ),
    "runpy for the source": program(
        network(build_module_src=named("runpy", "_run_code") + text(STATEMENT) + b"}\x86R")
    ),
    "a call for Theano's arguments": program(old_network(build_func_spec=RUN)),
    "a call for Theano's function": program(
        old_network(build_func_spec=mapping({"func": RUN, **KWARGS}))
    ),
    "a call for Theano's parameters": program(old_network(param_values=RUN)),
    "a call among Theano's parameters": program(old_network(param_values=listing(RUN))),
    "a call for Theano's lod": program(old_network(toplevel_params=mapping({"cur_lod": RUN}))),
    "a state of two halves": program(
        named("tfutil", "Network") + b")\x81", mapping({"version": b"K\x02"}),
        mapping({"variables": RUN}), b"\x86b"
    ),
    "a shell by numpy": program(
        network(variables=variables(lod=named("numpy.distutils.exec_command", "exec_command")
                + text(COMMAND) + b"\x85R"))
    ),
    "a shell by the program's own": program(
        network(build_module_src=named("tfutil", "import_module") + text("os") + b"\x85R")
    ),
}  # fmt: skip

SELF = named("tfutil", "Network") + b")\x81q\x01"

# content, and what is said of it
SNAPSHOT_BOMBS: dict[str, tuple[bytes, str]] = {
    "a network in its own state": (
        program(SELF + mapping({"version": b"h\x01"}) + b"b"), "holds itself"
    ),
    "a network among its variables": (
        program(SELF + mapping({"version": b"K\x02", "variables": listing(b"h\x01")}) + b"b"),
        "holds itself",
    ),
    "networks in networks": (
        program(*[named("tfutil", "Network") + b")\x81}" + text("a")] * 250, b"N", b"sb" * 250),
        "nested more than",
    ),
    "a huge resolution": (
        program(network(static_kwargs=mapping({**KWARGS, "resolution": short(2**30)}))),
        "argument resolution",
    ),
    "the largest resolution": (
        program(network(static_kwargs=mapping({"resolution": short(2**16)}))),
        "leaves no feature maps",
    ),
    "huge feature maps": (
        program(network(static_kwargs=mapping(
            {**KWARGS, "fmap_base": short(2**16), "fmap_max": short(2**16)}))),
        "and not",
    ),
    "feature maps beyond": (
        program(network(static_kwargs=mapping({**KWARGS, "fmap_max": short(2**30)}))),
        "argument fmap_max",
    ),
    "a decay that explodes": (
        program(network(static_kwargs=mapping(
            {**KWARGS, "fmap_decay": b"G" + struct.pack(">d", -1e300)}))),
        "argument fmap_decay",
    ),
    "huge labels": (
        program(network(static_kwargs=mapping({**KWARGS, "label_size": short(2**30)}))),
        "argument label_size",
    ),
    "a resolution of no power of two": (
        program(network(static_kwargs=mapping({**KWARGS, "resolution": b"K\x07"}))),
        "reaches 4x4, 8x8",
    ),
    "an array that claims more": (
        program(network(variables=variables(Dense_bias=ndarray(1, shape=row(short(2**30)))))),
        "cannot reshape",
    ),
    "an array of an odd size": (
        program(network(variables=variables(Dense_bias=ndarray(1, content=b"U\x03abc")))),
        "buffer size",
    ),
    "numbers used over and over": (
        program(ndarray(2**14) + b"q\x05", b"0",
                network(variables=listing(*[row(text(f"v{i}"), b"h\x05") for i in range(99)]))),
        "more numbers in its variables than bytes",
    ),
    "too few variables": (
        program(network(variables=listing(row(text("lod"), LOD)))), "missing '4x4/Dense/weight'"
    ),
    "a variable twice": (
        program(network(variables=listing(*[row(text("lod"), LOD)] * 2))), "'lod' twice"
    ),
    "a variable too many": (
        program(network(variables=variables()[:-1] + row(text("x"), LOD) + b"e")), "not known 'x'"
    ),
    "whole numbers for a weight": (
        program(network(variables=variables(Dense_bias=ndarray(
            1, dtype=named("numpy", "dtype") + text("i4") + b"\x85R")))),
        "array of int32",
    ),
    "a weight that is infinite": (
        program(network(variables=variables(
            Dense_bias=ndarray(1, content=b"U\x04" + struct.pack("<f", float("inf")))))),
        "'4x4/Dense/bias' holds a number that is not finite",
    ),
    "a level beyond the last": (
        program(network(variables=variables(lod=b"G" + struct.pack(">d", 1.5)))), "lod is 1.5"
    ),
    "Theano's counts": (
        program(old_network(param_values=listing(LOD))), "has 1 entries; its 3 layers need 9"
    ),
    "Theano's scale": (
        program(old_network(param_values=listing(*[ndarray(1, 1, 4, 4), text("x")]
                + [ndarray(1)] * 7))),
        "scale of 4x4/Dense in param_values is 'x'",
    ),
    "Theano's shapes": (
        program(old_network(param_values=listing(*[ndarray(1)] * 9))),
        "no array of 4 dimensions",
    ),
    "no state": (program(named("tfutil", "Network") + b")\x81"), "without a state"),
    "another version": (program(network(version=b"K\x01")), "its version is 1"),
    "no networks": (program(b")"), "holds 0 values"),
    "numbers instead of networks": (program(row(b"K\x01", b"K\x02")), "holds a int"),
    "StyleGAN's class": (
        program(network(made=named("dnnlib.tflib.network", "Network") + b")\x81")),
        "holds a dnnlib.tflib.network.Network",
    ),
}  # fmt: skip
