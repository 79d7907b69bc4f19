"""BigGAN-PyTorch's own weight folders: into models, into runs that train on, and back."""

import json
import re
import shutil

import numpy as np
import pytest
import torch
from biggan_reference import ROLES
from safetensors.torch import load_file
from test_biggan_training import Pictures, Replay

from limner.api.exporting import export
from limner.api.importing import import_run
from limner.api.training import train
from limner.checkpoints import RunDirectory, load_state, write_model
from limner.checkpoints.exporters import biggan_pytorch as exporter
from limner.checkpoints.importers.biggan_flags import (
    DEFAULTS,
    discriminator_config,
    flags_of_shapes,
    generator_config,
)
from limner.checkpoints.importers.biggan_names import to_limner, to_reference
from limner.checkpoints.importers.biggan_pytorch import (
    BigGanPytorch,
    expected_state,
    fitted,
)
from limner.checkpoints.model_folder import ModelConfig
from limner.core.config import from_json
from limner.core.errors import CheckpointError, ConfigError
from limner.engine import RunConfig
from limner.engine.trainer import Trainer
from limner.formats.torch_files import read_torch

FOLDERS = {"big32_zip": None, "cifar_legacy": "best0", "deep32_zip": None}
OUT_RTOL, OUT_ATOL = 1e-4, 1e-5
RTOL, ATOL = 1e-3, 1e-4  # the fixtures' own, for training
SHARE_OF_SIGN_NOISE = 0.005


def read(path, suffix=None, settings=None):
    return BigGanPytorch.of({"suffix": suffix, **(settings or {})}).read(path)


def imported_run(path, run, data, suffix=None, settings=None):
    import_run("biggan-pytorch", path, run, data, {"suffix": suffix, **(settings or {})})
    return RunDirectory(run)


class Folder:
    """One of the golden folders, of which a test needs some files, and what its JSON says."""

    def __init__(self, golden, name, *needed):
        self.suffix = FOLDERS[name]
        for file in needed or ("G", "G_ema", "D"):
            self.path = golden(f"biggan_ckpt/{name}/{self.name_of(file)}").parent
        self.golden = golden
        self.facts = json.loads(self.path.with_suffix(".json").read_text())

    @property
    def tensors(self):
        return load_file(self.golden(f"biggan_ckpt/{self.path.name}.safetensors"))

    def name_of(self, name):
        return f"{name}_{self.suffix}.pth" if self.suffix else f"{name}.pth"

    def file(self, name):
        return self.path / self.name_of(name)

    def raw(self, name):
        return torch.load(self.file(name), weights_only=True)

    def copy_to(self, folder, *left_out):
        folder.mkdir()
        for path in self.path.iterdir():
            name = path.name.replace(f"_{self.suffix}.pth", ".pth")
            if name.removesuffix(".pth") not in left_out:
                shutil.copyfile(path, folder / name)
        return folder


@pytest.fixture(params=FOLDERS)
def folder(request, golden):
    return Folder(golden, request.param)


@pytest.fixture(params=FOLDERS)
def training(request, golden):
    return Folder(golden, request.param, "G_optim")


# --- a model --------------------------------------------------------------------


def near(got, expected):
    limit = OUT_RTOL * float(expected.abs().max()) + OUT_ATOL
    assert float((got - expected).abs().max()) <= limit


def test_the_imported_networks_put_out_what_the_original_does(folder):
    record = read(folder.path, folder.suffix)
    config, tensors = record.config, folder.tensors
    z, y = tensors["in/z_seq"][0][:4], tensors["in/y_seq"][0][:4]
    g = config.generator.build(config.image_shape, config.num_classes).eval()
    d = config.discriminator.build(config.image_shape, config.num_classes).eval()
    with torch.no_grad():
        for state, name in ((record.generator_raw, "G_eval"), (record.generator, "G_ema_eval")):
            g.load_state_dict(state)
            near(g(z, y), tensors[f"out/{name}"])
        d.load_state_dict(record.discriminator)
        logits = d(tensors["in/x_real"][:4], tensors["in/y_real"][:4]).logits
        near(logits, tensors["out/D_eval_real"].squeeze(1))


