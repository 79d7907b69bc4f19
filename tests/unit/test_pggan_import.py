"""PGGAN pickles: what of them becomes a model, and that nothing in them runs."""

import os
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from hostile import HARMFUL, SNAPSHOT_BOMBS, SNAPSHOT_HARM, SOURCES
from limner.checkpoints import ModelRecord, read_model, write_model
from limner.checkpoints.importers.pggan import Pggan
from limner.core.errors import CheckpointError, ConfigError, RefusedFile
from limner.models import PgganDiscriminator, PgganGenerator
from snapshots import pickled, tensorflow, theano

SMALL = {"resolution": 8, "fmap_base": 4, "fmap_max": 1, "num_channels": 1}


def read_bytes(tmp_path, content, **options) -> ModelRecord:
    path = tmp_path / "network.pkl"
    path.write_bytes(content)
    return Pggan(**options).read(path)


def trio(**given):
    return tuple(tensorflow(name, seed=i, **given) for i, name in enumerate(("G", "D", "Gs")))


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


# --- what is read --------------------------------------------------------------


@pytest.mark.parametrize("protocol", range(6))
def test_every_protocol(tmp_path, protocol):
    record = read_bytes(tmp_path, pickled(trio(label_size=2), protocol))
    wanted = read_bytes(tmp_path, pickled(trio(label_size=2)))
    assert record.generator_raw is not None
    assert record.discriminator is not None
    assert same(record.generator, wanted.generator)
    assert same(record.generator_raw, wanted.generator_raw)
    assert same(record.discriminator, wanted.discriminator)
    assert not same(record.generator, record.generator_raw)
    assert record.config.replace(origin={}) == wanted.config.replace(origin={})
    assert record.config.num_classes == 2
    assert record.config.image_shape == (3, 8, 8)
    assert float(record.generator["lod"]) == 0.5
    write_model(tmp_path / "model", record)
    assert same(read_model(tmp_path / "model").generator, record.generator)


def test_texts_of_python_2(tmp_path):
    states = tuple(theano(state) for state in trio(fused_scale=False))
    record = read_bytes(tmp_path, pickled(states, 2, "network", python2=True))
    wanted = read_bytes(tmp_path, pickled(states, 4, "network"))
    assert same(record.generator, wanted.generator)
    assert record.config.origin["program"] == "Theano, 2017"


@pytest.mark.parametrize("name", ["G", "D"])
@pytest.mark.parametrize("scaled", [True, False])
def test_theano_networks_are_those_of_tensorflow(tmp_path, name, scaled):
    """Turned, flipped, with the scale folded in: the same weights as before the way there."""
    options = {"use_wscale": scaled, "mbstd_group_size": 16, "fused_scale": False, "lod": 0.25}
    states = (tensorflow("G", **options), tensorflow("D", **options))
    wanted = read_bytes(tmp_path, pickled(states))
    record = read_bytes(tmp_path, pickled(tuple(map(theano, states)), module="network"))
    assert record.config.generator == wanted.config.generator
    assert record.config.discriminator == wanted.config.discriminator
    part = "generator" if name == "G" else "discriminator"
    ours, theirs = getattr(record, part), getattr(wanted, part)
    assert list(ours) == list(theirs)
    for key in ours:
        torch.testing.assert_close(ours[key], theirs[key], rtol=1e-5, atol=1e-6)


def test_theano_functions_under_their_older_names(tmp_path):
    states = [theano(state) for state in trio(fused_scale=False)[:2]]
    for state, name in zip(states, ("G_progressive_8", "D_progressive_8"), strict=True):
        state["build_func_spec"] |= {"func": name, "use_gdrop": True}
    del states[1]["toplevel_params"]
    record = read_bytes(tmp_path, pickled(tuple(states), module="network"))
    assert isinstance(record.config.discriminator, PgganDiscriminator)
    assert record.config.discriminator.group_size == 16
    assert float(record.discriminator["lod"]) == 0.0


