"""The site: built strictly, no dead link, nothing from elsewhere, written pages current."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urljoin, urlparse

import command_reference
import pytest
from typer.main import get_command

from spikegpt_neuro.cli.program import app

ROOT = Path(__file__).parents[2]
SITE = "http://site.invalid/"
LOADED = {("link", "href"), ("script", "src"), ("img", "src"), ("iframe", "src"), ("source", "src")}


class Links(HTMLParser):
    """What a page names: its anchors, the pages and files it points to, what it loads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.targets: list[str] = []
        self.loaded: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = dict(attributes)
        self.anchors |= {value for name in ("id", "name") if (value := values.get(name))}
        if tag == "img":
            self.images.append(values)
        for name in ("href", "src"):
            if value := values.get(name):
                self.targets.append(value)
                if (tag, name) in LOADED and values.get("rel") not in ("canonical", "next", "prev"):
                    self.loaded.append(value)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder],
        cwd=ROOT, capture_output=True, text=True,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder


def page_links(site: Path) -> dict[str, Links]:
    """Every page by its address on the site."""
    return {
        urljoin(SITE, path.relative_to(site).as_posix().removesuffix("index.html")): Links(
            path.read_text("utf-8")
        )
        for path in site.rglob("*.html")
        if path.name != "404.html"
    }


def test_no_link_is_dead_and_nothing_comes_from_elsewhere(site: Path) -> None:
    found = page_links(site)
    assert len(found) > 35
    dead, foreign, checked = [], [], 0
    for address, page in found.items():
        for target in page.targets:
            whole = urlparse(urljoin(address, target))
            if whole.netloc != urlparse(SITE).netloc:
                continue
            checked += 1
            plain = whole._replace(fragment="").geturl()
            file = site / unquote(whole.path).lstrip("/")
            if plain in found:
                if whole.fragment and unquote(whole.fragment) not in found[plain].anchors:
                    dead.append(f"{address}: {target}: no such place")
            elif not file.is_file():
                dead.append(f"{address}: {target}: no such file")
        foreign += [f"{address}: {one}" for one in page.loaded if "://" in one or one[:2] == "//"]
    assert checked > 3000
    assert not dead
    assert not foreign


def test_every_picture_says_what_it_shows(site: Path) -> None:
    images = [
        image for page in page_links(site).values() for image in page.images
        if not (image["src"] or "").startswith("data:")
    ]  # fmt: skip
    assert len(images) >= 6
    assert all(len(image.get("alt") or "") > 30 for image in images), images


def test_every_page_is_in_the_navigation(site: Path) -> None:
    front = (site / "index.html").read_text("utf-8")
    for path in (ROOT / "docs").glob("*.md"):
        if path.stem != "index":
            assert f'href="{path.stem}/"' in front, f"{path.name} is in no list of mkdocs.yml"


def test_the_page_of_commands_is_current() -> None:
    assert command_reference.PAGE.read_text("utf-8") == command_reference.written(), (
        "run: python docs/make/command_reference.py"
    )


def test_the_page_of_commands_names_every_command_and_option() -> None:
    page = command_reference.PAGE.read_text("utf-8")
    sections = dict(
        part.split("\n", 1) for part in re.split(r"^#{2,3} ", page, flags=re.MULTILINE)[1:]
    )
    options = 0

    def check(name: str, command: object) -> None:
        nonlocal options
        for parameter in command.params:  # type: ignore[attr-defined]
            for option in (*parameter.opts, *parameter.secondary_opts):
                if option.startswith("-"):
                    assert option in sections[name], f"{name} {option}"
                    options += 1
        for child, below in getattr(command, "commands", {}).items():
            check(f"{name} {child}", below)

    check("spikegpt-neuro", get_command(app))
    assert options > 200


def test_the_reference_of_python_shows_every_function(site: Path) -> None:
    import spikegpt_neuro as sn

    page = Links((site / "api" / "index.html").read_text("utf-8"))
    for name in sn.__all__:
        if name != "__version__":
            assert f"spikegpt_neuro.api.{name}" in page.anchors
