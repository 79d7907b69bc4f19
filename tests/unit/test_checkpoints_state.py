"""Training states: trees come back exactly, damage is found, a failing disk loses nothing."""

import errno
import hashlib
import json
import os
import random
import shutil
import struct
import tempfile
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from limner.checkpoints import (
    list_states,
    load_rank_state,
    load_state,
    newest_verified,
    protocol,
    read_manifest,
    save_state,
    verify_state,
)
from limner.checkpoints.manifest import render_manifest
from limner.core.errors import CheckpointError

DTYPES = [
    torch.float64,
    torch.float32,
    torch.float16,
    torch.bfloat16,
    torch.complex64,
    torch.int64,
    torch.int32,
    torch.int16,
    torch.int8,
    torch.uint8,
    torch.uint16,
    torch.bool,
]


def raw_bytes(tensor: torch.Tensor) -> bytes:
    return (
        tensor.detach().resolve_conj().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    )


def same(a, b) -> bool:
    """Equal in type, structure, order and every bit."""
    if isinstance(a, torch.Tensor):
        return (
            isinstance(b, torch.Tensor)
            and a.dtype == b.dtype
            and a.shape == b.shape
            and raw_bytes(a) == raw_bytes(b)
        )
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        keys = [(type(key), key) for key in a] == [(type(key), key) for key in b]
        return keys and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, float):
        return struct.pack("d", a) == struct.pack("d", b)
    return a == b


@st.composite
def tensors(draw) -> torch.Tensor:
    dtype = draw(st.sampled_from(DTYPES))
    shape = draw(st.lists(st.integers(0, 3), max_size=3))
    count = int(torch.Size(shape).numel())
    size = torch.empty((), dtype=dtype).element_size()
    content = draw(st.binary(min_size=count * size, max_size=count * size))
    if count == 0:
        return torch.empty(shape, dtype=dtype)
    if dtype == torch.bool:
        return torch.tensor([byte % 2 == 1 for byte in content]).reshape(shape)
    return torch.frombuffer(bytearray(content), dtype=dtype).reshape(shape)


leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5)
    | tensors()
)
nodes = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=3) | st.integers(-5, 5), inner, max_size=3)
    ),
    max_leaves=8,
)
trees = st.dictionaries(st.from_regex(r"[a-z_]{1,6}", fullmatch=True), nodes, max_size=3)


@settings(max_examples=60, deadline=None)
@given(tree=trees)
def test_a_tree_comes_back_exactly(tree: dict):
    with tempfile.TemporaryDirectory() as directory:
        path = save_state(Path(directory), 3, tree)
        assert same(load_state(path), tree)


def save(directory: Path, step: int, value: float = 0.0) -> Path:
    tree = {
        "generator": {"weight": torch.full((2, 3), value), "num": torch.tensor(3)},
        "progress": {"step": step, "value": value},
    }
    return save_state(directory, step, tree)


def test_awkward_trees_come_back(tmp_path: Path):
    base = torch.arange(24.0).reshape(1, 2, 3, 4)
    tree = {
        "shared": {"a": base, "b": base, "c": base[:, 1], "d": base.transpose(1, 3)},
        "layout": base.to(memory_format=torch.channels_last),
        "names": {"a.b": torch.ones(1), "a": {"b": torch.zeros(1)}, "\ud800": torch.ones(2)},
        "keys": {1: "integer", "1": "text", "": torch.ones(1), "__metadata__": torch.ones(3)},
        "expanded": torch.ones(1).expand(5),
        "conjugate": torch.tensor([1 + 2j]).conj(),
        "special": torch.tensor([float("nan"), float("inf"), -0.0]),
        "text": "\ud800\x00ü",
    }
    loaded = load_state(save_state(tmp_path, 1, tree))
    assert same(loaded, tree)
    loaded["shared"]["a"].zero_()  # tensors own their memory
    assert torch.equal(loaded["shared"]["b"], base)


def test_module_and_optimizer_states_are_taken(tmp_path: Path):
    module = torch.nn.Conv2d(1, 2, 3)
    optimizer = torch.optim.Adam(module.parameters(), betas=(0.0, 0.9))
    for parameter in module.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    tree = {"net": module.state_dict(), "optimizer": optimizer.state_dict()}
    loaded = load_state(save_state(tmp_path, 1, tree))
    assert same(loaded["optimizer"], tree["optimizer"])
    assert same(loaded["net"], {name: value.data for name, value in module.named_parameters()})
    assert same(load_state(save_state(tmp_path, 2, {"x": OrderedDict(a=1)})), {"x": {"a": 1}})


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (float("nan"), "part.inner.0: the number nan"),
        (object(), "builtins.object"),
        ({1.5: 2}, "the key 1.5"),
        ({True: 2}, "the key True"),
        (torch.ones(1, dtype=torch.complex128), "complex128"),
        (torch.ones(2).to_sparse(), "strided"),
        (torch.ones(1, device="meta"), "strided"),
    ],
)
def test_what_cannot_be_saved_is_named_and_leaves_nothing(tmp_path: Path, value, named: str):
    with pytest.raises(CheckpointError, match=named.replace(".", r"\.")):
        save_state(tmp_path, 1, {"part": {"inner": [value]}})
    assert os.listdir(tmp_path) == []