def test_theano_feature_maps_that_are_left_out(tmp_path):
    """The defaults of 2017 where those of 2018 do not give the width of the weights."""
    state = theano(tensorflow("G", fused_scale=False, fmap_base=64, fmap_max=3))
    state["build_func_spec"] |= {"fmap_base": 2**16}
    del state["build_func_spec"]["fmap_max"]
    with pytest.raises(CheckpointError, match=r"is \[3, 48\] and not \[512, 8192\]"):
        read_bytes(tmp_path, pickled(state, module="network"))
    wide = theano(tensorflow("G", 4, 0.0, fused_scale=False, fmap_base=4096, fmap_max=256))
    for name in ("fmap_base", "fmap_max"):
        del wide["build_func_spec"][name]
    record = read_bytes(tmp_path, pickled(wide, module="network"))
    assert isinstance(record.config.generator, PgganGenerator)
    assert record.config.generator.fmap_max == 256


def test_arguments_that_are_left_out_are_those_of_the_paper(tmp_path):
    """B.2: 512 feature maps of base 8192, pixel norm, equalized rates, leaky relu, fused."""
    state = tensorflow("Gs", 4, 0.0, fmap_base=8192, fmap_max=512, num_channels=1)
    state["static_kwargs"] = {"resolution": 4}
    record = read_bytes(tmp_path, pickled(state))
    assert record.config.generator == PgganGenerator()
    assert record.config.image_shape == (1, 4, 4)
    state = tensorflow("D", **SMALL)
    kept = ("resolution", "fmap_base", "fmap_max")
    state["static_kwargs"] = {name: SMALL[name] for name in kept}
    record = read_bytes(tmp_path, pickled((tensorflow("G", **SMALL), state)))
    assert record.config.discriminator == PgganDiscriminator(fmap_base=4, fmap_max=1)


def test_every_argument_has_its_field(tmp_path):
    given = {
        "normalize_latents": False,
        "use_pixelnorm": False,
        "use_leakyrelu": False,
        "pixelnorm_epsilon": 1e-4,
        "fmap_decay": 1,
        "mbstd_group_size": 7,
        "dtype": "float16",
        "structure": "linear",
    }
    state = tensorflow("Gs", fused_scale=False, use_wscale=False, latent_size=5)
    state["static_kwargs"] |= given
    record = read_bytes(tmp_path, pickled(state))
    assert record.config.generator == PgganGenerator(
        z_dim=5, fmap_base=8, fmap_max=4, fused_scale=False, equalized=False, leaky=False,
        pixel_norm=False, normalize_latents=False, pixel_norm_eps=1e-4,
    )  # fmt: skip
    assert "warning" not in record.config.origin
    state["static_kwargs"]["use_spectral"] = True
    warning = read_bytes(tmp_path, pickled(state)).config.origin["warning"]
    assert "'use_spectral'" in warning


def test_groups_of_one_picture_are_no_groups(tmp_path):
    states = (tensorflow("G", **SMALL), tensorflow("D", mbstd_group_size=0, **SMALL))
    states[1]["static_kwargs"]["mbstd_group_size"] = 1
    record = read_bytes(tmp_path, pickled(states))
    assert record.config.discriminator == PgganDiscriminator(fmap_base=4, fmap_max=1, group_size=0)


def test_the_networks_that_are_taken(tmp_path):
    content = pickled(trio(**SMALL))
    whole = read_bytes(tmp_path, content)
    assert whole.config.origin["networks"] == ["G", "D", "Gs"]
    g = read_bytes(tmp_path, content, net="G")
    assert whole.generator_raw is not None
    assert same(g.generator, whole.generator_raw)
    assert (g.generator_raw, g.discriminator, g.config.discriminator) == (None, None, None)
    both = read_bytes(tmp_path, content, net="Gs,D")
    assert same(both.generator, whole.generator)
    assert both.discriminator is not None
    assert both.generator_raw is None
    with pytest.raises(CheckpointError, match="needs a generator; take Gs or G"):
        read_bytes(tmp_path, content, net="D")
    with pytest.raises(ConfigError, match="'x' is none of G, D, Gs"):
        read_bytes(tmp_path, content, net="x")
    with pytest.raises(CheckpointError, match="it has no Gs, only G, D"):
        read_bytes(tmp_path, pickled(trio(**SMALL)[:2]), net="Gs")
    for name in ("G", "Gs"):
        alone = read_bytes(tmp_path, pickled(tensorflow(name, **SMALL)))
        assert alone.config.origin["networks"] == [name]
    with pytest.raises(CheckpointError, match="needs a generator"):
        read_bytes(tmp_path, pickled(tensorflow("D", **SMALL)))


