"""The Hugging Face hub: the real client against a server of our own that speaks the hub's API.

One process types all commands, as huggingface_hub reads its address and cache when it is imported.
"""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from commands import environment
from hub_server import Hub, hub_server
from limner.api import known as known_module
from limner.api.known import KNOWN, Known, KnownFile, import_known
from limner.checkpoints import hub as hub_module
from limner.checkpoints.hub import HubPlace, fetched
from limner.checkpoints.model_place import BUILTIN
from limner.cli.main import main
from limner.core.errors import CheckpointError, LimnerError, MissingExtra
from limner.core.files import sha256_of
from published import huggingface_files

pytest.importorskip("huggingface_hub")

SCRIPT = """
import contextlib, io, json, sys
from limner.cli.main import main
for line in sys.stdin:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(json.loads(line))
    print(json.dumps([code, out.getvalue(), err.getvalue()]), flush=True)
"""


class Shell:
    """A process that runs commands one after the other; call it with a command's words."""

    def __init__(self, folder: Path, address: str):
        self.folder = folder
        named = {"HF_ENDPOINT": address, "HF_HOME": str(folder / "hub"), "HF_TOKEN": "hf_test"}
        named |= {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=folder,
            env=environment(**named, LIMNER_CACHE=str(folder / "cache")),
        )

    def __call__(self, *words: object) -> tuple[int, str, str]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps([str(word) for word in words]) + "\n")
        self.process.stdin.flush()
        return tuple(json.loads(self.process.stdout.readline()))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    with hub_server() as (address, hub):
        shell = Shell(tmp_path_factory.mktemp("shell"), address)
        yield shell, hub
        shell.process.communicate()


def test_a_pushed_model_is_loaded_by_its_name(place: tuple[Shell, Hub]):
    shell, hub = place
    code, out, err = shell("push", "digits-demo", "ann/digits", "--license", "cc-by-4.0", "--json")
    assert code == 0, err
    told = json.loads(out)
    commit, files = hub.state("ann/digits", "main")
    assert told["name"] == f"hf:ann/digits@{commit}"
    assert set(files) == {
        ".gitattributes",
        "README.md",
        "config.json",
        "model.safetensors",
        "sheet.png",
    }
    assert hashlib.sha256(files["model.safetensors"]).hexdigest() == told["sha256"]
    card = files["README.md"].decode()
    assert card.startswith("---\nlicense: cc-by-4.0\n")
    assert "| recall | 0.7301 | 0.9033 |" in card

    code, out, err = shell("sample", "hf:ann/digits", "--num", 2, "--out", "a.npz", "--json")
    assert code == 0, err
    assert json.loads(out)["model_sha256"] == sha256_of(BUILTIN / "digits-demo/model.safetensors")
    hub.commit("ann/digits", {"model.safetensors": b"spoilt"})
    code, _, err = shell("sample", told["name"], "--num", 2, "--out", "b.npz")  # the old state
    assert code == 0, err
    assert (shell.folder / "a.npz").read_bytes() == (shell.folder / "b.npz").read_bytes()
    newest = list(hub.states["ann/digits"])[-1]
    code, _, err = shell("sample", f"hf:ann/digits@{newest}", "--num", 2, "--out", "c.npz")
    assert code == 1
    assert "sha256 is not the one in config.json" in err


