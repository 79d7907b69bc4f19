"""The documentation builds as a site: every link leads somewhere, nothing is asked of other hosts."""

import os
import re
import subprocess
import sys
from pathlib import Path

from docs_commands import ROOT


def test_the_site_builds_and_needs_no_other_host(tmp_path: Path):
    answer = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(tmp_path)],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr  # mkdocs.yml is strict
    pages = {path.relative_to(tmp_path).as_posix(): path for path in tmp_path.rglob("*.html")}
    assert {"index.html", "gallery.html", "api.html", "recipes/slurm.html"} <= set(pages)
    assert "Make images: uint8 [N, H, W, C]" in pages["api.html"].read_text()  # Model.sample
    for name, path in pages.items():
        asked = re.findall(
            r"<(?:script|img|link|iframe)[^>]*?(?:src|href)=.?https?://[^ >]*", path.read_text()
        )
        assert asked == [], name
