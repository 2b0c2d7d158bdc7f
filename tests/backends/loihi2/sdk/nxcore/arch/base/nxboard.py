"""The board: what it does is written in the environment variable FAKE_LOIHI2, as JSON.

way_in, way_out   latency of the spike adapters in time steps (0 and 1 if not given)
board             "refuses" raises on connecting; "queues" waits for ever, as in SLURM's queue
fails, hangs      [boot, step]: raise, or never return, in that time step of that boot (from 1)
wrong             time step in which the first value that leaves the chip is wrong
log               file to which every connection, step and release is appended
profilers         names of the profilers this SDK has (all if not given)
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path


def scenario() -> dict:
    return json.loads(os.environ.get("FAKE_LOIHI2", "{}"))


class NxBoard:
    def __init__(self) -> None:
        self._scenario = scenario()
        self._steps = 0
        self.boot = 0

    def _log(self, line: str) -> None:
        if "log" in self._scenario:
            with Path(self._scenario["log"]).open("a") as file:
                file.write(line + "\n")

    def connect(self) -> None:
        # the real driver keeps an `srun` of its own in the background
        self._srun = subprocess.Popen(["sleep", "600"], start_new_session=True)
        if self._scenario.get("board") == "queues":
            time.sleep(600)
        if self._scenario.get("board") == "refuses":
            raise RuntimeError("Boards might be busy")
        self._log("connect")
        if "log" in self._scenario:
            self.boot = Path(self._scenario["log"]).read_text().splitlines().count("connect")

    def step(self) -> None:
        self._steps += 1
        if self._scenario.get("fails") == [self.boot, self._steps]:
            raise RuntimeError(f"the board stopped at time step {self._steps}")
        if self._scenario.get("hangs") == [self.boot, self._steps]:
            time.sleep(600)

    def disconnect(self) -> None:
        self._srun.kill()
        self._srun.wait()
        self._log(f"disconnect after {self._steps} steps")