def test_files_of_other_programs_are_imported_from_the_hub(place: tuple[Shell, Hub]):
    shell, hub = place
    commit = hub.commit("bob/gan", huggingface_files())
    code, _, err = shell("sample", "hf:bob/gan", "--out", "d.png")
    assert code == 1
    assert "limner import FORMAT hf:bob/gan" in err
    words = ("import", "huggingface-biggan", "hf:bob/gan", "--out", "model", "--json")
    code, out, err = shell(*words)
    assert code == 0, err
    origin = json.loads(out)["origin"]
    assert origin["fetched_from"] == f"hf:bob/gan@{commit}"
    weights = hashlib.sha256(huggingface_files()["pytorch_model.bin"]).hexdigest()
    assert origin["sha256"]["pytorch_model.bin"] == weights
    assert f"hf:bob/gan@{commit}" in (shell.folder / "model" / "README.md").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("sample hf:ann/none", "hf:ann/none: no such repository, or it is private"),
        ("sample hf:bob/small@v2", "hf:bob/small@v2: the repository has no such revision"),
        ("import pggan hf:bob/small/a.pkl", "hf:bob/small/a.pkl: the repository has no such file"),
        ("sample hf:ann", "give hf:USER/NAME"),
        ("sample hf:bob/small/config.json", "a model is a whole repository"),
        ("push digits-demo ann", "give hf:USER/NAME"),
        ("push digits-demo ann/digits@main", "the hub gives the revision"),
    ],
)
def test_what_the_hub_refuses_is_one_line(place: tuple[Shell, Hub], words: str, message: str):
    shell, hub = place
    hub.states.setdefault("bob/small", {"0" * 40: {"config.json": b"{}"}})
    code, _, err = shell(*words.split())
    assert code == 1
    assert message in err
    assert len(err.splitlines()) == 1


def test_without_the_client_the_extra_is_named(monkeypatch):
    monkeypatch.setattr(hub_module, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"pip install 'limner\[hub\]'"):
        fetched(HubPlace.of("hf:ann/other"))


# --- known checkpoints -------------------------------------------------------


def test_a_known_checkpoint_is_fetched_checked_and_imported(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("LIMNER_CACHE", str(tmp_path / "cache"))
    files = huggingface_files()
    with hub_server() as (address, hub):
        hub.commit("bob/gan", files)
        base, sha256 = f"{address}/bob/gan/resolve/main", hashlib.sha256(files["pytorch_model.bin"])
        weights = KnownFile(f"{base}/pytorch_model.bin", "pytorch_model.bin", sha256.hexdigest())
        config = KnownFile(f"{base}/config.json", "config.json")
        monkeypatch.setitem(KNOWN, "toy", Known("huggingface-biggan", base, (weights, config)))
        seen: list[tuple[int, int | None]] = []
        record = import_known(
            "toy", tmp_path / "model", lambda done, size: seen.append((done, size))
        )
        assert record.config.origin["fetched_from"] == weights.place
        assert seen[0] == (len(files["pytorch_model.bin"]),) * 2
        num_asked = len(hub.asked)
        assert main(["import", "known", "toy", "--out", str(tmp_path / "again")]) == 0
        assert len(hub.asked) == num_asked  # from the cache
        assert f"limner sample {tmp_path / 'again'} --grid" in capsys.readouterr().out
        assert weights.place in (tmp_path / "again" / "README.md").read_text()

        spoilt = KnownFile(weights.place, "other.bin", "0" * 64)
        monkeypatch.setitem(KNOWN, "bad", Known("huggingface-biggan", base, (spoilt, config)))
        with pytest.raises(CheckpointError, match=f"sha256 is {sha256.hexdigest()}, and its page"):
            import_known("bad", tmp_path / "bad", lambda done, size: None)
        assert not (tmp_path / "bad").exists()
        gone = KnownFile(f"{base}/gone.bin", "gone.bin")
        monkeypatch.setitem(KNOWN, "gone", Known("pggan", base, (gone,)))
        with pytest.raises(CheckpointError, match=r"gone.bin: it cannot be fetched \(Not Found\)"):
            import_known("gone", tmp_path / "gone", lambda done, size: None)


def test_what_is_fetched_by_hand_says_how(tmp_path):
    with pytest.raises(LimnerError, match=r"limner import pggan FILE --out models/faces"):
        import_known("pggan", "models/faces", lambda done, size: None)
    with pytest.raises(LimnerError, match="nearest is 'r3gan-ffhq-256'"):
        known_module.known_named("r3gan-fhq-256")


def test_the_table_is_of_formats_that_are_read():
    from limner.api.importing import IMPORTERS

    for name, known in KNOWN.items():
        assert known.format in IMPORTERS, name
        for file in known.files:
            assert len(file.sha256) in (0, 64), name
            if file.place.startswith("hf:"):
                assert HubPlace.of(file.place).file == file.name
