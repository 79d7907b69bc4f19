"""limner's configs of the BigGAN family as BigGAN-PyTorch's flags."""

from collections.abc import Mapping
from typing import Any

from limner.checkpoints.importers.biggan_flags import (
    INITS,
    OUTPUT_NORM_EPS,
    discriminator_config,
    generator_config,
)
from limner.checkpoints.importers.biggan_names import FamilyConfig, Role
from limner.checkpoints.importers.biggan_pytorch import expected_state
from limner.checkpoints.model_folder import ModelConfig
from limner.core.errors import CheckpointError
from limner.models import (
    BigGanDeepDiscriminator,
    BigGanDeepGenerator,
    BigGanDiscriminator,
    BigGanGenerator,
    SaganDiscriminator,
    SaganGenerator,
    SnganDiscriminator,
    SnganGenerator,
)
from limner.models.sagan import places

DATASETS = {(32, 10): "C10", (32, 100): "C100"}
NORMS = {
    "batch": {},
    "moments": {"mybn": True},
    "cross_replica": {"cross_replica": True},
    "none": {"norm_style": "nonorm"},
}


def flags_of_configs(config: ModelConfig) -> dict[str, Any]:
    """The flags with which that program builds the same networks; CheckpointError says what stands
    in the way where none do."""
    channels, resolution, _ = config.image_shape
    if channels != 3 or not config.num_classes:
        raise CheckpointError(
            f"BigGAN-PyTorch makes images of 3 channels of 1 or more classes; this model has "
            f"{channels} channels and {config.num_classes} classes"
        )
    flags: dict[str, Any] = {"resolution": resolution, "n_classes": config.num_classes}
    g = plain("generator", config)
    flags |= _of_generator(g)
    if config.discriminator is not None:
        d = plain("discriminator", config)
        flags |= _of_discriminator(d, resolution)
        _require(d.spectral_norm_eps == g.spectral_norm_eps, "spectral_norm_eps", "equal in both")
    return flags


def dataset_of(config: ModelConfig) -> str:
    """That program finds size and classes by a data set's name; the nearest that it knows."""
    resolution = config.image_shape[1]
    return DATASETS.get((resolution, config.num_classes), f"I{resolution}")


def check_flags(config: ModelConfig, flags: Mapping[str, Any]) -> None:
    """Raises CheckpointError unless the flags build the very networks of the config."""
    made: dict[Role, FamilyConfig] = {"generator": generator_config(dict(flags))}
    if config.discriminator is not None:
        made["discriminator"] = discriminator_config(dict(flags))
    for role, network in made.items():
        own, _ = expected_state(role, plain(role, config), config)
        theirs, _ = expected_state(role, network, config)
        differ = [
            key
            for key in own | theirs
            if key not in own or key not in theirs or own[key].shape != theirs[key].shape
        ]
        if differ:
            raise CheckpointError(
                f"BigGAN-PyTorch cannot build this {role}: {differ[0]} would be another there "
                f"({len(differ)} tensors differ); it knows its own channel tables only"
            )


def plain(role: Role, config: ModelConfig) -> Any:
    """A network's config, as the BigGAN or BigGAN-deep that it is a setting of; CheckpointError
    where it is of another family."""
    network: Any = getattr(config, role)
    if isinstance(network, (SnganGenerator, SnganDiscriminator)):
        return network.network()
    if isinstance(network, (SaganGenerator, SaganDiscriminator)):
        lowest = 8 if role == "generator" else 4
        return network.network(places(network.attention, config.image_shape, lowest=lowest))
    if not isinstance(network, FamilyConfig):
        raise CheckpointError(
            f"a {type(network).__name__} is none of BigGAN-PyTorch's networks; only the BigGAN "
            "family can be exported to it"
        )
    return network


def _of_generator(g: BigGanGenerator | BigGanDeepGenerator) -> dict[str, Any]:
    deep = isinstance(g, BigGanDeepGenerator)
    _require(g.norm in NORMS, "norm", f"one of {', '.join(NORMS)}")
    output_eps = g.batch_norm_eps if g.output_norm_eps is None else g.output_norm_eps
    _require(output_eps == OUTPUT_NORM_EPS, "output_norm_eps", f"{OUTPUT_NORM_EPS}")
    _require(not g.stored_vectors, "stored_vectors", "empty")
    if isinstance(g, BigGanGenerator):
        _require(g.gain_around_one, "gain_around_one", "true")
        _require(not g.normalized_tables, "normalized_tables", "false")
    return {
        "model": "BigGANdeep" if deep else "BigGAN",
        "G_ch": g.width,
        "G_depth": g.depth if deep else 1,
        "G_shared": g.shared_dim > 0,
        "shared_dim": g.shared_dim,
        "dim_z": g.z_dim,
        "hier": deep or g.skip_z,
        "cross_replica": False,
        "mybn": False,
        "norm_style": "bn",
        **NORMS[g.norm],
        "G_attn": _joined(g.attention),
        "G_param": "SN" if g.spectral_norm else "None",
        "BN_eps": g.batch_norm_eps,
        "SN_eps": g.spectral_norm_eps,
        **_power(g, "G"),
    }


def _of_discriminator(
    d: BigGanDiscriminator | BigGanDeepDiscriminator, resolution: int
) -> dict[str, Any]:
    deep = isinstance(d, BigGanDeepDiscriminator)
    _require(d.spectral_norm, "discriminator.spectral_norm", "true")
    _require(not d.stored_vectors, "discriminator.stored_vectors", "empty")
    _require(not d.relu_shortcut, "discriminator.relu_shortcut", "false")
    whole = resolution == 32 and set(d.attention) == {8, 16}  # all four of its blocks
    return {
        "D_ch": d.width,
        "D_depth": d.depth if deep else 1,
        "D_wide": deep or d.wide,
        "D_attn": "16" if whole else _joined(d.attention),
        "D_param": "SN",
        "SN_eps": d.spectral_norm_eps,
        **_power(d, "D"),
    }


def _power(network: Any, player: str) -> dict[str, Any]:
    inits = {ours: theirs for theirs, ours in reversed(INITS.items())}
    return {
        f"num_{player}_SVs": network.num_singular_values,
        f"num_{player}_SV_itrs": network.num_iterations,
        f"{player}_init": inits.get(network.init, "ortho"),
    }


def _joined(sizes: tuple[int, ...]) -> str:
    return "_".join(str(size) for size in sorted(sizes)) or "0"


def _require(holds: bool, field: str, needed: str) -> None:
    if not holds:
        raise CheckpointError(f"{field}: must be {needed} in BigGAN-PyTorch; this model cannot go")
