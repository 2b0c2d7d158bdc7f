"""``readers.hdf5``'s child for thousands of inputs, without starting an interpreter for each.

One small process imports h5py and nothing else of size. A fork of it parses one file after the
other under the limits of the child that a command starts, the time and the size of the answer
counted anew for each; a file that loops or breaks libhdf5 ends that fork alone, and the next file
gets a new one. Starting the real child takes 500 times as long as parsing a small file, and forking
the attacking process, which has PyTorch in it, 10 times.
"""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import BinaryIO

from spikegpt_neuro.errors import InputError
from spikegpt_neuro.readers import hdf5, hdf5_child

SECONDS = 0.5
"""Processor time of a parse; ten times what the largest good file here takes."""
MOST_FILES, RETIRED = 500, 64
"""Files that one fork parses, and the exit code with which it then ends: libhdf5 may leak."""
_running: list[socket.socket] = []


def _parser() -> socket.socket:
    """The way to this process's parser, which ends when that is closed."""
    if not _running:
        ours, its = socket.socketpair()
        subprocess.Popen(
            [sys.executable, "-m", "attacks.hdf5_parser", str(its.fileno())],
            pass_fds=[its.fileno()], stdin=subprocess.DEVNULL,
            cwd=Path(__file__).resolve().parents[1],
        )  # fmt: skip
        its.close()
        _running.append(ours)
    return _running[0]


def describe(path: Path, what: str, stream: BinaryIO, result: BinaryIO, output: int) -> None:
    """In place of ``hdf5._describe``, with the same outcomes."""
    parser = _parser()
    files = [stream.fileno(), result.fileno()]
    socket.send_fds(parser, [output.to_bytes(8, "little")], files)
    answer = parser.recv(8)
    if len(answer) != 8:
        raise RuntimeError("the parser of HDF5 has ended")
    if int.from_bytes(answer, "little", signed=True):
        raise InputError(f"{path} cannot be read as {what}: its child was ended.")


def install() -> None:
    """Let ``readers.hdf5`` of this process parse so."""
    hdf5._describe = describe


def parse(connection: socket.socket) -> int:
    """Parse what is asked for, in a process that may be ended by it; its exit code."""
    hdf5_child.limit(sys.maxsize, hdf5.MEMORY, sys.maxsize, files=None)
    for _ in range(MOST_FILES):
        asked, files, _, _ = socket.recv_fds(connection, 8, 2)
        if not asked:
            return 0
        output = int.from_bytes(asked, "little")
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        resource.setrlimit(resource.RLIMIT_FSIZE, (output, hard))
        signal.setitimer(signal.ITIMER_PROF, SECONDS)  # its signal ends the process
        with os.fdopen(files[0], "rb") as stream, os.fdopen(files[1], "wb") as result:
            hdf5_child.describe(stream, result, output)
        signal.setitimer(signal.ITIMER_PROF, 0)
        connection.send(bytes(8))
    return RETIRED


def serve(connection: socket.socket) -> None:
    """Keep a fork that parses; where a file ended it, say so, and keep another."""
    while True:
        process = os.fork()
        if not process:
            code = 1
            try:
                code = parse(connection)
            finally:
                os._exit(code)
        code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        if code == 0:
            return
        if code != RETIRED:
            connection.send(code.to_bytes(8, "little", signed=True))


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as given:
        serve(given)
