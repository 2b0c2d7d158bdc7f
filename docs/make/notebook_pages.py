"""Notebooks as pages of the site, and the program that runs them anew.

    python docs/make/notebook_pages.py [NAME ...]     # execute all, write what they show into them

MkDocs calls ``on_files``: each ``docs/notebooks/NAME.ipynb`` becomes the page ``notebooks/NAME.md``
with its committed outputs; the notebook itself can be downloaded from it.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import nbformat
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from nbclient import NotebookClient
from nbconvert import MarkdownExporter
from nbformat import NotebookNode

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "notebooks"
SECONDS = 300


def executed(path: Path, folder: Path, **client: object) -> NotebookNode:
    """A notebook run from the top in ``folder``; an error in a cell is raised."""
    notebook = nbformat.read(path, as_version=4)
    runner = NotebookClient(
        notebook, timeout=SECONDS, resources={"metadata": {"path": str(folder)}},
        record_timing=False,
        coalesce_streams=True, **client,
    )  # fmt: skip
    return runner.execute()


def shown(notebook: NotebookNode) -> list[list[str]]:
    """What each code cell shows, as text: printed lines and the values of last lines."""
    found = []
    for cell in notebook.cells:
        if cell.cell_type == "code":
            texts = [
                output.get("text") or output.get("data", {}).get("text/plain", "")
                for output in cell.outputs
                if output.get("name") != "stderr"
            ]
            found.append(texts)
    return found


def page(path: Path) -> tuple[str, dict[str, bytes]]:
    """The notebook as Markdown, with a link to itself behind its title, and its pictures.

    A cell that shows a picture says in its first line, ``# picture: ...``, what one sees in it.
    """
    where = {"output_files_dir": f"{path.stem}-pictures", "unique_key": path.stem}
    text, resources = MarkdownExporter().from_filename(str(path), resources=where)
    cells = [cell.source for cell in nbformat.read(path, as_version=4).cells]
    seen = iter(re.findall(r"^# picture: (.*)$", "\n".join(cells), re.MULTILINE))
    text = re.sub(r"!\[png\]", lambda _: f"![{next(seen)}]", text)
    title, _, rest = text.strip().partition("\n")
    return f"{title}\n\n[This page as a notebook]({path.name}).\n{rest}\n", resources["outputs"]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Called by MkDocs: one page more for each notebook."""
    for path in sorted(FOLDER.glob("*.ipynb")):
        text, pictures = page(path)
        files.append(File.generated(config, f"notebooks/{path.stem}.md", content=text))
        for name, content in pictures.items():
            files.append(File.generated(config, f"notebooks/{name}", content=content))
    return files


def main() -> None:
    """Execute every notebook, or those named, and keep what it shows."""
    for path in sorted(FOLDER.glob("*.ipynb")):
        if sys.argv[1:] and path.stem not in sys.argv[1:]:
            continue
        notebook = executed(path, FOLDER)
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.outputs = [o for o in cell.outputs if o.get("name") != "stderr"]
        nbformat.write(notebook, path)
        print(path.relative_to(ROOT), file=sys.stderr)


if __name__ == "__main__":
    main()
