"""--total-batch: micro-batches that fit into memory."""

import pytest

from limner import presets
from limner.api import batching
from limner.api.batching import split
from limner.api.costs import cost_of
from limner.checkpoints import RunDirectory
from limner.core.config import to_json
from limner.core.errors import ConfigError


@pytest.fixture
def free(monkeypatch):
    """free(GiB): what a process can have."""

    def have(amount: float) -> None:
        monkeypatch.setattr(batching, "free_memory", lambda machine, device: amount)

    return have


def test_the_largest_micro_batch_that_fits_is_taken(free):
    config = presets.digits()
    needed = {size: cost_of(config.replace(batch_size=size)).memory for size in (24, 48, 96)}
    for size, accumulate in ((96, 1), (48, 2), (24, 4)):
        free(1.001 * needed[size] / batching.SHARE)
        made, words = split(config, 96, "cpu")
        assert made.batch_size == size
        assert {update.accumulate for update in made.updates} == {accumulate}
        assert made.images_per_step() == config.images_per_step() * 96 / config.batch_size
        assert f"statistics of a batch see {size}" in words


def test_numbers_of_latents_follow_the_micro_batch(free):
    config = presets.digits_tiny().replace(batch_size=16)
    updates = [update.replace(num_latents=32, labels="drawn") for update in config.updates]
    config = config.replace(updates=tuple(updates))
    free(100)
    made, _ = split(config, 64, "cpu")
    assert made.batch_size == 64
    assert {update.num_latents for update in made.updates} == {128}


def test_a_run_that_has_begun_keeps_its_split(free, tmp_path):
    config = presets.digits().replace(batch_size=12)
    updates = tuple(update.replace(accumulate=8) for update in config.updates)
    run = RunDirectory(tmp_path / "run")
    run.create()
    run.config.write_text(to_json(config.replace(updates=updates)))
    free(100)
    assert split(presets.digits(), 96, "cpu", run.path)[0].batch_size == 96
    (run.checkpoints / "step-00000001").mkdir(parents=True)
    (run.checkpoints / "step-00000001" / "COMPLETE").touch()
    made, words = split(presets.digits(), 96, "cpu", run.path)
    assert (made.batch_size, made.updates[0].accumulate, words) == (12, 8, "as the run began")


@pytest.mark.parametrize(
    ("preset", "total", "amount", "words"),
    [
        ("digits", 0, 100, "a multiple of the number of processes, 1"),
        ("digits", 64, 0.001, "1 images a micro-batch need"),
        ("pggan_v2_1gpu", 64, 100, "picks its batches by resolution"),
    ],
)
def test_what_cannot_be_split_is_told(preset, total, amount, words, free):
    free(amount)
    with pytest.raises(ConfigError, match=words):
        split(getattr(presets, preset)(), total, "cpu")


def test_free_memory_is_that_of_a_machine():
    from limner.api.fitting import machine_of
    from limner.core import distributed

    found = batching.free_memory(machine_of("cpu"), distributed.local_device("cpu"))
    assert 0.05 < found < 10_000
