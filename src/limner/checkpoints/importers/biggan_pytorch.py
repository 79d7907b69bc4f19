"""BigGAN-PyTorch's weight folders: weights/EXPERIMENT/{G,D,G_ema,G_optim,D_optim,state_dict}.pth.

Files of the newest weights have no suffix, earlier ones _copyN, the best ones _bestN. Both formats
of torch.save are read, without running anything (torch_files.py). The networks' sizes come from the
flags in state_dict.pth; without that file from the shapes, and from the user what no shape tells.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from limner.checkpoints.foreign import Importer, Training
from limner.checkpoints.importers.biggan_flags import (
    DEFAULTS,
    FOR_TRAINING,
    UNSEEN,
    Flags,
    checked,
    discriminator_config,
    flags_of_shapes,
    generator_config,
    require,
    run_of_flags,
)
from limner.checkpoints.importers.biggan_names import FamilyConfig, Role, to_limner, to_reference
from limner.checkpoints.importers.fitting import listed, require_fit
from limner.checkpoints.model_folder import ModelConfig, ModelRecord
from limner.core.config import Config, decode, nearest
from limner.core.errors import CheckpointError, ConfigError
from limner.core.files import sha256_of
from limner.core.undrawn import without_memory
from limner.formats.torch_files import read_torch
from limner.formats.weights import unwrapped

ROLES: dict[Role, str] = {"generator": "G", "discriminator": "D"}
COUNTERS = ("itr", "epoch", "save_num", "save_best_num")
State = dict[str, Tensor]
Moments = dict[str, dict[str, Tensor]]  # parameter -> step, exp_avg, exp_avg_sq


class BigGanPytorch(Config, Importer, frozen=True):
    """A folder weights/EXPERIMENT of BigGAN-PyTorch.

    The average becomes the generator and the trained one its raw one, where both are there.

    Attributes:
        suffix: which of several sets of weights to take: best0, copy1.
        flags: flags of that program that replace those in state_dict.pth, or stand for them.
    """

    suffix: str | None = None
    flags: dict[str, Any] = {}

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> "BigGanPytorch":
        """See `Importer.of`; what is no option of this class is a flag of the program."""
        own = {name: value for name, value in settings.items() if name in cls.__struct_fields__}
        flags = {name: value for name, value in settings.items() if name not in own}
        for name in flags:
            if name not in DEFAULTS:
                known = ("suffix", *DEFAULTS)
                raise ConfigError(f"{name}: no flag of BigGAN-PyTorch{nearest(name, known)}")
        return decode(cls, {**own, "flags": own.get("flags", {}) | flags})

    def read(self, source: Path) -> ModelRecord:
        """See `Importer.read`."""
        return _Folder(source, self.suffix, self.flags).model()

    def read_training(self, source: Path) -> tuple[ModelRecord, Training]:
        """See `Importer.read_training`."""
        return _Folder(source, self.suffix, self.flags).training()


class _Folder:
    def __init__(self, path: Path, suffix: str | None, settings: Mapping[str, Any]):
        self.path, self.suffix, self.settings = path, suffix, settings
        if not self.path.is_dir():
            found = "a file" if self.path.exists() else "no such folder"
            raise CheckpointError(f"{path}: {found}; give the folder weights/EXPERIMENT itself")
        self.states = {
            name: _state_dict(self.file(name)) if self.file(name).exists() else None
            for name in ("G", "G_ema", "D")
        }
        if self.states["G"] is None and self.states["G_ema"] is None:
            raise CheckpointError(f"{self.file('G')}: no such file{self._hint()}")
        self.saved = self._saved()
        self.flags = self._flags()

    def file(self, name: str) -> Path:
        return self.path / (f"{name}_{self.suffix}.pth" if self.suffix else f"{name}.pth")

    def _hint(self) -> str:
        pattern = r"G(?:_ema)?_((?:best|copy)\d+)\.pth"
        names = [re.fullmatch(pattern, path.name) for path in self.path.glob("*.pth")]
        suffixes = sorted({match[1] for match in names if match})
        if not suffixes:
            return "; give a folder with G.pth or G_ema.pth"
        return f"; there are weights with the suffixes {', '.join(suffixes)}: give one of them"

    def _saved(self) -> dict[str, Any]:
        file = self.file("state_dict")
        if not file.exists():
            return {}
        saved = read_torch(file)
        if not isinstance(saved, dict) or not isinstance(saved.get("config"), dict):
            raise CheckpointError(f"{file}: holds no config; it is not of BigGAN-PyTorch")
        return saved

    def _flags(self) -> Flags:
        given = checked(self.settings, "--set")
        if self.saved:
            flags = checked(self.saved["config"], str(self.file("state_dict"))) | given
            require(flags, ("resolution", "n_classes"), str(self.path))
            return DEFAULTS | flags
        require(given, UNSEEN, str(self.path))
        g = self.states["G"] or self.states["G_ema"]
        assert g is not None
        return DEFAULTS | flags_of_shapes(g, self.states["D"], str(self.path)) | given

    def model(self) -> ModelRecord:
        flags = self.flags
        try:
            shape = (3, flags["resolution"], flags["resolution"])
            configs: dict[Role, FamilyConfig] = {
                "generator": generator_config(flags),
                "discriminator": discriminator_config(flags),
            }
            config = ModelConfig(
                generator=configs["generator"],
                discriminator=configs["discriminator"] if self.states["D"] else None,
                image_shape=shape,
                num_classes=flags["n_classes"],
                statistics={"biggan_pytorch": {"flags": flags, **self.counters()}},
                origin=self._origin(),
            )
            fitted = {name: self._fitted(name, configs, config) for name in self.states}
        except ConfigError as error:
            raise CheckpointError(f"{self.path}: {error}") from None
        g, ema = fitted["G"], fitted["G_ema"]
        assert g or ema
        return ModelRecord(
            config=config,
            generator=ema or g or {},
            generator_raw=g if ema else None,
            discriminator=fitted["D"],
        )

    def _fitted(
        self, name: str, configs: Mapping[Role, FamilyConfig], config: ModelConfig
    ) -> State | None:
        state = self.states[name]
        if state is None:
            return None
        role: Role = "discriminator" if name == "D" else "generator"
        return fitted(role, configs[role], config, state, str(self.file(name)))

    def counters(self) -> dict[str, int]:
        found = {}
        for name in COUNTERS:
            value = self.saved.get(name, 0)
            if type(value) is not int or not 0 <= value < 2**53:
                raise CheckpointError(f"{self.file('state_dict')}: {name} is no count")
            found[name] = value
        return found

    def _origin(self) -> dict[str, Any]:
        names = [name for name, state in self.states.items() if state is not None]
        return {
            "folder": self.path.resolve().name,
            "suffix": self.suffix,
            "itr": self.counters()["itr"] if self.saved else None,
            "files": {self.file(name).name: sha256_of(self.file(name)) for name in names},
        }

    def training(self) -> tuple[ModelRecord, Training]:
        needed = ["G", "D", "G_optim", "D_optim", *(["G_ema"] if self.flags["ema"] else [])]
        missing = [self.file(name).name for name in needed if not self.file(name).exists()]
        if missing:
            raise CheckpointError(
                f"{self.path}: training cannot go on without {', '.join(missing)}; leave --run out "
                "to import the networks alone"
            )
        if not self.saved:
            require(checked(self.settings, "--set"), FOR_TRAINING, str(self.path))
        record = self.model()
        moments = {}
        for role, name in ROLES.items():
            network = getattr(record.config, role)
            names = parameter_names(role, network, record.config)
            own = to_limner(role, network, dict.fromkeys(names))
            moments[name.lower()] = _moments(self.file(f"{name}_optim"), list(own), names)
        run = run_of_flags(self.flags, record.config, self.path.resolve().name)
        itr = self.counters()["itr"]
        return record, Training(run, itr, moments, epochs=self.flags["num_epochs"])


# --- networks --------------------------------------------------------------


def expected_state(
    role: Role, network: FamilyConfig, config: ModelConfig
) -> tuple[State, dict[str, bool]]:
    """Tensors without memory of a network under the program's names and in its order, and which of
    them are parameters."""
    with without_memory():
        module = network.build(config.image_shape, config.num_classes)
    parameters = dict(module.named_parameters())
    own = module.state_dict()
    learned = {key: key in parameters for key in own}
    return to_reference(role, network, own), to_reference(role, network, learned)


def parameter_names(role: Role, network: FamilyConfig, config: ModelConfig) -> list[str]:
    """The program's names of the parameters in the order of its optimizers."""
    _, learned = expected_state(role, network, config)
    return [key for key, is_parameter in learned.items() if is_parameter]


