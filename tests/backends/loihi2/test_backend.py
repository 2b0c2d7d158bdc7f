"""What the loihi2 backend finds on a machine, without raising and without a board."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from spikegpt_neuro.arithmetic.equations import FUNCTIONS
from spikegpt_neuro.backends import get_backend
from spikegpt_neuro.backends.loihi2.probing import ADVICE, find_host
from spikegpt_neuro.decomposition.neuron_programs import OWN_NEURONS
from spikegpt_neuro.errors import Unavailable
from spikegpt_neuro.network.random_networks import RandomShape, random_network

NETWORK = random_network(RandomShape(n_layer=1, n_embd=8, vocabulary_size=4))


def missing() -> tuple[str, ...]:
    return get_backend("loihi2").available().missing


def test_probing_names_everything_that_was_looked_for(machine: Any) -> None:
    availability = get_backend("loihi2").available()
    assert not availability.ok
    assert availability.missing == ("lava-loihi", "a Loihi 2 host")
    assert availability.probed == (
        "lava-loihi (module lava.utils.loihi2_profiler): not found",
        "Ethernet host (NXSDKHOST): not set",
        "SLURM (command sinfo): not found",
        "chip generation (LOIHI_GEN): not set",
    )


def test_opening_without_hardware_is_unavailable_with_advice(machine: Any) -> None:
    with pytest.raises(Unavailable, match="--backend emulator, or lava where") as caught:
        get_backend("loihi2").open(NETWORK)
    assert caught.value.exit_code == 3
    assert len(caught.value.probed) == 4


@pytest.mark.parametrize("generation, good", [
    ("N3B2", True), ("N3B3", True), ("N3C1", True), ("N3D1", True), ("N2A2", False), ("N4", False),
])  # fmt: skip
def test_chip_generations(machine: Any, generation: str, good: bool) -> None:
    machine.ethernet()
    machine.variable("LOIHI_GEN", generation)
    assert missing()[1:] == (
        () if good else (f"a Loihi 2 generation (LOIHI_GEN is {generation}, Loihi 2 is "
                         "N3B2, N3B3, N3C1, N3D1)",)
    )  # fmt: skip


def test_wrong_generation_is_refused_where_all_else_is_there(machine: Any) -> None:
    machine.ready()
    machine.variable("LOIHI_GEN", "N2A2")
    with pytest.raises(Unavailable, match="LOIHI_GEN is N2A2"):
        get_backend("loihi2").open(NETWORK)
    assert machine.boots == []


@pytest.mark.parametrize("state, partition, board, good", [
    ("idle", "", "", True), ("alloc", "oheogulch", "", True), ("idle", "", "kp01", True),
    ("down*", "oheogulch", "", False), ("drain", "oheogulch", "og01", False),
    ("down*", "", "", True), ("idle", "kp", "og01", False), ("idle", "nahuku", "", False),
])  # fmt: skip
def test_boards_slurm_knows(
    machine: Any, state: str, partition: str, board: str, good: bool
) -> None:
    machine.slurm(state)
    machine.variable("PARTITION", partition)
    machine.variable("BOARD", board)
    found = get_backend("loihi2").available()
    assert (len(found.missing) == 1) == good
    assert any(line.startswith("boards (") for line in found.probed)


def test_a_broken_sinfo_is_an_answer_too(machine: Any) -> None:
    machine.command("sinfo", "exit 7")
    found = get_backend("loihi2").available()
    assert "a Loihi 2 board that is up (any partition)" in found.missing
    assert any("exit status 7" in line for line in found.probed)


def test_which_host_is_taken(machine: Any) -> None:
    assert find_host() is None
    machine.slurm()
    host = find_host()
    assert host is not None
    assert (host.kind, host.generation, str(host)) == (
        "slurm", "N3B3", "SLURM default partition, N3B3",
    )  # fmt: skip
    machine.ethernet()
    host = find_host()
    assert host is not None
    assert (host.kind, host.address) == ("ethernet", "192.0.2.1")
    machine.variable("NXSDKHOST", "")
    machine.variable("NOSLURM", "1")
    assert find_host() is None


def program(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "spikegpt_neuro.cli.main", *map(str, arguments)],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip


@pytest.mark.slow
def test_commands_end_with_exit_code_3_and_one_message(machine: Any, tmp_path: Path) -> None:
    from spikegpt_neuro.network.file import write_network

    write_network(NETWORK, tmp_path / "model.net")
    command = ("simulate", tmp_path / "model.net", "--prompt-tokens", "1", "--backend", "loihi2")
    done = program(*command)
    assert (done.returncode, done.stdout) == (3, "")
    assert "Traceback" not in done.stderr
    assert done.stderr.count("error:") == 1
    assert "missing: lava-loihi\n" in done.stderr
    assert "missing: a Loihi 2 host\n" in done.stderr
    assert " ".join(ADVICE.split()) in " ".join(done.stderr.split())
    # everything there but the programs of its neurons
    machine.ready()
    done = program(*command)
    assert (done.returncode, done.stdout) == (3, "")
    assert "wkv: needs a neuron program" in done.stderr
    assert machine.boots == []


@pytest.mark.slow
def test_inspect_judges_a_network_for_every_target(machine: Any, tmp_path: Path) -> None:
    from spikegpt_neuro.hardware_profiles import list_profiles
    from spikegpt_neuro.network.file import write_network

    write_network(NETWORK, tmp_path / "model.net")
    command = ("inspect", tmp_path / "model.net", "--deployability")
    done = program(*command)
    assert done.returncode == 0, done.stderr
    assert "Program wkv: the SRWKV recurrence" in done.stdout
    # every line of an equation, and of what it calls
    for text in (OWN_NEURONS["wkv"].equation, FUNCTIONS["exp2"][1]):
        assert all(line in done.stdout for line in text.splitlines())
    values = json.loads(program(*command, "--profile", "loihi2", "--json").stdout)
    assert [v["profile"] for v in values["deployability"]["verdicts"]] == ["loihi2"]
    assert "loihi2: needs neuron programs for" in done.stdout
    assert all(f"{name}: " in done.stdout for name in list_profiles())
    lonely = program("inspect", tmp_path / "model.net", "--profile", "loihi2")
    assert (lonely.returncode, lonely.stdout) == (2, "")


@pytest.mark.slow
def test_energy_shows_the_measurement_beside_the_estimates(machine: Any, tmp_path: Path) -> None:
    from spikegpt_neuro.network.file import write_network

    network = random_network(RandomShape(n_layer=1, n_embd=8, vocabulary_size=256))
    write_network(network, tmp_path / "model.net")
    (tmp_path / "text.txt").write_text("in the beginning")
    (tmp_path / "vocabulary.json").write_text(
        json.dumps({str(i): chr(i) for i in range(256)}), encoding="utf-16"
    )
    arguments = (
        "energy", tmp_path / "model.net", "--text", tmp_path / "text.txt", "--vocab",
        tmp_path / "vocabulary.json", "--profile", "loihi2",
    )  # fmt: skip
    machine.ready()
    machine.install("programs")
    done = program(*arguments, "--backend", "loihi2", "--output", tmp_path / "board.json")
    assert done.returncode == 0, done.stderr
    assert "loihi2 measured" in done.stdout
    assert "host 192.0.2.1, N3B3, lava-loihi of unknown version" in done.stdout
    assert "power: total 0.6 W, static 0.25 W" in done.stdout
    report = json.loads((tmp_path / "board.json").read_text())
    (measured,) = report["measurements"]
    estimated = report["reports"][0]
    assert report["tokens"] == measured["tokens"] == 16
    # the same keys mean the same: every one of a measurement but its own is in an estimate
    assert set(measured) - set(estimated) == {
        "status", "neuron_updates_per_token", "measurement",
    }  # fmt: skip
    assert {row["status"] for row in measured["parts"]} == {"measured"}
    assert measured["energy_joules_per_token"] == pytest.approx(
        sum(row["energy_joules_per_token"] for row in measured["parts"])
    )
    assert measured["energy_joules_per_token"] == pytest.approx(
        0.6 * 20e-6 * measured["time"]["time_steps_per_token"]
    )
    # taken to another machine, it stands beside estimates from the emulator's counts
    again = program(*arguments, "--measured", tmp_path / "board.json", "--json")
    values = json.loads(again.stdout)
    assert values["measurements"] == report["measurements"]
    assert values["counters"] == report["counters"]
    page = program(
        *arguments, "--measured", tmp_path / "board.json", "--output", tmp_path / "page.html"
    )
    assert page.returncode == 0, page.stderr
    assert "measured: host 192.0.2.1, N3B3" in (tmp_path / "page.html").read_text()
    (tmp_path / "no.json").write_text(json.dumps({"measurements": []}))
    wrong = program(*arguments, "--measured", tmp_path / "no.json")
    assert wrong.returncode == 2
    assert "no.json holds no measurements" in wrong.stderr