def test_networks_that_do_not_belong_together(tmp_path):
    g, d, ema = trio(**SMALL)
    other = tensorflow("G", lod=0.0, **{**SMALL, "resolution": 4})
    with pytest.raises(CheckpointError, match=r"G: it is for pictures \[1, 4, 4\] of 0 classes"):
        read_bytes(tmp_path, pickled((other, d, ema)))
    g["static_kwargs"]["use_pixelnorm"] = False
    with pytest.raises(CheckpointError, match="G: built with other arguments than Gs"):
        read_bytes(tmp_path, pickled((g, d, ema)))
    with pytest.raises(CheckpointError, match="in its place belongs a discriminator"):
        read_bytes(tmp_path, pickled((ema, g, d)))


def test_a_network_that_limner_lacks_is_named(tmp_path):
    g, d, ema = trio(**SMALL)
    d["build_func_name"] = "D_mine"
    content = pickled((g, d, ema))
    with pytest.raises(CheckpointError, match=r"D: its function 'D_mine' is missing in limner"):
        read_bytes(tmp_path, content)
    assert read_bytes(tmp_path, content, net="Gs,G").discriminator is None
    old = theano(tensorflow("G", fused_scale=False))
    old["build_func_spec"]["func"] = "G_mnist_mode_recovery"
    with pytest.raises(CheckpointError, match="'G_mnist_mode_recovery' is missing"):
        read_bytes(tmp_path, pickled(old, module="network"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("label_size", 3),
        ("use_batchnorm", True),
        ("tanh_at_end", 1.0),
        ("mbdisc_kernels", 100),
        ("use_layernorm", True),
        ("mbstat_func", "Tstd"),
        ("mbstat_avg", "group4"),
        ("use_batchnorm", np.ones(3, np.float32)),
    ],
)
def test_theano_networks_that_tensorflow_has_not(tmp_path, name, value):
    state = theano(tensorflow("G", fused_scale=False))
    state["build_func_spec"][name] = value
    with pytest.raises(CheckpointError, match=f"Gs: {name} is .*, for limner lacks the rest"):
        read_bytes(tmp_path, pickled(state, module="network"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("use_wscale", np.ones(2, np.float32)),
        ("use_wscale", "yes"),
        ("fmap_base", True),
        ("fmap_base", 2.5),
        ("fmap_max", 0),
        ("fmap_decay", float("nan")),
        ("latent_size", [512]),
        ("pixelnorm_epsilon", None),
        ("num_channels", -1),
    ],
)
def test_arguments_that_cannot_be(tmp_path, name, value):
    state = tensorflow("Gs", **SMALL)
    state["static_kwargs"][name] = value
    with pytest.raises(CheckpointError, match=rf"network\.pkl: Gs: its argument {name} is"):
        read_bytes(tmp_path, pickled(state))


# --- nothing runs ---------------------------------------------------------------

EVENTS: list[str] = []
WATCHED = ("exec", "compile", "os.system", "os.exec", "subprocess.Popen", "import", "socket.connect",
           "pickle.find_class", "os.posix_spawn", "os.fork", "ctypes.dlopen")  # fmt: skip
WATCHING = False


def watch(event: str, args: tuple) -> None:
    if WATCHING and (event in WATCHED or (event == "open" and "w" in str(args[1]))):
        EVENTS.append(f"{event} {args[:1]!r:.80}")


