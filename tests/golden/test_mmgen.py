"""MMGeneration's files: every one of the golden set gives the originals' outputs, and the states
after a training forward."""

import json
import math
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from golden_files import near
from limner.checkpoints.filling import check_fit, fill
from limner.checkpoints.importers import mmgen_residual
from limner.checkpoints.importers.mmgen import FAMILIES, GROUPS, Mmgen, _family
from limner.checkpoints.importers.mmgen_growing import UNUSED
from limner.checkpoints.importers.mmgen_recipes import Said, of_text, said_of
from limner.core.errors import CheckpointError
from limner.layers import BINOMIAL, fir_filter

RESIDUAL = [
    "sngan_proj32", "sngan_proj32_inplace", "sngan_proj32_sngan_init", "sngan_proj32_ajbrock",
    "sngan64_uncond", "sagan32", "sagan32_bigganinit_2attn", "biggan32_cifar",
    "biggan32_shared_attn", "biggan32_torchsn_rgb2bgr", "biggandeep32",
    "biggandeep16_inplace_torch",
]  # fmt: skip
GROWING = ["pggan16", "pggan32", "pggan16_notfused"]


class File:
    """A golden file, imported as its config says, which stands as text in a trained one."""

    def __init__(self, golden, name, **options):
        path = golden(f"mmgen/{name}.pth")
        self.model = json.loads(golden(f"mmgen/{name}.json").read_text())["config"]["model"]
        self.tensors = load_file(golden(f"mmgen/{name}.safetensors"))
        self.state = torch.load(path, weights_only=True)["state_dict"]
        said = of_text(f"model = {self.model!r}")
        self.record = Mmgen(**{**said, **options}).read(path)

    def network(self, which):
        config = self.record.config
        own = config.discriminator if which == "D" else config.generator
        state = {
            "G": self.record.generator_raw or self.record.generator,
            "G_ema": self.record.generator,
            "D": self.record.discriminator,
        }[which]
        network = own.build(config.image_shape, config.num_classes)
        fill(network, state, which)
        return network

    def __getitem__(self, name):
        return self.tensors[name]

    def theirs(self, which):
        """A network's tensors under the original's names."""
        (name,) = (name for name, short in GROUPS.items() if short == which)
        return {
            key.removeprefix(f"{name}."): value
            for key, value in self.state.items()
            if key.startswith(f"{name}.")
        }

    def get(self, name):
        return self.tensors.get(name)


@pytest.mark.parametrize("name", RESIDUAL)
def test_residual_networks(golden, name):
    file = File(golden, name)
    turned = file.model["generator"].get("rgb2bgr", False)
    as_said = lambda images: images.flip(1) if turned else images  # noqa: E731
    z, y = file["in/noise"], file.get("in/label")
    g, d = file.network("G").eval(), file.network("D").eval()
    near(as_said(g(z, y)), file["out/G_eval"])
    near(d(file["in/img"], y).logits, file["out/D_eval"][:, 0])
    near(d(file["out/G_eval"], y).logits, file["out/D_eval_fake"][:, 0])
    if "out/G_ema_eval" in file.tensors:
        near(as_said(file.network("G_ema").eval()(z, y)), file["out/G_ema_eval"])
    near(as_said(g.train()(z, y)), file["out/G_train"])
    near(d.train()(file["in/img"], y).logits, file["out/D_train"][:, 0])
    for player, network in (("G", g), ("D", d)):
        begin = f"after_forward_train/{player}/"
        moved = {k.removeprefix(begin): v for k, v in file.tensors.items() if k.startswith(begin)}
        compare_moved(file, player, network.state_dict(), moved)


def compare_moved(file, player, state, moved):
    """Every vector and statistic that the original moved, but the counts of batches."""
    whole = {**file.theirs(player), **moved}
    ours = mmgen_residual_state(player, file, whole)
    unmoved = mmgen_residual_state(player, file, file.theirs(player))
    changed = [key for key in ours if not torch.equal(ours[key], unmoved[key])]
    assert len(changed) >= len(
        [key for key in moved if "num_batches" not in key and "sv0" not in key]
    )
    for key in changed:
        near(state[key], ours[key], what=key)


