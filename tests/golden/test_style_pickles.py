"""Network-snapshots of StyleGAN2-ADA and StyleGAN3: the originals' pictures from their files."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from golden_files import near
from limner.api.importing import import_model
from limner.checkpoints import read_model

FILES = {
    "stylegan2-ada": "stylegan2/sg2_pickle_nosource",
    "stylegan3": "stylegan3/sg3t_pickle_nosource",
}


@pytest.fixture(params=FILES)
def system(request):
    return request.param


def networks_of(record):
    config = record.config
    sizes = config.image_shape, config.num_classes
    g, raw = (config.generator.build(*sizes).eval() for _ in range(2))
    d = config.discriminator.build(*sizes).eval()
    states = record.generator, record.generator_raw, record.discriminator
    for network, state in zip((g, raw, d), states, strict=True):
        network.load_state_dict(state)
    return g, raw, d


def gives_the_pictures(record, tensors):
    g, raw, d = networks_of(record)
    with torch.no_grad():
        near(raw(tensors["in/z"], noise="const"), tensors["out/G_image_const"])
        styles = g.mean_style.lerp(g.mapping(tensors["in/z"]), 0.7)
        near(g.synthesis(styles, noise="const"), tensors["out/G_ema_image_psi0.7_const"])
        near(d(tensors["in/real"]).logits, tensors["out/D_real"][:, 0])


def test_pictures_and_scores_of_the_original(golden, system, tmp_path):
    path = golden(f"{FILES[system]}.pkl")
    tensors = load_file(path.with_suffix(".safetensors"))
    record = import_model(system, path, tmp_path / "model")
    gives_the_pictures(record, tensors)
    assert record.config.generator.clamp == (None if system == "stylegan2-ada" else 256.0)
    assert read_model(tmp_path / "model").config.origin["importer"] == system


def without_pickle(golden, system, folder, **changed):
    """The same file in the form without pickle."""
    path = golden(f"{FILES[system]}.safetensors")
    tensors = load_file(path)
    given = json.loads(path.with_suffix(".json").read_text())["config"]
    held, classes, arguments = {}, {}, {}
    for prefix in ("G_ema", "G", "D"):
        begin = f"state/{prefix}/"
        held |= {
            f"{prefix}.{key.removeprefix(begin)}": value
            for key, value in tensors.items()
            if key.startswith(begin)
        }
        own = dict(given[prefix[0]])
        classes[prefix] = own.pop("class_name")
        arguments[prefix] = own
    for name, change in changed.items():
        change({"tensors": held, "classes": classes, "arguments": arguments}[name])
    file = folder / "network.safetensors"
    metadata = {"class_names": json.dumps(classes), "init_kwargs": json.dumps(arguments)}
    save_file({k: v.contiguous() for k, v in held.items()}, file, metadata)
    return file


def test_the_form_without_pickle(golden, system, tmp_path):
    file = without_pickle(golden, system, tmp_path)
    record = import_model(system, file, tmp_path / "model")
    other = import_model(system, golden(f"{FILES[system]}.pkl"), tmp_path / "other")
    assert record.config.generator == other.config.generator
    assert record.config.discriminator == other.config.discriminator
    for key, value in record.discriminator.items():
        assert torch.equal(value, other.discriminator[key])


@pytest.mark.parametrize("name", ["r3gan32_cond", "r3gan16_train"])
def test_r3gan_without_pickle(golden, name, tmp_path):
    path = golden(f"r3gan/{name}.safetensors")
    tensors = load_file(path)
    given = json.loads(path.with_suffix(".json").read_text())["config"]
    held = {
        key.removeprefix("state/").replace("/", ".", 1): value.contiguous()
        for key, value in tensors.items()
        if key.startswith("state/")
    }
    classes = {"G": "training.networks.Generator", "D": "training.networks.Discriminator"}
    arguments = {net: given[net] for net in classes}
    metadata = {"class_names": json.dumps(classes), "init_kwargs": json.dumps(arguments)}
    save_file(held, tmp_path / "network.safetensors", metadata)
    record = import_model("r3gan", tmp_path / "network.safetensors", tmp_path / "model")
    config = record.config
    g = config.generator.build(config.image_shape, config.num_classes).eval()
    d = config.discriminator.build(config.image_shape, config.num_classes).eval()
    g.load_state_dict(record.generator)
    d.load_state_dict(record.discriminator)
    assert (config.generator.bfloat16_stages, config.num_classes) == (0, given["G"].get("c_dim", 3))
    if name == "r3gan32_cond":
        with torch.no_grad():
            outputs = {key: value for key, value in tensors.items() if key.startswith("out/")}
            near(g(tensors["in/z"], tensors["in/c"]), outputs["out/images"])
            near(d(tensors["in/real"], tensors["in/c"]).logits, outputs["out/D_real"].flatten())
