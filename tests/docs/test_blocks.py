"""Every code block of the documentation does what its page says; the pictures are of that run."""

from __future__ import annotations

from pathlib import Path

import page_blocks
import pictures
import pytest
from page_blocks import BlockFailed, Runner, counts, pages, read_page

import spikegpt_neuro as sn

ROOT = Path(__file__).parents[2]
PAGES = [path for path in pages() if any(b.fate == "run" for b in read_page(path).blocks)]


@pytest.fixture(scope="session")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Runner:
    return Runner(tmp_path_factory.mktemp("pages"))


@pytest.mark.slow
@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_the_blocks_of_a_page_run(runner: Runner, path: Path) -> None:
    runner.run(path)


@pytest.mark.slow
def test_the_pictures_are_what_a_run_draws(runner: Runner) -> None:
    drawn = pictures.draw_all(sn.load(runner.run(ROOT / "docs/tutorial.md") / "model.net"))
    assert set(drawn) == {path.name for path in pictures.FOLDER.glob("*.svg")}
    for name, text in drawn.items():
        assert text == (pictures.FOLDER / name).read_text("utf-8"), (
            f"{name} is not current; run: python docs/make/pictures.py"
        )


def test_every_block_has_a_language_and_what_is_not_run_a_reason(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert not [problem for path in pages() for problem in read_page(path).problems]
    blocks = [block for path in pages() for block in read_page(path).blocks]
    fates = [block.fate for block in blocks]
    assert fates.count("run") > 1.5 * fates.count("marked")
    with capsys.disabled():
        print(f"\n{counts(pages())}")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("```bash\nexit 3\n```\n", "exit code 3"),
        ("```bash\nfalse | true\n```\n", "exit code 1"),
        ("```console\n$ echo a b\na c\n```\n", "the page says"),
        ("```console\necho a\n```\n", r"begins with '\$ '"),
        ("```python\n1 / 0\n```\n", "ZeroDivisionError"),
        ("```python\n1 + 1  # => 3\n```\n", "the page says"),
    ],
)
def test_a_block_that_does_something_else_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, said: str
) -> None:
    monkeypatch.setattr(page_blocks, "ROOT", tmp_path)
    page = tmp_path / "page.md"
    page.write_text(text)
    runner = Runner(tmp_path / "home")
    for _ in range(2):  # the second time it is remembered
        with pytest.raises(BlockFailed, match=said):
            runner.run(page)


def test_what_a_page_writes_continues_and_leaves_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_blocks, "ROOT", tmp_path)
    (tmp_path / "first.md").write_text(
        '```text title="a/b.txt"\nheld\n```\n\n```python\nx = 1\n```\n\n```python\nx  # => 1\n```\n'
    )
    second = tmp_path / "second.md"
    second.write_text(
        "<!-- continues: first.md -->\n\n```console\n$ cat \\\n  a/b.txt\nh...d\n$ true\n```\n\n"
        "<!-- not run: it would fail here -->\n\n```bash\nfalse\n```\n"
    )
    Runner(tmp_path / "home").run(second)
    assert [block.fate for block in read_page(second).blocks] == ["run", "marked"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Some text.\n\n    indented\n", "indented block"),
        ("```\nwhat\n```\n", "language ''"),
        ("<!-- not run: no -->\n\n```bash\nx\n```\n", "needs a reason"),
        ("<!-- not run: of nothing at all -->\n\nText.\n", "in front of no block"),
    ],
)
def test_what_cannot_be_run_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, said: str
) -> None:
    monkeypatch.setattr(page_blocks, "ROOT", tmp_path)
    page = tmp_path / "page.md"
    page.write_text(text)
    (problem,) = read_page(page).problems
    assert said in problem