def test_part_names_are_file_names(tmp_path: Path):
    with pytest.raises(CheckpointError, match="letters, digits"):
        save_state(tmp_path, 1, {"../escape": torch.ones(1)})


def test_files_are_only_json_and_safetensors(tmp_path: Path):
    path = save_state(tmp_path, 1, {"net": {"w": torch.ones(3)}}, {"rng": torch.ones(2)})
    assert path.name == "step-00000001"
    assert {entry.suffix for entry in path.iterdir()} == {".json", ".safetensors"}
    for entry in path.iterdir():  # protocol 2 and later pickles begin so; a zip holds torch's
        assert entry.read_bytes()[:1] != b"\x80"
        assert entry.read_bytes()[:2] != b"PK"


def test_some_keys_only(tmp_path: Path):
    path = save_state(tmp_path, 1, {"a": torch.ones(1), "b": 2, "c": [3]})
    assert same(load_state(path, keys=("b", "c", "absent")), {"b": 2, "c": [3]})


def test_rank_states_and_facts(tmp_path: Path):
    path = save_state(tmp_path, 1, {"a": 1}, {"rng": torch.arange(3)}, {"seed": 7, "pair": (1, 2)})
    assert same(load_rank_state(path, 0), {"rng": torch.arange(3)})
    assert load_rank_state(path, 1) is None
    manifest = read_manifest(path)
    assert manifest["facts"] == {"seed": 7, "pair": [1, 2]}
    assert (manifest["step"], manifest["threads"]) == (1, torch.get_num_threads())
    with pytest.raises(ValueError, match=r"facts\.loss"):
        save_state(tmp_path, 2, {"a": 1}, facts={"loss": float("nan")})
    assert [step for step, _ in list_states(tmp_path)] == [1]


def test_every_changed_byte_and_every_cut_is_found(tmp_path: Path):
    path = save_state(tmp_path, 7, {"net": {"w": torch.ones(3)}, "x": 1}, {"rng": torch.ones(2)})
    generator = random.Random(0)
    num_cases = 0
    for file in sorted(path.iterdir()):
        content = file.read_bytes()
        cuts = {0, 1, len(content) - 1, *(generator.randrange(len(content)) for _ in range(20))}
        cases = [content[:cut] for cut in cuts] + [content + b"\n"]
        for place in range(len(content)):
            flipped = bytearray(content)
            flipped[place] ^= 1 << generator.randrange(8)
            cases.append(bytes(flipped))
        for case in cases:
            file.write_bytes(case)
            with pytest.raises(CheckpointError, match=file.name):
                verify_state(path)
            num_cases += 1
        with pytest.raises(CheckpointError):
            (load_state(path), load_rank_state(path, 0))
        file.unlink()
        with pytest.raises(CheckpointError, match=f"{file.name}: the file is missing"):
            verify_state(path)
        file.write_bytes(content)
        verify_state(path)
    assert num_cases > 1000


def test_another_version_or_step_is_refused(tmp_path: Path):
    path = save(tmp_path, 7)
    manifest = read_manifest(path)
    (path / "manifest.json").write_bytes(render_manifest({**manifest, "format_version": 2}))
    with pytest.raises(CheckpointError, match="newer limner"):
        verify_state(path)
    (path / "manifest.json").write_bytes(render_manifest(manifest))
    moved = shutil.move(path, tmp_path / "step-00000008")
    with pytest.raises(CheckpointError, match="of step 7"):
        verify_state(Path(moved))
    (path / "manifest.json").parent.mkdir()
    (path / "manifest.json").write_text('{"format_version": 1, "facts": NaN}')
    with pytest.raises(CheckpointError, match="does not fit"):
        verify_state(path)


def test_a_file_outside_is_not_read(tmp_path: Path):
    path = save(tmp_path, 7)
    manifest = read_manifest(path)
    outside = json.loads((path / "state.json").read_text())
    outside["files"]["generator"] = "../x.safetensors"
    content = json.dumps(outside).encode()
    (path / "state.json").write_bytes(content)
    entry = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    files = {**manifest["files"], "state.json": entry, "../x.safetensors": entry}
    (path / "manifest.json").write_bytes(render_manifest({**manifest, "files": files}))
    with pytest.raises(CheckpointError, match=r"lists no file .*\.\./x\.safetensors"):
        load_state(path)