def mmgen_residual_state(player, file, theirs):
    """As the importer turns names and orders."""
    where, said = "golden", Said(**of_text(f"model = {file.model!r}"))
    if player == "D":
        return dict(
            mmgen_residual.discriminator(theirs, said, where, file.record.config.image_shape).state
        )
    return dict(mmgen_residual.generator(theirs, said, where).state)


@pytest.mark.parametrize("name", GROWING)
def test_pggan_at_every_scale_and_fade(golden, name):
    file = File(golden, name)
    g, d = file.network("G").eval(), file.network("D").eval()
    side = file.record.config.image_shape[1]
    near(g(file["in/noise"]), file["out/G_eval"])
    near(file.network("G_ema").eval()(file["in/noise"]), file["out/G_ema_eval"])
    near(d(file[f"in/img{side}"]).logits, file["out/D_eval_batch8"][:, 0])
    cases = [key.removeprefix("out/G_") for key in file.tensors if key.startswith("out/G_scale")]
    assert len(cases) >= 5
    for case in cases:
        scale, weight = re.fullmatch(r"scale(\d+)_w([\d.]+)", case).groups()
        times = side // int(scale)
        g.lod = d.lod = math.log2(times) + 1 - float(weight)
        near(g(file["in/noise"])[:, :, ::times, ::times], file[f"out/G_{case}"])
        images = file[f"in/img{scale}"][:4].repeat_interleave(times, 2).repeat_interleave(times, 3)
        near(d(images).logits, file[f"out/D_{case}"][:, 0])


def test_pggan_stands_where_its_file_says(golden, tmp_path):
    path = golden("mmgen/pggan16.pth")
    saved = torch.load(path, weights_only=True)
    saved["state_dict"]["_curr_scale_int"].fill_(8)
    saved["state_dict"]["_curr_transition_weight"].fill_(0.25)
    torch.save(saved, tmp_path / "iter_1.pth")
    record = Mmgen().read(tmp_path / "iter_1.pth")
    assert record.generator["lod"].item() == record.discriminator["lod"].item() == 1.75
    saved["state_dict"]["_curr_scale_int"].fill_(9)
    torch.save(saved, tmp_path / "iter_1.pth")
    with pytest.raises(CheckpointError, match="_curr_scale_int 9"):
        Mmgen().read(tmp_path / "iter_1.pth")


def test_stylegan2(golden):
    file = File(golden, "stylegan2_32")
    g, d = file.network("G").eval(), file.network("D").eval()
    z = file["in/noise"]
    near(g(z, noise="const"), file["out/G_eval"])
    near(file.network("G_ema").eval()(z, noise="const"), file["out/G_ema_eval"])
    near(d(file["in/img"][:4]).logits, file["out/D_eval"][:, 0])
    near(d(file["in/img"]).logits, file["out/D_eval_batch8"][:, 0])
    styles = g.mapping(z)
    near(styles[:, 0], file["out/w"])
    toward = file["in/truncation_latent"][:, None]
    near(g.synthesis(toward + 0.6 * (styles - toward), noise="const"), file["out/G_trunc0.6"])
    mixed = torch.cat([styles[:, :2], g.mapping(file["in/noise2"])[:, 2:]], dim=1)
    near(g.synthesis(mixed, noise="const"), file["out/G_mix2"])
    given = iter(file[f"in/injected_{i}"] for i in range(7))
    near(g(z, noise=lambda shape: next(given)), file["out/G_given_noise"])
    # The file holds no mean style: it is that of latents drawn here.
    assert 0 < (g.mean_style - styles.mean((0, 1))).abs().max() < styles.abs().max()


EARLY = [
    "wgangp_gn16", "wgangp_ln16", "lsgan_lsganarchi32", "lsgan_dcganarchi32", "ggan_dcganarchi32",
]  # fmt: skip


