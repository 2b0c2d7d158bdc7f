"""``python -m release.build [FOLDER]``: sdist and wheel, the same bytes wherever they are built.

Two builds of one commit are equal if Python, zlib and setuptools (pinned in constraints.txt) are:
every time stamp is the commit's (or ``SOURCE_DATE_EPOCH``), files are taken from git's list with
modes of two kinds, names are sorted, owners are dropped. The wheel is built from the sdist.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
SUMS = "SHA256SUMS"


def _git(*arguments: str) -> bytes:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=True).stdout


def epoch() -> int:
    """Seconds since 1970 that every file of the build carries."""
    given = os.environ.get("SOURCE_DATE_EPOCH")
    return int(given or _git("log", "-1", "--format=%ct"))


def copy_sources(folder: Path) -> None:
    """The files git knows or would add, as they are now, with modes 644 or 755."""
    for name in _git("ls-files", "-co", "--exclude-standard", "-z").split(b"\0"):
        source = ROOT / name.decode()
        if not name or not source.is_file():
            continue
        target = folder / name.decode()
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
        target.chmod(0o755 if os.access(source, os.X_OK) else 0o644)


def _plain(member: tarfile.TarInfo, seconds: int) -> tarfile.TarInfo:
    member.mtime = seconds
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    executable = member.isdir() or member.mode & 0o100
    member.mode = 0o755 if executable else 0o644
    member.pax_headers = {}
    return member


def normalise(path: Path, seconds: int) -> None:
    """Rewrite a .tar.gz in place: members sorted, one time, no owners, no name in gzip's header."""
    plain = io.BytesIO()
    with (
        tarfile.open(path) as old,
        tarfile.open(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT) as new,
    ):
        for member in sorted(old.getmembers(), key=lambda member: member.name):
            new.addfile(_plain(member, seconds), old.extractfile(member))
    with path.open("wb") as file, gzip.GzipFile("", "wb", 9, file, mtime=seconds) as packed:
        packed.write(plain.getvalue())


def _build(kind: str, source: Path, folder: Path, seconds: int) -> Path:
    """Run the build backend in this environment; its sdist or wheel in ``folder``."""
    subprocess.run(
        [sys.executable, "-m", "build", f"--{kind}", "--no-isolation", "--outdir", folder, source],
        check=True, capture_output=True, umask=0o022,
        env={**os.environ, "SOURCE_DATE_EPOCH": str(seconds), "PYTHONHASHSEED": "0"},
    )  # fmt: skip
    (built,) = folder.glob("*.tar.gz" if kind == "sdist" else "*.whl")
    return built


def build(folder: Path) -> list[Path]:
    """The sdist and the wheel, written to ``folder`` with a file of their SHA-256."""
    seconds = epoch()
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        copy_sources(work / "source")
        sdist = _build("sdist", work / "source", work / "built", seconds)
        normalise(sdist, seconds)
        with tarfile.open(sdist) as archive:
            archive.extractall(work / "unpacked", filter="data")
        (unpacked,) = (work / "unpacked").iterdir()
        wheel = _build("wheel", unpacked, work / "built", seconds)
        folder.mkdir(parents=True, exist_ok=True)
        made = [Path(shutil.copy(path, folder / path.name)) for path in (sdist, wheel)]
    sums = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in made]
    (folder / SUMS).write_text("".join(sums))
    return made


def main() -> None:
    """Build into the folder given, or ``dist``; say what was built."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "dist"
    try:
        build(folder)
    except subprocess.CalledProcessError as error:
        sys.exit(f"{error}\n{(error.stderr or error.stdout or b'').decode()}")
    print((folder / SUMS).read_text(), end="")


if __name__ == "__main__":
    main()
