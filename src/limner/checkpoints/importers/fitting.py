"""What every importer asks of a file's tensors: all there, none left over, each of its shape."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from torch import Tensor

from limner.checkpoints.filling import check_fit
from limner.core.errors import CheckpointError, ConfigError
from limner.core.protocols import NetworkConfig
from limner.core.undrawn import without_memory
from limner.formats.pickles import shown

MAX_SHOWN = 100


def require_names(
    needed: Iterable[str],
    held: Collection[str],
    foreign: Collection[str],
    where: str,
    what: str,
    misshapen: Collection[str] = (),
) -> None:
    """Raises CheckpointError unless all that is needed is held, nothing is foreign, and nothing was
    found to be of another shape."""
    problems = []
    missing = [name for name in needed if name not in held]
    if missing:
        problems.append(f"missing {listed(missing)}")
    if foreign:
        problems.append(f"not known {listed(foreign)}")
    if misshapen:
        problems.append("; ".join(list(misshapen)[:MAX_SHOWN]))
    if problems:
        raise CheckpointError(f"{where}: not a whole {what}: {'; '.join(problems)}")


def require_fit(
    needed: Mapping[str, Tensor], held: Mapping[str, Any], where: str, what: str
) -> None:
    """`require_names` for tensors or arrays under the file's own names, their shapes too."""
    misshapen = [
        f"'{shown(name)}' is {list(held[name].shape)} and not {list(tensor.shape)}"
        for name, tensor in needed.items()
        if name in held and held[name].shape != tensor.shape
    ]
    foreign = [name for name in held if name not in needed]
    require_names(needed, held, foreign, where, what, misshapen)


def listed(names: Collection[str]) -> str:
    """The names, quoted; of very many the first."""
    text = ", ".join(f"'{shown(name)}'" for name in list(names)[:MAX_SHOWN])
    more = len(names) - MAX_SHOWN
    return f"{text} and {more} more" if more > 0 else text


def fitted(
    state: Mapping[str, Tensor],
    config: NetworkConfig,
    image_shape: tuple[int, int, int],
    num_classes: int,
    where: str,
) -> dict[str, Tensor]:
    """The state in the order of the network, contiguous and of its types. Raises CheckpointError
    where a tensor is missing, left over or of another shape."""
    try:
        with without_memory():
            network = config.build(image_shape, num_classes)
    except ConfigError as error:
        raise CheckpointError(f"{where}: {error}") from None
    check_fit(network, state, where)
    return {name: state[name].to(t.dtype).contiguous() for name, t in network.state_dict().items()}
