"""Stateless randomness: a stream is a pure function of its keys, so nothing has to be saved."""

import hashlib

import torch


def stream(*keys: int | str) -> torch.Generator:
    """A fresh CPU generator whose numbers depend on the keys alone (seed, purpose, step, ...)."""
    digest = hashlib.sha256("/".join(str(key) for key in keys).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little", signed=True))