@pytest.mark.parametrize("name", EARLY)
def test_networks_whose_tensors_tell_all(golden, name, tmp_path):
    tensors = load_file(golden(f"mmgen/{name}.safetensors"))
    state = {
        f"{'generator' if key[6] == 'G' else 'discriminator'}.{key[8:]}": value
        for key, value in tensors.items()
        if key.startswith("state/")
    }
    torch.save({"meta": {}, "state_dict": state}, tmp_path / "iter_1.pth")
    record = Mmgen().read(tmp_path / "iter_1.pth")
    shape = record.config.image_shape
    g, d = record.config.generator.build(shape, 0), record.config.discriminator.build(shape, 0)
    fill(g, record.generator, "G")
    fill(d, record.discriminator, "D")
    near(g.eval()(tensors["in/noise"]), tensors["out/G_eval"])
    near(d.eval()(tensors["in/real"]).logits, tensors["out/D_eval"].flatten())


SWAPPED = ["sngan_proj32_ajbrock", "biggandeep16_inplace_torch", "pggan16", "stylegan2_32"]


@pytest.mark.parametrize("name", SWAPPED)
def test_colors_swapped_on_request(golden, name):
    plain, swapped = File(golden, name), File(golden, name, bgr=True)
    assert plain.record.config.origin["channel_order"] == "BGR (as trained)"
    assert "swapped" in swapped.record.config.origin["channel_order"]
    z, y = plain["in/noise"], plain.get("in/label")
    noise = {"noise": "const"} if name == "stylegan2_32" else {}
    image = plain.network("G").eval()(z, y, **noise)
    torch.testing.assert_close(swapped.network("G").eval()(z, y, **noise), image.flip(1))
    expected = plain.network("D").eval()(image, y).logits
    torch.testing.assert_close(swapped.network("D").eval()(image.flip(1), y).logits, expected)


def test_colors_that_the_original_turns_are_those_of_the_weights(golden):
    file = File(golden, "biggan32_torchsn_rgb2bgr", bgr=True)
    assert file.record.config.origin["channel_order"].startswith("RGB")
    near(file.network("G").eval()(file["in/noise"], file["in/label"]).flip(1), file["out/G_eval"])


FULL_SIZE = [
    "sngan_proj_32",
    "biggan_32",
    *(
        pytest.param(name, marks=pytest.mark.full)
        for name in (
            *("sngan_proj_128", "sagan_32", "sagan_128", "biggan_128", "biggan_deep_128"),
            *("pggan_128", "stylegan2_256", "wgangp_128", "lsgan_128"),
        )
    ),
]


@pytest.mark.parametrize("name", FULL_SIZE)
def test_names_and_shapes_of_full_size(golden, name):
    """Every tensor of the shipped configs finds its place, and no parameter is left over."""
    listed = json.loads(golden("mmgen/keys_fullsize.json").read_text())[name]
    states = {which: dict(map(tensor_of, listed[which])) for which in ("G", "D")}
    family = _family(states, Path(name))
    config = None if family in ("StyleGAN2", "LSGAN", "WGAN-GP") else listed["config"]
    said, facts = said_of(family, {}, config, {}, Path(name))
    assert "warning" not in facts
    read = FAMILIES[family]
    g = read.generator(states["G"], said, name)
    d = read.discriminator(states["D"], said, name, g.image_shape)
    unused = sum(states["D"][key].numel() for key in states["D"] if key.startswith(UNUSED))
    for which, each in (("G", g), ("D", d)):
        with torch.device("meta"):
            network = each.config.build(each.image_shape, each.num_classes)
        own = {key: value for key, value in network.state_dict().items() if key == "lod"}
        check_fit(network, {**each.state, **own}, name)
        count = sum(parameter.numel() for parameter in network.parameters())
        left = unused if (which, family) == ("D", "PGGAN") else 0
        assert count + left == listed[f"{which}_params"]


def tensor_of(line):
    """'name 3x64x3x3' as a tensor without memory, where its numbers do not matter."""
    key, _, shape = line.partition(" ")
    if key.endswith(".kernel"):
        return key, fir_filter(BINOMIAL)
    sizes = [int(size) for size in shape.split("x")] if shape else []
    device = "cpu" if key.startswith("style_mapping.") else "meta"
    dtype = torch.int64 if key.endswith("num_batches_tracked") else torch.float32
    return key, torch.zeros(sizes, device=device, dtype=dtype)
