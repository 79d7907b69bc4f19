"""What a file of MMGeneration does not show of its networks: by option, by the config that it
brings as text, by the name of a config, or by the defaults of its classes, in this order."""

import ast
import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from limner.core.errors import ConfigError, nearest

MAX_TEXT = 2**20  # characters of a config that are read


@dataclasses.dataclass(frozen=True)
class Said:
    """How the networks compute what their tensors do not tell.

    Attributes:
        inplace_relu: discriminators activate in place, so that their shortcuts see relu(x).
        gain_around_one: conditional norms multiply by 1 + embedding (init types BigGAN and
            studio), not by the embedding (SNGAN and SAGAN).
        norm_eps, sn_eps: of batch norms and of spectral norm.
        rgb2bgr: the original turns the colors of its images when it makes them, so that the
            weights are of RGB.
        fused_upconv: PGGAN doubles and convolves in one, and so has transposed weights.
        depth: blocks of BigGAN-deep at every resolution.
    """

    inplace_relu: bool = False
    gain_around_one: bool = True
    norm_eps: float = 1e-4
    sn_eps: float = 1e-12
    rgb2bgr: bool = False
    fused_upconv: bool = True
    depth: int = 2


Values = dict[str, Any]
BIGGAN: Values = {"norm_eps": 1e-5, "sn_eps": 1e-6}
# Families whose files leave something open: their classes' defaults, and what matters to them.
CLASSES: dict[str, Values] = {
    "SN-GAN": {}, "SA-GAN": {}, "PGGAN": {}, "BigGAN": BIGGAN, "BigGAN-deep": BIGGAN,
}  # fmt: skip
OPEN: dict[str, tuple[str, ...]] = {
    "SN-GAN": ("inplace_relu", "gain_around_one", "norm_eps", "sn_eps"),
    "SA-GAN": ("inplace_relu", "gain_around_one", "norm_eps", "sn_eps"),
    "BigGAN": ("inplace_relu", "norm_eps", "sn_eps", "rgb2bgr"),
    "BigGAN-deep": ("inplace_relu", "norm_eps", "sn_eps", "rgb2bgr", "depth"),
    "PGGAN": ("fused_upconv",),
}
IN_PLACE: Values = {"inplace_relu": True}
NOT_IN_PLACE: Values = {"inplace_relu": False}
# Beginnings of the names of MMGeneration's config files, and what they say.
CONFIGS: dict[str, Values] = {
    "sngan_proj_32_woReLUinplace": NOT_IN_PLACE,
    "sngan_proj_32_wReLUinplace": IN_PLACE,
    "sngan_proj_128_woReLUinplace": NOT_IN_PLACE,
    "sngan_proj_128_wReLUinplace": IN_PLACE,
    "sagan_32_woReLUinplace": NOT_IN_PLACE,
    "sagan_32_wReLUinplace": IN_PLACE,
    "sagan_128_woReLUinplace": NOT_IN_PLACE,
    "sagan_128_woReLUinplace_noaug_bigGAN": {
        "inplace_relu": False, "norm_eps": 1e-5, "sn_eps": 1e-8,
    },
    "biggan_cifar10_32x32": {"inplace_relu": False, "sn_eps": 1e-8},
    "biggan_ajbrock-sn_imagenet1k_128x128": IN_PLACE,
    "biggan_torch-sn_imagenet1k_128x128": IN_PLACE,
    "biggan_128x128_cvt_BigGAN-PyTorch_rgb": {"inplace_relu": True, "rgb2bgr": True},
    "biggan-deep_128x128_cvt_hugging-face_rgb": {"inplace_relu": True, "rgb2bgr": True},
    "biggan-deep_256x256_cvt_hugging-face_rgb": {"inplace_relu": True, "rgb2bgr": True},
    "biggan-deep_512x512_cvt_hugging-face_rgb": {"inplace_relu": True, "rgb2bgr": True},
    "pggan_": {"fused_upconv": True},
}  # fmt: skip


