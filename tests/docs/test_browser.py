"""The built site in a real Chromium: search, navigation, no complaint, nothing from elsewhere."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.chromium import find_browser

ROOT = Path(__file__).parents[2]
QUIET = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update",
)  # fmt: skip
SIZES = {"desk": (1280, 900), "phone": (390, 844)}
SECONDS = 60_000
expect.set_options(timeout=SECONDS)
# tables and drawings scroll in boxes of their own, never the whole page
SIDEWAYS = "document.documentElement.scrollWidth > innerWidth"


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("site")
    subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", folder],
        cwd=ROOT, check=True, capture_output=True, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )  # fmt: skip
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=find_browser(), args=list(QUIET))
        yield opened
        opened.close()


@pytest.fixture(params=SIZES, ids=SIZES)
def page(browser: Browser, address: str, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A page of one size; whatever it complained of or asked of others fails the test."""
    wide, tall = SIZES[request.param]
    shown = browser.new_page(viewport={"width": wide, "height": tall})
    shown.set_default_timeout(SECONDS)
    complaints: list[str] = []
    shown.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
    shown.on("pageerror", lambda error: complaints.append(str(error)))
    shown.on("requestfailed", lambda asked: complaints.append(f"failed: {asked.url}"))
    shown.on(
        "request",
        lambda asked: (
            complaints.append(f"elsewhere: {asked.url}")
            if not asked.url.startswith((address, "data:", "blob:"))
            else None
        ),
    )
    yield shown
    shown.wait_for_load_state("networkidle")
    shown.close()
    assert not complaints


@pytest.mark.browser
@pytest.mark.slow
def test_every_page_is_whole(page: Page, address: str) -> None:
    page.goto(address, wait_until="networkidle")
    links = page.locator("nav.md-nav--primary a.md-nav__link[href], .md-tabs a").evaluate_all(
        "all => all.map(a => a.href)"
    )
    pages = sorted({link.split("#")[0] for link in links if link.startswith(address)})
    assert len(pages) > 35
    for link in pages:
        # all that it loads: what is cut off by going on to the next page is told as failed
        answer = page.goto(link, wait_until="networkidle")
        assert answer is not None and answer.ok
        expect(page.locator("article h1")).to_have_count(1)
        assert not page.evaluate(SIDEWAYS), f"{link} is wider than the screen"
        broken = "all => all.filter(i => !i.complete || !i.naturalWidth).map(i => i.src)"
        assert page.locator("article img").evaluate_all(broken) == []


@pytest.mark.browser
@pytest.mark.slow
@pytest.mark.parametrize("word", ["plugin", "jupyter", "python", "citation", "wkv"])
def test_search_finds(page: Page, address: str, word: str) -> None:
    page.goto(address)
    if page.locator("[data-md-component=search-query]").is_hidden():
        page.locator(".md-header label[for=__search]").first.click()
    page.locator("[data-md-component=search-query]").press_sequentially(word)
    first = page.locator(".md-search-result__link").first
    expect(first).to_be_visible()
    first.click()
    expect(page.locator("article h1")).to_have_count(1)


@pytest.mark.browser
@pytest.mark.slow
def test_navigation_leads_from_the_front_to_a_tutorial(page: Page, address: str) -> None:
    page.goto(address)
    if page.locator(".md-tabs").is_visible():
        page.locator(".md-tabs a", has_text="Tutorials").click()
        page.locator("nav.md-nav--primary a", has_text="Fit to a chip").first.click()
    else:
        page.locator(".md-header label[for=__drawer]").first.click()
        # the drawer opens at the list of the page that is shown
        page.locator("label.md-nav__title[for=__nav_1]").click()
        page.locator("label.md-nav__link[for=__nav_2]").click()
        page.locator("nav.md-nav--primary a", has_text="Fit to a chip").first.click()
    expect(page.locator("article h1")).to_contain_text("Fit to a chip")