def fitted(
    role: Role, network: FamilyConfig, config: ModelConfig, state: State, where: str
) -> State:
    """The state under limner's names. Raises CheckpointError unless it has exactly the network's
    tensors in their shapes; the logged singular values (sv0 ..) may be missing, as in weights
    converted from TF-Hub."""
    expected, _ = expected_state(role, network, config)
    logged = [key for key in expected if re.fullmatch(r"(.+\.)?sv\d+", key) and key not in state]
    state = state | {key: torch.ones(1) for key in logged}
    require_fit(expected, state, where, type(network).__name__)
    in_order = {key: _single(state[key], where, key) for key in expected}
    return to_limner(role, network, in_order)


def _single(tensor: Tensor, where: str, key: str) -> Tensor:
    """Float32 numbers of a tensor of any float; integers as they are."""
    if tensor.is_complex():
        raise CheckpointError(f"{where}: {key} holds complex numbers")
    return (tensor.float() if tensor.is_floating_point() else tensor).contiguous()


def _state_dict(file: Path) -> State:
    state = unwrapped(read_torch(file), file, keep=())
    if not isinstance(state, dict) or not state:
        raise CheckpointError(f"{file}: holds no state dict")
    for key, value in state.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise CheckpointError(f"{file}: an entry of its state dict is no named tensor")
    return state