def said_of(
    family: str, given: Mapping[str, Any], config: str | None, meta: Any, file: Path
) -> tuple[Said, dict[str, Any]]:
    """What is known of a family's networks, and lines on it for the model's origin.

    Args:
        given: options that were set.
        config: the name of a config, asked for by the user; without, one that the file names.
        meta: of the file.

    Raises:
        ConfigError: there is no such config.
    """
    if family not in OPEN:
        return Said(), {}
    meta = meta if isinstance(meta, dict) else {}
    values, sources = dict(CLASSES[family]), dict.fromkeys(OPEN[family], "the classes' default")
    name = _named(config, meta, file)
    steps = [
        (f"config {name}", CONFIGS.get(name, {})),
        ("the file's config", of_text(meta.get("config"))),
        ("given", given),
    ]
    for source, found in steps:
        values |= found
        sources |= {key: source for key in found if key in sources}
    said = Said(**values)
    facts: dict[str, Any] = {
        "settings": {key: f"{getattr(said, key)} ({source})" for key, source in sources.items()}
    }
    guessed = [key for key in ("inplace_relu", "fused_upconv") if "default" in sources.get(key, "")]
    if guessed:
        facts["warning"] = (
            f"neither the file nor a config's name says {guessed[0]}: {getattr(said, guessed[0])} "
            "is the class' default; give --set config=NAME of the original's config, or it"
        )
    return said, facts


def _named(config: str | None, meta: Mapping[str, Any], file: Path) -> str:
    """The longest of CONFIGS that the name begins with; "" where the file has none of them."""
    words = [config] if config is not None else [meta.get("exp_name"), file.name]
    for word in words:
        base = re.split(r"[\\/]", word)[-1] if isinstance(word, str) else ""
        found = [name for name in CONFIGS if base.startswith(name)]
        if found:
            return max(found, key=len)
    if config is not None:
        raise ConfigError(f"config: no config of MMGeneration '{config}'{nearest(config, CONFIGS)}")
    return ""


# --- the text of a config ------------------------------------------------------------


def of_text(text: Any) -> Values:
    """What a config of MMGeneration says, which is Python that is read as text: literals and
    `dict(...)` alone. Nothing where there is no such text."""
    model = _assigned(text, "model") if isinstance(text, str) and len(text) <= MAX_TEXT else None
    if not isinstance(model, dict):
        return {}
    g, d = (model.get(name) for name in ("generator", "discriminator"))
    g, d = (part if isinstance(part, dict) else {} for part in (g, d))
    fields = {"norm_eps": "norm_eps", "sn_eps": "sn_eps", "block_depth": "depth"}
    fields |= {name: name for name in ("rgb2bgr", "fused_upconv")}
    kinds = {field.name: field.type for field in dataclasses.fields(Said)}
    found = {
        ours: g[theirs] for theirs, ours in fields.items() if type(g.get(theirs)) is kinds[ours]
    }
    activation = d.get("act_cfg")
    if isinstance(activation, dict) and activation.get("type") == "ReLU":
        found["inplace_relu"] = activation.get("inplace", True) is not False  # mmcv's own default
    elif d:
        found["inplace_relu"] = False
    kind = g["init_cfg"].get("type") if isinstance(g.get("init_cfg"), dict) else None
    if isinstance(kind, str):
        found["gain_around_one"] = kind not in ("SNGAN", "SAGAN")
    return found


def _assigned(text: str, name: str) -> Any:
    """The literal that a program assigns to a name; None where it assigns none."""
    try:
        for line in ast.parse(text).body:
            targets = line.targets if isinstance(line, ast.Assign) else []
            if any(isinstance(each, ast.Name) and each.id == name for each in targets):
                assert isinstance(line, ast.Assign)
                return _literal(line.value)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    return None


def _literal(node: ast.expr) -> Any:
    """Its value; ValueError where it is no literal."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "dict":
        return {
            word.arg: _literal(word.value) for word in node.keywords if word.arg and not node.args
        }
    if isinstance(node, ast.Dict):
        pairs = zip(node.keys, node.values, strict=True)
        return {_literal(key): _literal(value) for key, value in pairs if key is not None}
    if isinstance(node, (ast.List, ast.Tuple)):
        return [_literal(each) for each in node.elts]
    return ast.literal_eval(node)