@pytest.fixture(scope="module", autouse=True)
def _warm(tmp_path_factory):
    """What limner itself imports on first use is in place before anything is watched."""
    sys.addaudithook(watch)  # for good, so that it asks a flag
    root = tmp_path_factory.mktemp("warm")
    for number, content in enumerate((pickled(trio(**SMALL)), SNAPSHOT_HARM["a call for lod"])):
        try:
            read_bytes(root, content)
        except RefusedFile:
            assert number == 1


@pytest.fixture
def watched(monkeypatch, tmp_path):
    """call(content) -> the error or the record; fails where anything ran."""
    marker = tmp_path / "marker"
    monkeypatch.setenv("MARKER", str(marker))

    def call(content: bytes) -> ModelRecord | CheckpointError:
        global WATCHING
        EVENTS.clear()
        (tmp_path / "a.pkl").write_bytes(content)
        begin = time.process_time()
        WATCHING = True
        try:
            answer = Pggan().read(tmp_path / "a.pkl")
        except CheckpointError as error:
            answer = error
        finally:
            WATCHING = False
        assert time.process_time() - begin < 1.0
        assert not marker.exists()
        assert EVENTS == []
        return answer

    return call


OTHERS = {**SNAPSHOT_HARM, **{f"general: {name}": content for name, content in HARMFUL.items()}}


def test_there_are_enough_harmful_files():
    assert len(SNAPSHOT_HARM) + len(SOURCES) >= 35
    assert len({*SNAPSHOT_HARM.values(), *SOURCES.values()}) == len(SNAPSHOT_HARM) + len(SOURCES)


@pytest.mark.parametrize("name", OTHERS)
def test_nothing_in_a_harmful_file_runs(watched, name):
    error = watched(OTHERS[name])
    assert isinstance(error, CheckpointError)
    assert "\n" not in str(error)
    assert "a.pkl: " in str(error)
    outside = ("by numpy", "by torch", "own", "numpy")  # names outside Python's library stay names
    assert isinstance(error, RefusedFile) or any(word in name for word in outside)


@pytest.mark.parametrize("name", SOURCES)
def test_embedded_source_is_text(watched, name):
    record = watched(SOURCES[name])
    assert isinstance(record, ModelRecord)
    if "Theano" not in name:
        assert record.config.origin["source"].startswith("not a published one")


def test_the_control_the_originals_way_runs_them(tmp_path):
    """pickle.load with a Network that runs the embedded source, as tfutil's does."""
    files = {**SNAPSHOT_HARM, **SOURCES}
    for number, name in enumerate(files):
        (tmp_path / f"{number:02}.pkl").write_bytes(files[name])
    stand_in = (
        "class Network:\n"
        "    def __setstate__(self, state):\n"
        "        exec(state['build_module_src'], {})\n"
    )
    for module in ("tfutil", "network"):
        (tmp_path / f"{module}.py").write_text(stand_in)
    script = (
        "import os, pickle, sys, pathlib\n"
        "root = pathlib.Path(sys.argv[1]); sys.path.insert(0, str(root))\n"
        "for path in sorted(root.glob('*.pkl')):\n"
        "    os.environ['MARKER'] = str(path.with_suffix('.ran'))\n"
        "    try: pickle.load(open(path, 'rb'))\n"
        "    except Exception as error: print(path, repr(error))\n"
    )
    words = [sys.executable, "-W", "ignore", "-c", script, str(tmp_path)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, timeout=120, check=True,
                   env=environment)  # fmt: skip
    ran = {list(files)[int(path.stem)] for path in tmp_path.glob("*.ran")}
    assert len(ran) >= 35, f"harmless here: {set(files) - ran}"


@pytest.mark.parametrize("name", SNAPSHOT_BOMBS)
def test_a_bomb_ends_in_one_line(watched, name):
    content, message = SNAPSHOT_BOMBS[name]
    error = watched(content)
    assert isinstance(error, CheckpointError)
    assert message in str(error)
    assert "\n" not in str(error)
    assert len(str(error)) < 500