def test_every_tensor_is_the_files(folder):
    record = read(folder.path, folder.suffix)
    groups = {"G": "generator_raw", "G_ema": "generator", "D": "discriminator"}
    for name, group in groups.items():
        role = ROLES[name[0]]
        back = to_reference(role, getattr(record.config, role), getattr(record, group))
        raw = folder.raw(name)
        assert list(back) == list(raw)
        assert all(torch.equal(back[key], raw[key]) for key in raw)


def test_the_config_is_that_of_state_dict(folder):
    record = read(folder.path, folder.suffix)
    full = folder.facts["full_config"]
    held = record.config.statistics["biggan_pytorch"]
    assert held["flags"] == {key: full[key] for key in DEFAULTS}
    assert held["itr"] == folder.facts["config"]["iters"] - 1
    assert record.config.generator.spectral_norm_eps == full["SN_eps"]


def test_without_state_dict_the_shapes_tell_all_but_the_epsilons(folder, tmp_path):
    copy = folder.copy_to(tmp_path / "weights", "state_dict")
    with pytest.raises(CheckpointError, match=r"cannot tell SN_eps, BN_eps; .*--set SN_eps=1e-08"):
        read(copy)
    full = read(folder.path, folder.suffix)
    flags = folder.facts["full_config"]
    settings = {key: flags[key] for key in ("SN_eps", "BN_eps", "G_init", "D_init")}
    found = read(copy, settings=settings)
    assert found.config.generator == full.config.generator
    assert found.config.discriminator == full.config.discriminator
    assert found.config.num_classes == full.config.num_classes


def test_settings_are_flags_of_that_program(golden):
    path = Folder(golden, "big32_zip").path
    with pytest.raises(ConfigError, match=r"SN_epsilon: no flag .*nearest is 'SN_eps'"):
        read(path, settings={"SN_epsilon": 1})
    with pytest.raises(CheckpointError, match="BN_eps is 'x', a float is needed"):
        read(path, settings={"BN_eps": "x"})
    assert read(path, settings={"BN_eps": 1e-3}).config.generator.batch_norm_eps == 1e-3


@pytest.mark.parametrize("present", [("G",), ("G_ema",), ("G", "D"), ("G_ema", "D")])
def test_a_folder_may_hold_some_of_the_networks(golden, tmp_path, present):
    source = Folder(golden, "cifar_legacy", *present)
    absent = {"G", "G_ema", "D", "G_optim", "D_optim"} - set(present)
    record = read(source.copy_to(tmp_path / "weights", *absent))
    assert record.generator_raw is None
    assert (record.discriminator is None) == (record.config.discriminator is None)
    assert (record.discriminator is None) == ("D" not in present)
    raw = to_limner("generator", record.config.generator, source.raw(present[0]))
    assert all(torch.equal(raw[key], record.generator[key]) for key in raw)


def test_missing_left_over_and_wrong_keys_are_all_named(golden, tmp_path):
    source = Folder(golden, "big32_zip")
    copy = source.copy_to(tmp_path / "weights")
    state = source.raw("G")
    del state["blocks.1.0.conv2.weight"], state["shared.weight"]
    state["blocks.9.0.conv1.bias"] = torch.zeros(3)
    state["linear.bias"] = torch.zeros(5)
    torch.save(state, copy / "G.pth")
    with pytest.raises(CheckpointError) as caught:
        read(copy)
    message = str(caught.value)
    assert "G.pth: not a whole BigGanGenerator" in message
    assert "missing 'shared.weight', 'blocks.1.0.conv2.weight';" in message
    assert "not known 'blocks.9.0.conv1.bias';" in message
    assert "'linear.bias' is [5] and not [256]" in message


def test_logged_singular_values_may_be_missing(golden, tmp_path):
    """TF-Hub weights that its converter wrote have none; they decide nothing."""
    source = Folder(golden, "big32_zip")
    copy = source.copy_to(tmp_path / "weights", "G_ema")
    state = {key: value for key, value in source.raw("G").items() if "sv0" not in key}
    torch.save(state, copy / "G.pth")
    found, whole = read(copy).generator, read(source.path).generator_raw
    assert list(found) == list(whole)
    assert all(torch.equal(found[key], whole[key]) for key in whole if "sv0" not in key)


