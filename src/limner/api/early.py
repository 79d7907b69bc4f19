"""What can be wrong with the words of a command, found before torch is imported."""

from pathlib import Path

from limner.checkpoints.model_place import ModelPlace, model_place
from limner.checkpoints.run_directory import RunDirectory
from limner.core.chosen import parse_classes, parse_seeds
from limner.core.errors import CheckpointError, LimnerError, nearest
from limner.core.understood import check_there

__all__ = [
    "check_features",
    "check_files",
    "check_metrics",
    "check_model",
    "check_origin",
    "check_there",
    "check_tracker",
]

# Those of limner.metrics.METRICS and EXTRACTORS, which need torch.
METRIC_NAMES = (
    *("fid", "kid", "is", "prdc", "copies", "accuracy", "cas", "swd", "msssim", "intra-fid"),
    *("cas-network", "modes", "modes-kl", "ppl", "eq"),
    *("fid50k-full", "kid50k-full", "fid50k", "kid50k", "is50k"),
    *("pr50k3-full", "pr50k3", "ppl2-wend"),
)
FEATURE_NAMES = (
    *("inception", "inception-bfloat16", "inception-torchvision", "effnet-lite0", "classifier"),
    *("random-conv", "pixels"),
)


def check_model(spec: str, classes: str | None = None, seeds: str | None = None) -> ModelPlace:
    """Where a model is; a LimnerError where it is not, has no such class, or for no seeds."""
    place = model_place(spec)
    if classes is not None:
        parse_classes(classes, *place.classes())
    if seeds is not None:
        parse_seeds(seeds)
    return place


def check_origin(spec: str) -> None:
    """The run of --from is there, and has the checkpoint."""
    path, _, selector = spec.partition("@")
    run = RunDirectory(path)
    if not run.exists():
        raise CheckpointError(f"{path}: no run here; --from takes RUN, RUN@best-fid or RUN@step-N")
    run.named(selector)


def check_files(**files: Path | None) -> None:
    """Files of the options --NAME are there."""
    for name, path in files.items():
        if path is not None and not path.exists():
            raise LimnerError(f"--{name} {path}: no such file or directory")


def check_metrics(text: str) -> list[str]:
    """The names of "fid,prdc"; one with a colon is the user's own and not looked at."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise LimnerError("--metrics is empty; give for example fid,prdc")
    for name in names:
        if ":" not in name and name not in METRIC_NAMES:
            raise LimnerError(f"unknown metric '{name}'{nearest(name, METRIC_NAMES)}")
    return names


def check_features(name: str | None) -> None:
    """The name of an extractor, "library:NAME", or a file."""
    if name is None or ":" in name or "." in name or name in FEATURE_NAMES:
        return
    raise LimnerError(f"unknown features '{name}'{nearest(name, FEATURE_NAMES)}")


def check_tracker(name: str) -> None:
    """A tracker of --track is known, and its package installed."""
    from limner.running import trackers

    trackers.check_tracker(name)
