"""Latents that the page of `--format web` draws are those of limner, number for number."""

import json
import shutil
import subprocess

import numpy as np
import pytest

from limner.checkpoints.exporters.web import PAGE
from limner.sampling import latents_from_seeds

SCRIPT = """
import { latent } from "%s";
const found = [];
for (const size of [1, 5, 16, 20, 32, 100, 128, 512])
  for (const seed of [0, 7, 12345])
    for (const bound of [null, 0.01, 0.5, 2, 9])
      found.push({ size, seed, bound, z: Array.from(latent(seed, size, bound)) });
console.log(JSON.stringify(found));
"""


def test_the_pages_latents_are_those_of_limner():
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is missing")
    script = SCRIPT % (PAGE / "latents.mjs").as_uri()
    words = [node, "--input-type=module", "-e", script]
    said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    for each in json.loads(said):
        expected = latents_from_seeds([each["seed"]], each["size"], each["bound"])[0].numpy()
        assert np.array_equal(np.float32(each["z"]), expected), each
