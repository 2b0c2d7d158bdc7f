"""The page to type into: whole by itself, accessible, and right in a real browser."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

import httpx2
import pytest

from tests.serving.browser import opened
from tests.serving.conftest import Running, alone

PAGE = (files("spikegpt_neuro.serving") / "page.html").read_text(encoding="utf-8")


def test_the_page_needs_nothing_from_elsewhere(server: Running) -> None:
    answer = httpx2.get(f"{server.url}/")
    assert answer.text == PAGE
    assert "connect-src 'self'" in answer.headers["content-security-policy"]
    assert not re.findall(r"https?://", PAGE)
    assert re.findall(r'(?:src|href)="([^"]*)"', PAGE) == ["data:,"]


def test_every_field_has_a_label_and_every_status_is_said() -> None:
    fields = re.findall(r'<(?:input|textarea) id="(\w+)"', PAGE)
    assert fields == re.findall(r'<label for="(\w+)"', PAGE) and len(fields) == 5
    for spoken in ('role="status"', 'role="alert"', 'lang="en"', "aria-labelledby"):
        assert spoken in PAGE


def _luminance(colour: str) -> float:
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    linear = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(a: str, b: str) -> float:
    light, dark = sorted((_luminance(a), _luminance(b)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.browser
@pytest.mark.parametrize(
    ("width", "dark"), [(390, True), (1100, False)], ids=["phone, dark", "desk, light"]
)
def test_a_real_browser_shows_what_the_run_alone_says(
    server: Running, tmp_path: Path, width: int, dark: bool
) -> None:
    with opened(tmp_path / "home", server.url, width=width, dark=dark) as page:
        page.until("document.getElementById('model').textContent === 'small'")
        for field, text in (
            ("prompt", "Hello there"), ("tokens", "150"), ("temperature", "0.8"), ("top_p", "0.9"),
            ("seed", "11"),
        ):  # fmt: skip
            page.type(field, text)
        page.press("Enter", 13, "\r")  # the keyboard is enough
        page.until("document.getElementById('status').textContent === 'Done.'")
        expected = alone("Hello there", 150, temperature=0.8, top_p=0.9, seed=11)
        assert page.run("document.getElementById('output').textContent") == (
            "Hello there" + expected.text
        )
        told = page.run("[...document.querySelectorAll('dd')].map(d => d.textContent)")
        rate, counted, operations, spikes, updates, joules, seed = told
        both = expected.prompt + expected.completion
        assert float(rate.replace(",", "")) > 0
        assert counted == "11, 150" and seed == "11"
        assert operations == f"{both.total('synaptic_operations'):,}"
        assert int(spikes.replace(",", "")) > 0 and int(updates.replace(",", "")) > 0
        assert re.fullmatch(r"[\d.]+ [mµn]?J on loihi2 \([\d.]+ .*J to [\d.]+ .*J\)", joules)
        assert page.run("document.documentElement.scrollWidth <= innerWidth")
        colours = page.run(
            "['body', '#generate', 'p', '#output'].map(s => { const c = "
            "getComputedStyle(document.querySelector(s)); const b = s === 'p' ? "
            "getComputedStyle(document.body) : c; return [c.color, b.backgroundColor]; })"
        )
        assert all(_contrast(*pair) >= 4.5 for pair in colours), colours
        assert (_luminance(colours[0][1]) < 0.1) is dark
        # what the server refuses is said
        page.type("prompt", "100 %")
        page.run("document.getElementById('generate').click()")
        page.until("document.getElementById('problem').textContent.includes('no token for')")
        assert page.run("document.getElementById('generate').disabled") is False
        # a stop frees the stream
        page.type("prompt", "Hello")
        page.type("tokens", "2900")
        page.run("document.getElementById('generate').click()")
        page.until("document.getElementById('output').textContent.length > 30")
        page.run("document.getElementById('stop').click()")
        page.until("document.getElementById('status').textContent === 'Stopped.'")
        # the refusal above is an answer the browser's log names, and nothing else is in it
        said = [str(complaint) for complaint in page.complaints()]
        assert len(said) == 1 and "400 (Bad Request)" in said[0], said
        assert all(address.startswith((server.url, "data:")) for address in page.addresses()), (
            page.addresses()
        )
