"""The documentation holds: its links lead somewhere, its Python runs, its sources are named rightly."""

import re
from pathlib import Path

import pytest

import limner
from docs_commands import PAGES, ROOT, python_blocks
from limner.core.schedules import SCHEDULES
from limner.data.sources import SOURCES
from limner.engine.augment import AUGMENTS
from limner.engine.controllers import CONTROLLERS
from limner.models import NETWORKS
from limner.objectives import DIRECTS, TERMS

EXECUTED = ["docs/architecture.md", "docs/configuration.md"]


def dead_links(page: Path, text: str) -> list[str]:
    """Relative link targets of a Markdown text that are not there."""
    targets = re.findall(r"\]\(([^)\s]+)\)", text)
    local = [t.partition("#")[0] for t in targets if "://" not in t and not t.startswith("#")]
    return [target for target in local if not (page.parent / target).exists()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path):
    assert dead_links(page, page.read_text()) == []


def test_a_dead_link_is_found():
    page = ROOT / "docs" / "index.md"
    text = "[a](data.md#top) [b](https://example.org/x) [c](#here) [d](gone.md)"
    assert dead_links(page, text) == ["gone.md"]


@pytest.mark.parametrize("name", EXECUTED)
def test_the_python_of_a_page_runs(name: str):
    blocks = python_blocks((ROOT / name).read_text())
    assert blocks
    scope: dict = {"__name__": f"page_{Path(name).stem}"}
    for block in blocks:
        exec(compile(block, name, "exec"), scope)


def test_source_files_that_the_pages_name_exist():
    for page in PAGES:
        for name in re.findall(r"`((?:[a-z_]+/)+[a-z_]+\.py)`", page.read_text()):
            places = (ROOT / name, ROOT / "src" / name, ROOT / "src" / "limner" / name)
            assert any(place.is_file() for place in places), f"{page.name} names {name}"


def test_the_index_names_every_page():
    index = (ROOT / "docs" / "index.md").read_text()
    pages = {page.name for page in (ROOT / "docs").glob("*.md")} - {"index.md"}
    assert [name for name in sorted(pages) if f"({name})" not in index] == []


def named_in(page: str) -> set[str]:
    """The last parts of the names that a page of the reference takes from docstrings."""
    text = (ROOT / "docs" / page).read_text()
    return {name.rpartition(".")[2] for name in re.findall(r"^::: (limner[\w.]*)$", text, re.M)}


def test_the_reference_is_complete():
    assert named_in("api.md") == set(limner.__all__)
    tables = (TERMS, DIRECTS, NETWORKS, CONTROLLERS, AUGMENTS, SCHEDULES, SOURCES)
    assert {name for table in tables for name in table} - named_in("parts.md") == set()


def test_the_list_of_decisions_is_complete_and_numbered():
    folder = ROOT / "docs" / "decisions"
    records = sorted(path.name for path in folder.glob("0*.md"))
    listed = re.findall(r"\((\d{4}-[a-z0-9-]+\.md)\)", (folder / "README.md").read_text())
    assert listed == records
    assert [int(name[:4]) for name in records] == list(range(1, len(records) + 1))
    headings = {"## Context", "## Choice", "## Rejected", "## What would change our mind"}
    for name in records:
        lines = (folder / name).read_text().splitlines()
        assert headings <= set(lines), name
        assert len(lines) <= 60, f"{name} is longer than a page"