def test_newest_verified_falls_back_once_and_never_to_nothing(tmp_path: Path):
    lines: list[str] = []
    assert newest_verified(tmp_path / "absent", lines.append) is None
    for step in (1, 2, 3):
        save(tmp_path, step)
    (tmp_path / ".tmp-step-00000009").mkdir()
    assert newest_verified(tmp_path, lines.append) == tmp_path / "step-00000003"
    assert lines == []
    for step in (3, 2):
        (tmp_path / f"step-{step:08d}" / "state.json").write_text("{}")
    assert newest_verified(tmp_path, lines.append) == tmp_path / "step-00000001"
    assert len(lines) == 1
    assert "step-00000003/state.json" in lines[0]
    shutil.rmtree(tmp_path / "step-00000001")
    with pytest.raises(CheckpointError, match="--fresh"):
        newest_verified(tmp_path, lines.append)


def test_the_same_step_again(tmp_path: Path):
    path = save(tmp_path, 5, 1.0)
    before = (path / "manifest.json").stat().st_mtime_ns
    save(tmp_path, 5, 1.0)
    assert (path / "manifest.json").stat().st_mtime_ns == before  # nothing to do
    save(tmp_path, 5, 2.0)
    assert load_state(path)["progress"]["value"] == 2.0
    (path / "state.json").write_text("{}")
    save(tmp_path, 5, 2.0)  # a damaged one is replaced
    assert load_state(path)["progress"]["value"] == 2.0
    assert os.listdir(tmp_path) == [path.name]


def test_flushed_before_renamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    calls: list[str] = []
    fsync, replace = os.fsync, os.replace

    def recorded_fsync(descriptor: int) -> None:
        calls.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        fsync(descriptor)

    def recorded_replace(source: Path, target: Path) -> None:
        calls.append(f"rename to {target}")
        replace(source, target)

    if not Path("/proc/self/fd").exists():
        pytest.skip("needs /proc to see which file is flushed")
    monkeypatch.setattr(os, "fsync", recorded_fsync)
    monkeypatch.setattr(os, "replace", recorded_replace)
    path = save(tmp_path, 5)
    rename = calls.index(f"rename to {path}")
    temporary = tmp_path / ".tmp-step-00000005"
    before = calls[:rename]
    assert {str(temporary / entry.name) for entry in path.iterdir()} < set(before)
    assert before[-2:] == [str(temporary / "manifest.json"), str(temporary)]
    assert calls[rename + 1 :] == [str(tmp_path)]


class Full:
    """A file on a full disk."""

    def __init__(self, file):
        self.file = file

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()

    def write(self, _):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self.file.name)


def failing(function, at: int, failure):
    """`function`, whose call number `at` fails."""
    calls = [0]

    def wrapped(*arguments, **options):
        calls[0] += 1
        if calls[0] == at:
            return failure(*arguments)
        return function(*arguments, **options)

    return wrapped


def raise_error(*_):
    raise OSError(errno.EIO, os.strerror(errno.EIO))


def refusal(directory: Path, step: int, value: float) -> str:
    """What a save complains about; nothing if it succeeds."""
    try:
        save(directory, step, value)
    except CheckpointError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("call", ["write", "fsync", "replace", "mkdir"])
@pytest.mark.parametrize("step", [1, 2])
def test_a_failing_disk_leaves_old_or_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, step: int
):
    num_failures = 0
    for at in range(1, 40):
        directory = tmp_path / str(at)
        save(directory, 1, 1.0)
        with monkeypatch.context() as patch:
            if call == "write":
                failure = lambda *arguments: Full(open(*arguments))  # noqa: E731, SIM115
                patch.setattr(protocol, "open", failing(open, at, failure), raising=False)
            elif call == "mkdir":
                patch.setattr(Path, "mkdir", failing(Path.mkdir, at, raise_error))
            else:
                patch.setattr(os, call, failing(getattr(os, call), at, raise_error))
            message = refusal(directory, step, 2.0)
        if not message:
            break
        assert str(directory) in message
        assert "No space left" in message or "Input/output" in message
        num_failures += 1
        assert not [name for name in os.listdir(directory) if name.startswith(".tmp-")]
        kept = newest_verified(directory, pytest.fail)
        assert kept is not None
        assert load_state(kept)["progress"]["value"] in (1.0, 2.0)
        again = save(directory, step, 3.0)
        assert load_state(again)["progress"]["value"] == 3.0
    assert not message
    assert num_failures >= {"write": 3, "fsync": 5, "replace": step % 2 + 1, "mkdir": 1}[call]


def test_room_is_asked_for_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    save(tmp_path, 1)
    usage = shutil.disk_usage(tmp_path)._replace(free=5000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(CheckpointError, match=r"\d{6} bytes needed, 5000 free") as caught:
        save_state(tmp_path, 2, {"net": torch.zeros(100_000)})
    assert str(tmp_path) in str(caught.value)
    assert os.listdir(tmp_path) == ["step-00000001"]
