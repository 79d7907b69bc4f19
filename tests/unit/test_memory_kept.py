"""Large blocks are taken from the system once."""

import os
import platform
import subprocess
import sys

import pytest

SCRIPT = """
import resource
import numpy as np
from limner.core.memory import keep_freed_memory
keep_freed_memory()
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(2**27, np.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other libraries are left alone")
@pytest.mark.parametrize("said", [False, True])
def test_a_block_is_taken_from_the_system_once(said):
    environment = {name: value for name, value in os.environ.items() if "MALLOC" not in name}
    if said:
        environment["MALLOC_TRIM_THRESHOLD_"] = "131072"
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, env=environment, check=True
    )
    assert (int(ran.stdout) >= 64) == said, "pages of 2**27 bytes: 32,768, or 64 large ones"
