"""The HTML page: self-contained, well-formed, accessible, and right in a real browser."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest

from spikegpt_neuro.energy import Study
from spikegpt_neuro.hardware_profiles import load_profile
from spikegpt_neuro.reports.html import html_page
from spikegpt_neuro.reports.svg import escape
from tests.chromium import find_browser

MakeStudy = Callable[[str], Study]
LAYOUTS = pytest.mark.parametrize("layout", ["upstream", "spike-driven"])
VOID = {"meta", "link", "br"}


class _Page(HTMLParser):
    """Checks nesting, and collects what the tests ask about."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.identifiers: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        self.identifiers += [value or "" for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def _parse(page: str) -> _Page:
    parsed = _Page()
    parsed.feed(page)
    assert parsed.open == []
    return parsed


@LAYOUTS
def test_the_page_is_well_formed_and_needs_nothing_from_elsewhere(
    make_study: MakeStudy, layout: str
) -> None:
    page = html_page(make_study(layout), date="2026-01-31")
    parsed = _parse(page)
    assert len(parsed.identifiers) == len(set(parsed.identifiers))
    for tag, name, value in parsed.attributes:
        if name in ("src", "href"):
            assert value.startswith(("#", "data:")), (tag, value)
    outside = re.findall(r"https?://[^\"'< ]+", page)
    assert set(outside) <= {"http://www.w3.org/2000/svg"}
    assert "2026-01-31" in page
    assert "&lt;a&gt; &amp; &quot;b&quot;.txt" in page


@LAYOUTS
def test_charts_and_tables_speak_to_screen_readers(make_study: MakeStudy, layout: str) -> None:
    parsed = _parse(html_page(make_study(layout)))
    known = set(parsed.identifiers)
    for tag, name, value in parsed.attributes:
        if name == "aria-labelledby":
            assert set(value.split()) <= known, (tag, value)
        if name == "href" and value.startswith("#"):
            assert value[1:] in known
    charts = parsed.tags.count("svg")
    assert charts >= 10
    assert parsed.tags.count("desc") == charts
    assert parsed.tags.count("caption") == parsed.tags.count("table")
    assert ("html", "lang", "en") in parsed.attributes
    levels = [int(tag[1]) for tag in parsed.tags if tag in ("h1", "h2", "h3", "h4")]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert parsed.tags.count("th") == sum(a[:2] == ("th", "scope") for a in parsed.attributes)
    for landmark in ("header", "nav", "main", "footer"):
        assert parsed.tags.count(landmark) == 1
    boxes = [a for a in parsed.attributes if a[1:] == ("role", "group")]
    assert len(boxes) == sum(a[1] == "tabindex" for a in parsed.attributes)
    assert len(boxes) == charts + parsed.tags.count("table")


def test_every_coefficient_shows_its_source(make_study: MakeStudy) -> None:
    study = make_study("upstream")
    page = html_page(study)
    for report in study.reports:
        for figure in report.profile.coefficients.values():
            assert f">{figure.name}<" in page
            assert f">{figure.status}<" in page
    assert "No per-operation data" in page
    # every line of every bill stands beside the source of its price
    for report in study.reports:
        for line in report.lines:
            row = re.search(f"<th scope=.row.>{re.escape(line.event)}</th>(.*?)</tr>", page)
            assert row is not None, line.event
    assert page.count("M. Davies et al.") > 4 * len(load_profile("loihi1-paper").coefficients)


@LAYOUTS
def test_the_claim_is_answered_for_every_method(make_study: MakeStudy, layout: str) -> None:
    study = make_study(layout)
    page = html_page(study)
    for claim in study.claims:
        assert escape(claim.sentence) in page
    for comparison in study.comparisons:
        for answer in comparison.answers:
            assert escape(answer) in page
    for row in study.paper.rows:
        assert row.vanilla_formula in page and row.spiking_formula in page
    assert "E_AC = 0.9 pJ, E_MAC = 4.6 pJ" in page


def test_the_same_study_gives_the_same_page(make_study: MakeStudy) -> None:
    study = make_study("upstream")
    assert html_page(study, date="d") == html_page(study, date="d")
    assert html_page(study, date="d") != html_page(study, date="e")


def _run(browser: str, home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
            "--enable-logging=stderr", f"--user-data-dir={home}", *arguments,
        ],
        capture_output=True, text=True, timeout=600, check=True,  # a busy machine is slow
    )  # fmt: skip


_PROBE = """
<script>addEventListener('load',function(){
var narrow=[].filter.call(document.querySelectorAll('svg.chart'),function(c){
var b=c.getBoundingClientRect();return b.width<100||b.height<20});
var wide=document.documentElement.scrollWidth>innerWidth;
dispatchEvent(new Event('beforeprint'));
var shut=document.querySelectorAll('details:not([open])').length;
document.title='charts '+document.querySelectorAll('svg.chart').length+' broken '+narrow.length+
' sideways '+wide+' folded '+shut})</script>
"""


@pytest.mark.browser
@pytest.mark.parametrize("width", [390, 1100], ids=["phone", "desk"])
@LAYOUTS
def test_a_real_browser_shows_every_chart_without_complaint(
    make_study: MakeStudy, tmp_path: Path, layout: str, width: int
) -> None:
    browser = find_browser()
    page = html_page(make_study(layout), date="2026-01-31")
    path = tmp_path / "report.html"
    path.write_text(page.replace("</body>", _PROBE + "</body>"), encoding="utf-8")
    size = f"--window-size={width},1200"
    shown = _run(browser, tmp_path / "home", size, "--dump-dom", path.as_uri())
    found = re.search(r"<title>(charts .*?)</title>", shown.stdout)
    assert found is not None
    charts = page.count('<svg class="chart"')
    assert found[1] == f"charts {charts} broken 0 sideways false folded 0"
    assert "CONSOLE" not in shown.stderr, shown.stderr
    picture = tmp_path / "report.png"
    _run(browser, tmp_path / "home", size, f"--screenshot={picture}", path.as_uri())
    assert picture.read_bytes().startswith(b"\x89PNG") and picture.stat().st_size > 20_000


_PAPER = """
<script>addEventListener('load',function(){dispatchEvent(new Event('beforeprint'));
var cut=[].filter.call(document.querySelectorAll('table'),function(t){
return t.getBoundingClientRect().right>innerWidth}).map(function(t){return t.caption.innerText});
document.title='cut '+cut.length+': '+cut.join('; ')})</script>
"""


@pytest.mark.browser
def test_no_table_is_cut_on_paper(make_study: MakeStudy, tmp_path: Path) -> None:
    browser = find_browser()
    page = html_page(make_study("spike-driven"), date="2026-01-31")
    # the rules for paper, shown on a screen as wide as the text of an A4 page
    on_paper = page.replace("@media print{", "@media screen{")
    path = tmp_path / "report.html"
    path.write_text(on_paper.replace("</body>", _PAPER + "</body>"), encoding="utf-8")
    shown = _run(
        browser, tmp_path / "home", "--window-size=688,1200", "--dump-dom", path.as_uri()
    ).stdout  # fmt: skip
    found = re.search(r"<title>(cut .*?)</title>", shown)
    assert found is not None
    assert found[1] == "cut 0: "
    printed = tmp_path / "report.pdf"
    _run(browser, tmp_path / "home", f"--print-to-pdf={printed}", path.as_uri())
    assert printed.read_bytes().startswith(b"%PDF")