def test_a_suffix_that_is_not_there_lists_those_that_are(golden):
    source = Folder(golden, "cifar_legacy")
    with pytest.raises(CheckpointError, match=r"G\.pth: no such file; .*suffixes best0"):
        read(source.path)
    with pytest.raises(CheckpointError, match=r"G_copy1\.pth: no such file"):
        read(source.path, "copy1")
    with pytest.raises(CheckpointError, match=r"G_best0\.pth: a file; give the folder"):
        read(source.file("G"))


# --- full-size names --------------------------------------------------------------

KEY_LISTS = [
    *("biggan_C10_ch64", "biggan_I128_ch96", "biggan_I256_ch96"),
    *("biggandeep_I128_ch128", "sagan_I128", "sngan_I128"),
]


def on_meta(path):
    """State without memory: name -> tensor of the shape that a key list gives."""
    keys = json.loads(path.read_text())["keys"]
    shape = lambda text: [int(n) for n in re.findall(r"\d+", text.partition("[")[2])]  # noqa: E731
    return {key: torch.empty(shape(text), device="meta") for key, text in keys.items()}


@pytest.mark.parametrize("name", KEY_LISTS)
def test_full_size_key_lists_map_without_a_missing_or_left_over_key(golden, name):
    states = {net: on_meta(golden(f"biggan/keys_{name}_{net}.json")) for net in ROLES}
    flags = DEFAULTS | flags_of_shapes(states["G"], states["D"], name)
    given = json.loads(golden(f"biggan/keys_{name}_G.json").read_text())["config"]
    for key, value in given.items():
        assert flags[key] == value, key
    config = ModelConfig(
        generator=generator_config(flags),
        discriminator=discriminator_config(flags),
        image_shape=(3, flags["resolution"], flags["resolution"]),
        num_classes=flags["n_classes"],
    )
    for net, role in ROLES.items():
        network = getattr(config, role)
        expected, _ = expected_state(role, network, config)
        assert list(expected) == list(states[net])
        found = fitted(role, network, config, states[net], name)
        with torch.device("meta"):
            own = network.build(config.image_shape, config.num_classes).state_dict()
        assert {key: value.shape for key, value in own.items()} == {
            key: value.shape for key, value in found.items()
        }


# --- a run -----------------------------------------------------------------------


