"""A machine with as much of a Loihi 2 as a test wants: see ``sdk/README.md``."""

from __future__ import annotations

import json
import os
import stat
import uuid
from pathlib import Path

import pytest

HERE = Path(__file__).parent
VARIABLES = (
    "NXSDKHOST", "HOST_BINARY", "LOIHI_GEN", "SLURM", "NOSLURM", "PARTITION", "BOARD",
    "FAKE_LOIHI2", "SPIKEGPT_NEURO_LOIHI2_START_SECONDS", "SPIKEGPT_NEURO_LOIHI2_RUN_SECONDS",
)  # fmt: skip
SINFO = """NODELIST  NODES PARTITION    STATE
og01      1     oheogulch*   {state}
kp01      1     kp           idle
"""


class Machine:
    """What a test installs; everything reaches child processes through the environment."""

    def __init__(self, patch: pytest.MonkeyPatch, folder: Path) -> None:
        self._patch, self._folder = patch, folder
        self.log = folder / "board.log"
        self._commands = folder / "commands"
        self._commands.mkdir()
        for variable in VARIABLES:
            patch.delenv(variable, raising=False)
        # found in the environment of everything this test starts, and of no other test's
        self.mark = uuid.uuid4().hex
        patch.setenv("SPIKEGPT_NEURO_TEST", self.mark)
        # nothing but what a test installs, and the tools of these scripts
        patch.setenv("PATH", f"{self._commands}:/usr/bin:/bin")

    def install(self, name: str) -> None:
        """``sdk``, ``programs``, or a folder of the test's own, on every process's path."""
        path = str(HERE / name if "/" not in name else name)
        self._patch.syspath_prepend(path)
        before = os.environ.get("PYTHONPATH", "")
        self._patch.setenv("PYTHONPATH", f"{path}:{before}" if before else path)

    def command(self, name: str, script: str) -> None:
        path = self._commands / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    def ethernet(self, answers: bool = True) -> None:
        self._patch.setenv("NXSDKHOST", "192.0.2.1")
        self.command("ping", "echo 64 bytes" if answers else "exit 1")

    def slurm(self, state: str = "idle") -> None:
        self.command("sinfo", f"cat <<'END'\n{SINFO.format(state=state)}END")

    def board(self, **scenario: object) -> None:
        self._patch.setenv("FAKE_LOIHI2", json.dumps({"log": str(self.log), **scenario}))

    def variable(self, name: str, value: object) -> None:
        self._patch.setenv(name, str(value))

    def ready(self, **scenario: object) -> None:
        """SDK, host and board, all working."""
        self.install("sdk")
        self.ethernet()
        self.board(**scenario)

    @property
    def boots(self) -> list[str]:
        """What the board saw."""
        return self.log.read_text().splitlines() if self.log.exists() else []


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Machine:
    return Machine(monkeypatch, tmp_path)