# --- optimizers ------------------------------------------------------------


def _moments(file: Path, own: list[str], names: list[str]) -> Moments:
    """Adam's state by limner's names of the parameters, given in the optimizer's order: that of the
    group in old files, which call the parameters by their addresses then."""
    saved = read_torch(file)
    try:
        (group,) = saved["param_groups"]
        keys, states = list(group["params"]), dict(saved["state"])
    except (KeyError, TypeError, ValueError, AttributeError):
        raise CheckpointError(f"{file}: holds no state of one Adam") from None
    if len(keys) != len(names):
        raise CheckpointError(f"{file}: has {len(keys)} parameters, the network {len(names)}")
    found = {}
    for key, name, ours in zip(keys, names, own, strict=True):
        if key in states:
            found[ours] = _moments_of_one(states[key], f"{file}: {name}")
    unknown = [str(key) for key in states if key not in keys]
    if unknown:
        raise CheckpointError(f"{file}: state left over: {listed(unknown)}")
    return found


def _moments_of_one(state: Any, where: str) -> dict[str, Tensor]:
    if not isinstance(state, dict) or not {"step", "exp_avg", "exp_avg_sq"} <= set(state):
        raise CheckpointError(f"{where}: lacks step, exp_avg or exp_avg_sq")
    step = state["step"]
    if not isinstance(step, (int, float)) and not (isinstance(step, Tensor) and step.numel() == 1):
        raise CheckpointError(f"{where}: step is no number")
    moments = {key: state[key] for key in ("exp_avg", "exp_avg_sq")}
    if not all(isinstance(value, Tensor) for value in moments.values()):
        raise CheckpointError(f"{where}: a moment is no tensor")
    single = {key: _single(value, where, key) for key, value in moments.items()}
    return {"step": torch.tensor(float(step), dtype=torch.float32), **single}
