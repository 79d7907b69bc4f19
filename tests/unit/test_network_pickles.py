"""Network-snapshots that are of another system, not whole, or hostile: one line each, nothing runs."""

import io
import json
import os
import pickle
import re
import warnings

import pytest
import torch
from safetensors.torch import save_file

import network_snapshots as snapshots
from hostile import COMMAND, Call, named, program, text
from limner.api.importing import import_model
from limner.checkpoints import read_model
from limner.core.errors import CheckpointError, LimnerError, RefusedFile

SYSTEM = "stylegan2-ada"


def refusal(content, folder, system=SYSTEM, name="network.pkl"):
    path = folder / name
    path.write_bytes(content)
    with pytest.raises(LimnerError) as caught:
        import_model(system, path, folder / "model")
    line = str(caught.value)
    assert "\n" not in line
    assert line.startswith(str(path))
    assert not (folder / "model").exists()
    return line


def snapshot(**changed):
    return snapshots.style_snapshot(SYSTEM, snapshots.style_tensors(SYSTEM), **changed)


def test_hostile_source_is_never_run(tmp_path, monkeypatch):
    marker = tmp_path / "marker"
    monkeypatch.setenv("MARKER", str(marker))
    for system in ("stylegan2-ada", "stylegan3"):
        content = snapshots.style_snapshot(system, snapshots.style_tensors(system))
        assert snapshots.HARMFUL_SOURCE.encode() in content
        (tmp_path / "network.pkl").write_bytes(content)
        import_model(system, tmp_path / "network.pkl", tmp_path / "model")
    assert not marker.exists()
    exec(snapshots.HARMFUL_SOURCE)  # the control
    assert marker.exists()


# --- bad input -------------------------------------------------------------------


def test_files_of_another_system(tmp_path):
    three = snapshots.style_snapshot("stylegan3", snapshots.style_tensors("stylegan3"))
    line = refusal(three, tmp_path)
    assert "is StyleGAN3's generator of stylegan3's program" in line
    assert line.endswith("limner import stylegan3 reads it")
    assert "limner import stylegan2-ada reads it" in refusal(snapshot(), tmp_path, "stylegan3")
    r3gan = snapshots.r3gan_snapshot(snapshots.r3gan_tensors())
    assert "in whose place a generator of stylegan2-ada is expected" in refusal(r3gan, tmp_path)
    assert "no R3GAN: it has no Model.MainLayers" in refusal(snapshot(), tmp_path, "r3gan")
    legacy = pickle.dumps(({}, {}, {}))
    assert "as TensorFlow's programs save it" in refusal(legacy, tmp_path)
    assert "a dict without the networks G_ema, G, D" in refusal(pickle.dumps({"x": 1}), tmp_path)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"mapping_layers": 3}, "its argument 'mapping_layers' is not known"),
        ({"synthesis_kwargs": {"chanel_base": 8}}, "nearest is 'synthesis_kwargs.channel_base'"),
        ({"synthesis_kwargs": {"activation": "relu"}}, "is 'relu'; limner has 'lrelu' alone"),
        ({"synthesis_kwargs": 3}, "its argument synthesis_kwargs is no dictionary"),
        ({"img_resolution": 12}, "square images of 8, 16, 32"),
        ({"img_resolution": "8"}, "its argument img_resolution is '8'"),
        ({"img_resolution": 16}, "missing 'synthesis.b16"),
        ({"w_dim": 5}, r"is \[5\] and not|is \[4\] and not \[5\]"),
        ({"z_dim": 0}, "z_dim"),
    ],
)
def test_arguments(changed, message, tmp_path):
    assert re.search(message, refusal(snapshot(**changed), tmp_path))


def test_tensors(tmp_path):
    tensors = snapshots.style_tensors(SYSTEM)
    first = "synthesis.b4.conv1.bias"
    pack = lambda held: snapshots.style_snapshot(SYSTEM, held)  # noqa: E731
    line = refusal(pack({k: v for k, v in tensors.items() if k != first}), tmp_path)
    assert f"missing '{first}'" in line
    renamed = {k.replace("affine", "style"): v for k, v in tensors.items()}
    assert "not known 'synthesis.b4.conv1.style.weight'" in refusal(pack(renamed), tmp_path)
    broken = tensors | {first: tensors[first] * float("nan")}
    assert f"'{first}' holds a number that is not finite" in refusal(pack(broken), tmp_path)
    other = {k: v * 2 if k.endswith("resample_filter") else v for k, v in tensors.items()}
    assert "resample_filter" in refusal(pack(other), tmp_path)


def test_what_the_objects_say_goes_before_the_defaults(tmp_path):
    make = snapshots.persistent("Generator")
    tensors = snapshots.style_tensors(SYSTEM)
    clamp = snapshots.modules(
        {k.removeprefix("synthesis.b8.conv1."): v for k, v in tensors.items() if "b8.conv1" in k},
        make,
        conv_clamp=3.0,
    )
    network = snapshots.modules(
        tensors,
        make,
        _init_kwargs=snapshots.arguments_of(
            snapshots.KINDS[SYSTEM]["StyleGAN2's generator"],
            snapshots.STYLES[SYSTEM][0],
            snapshots.SHAPE,
            0,
        ),
    )
    synthesis = network.meta["state"]["_modules"]["synthesis"]
    synthesis.meta["state"]["_modules"]["b8"].meta["state"]["_modules"]["conv1"] = clamp
    (tmp_path / "network.pkl").write_bytes(snapshots.pickled({"G": network}))
    import_model(SYSTEM, tmp_path / "network.pkl", tmp_path / "model")
    assert read_model(tmp_path / "model").config.generator.clamp == 3.0


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        (None, "its metadata have no class_names"),
        ({"class_names": "[]", "init_kwargs": "{}"}, "its metadata have no class_names"),
        ({"class_names": "{}", "init_kwargs": "{}"}, "no class name and arguments of 'G'"),
        ({"class_names": '{"G": "a.Generator"}', "init_kwargs": '{"G": {}}'}, "is a Generator"),
    ],
)
def test_files_without_pickle(metadata, message, tmp_path):
    path = tmp_path / "network.safetensors"
    save_file({"G.weight": torch.zeros(2)}, path, metadata)
    with pytest.raises(CheckpointError, match=message):
        import_model(SYSTEM, path, tmp_path / "model")