@pytest.fixture
def pictures(tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "pictures.npz"
    images = rng.integers(0, 256, (40, 32, 32, 3), dtype=np.uint8)
    np.savez(path, images=images, labels=np.arange(40) % 10)
    return path


def test_a_run_has_every_tensor_of_the_training(training, tmp_path, pictures):
    run = imported_run(training.path, tmp_path / "run", pictures, training.suffix)
    full = training.facts["full_config"]
    state = load_state(run.select(""))
    itr = training.facts["config"]["iters"] - 1
    per_step = full["batch_size"] * full["num_D_steps"] * full["num_D_accumulations"]
    assert state["progress"] == {
        "step": itr, "nimg": itr * per_step, "num_drawn": itr * per_step, "rollbacks": 0, "tick": 0, "tick_step": 0
    }  # fmt: skip
    config = from_json(RunConfig, run.config.read_bytes(), "config.json")
    for net, part in (("G", "generator"), ("G_ema", "generator_ema"), ("D", "discriminator")):
        role = ROLES[net[0]]
        back = to_reference(role, getattr(config, role), state[part])
        raw = training.raw(net)
        assert list(back) == list(raw)
        assert all(torch.equal(back[key], raw[key]) for key in raw)
    for net, part in (("G", "optimizer_g"), ("D", "optimizer_d")):
        check_moments(training, net, state[part], getattr(config, ROLES[net]))


def check_moments(folder, net, found, network):
    """Saved by number in limner's order; in the file by number or address in the original's."""
    full = folder.facts["full_config"]
    raw = folder.raw(f"{net}_optim")
    (group,) = raw["param_groups"]
    module = network.build((3, 32, 32), 10)
    numbers = {name: i for i, (name, _) in enumerate(module.named_parameters())}
    places = list(to_reference(ROLES[net], network, numbers).values())
    assert len(places) == len(group["params"]) == len(found["state"])
    for place, key in zip(places, group["params"], strict=True):
        ours, theirs = found["state"][place], raw["state"][key]
        assert float(ours["step"]) == float(theirs["step"])
        assert torch.equal(ours["exp_avg"], theirs["exp_avg"])
        assert torch.equal(ours["exp_avg_sq"], theirs["exp_avg_sq"])
    (settings,) = found["param_groups"]
    assert settings["lr"] == full[f"{net}_lr"]
    assert tuple(settings["betas"]) == (full[f"{net}_B1"], full[f"{net}_B2"])
    assert settings["eps"] == full["adam_eps"]


@pytest.mark.usefixtures("unchecked")  # reals of the recording are no multiples of 1 / 127.5
def test_the_next_iteration_is_the_originals(training, tmp_path, pictures):
    """Resumed from the folder, one more iteration on the recorded latents and pictures."""
    run = imported_run(training.path, tmp_path / "run", pictures, training.suffix)
    config = from_json(RunConfig, run.config.read_bytes(), "config.json")
    state, tensors = load_state(run.select("")), training.tensors
    itr = state["progress"]["step"]
    latents, labels = tensors["in/z_seq"][None], tensors["in/y_seq"][None]
    noise = Replay(latents.repeat(itr + 1, 1, 1, 1), labels.repeat(itr + 1, 1, 1))
    reals = Pictures(tensors["in/x_real"], tensors["in/y_real"], config.batch_size)
    trainer = Trainer(config, (3, 32, 32), 10, reals, noise=noise)
    trainer.load_state_dict(state)
    trainer.step()
    nets = {"G": trainer.networks["g"], "D": trainer.networks["d"], "G_ema": trainer.generator_ema}
    for net, module in nets.items():
        prefix = f"after_resume/{net}/"
        expected = {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}
        assert len(expected) > 30
        role = ROLES[net[0]]
        found = to_reference(role, getattr(config, role), module.state_dict())
        player = config.optim.d if net == "D" else config.optim.g
        check_after(found, expected, 2 * player.lr * config.updates[0].repeats, net)


def check_after(found, expected, allowed, net):
    """The fixture's tolerance; entries without a gradient may move by Adam's whole step."""
    outside, total = 0, 0
    for key, value in expected.items():
        gap = (found[key] - value).abs()
        limit = max(allowed, RTOL * float(value.abs().max()) + ATOL)
        assert float(gap.max()) <= limit, (net, key, float(gap.max()))
        if "bias" in key or "stored" in key:  # what a following norm cancels is rounding noise
            continue
        outside += int((gap > RTOL * value.abs() + ATOL).sum())
        total += gap.numel()
    assert outside <= SHARE_OF_SIGN_NOISE * total, (net, outside, total)


def test_the_run_goes_on_with_train(golden, tmp_path, pictures):
    source = Folder(golden, "cifar_legacy", "G_optim")
    run = imported_run(source.path, tmp_path / "run", pictures, source.suffix)
    config = from_json(RunConfig, run.config.read_bytes(), "config.json")
    assert config.steps == 100 * 40 // 16  # epochs, pictures, pictures a step
    result = train(config.replace(steps=3), pictures, run.path)
    assert (result.began_at, result.outcome.step, result.outcome.nimg) == (2, 3, 48)
    state = load_state(run.select("step-3"))
    (steps,) = {float(s["step"]) for s in state["optimizer_d"]["state"].values()}
    assert steps == 6


def test_what_cannot_become_a_run_says_why(golden, tmp_path, pictures):
    source = Folder(golden, "big32_zip", "G_optim")
    copy = source.copy_to(tmp_path / "weights", "G_optim", "D")
    with pytest.raises(CheckpointError, match=r"without D\.pth, G_optim\.pth; leave --run out"):
        imported_run(copy, tmp_path / "run", pictures)
    bare = source.copy_to(tmp_path / "bare", "state_dict", "G_ema")
    with pytest.raises(CheckpointError, match=r"cannot tell G_lr, D_lr, G_B1.*ema_start"):
        imported_run(bare, tmp_path / "run", pictures, settings={"SN_eps": 1e-6, "BN_eps": 1e-5})
    grey = tmp_path / "grey.npz"
    np.savez(grey, images=np.zeros((4, 32, 32, 3), np.uint8), labels=np.arange(4))
    with pytest.raises(ConfigError, match="it has 4 classes, the weights 10"):
        imported_run(source.path, tmp_path / "run", grey)
    with pytest.raises(CheckpointError, match="big32_zip: z_var"):
        imported_run(source.path, tmp_path / "run", pictures, settings={"z_var": 0.5})
    assert not RunDirectory(tmp_path / "run").exists()
    imported_run(source.path, tmp_path / "run", pictures)
    with pytest.raises(CheckpointError, match="a run was begun here"):
        imported_run(source.path, tmp_path / "run", pictures)


# --- and back -----------------------------------------------------------------------


def test_an_exported_model_is_the_folder_it_came_from(folder, tmp_path):
    record = read(folder.path, folder.suffix)
    write_model(tmp_path / "model", record)
    files = export(tmp_path / "model", "biggan-pytorch", tmp_path / "weights")
    assert [path.stem for path in files] == ["G", "G_ema", "D", "state_dict"]
    for name in ("G", "G_ema", "D"):
        raw, found = (
            folder.raw(name),
            torch.load(tmp_path / f"weights/{name}.pth", weights_only=True),
        )
        assert list(found) == list(raw)
        assert all(torch.equal(found[key], raw[key]) for key in raw)
        assert all(found[key].dtype == raw[key].dtype for key in raw)
    again = read(tmp_path / "weights")
    assert again.config.generator == record.config.generator
    assert again.config.discriminator == record.config.discriminator
    for group in ("generator", "generator_raw", "discriminator"):
        ours, theirs = getattr(record, group), getattr(again, group)
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_an_exported_run_is_the_training_it_came_from(training, tmp_path, pictures):
    run = imported_run(training.path, tmp_path / "run", pictures, training.suffix)
    export(run.path, "biggan-pytorch", tmp_path / "weights")
    old, before = BigGanPytorch(training.suffix).read_training(training.path)
    new, after = BigGanPytorch().read_training(tmp_path / "weights")
    flags = [record.config.statistics["biggan_pytorch"]["flags"] for record in (old, new)]
    changed = {k for k in DEFAULTS if flags[0][k] != flags[1][k]}
    assert changed <= {"dataset", "G_nl", "D_nl", "G_batch_size", "num_epochs", "save_every",
                       "dim_z"}  # fmt: skip
    assert after.step == before.step
    for player in ("g", "d"):
        assert list(after.moments[player]) == list(before.moments[player])
        for name, moments in before.moments[player].items():
            found = after.moments[player][name]
            assert all(torch.equal(found[key], moments[key]) for key in moments), name


def test_exported_files_hold_plain_values_alone(golden, tmp_path, pictures):
    """So that anybody can read them without running anything."""
    source = Folder(golden, "big32_zip", "G_optim")
    run = imported_run(source.path, tmp_path / "run", pictures)
    files = export(run.path, "biggan-pytorch", tmp_path / "weights")
    assert len(files) == 6
    for path in files:
        torch.load(path, weights_only=True)
    found = read_torch(tmp_path / "weights" / "state_dict.pth")
    assert found["itr"] == 1
    assert found["config"]["num_D_accumulations"] == 2
    optimizer = torch.load(tmp_path / "weights" / "G_optim.pth", weights_only=True)
    adam = torch.optim.Adam([torch.nn.Parameter(v["exp_avg"]) for v in optimizer["state"].values()])
    adam.load_state_dict(optimizer)  # as that program does
    assert adam.param_groups[0]["lr"] == 1e-4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_classes": 0}, "1 or more classes"),
        ({"image_shape": (1, 32, 32)}, "1 channels"),
        ({"generator": {"multipliers": (1, 2)}}, "cannot build this generator"),
        ({"generator": {"norm": "group"}}, "norm: must be one of"),
        ({"generator": {"output_norm_eps": 1e-4}}, "output_norm_eps: must be"),
        ({"generator": {"spectral_norm_eps": 1e-4}}, "equal in both"),
        ({"discriminator": {"num_last_blocks": 3}}, "cannot build this discriminator"),
        ({"discriminator": {"spectral_norm": False}}, "spectral_norm: must be"),
    ],
)
def test_what_that_program_cannot_build_is_refused(golden, tmp_path, changes, message):
    record = read(Folder(golden, "big32_zip").path)
    config = record.config
    for name, change in changes.items():
        if isinstance(change, dict):
            change = getattr(config, name).replace(**change)
        config = config.replace(**{name: change})
    record.config = config
    with pytest.raises(CheckpointError, match=message):
        exporter.BigGanPytorch().write(record, tmp_path / "weights", None)
    assert not (tmp_path / "weights").exists()
