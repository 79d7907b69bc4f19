"""A command in several processes, by torch's own launcher."""

import logging
import os
from collections.abc import Sequence

from limner.core.errors import ConfigError


def is_launched() -> bool:
    """Whether this process is one of several that a launcher has started."""
    return "LOCAL_RANK" in os.environ


def launch(num: int, device: str, words: Sequence[str]) -> int:
    """Run `limner WORDS` in so many processes of this machine, which share its work; the exit code
    of the first that failed, or 0. SIGTERM and Ctrl-C are passed on to all of them.

    Args:
        device: on which they will train, as `local_device` takes it.

    Raises:
        ConfigError: fewer than one process, or more than there are GPUs.
    """
    if num < 1:
        raise ConfigError(f"--gpus {num}: give 1 or more")
    os.environ.setdefault("OMP_NUM_THREADS", str(max((os.cpu_count() or 1) // num, 1)))
    os.environ.setdefault("LOGLEVEL", "CRITICAL")  # each process says itself what went wrong
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)

    import torch
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import get_args_parser, run

    there = torch.cuda.device_count()
    if num > there and (device == "cuda" or (device == "auto" and there)):
        raise ConfigError(f"--gpus {num}: this machine has {there}; give at most so many")

    options = ["--standalone", "--nproc-per-node", str(num), "-m", "--", "limner", *words]
    try:
        run(get_args_parser().parse_args(options))
    except ChildFailedError as error:
        return max(error.get_first_failure()[1].exitcode, 1)
    except SignalException as stopped:
        return 128 + stopped.sigval
    return 0