def test_arguments_that_would_fill_the_memory(tmp_path):
    tensors = snapshots.style_tensors("stylegan3")
    content = snapshots.style_snapshot(
        "stylegan3", tensors, filter_size=64, lrelu_upsampling=64, use_radial_filters=True
    )
    assert "makes filters of 4096 taps" in refusal(content, tmp_path, "stylegan3")


# --- hostile ---------------------------------------------------------------------


def changed_meta(**changes):
    """A snapshot of which the description of the network is changed."""

    def make():
        network = snapshots.persistent("Generator")({"_init_kwargs": {}, "_modules": {}})
        network.meta.update(changes)
        return snapshots.pickled({"G": network})

    return make


def changed_state(**changes):
    def make():
        state = {"_init_kwargs": {}, "_parameters": {}, "_buffers": {}, "_modules": {}, **changes}
        return snapshots.pickled({"G": snapshots.persistent("Generator")(state)})

    return make


def bomb_of_storages():
    """One text of bytes that is loaded as a storage over and over."""
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        storage = torch.zeros(2**18).storage()
        torch.save(storage, file, _use_new_zipfile_serialization=False)
    content = file.getvalue()
    load = named("torch.storage", "_load_from_bytes")
    body = b"(" + load + b"q\x00" + b"B" + len(content).to_bytes(4, "little") + content + b"q\x01"
    body += b"\x85R" + b"h\x00h\x01\x85R" * 400 + b"l"
    return program(body)


RUN = Call(os.system, COMMAND)
HOSTILE = {
    "a call in the place of a network": lambda: pickle.dumps({"G": RUN}, 4),
    "a call among the networks": lambda: pickle.dumps({"G": {}, "augment_pipe": RUN}, 4),
    "a call as training_set_kwargs": lambda: pickle.dumps({"training_set_kwargs": RUN, "G": {}}),
    "a call as source": changed_meta(module_src=RUN),
    "a call as class name": changed_meta(class_name=RUN),
    "a call as state": changed_meta(state=RUN),
    "a call as version": changed_meta(version=RUN),
    "source that is a number": changed_meta(module_src=3),
    "no source": changed_meta(module_src=None),
    "another version": changed_meta(version=7),
    "a type that is a function": changed_meta(type="function"),
    "a call as parameters": changed_state(_parameters=RUN),
    "a call as a parameter": changed_state(_parameters={"weight": RUN}),
    "a call as a buffer": changed_state(_buffers={"w_avg": RUN}),
    "a call as a module": changed_state(_modules={"synthesis": RUN}),
    "a text as a module": changed_state(_modules={"synthesis": "eval"}),
    "a call as arguments": changed_state(_init_kwargs=RUN),
    "a call in the arguments": changed_state(_init_kwargs={"z_dim": RUN}),
    "arguments without names": changed_state(_init_args=(8, 0, 8)),
    "a call as a hook": changed_state(_forward_hooks={1: RUN}),
    "exec beside the networks": lambda: program(
        b"}", text("G"), named("builtins", "exec"), text("1"), b"\x85Rs"
    ),
    "the loader of old files with a text": lambda: program(
        named("torch.storage", "_load_from_bytes"), text("x"), b"\x85R"
    ),
    "the loader of old files with a pickle": lambda: program(
        named("torch.storage", "_load_from_bytes"),
        b"C" + bytes([len(HARM)]) + HARM + b"\x85R",
    ),
    "one storage loaded 400 times": bomb_of_storages,
    "exec by persistence": lambda: program(
        named("torch_utils.persistence", "_reconstruct_persistent_obj"),
        named("builtins", "exec"),
        b"\x85R",
    ),
}
HARM = pickle.dumps(RUN, 2)


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("system", ["stylegan2-ada", "r3gan"])
def test_hostile_snapshots_run_nothing(kind, system, tmp_path, monkeypatch):
    marker = tmp_path / "marker"
    monkeypatch.setenv("MARKER", str(marker))
    line = refusal(HOSTILE[kind](), tmp_path, system)
    assert len(line) < 600
    assert not marker.exists()


def test_storages_are_counted_each_time(tmp_path):
    line = refusal(HOSTILE["one storage loaded 400 times"](), tmp_path)
    assert "its tensors are larger than the file" in line


def test_a_call_is_refused_by_name(tmp_path):
    path = tmp_path / "network.pkl"
    path.write_bytes(HOSTILE["a call as a hook"]())
    with pytest.raises(RefusedFile, match=r"(posix|os|nt)\.system"):
        import_model(SYSTEM, path, tmp_path / "model")


def test_metadata_are_json(tmp_path):
    path = tmp_path / "network.safetensors"
    save_file({"G.x": torch.zeros(1)}, path, {"class_names": "{", "init_kwargs": json.dumps({})})
    with pytest.raises(CheckpointError, match="a JSON object"):
        import_model(SYSTEM, path, tmp_path / "model")
