"""Links inside the project lead somewhere, every page of docs/ is on the site, and a release agrees with itself."""

from __future__ import annotations

import pkgutil
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import munet_jax
from tests.docs.blocks import PAGES, ROOT

LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
CODE = ("munet_jax", "configs", "benchmarks", "docs", "tests")
MODULE = re.compile(r"`((?:[\w./]+/)?[a-z]\w*\.py)\b")
NAME = re.compile(r"`(munet_jax(?:\.\w+)+)")
OUTSIDE = ("http://", "https://", "mailto:")
MADE_BY_THE_SITE = {ROOT / "docs/notebook.md": ROOT / "docs/notebook.py"}


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as the site and code hosts make them."""
    text = prose(page)
    if page.suffix == ".py":
        text = re.sub(r"^# ", "", text, flags=re.MULTILINE)
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.replace("`", "").lower()).strip().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CHANGELOG.md"], ids=lambda page: page.name)
def test_links_inside_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(prose(page)):
        if link.startswith(OUTSIDE):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        target = MADE_BY_THE_SITE.get(target, target)
        assert target.exists(), f"{page.name}: {link}"
        assert page.parent == ROOT or target.is_relative_to(ROOT / "docs"), f"{page.name}: {link} is not on the site"
        if anchor:
            assert anchor in anchors(target), f"{page.name}: {link}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_modules_and_names_in_the_text_exist(page: Path) -> None:
    text = prose(page)
    for name in NAME.findall(text):
        pkgutil.resolve_name(name)  # or an ImportError or AttributeError
    known = [path.relative_to(ROOT) for room in CODE for path in (ROOT / room).rglob("*.py")] + list(ROOT.glob("*.py"))
    for module in MODULE.findall(text):
        assert any(path.match(module) for path in known), f"{page.name}: {module}"


def test_every_page_is_on_the_site() -> None:
    def pages(entry: object) -> list[str]:
        if isinstance(entry, str):
            return [entry]
        children = entry.values() if isinstance(entry, dict) else entry
        return [page for child in children for page in pages(child)]  # type: ignore[attr-defined]

    named = pages(yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"])
    assert sorted(named) == sorted([*(path.name for path in (ROOT / "docs").glob("*.md")), "notebook.md"])


def test_the_readme_is_short_and_its_picture_light() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) < 100
    assert (ROOT / "docs/pictures/munet.webp").stat().st_size < 3e6


def test_the_version_is_one() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    first = re.search(r"^## \[(\d\S*)\] - (\S+)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert first is not None
    assert citation["version"] == first[1] == munet_jax.__version__
    assert str(citation["date-released"]) == first[2]


def test_the_citation_is_valid() -> None:
    program = shutil.which("cffconvert", path=str(Path(sys.executable).parent))
    if program is None:
        pytest.skip("cffconvert is not installed")
    command = [program, "--validate", "-i", str(ROOT / "CITATION.cff")]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_the_dockerfile_copies_what_there_is() -> None:
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    copied = [name for line in lines if line.startswith("COPY ") for name in line.split()[1:-1]]
    allowed = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert copied
    for name in copied:
        assert (ROOT / name).exists()
        assert f"!{name}" in allowed
    extras = re.search(r"'\.\[(.*)\]'", "\n".join(lines))
    assert extras is not None
    known = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert all(re.search(rf"^{name} = \[", known, re.MULTILINE) for name in extras[1].split(","))
