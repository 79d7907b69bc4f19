"""BigGAN-PyTorch's flags as limner's configs, and its stored tensors under limner's names."""

import json

from safetensors.torch import load_file

from limner.checkpoints.importers.biggan_names import to_limner
from limner.models import (
    BigGanDeepDiscriminator,
    BigGanDeepGenerator,
    BigGanDiscriminator,
    BigGanGenerator,
)

ROLES = {"G": "generator", "D": "discriminator"}
INITS = {"ortho": "orthogonal", "N02": "normal", "xavier": "xavier"}


def places(flag, allowed):
    return tuple(r for r in allowed if r in {int(part) for part in flag.split("_")})


def discriminator_places(flag, resolution):
    """The reference calls all four blocks at 32 pixels "16", though the last three put out 8."""
    if resolution == 32:
        return (16, 8) if places(flag, (16,)) else ()
    return places(flag, [resolution >> i for i in range(1, 7) if resolution >> i >= 4])


def configs_of(flags, resolution):
    """(generator, discriminator) as the reference's flags ask."""
    deep = flags.get("model") == "BigGANdeep"
    eps, z_dim = flags.get("SN_eps", 1e-8), flags.get("dim_z", 128)
    shared = (flags.get("shared_dim") or z_dim) if flags.get("G_shared") else 0
    norm = "cross_replica" if flags.get("cross_replica") else "batch"
    num_blocks = (resolution // 4).bit_length() - 1
    skip_z = flags.get("hier", False) and not deep
    generator = {
        "width": flags.get("G_ch", 64),
        "z_dim": z_dim // (num_blocks + 1) * (num_blocks + 1) if skip_z else z_dim,
        "shared_dim": shared,
        "attention": places(flags.get("G_attn", "64"), [8 << i for i in range(num_blocks)]),
        "norm": "moments" if flags.get("mybn") else norm,
        "spectral_norm": flags.get("G_param", "SN") == "SN",
        "num_singular_values": flags.get("num_G_SVs", 1),
        "num_iterations": flags.get("num_G_SV_itrs", 1),
        "init": INITS[flags.get("G_init", "ortho")],
        "batch_norm_eps": flags.get("BN_eps", 1e-5),
        "output_norm_eps": 1e-5,
        "spectral_norm_eps": eps,
    }
    discriminator = {
        "width": flags.get("D_ch", 64),
        "attention": discriminator_places(flags.get("D_attn", "64"), resolution),
        "num_singular_values": flags.get("num_D_SVs", 1),
        "num_iterations": flags.get("num_D_SV_itrs", 1),
        "init": INITS[flags.get("D_init", "ortho")],
        "spectral_norm_eps": eps,
    }
    if deep:
        return (
            BigGanDeepGenerator(depth=flags["G_depth"], **generator),
            BigGanDeepDiscriminator(depth=flags["D_depth"], **discriminator),
        )
    return (
        BigGanGenerator(skip_z=skip_z, **generator),
        BigGanDiscriminator(wide=flags.get("D_wide", True), **discriminator),
    )


class Fixture:
    """One golden file: its tensors, and the two networks in the state it begins with."""

    def __init__(self, golden, name):
        stem = golden(f"biggan/{name}.safetensors")
        record = json.loads(stem.with_suffix(".json").read_text())["config"]
        self.tensors = load_file(stem.with_suffix(".safetensors"))
        self.num_classes = record["n_classes"]
        self.shape = (3, record["resolution"], record["resolution"])
        self.configs = dict(
            zip("GD", configs_of(record["flags"], record["resolution"]), strict=True)
        )

    def part(self, prefix, net):
        """Tensors of a group of a network ("grad/hinge_gen"), under limner's names."""
        begin = f"{prefix}/{net}/"
        found = {k[len(begin) :]: v for k, v in self.tensors.items() if k.startswith(begin)}
        return to_limner(ROLES[net], self.configs[net], found)

    def fresh(self, net):
        """The network in its first state."""
        module = self.configs[net].build(self.shape, self.num_classes)
        module.load_state_dict(self.part("state", net))
        return module

    def __getitem__(self, name):
        return self.tensors[name]
