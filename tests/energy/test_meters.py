"""Measured joules: a faithful tree of powercap files, a command that "uses" them, and no meter."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from spikegpt_neuro.cli.program import app
from spikegpt_neuro.energy.measured_command import measure_phase
from spikegpt_neuro.energy.meters import find_meters
from spikegpt_neuro.errors import InputError, RunFailed, Unavailable

RANGE = 262_143_328_850
"""max_energy_range_uj of a common Intel package."""


def _zone(folder: Path, name: str, domain: str, energy: int) -> Path:
    """A zone as the kernel shows it: a device folder, linked from class/powercap."""
    device = folder / "devices/virtual/powercap/intel-rapl" / name
    device.mkdir(parents=True)
    (device / "name").write_text(f"{domain}\n")
    (device / "energy_uj").write_text(f"{energy}\n")
    (device / "max_energy_range_uj").write_text(f"{RANGE}\n")
    (device / "enabled").write_text("0\n")
    linked = folder / "class/powercap"
    linked.mkdir(parents=True, exist_ok=True)
    (linked / name).symlink_to(device)
    return device / "energy_uj"


@pytest.fixture
def tree(tmp_path: Path) -> dict[str, Path]:
    """One package with cores and memory inside it; the counter of the package is near its end."""
    root = tmp_path / "sys"
    control = root / "devices/virtual/powercap/intel-rapl"
    control.mkdir(parents=True)
    (root / "class/powercap").mkdir(parents=True)
    (root / "class/powercap/intel-rapl").symlink_to(control)
    return {
        "root": root,
        "package": _zone(root, "intel-rapl:0", "package-0", RANGE - 1_000_000),
        "core": _zone(root, "intel-rapl:0:0", "core", 7),
        "dram": _zone(root, "intel-rapl:0:1", "dram", 500),
    }


def _burn(tree: dict[str, Path], package: int, dram: int = 0) -> list[str]:
    """A command that adds so many microjoules to the counters, around the end of their range."""
    files = [(str(tree["package"]), package), (str(tree["dram"]), dram)]
    code = (
        "import pathlib, time\n"
        f"time.sleep({0.3 if dram else 0.0})\n"
        f"for file, more in {files}:\n"
        "    path = pathlib.Path(file)\n"
        f"    path.write_text(str((int(path.read_text()) + more) % ({RANGE} + 1)))\n"
    )
    return [sys.executable, "-c", code]


def test_packages_and_memory_are_read_and_cores_are_not_counted_twice(
    tree: dict[str, Path],
) -> None:
    meters = find_meters(tree["root"], cards=False)
    assert [meter.name for meter in meters] == [
        "rapl package-0 (intel-rapl:0)", "rapl dram (intel-rapl:0:1)",
    ]  # fmt: skip


def test_a_platform_domain_stands_for_all_others(tree: dict[str, Path]) -> None:
    _zone(tree["root"], "intel-rapl:1", "psys", 1)
    (meter,) = find_meters(tree["root"], cards=False)
    assert meter.name == "rapl psys (intel-rapl:1)"


def test_joules_a_token_are_what_the_counters_say_wraps_undone(tree: dict[str, Path]) -> None:
    meters = find_meters(tree["root"], cards=False)
    start, run = _burn(tree, 1_000_000), _burn(tree, 41_000_000, 8_000_000)
    phase = measure_phase("prefill", run, 100, meters, 0.0, start)
    assert phase.run.joules == pytest.approx(
        {"rapl package-0 (intel-rapl:0)": 41.0, "rapl dram (intel-rapl:0:1)": 8.0}
    )
    assert phase.joules_per_token == pytest.approx(0.48)  # 49 J less 1 J of the start
    assert phase.joules_per_token_above_idle == phase.joules_per_token
    with_idle = measure_phase("prefill", run, 100, meters, 10.0)
    expected = (49.0 - 10.0 * with_idle.run.seconds) / 100
    assert with_idle.joules_per_token_above_idle == pytest.approx(expected)


def test_a_run_that_fails_or_takes_less_than_its_start_is_no_measurement(
    tree: dict[str, Path],
) -> None:
    meters = find_meters(tree["root"], cards=False)
    with pytest.raises(RunFailed, match="ended with 3"):
        measure_phase("prefill", [sys.executable, "-c", "raise SystemExit(3)"], 1, meters, 0.0)
    with pytest.raises(InputError, match="no more energy or time"):
        measure_phase("prefill", _burn(tree, 1), 1, meters, 0.0, _burn(tree, 5_000_000))


def test_without_a_meter_it_says_what_is_missing(tmp_path: Path, tree: dict[str, Path]) -> None:
    with pytest.raises(Unavailable, match="no RAPL domains") as caught:
        find_meters(tmp_path / "nothing", cards=False)
    assert caught.value.exit_code == 3
    for name in ("package", "dram"):
        tree[name].unlink()  # as unreadable as root's files are to others; tests may run as root
    with pytest.raises(Unavailable, match="No such file"):
        find_meters(tree["root"], cards=False)


def _invoke(*arguments: str) -> tuple[int, dict[str, object], BaseException | None]:
    done = CliRunner().invoke(app, ["measure", "--no-cards", "--json", *arguments])
    return done.exit_code, json.loads(done.stdout or "{}"), done.exception


def test_the_command_puts_measured_beside_estimated(tmp_path: Path, tree: dict[str, Path]) -> None:
    script = tmp_path / "burn.py"
    script.write_text(_burn(tree, 20_000_000)[2])
    report = tmp_path / "report.json"
    rows = [
        {"profile": "loihi2", "mode": mode, "energy_joules_per_token": joules,
         "time": {"seconds_per_token": 1e-5}}
        for mode, joules in (("pipelined", 1e-6), ("fall-through", 5e-6))
    ]  # fmt: skip
    report.write_text(json.dumps({"reports": rows}))
    command = f"{sys.executable} {script}"
    code, found, error = _invoke(
        "--sysfs", str(tree["root"]), "--idle", "0.05", "--beside", str(report),
        "--prefill", command, "--prefill-tokens", "10",
        "--generation", command, "--generation-tokens", "4",
    )  # fmt: skip
    assert code == 0, error
    phases = found["phases"]
    assert isinstance(phases, list)
    assert [phase["energy_joules_per_token"] for phase in phases] == pytest.approx([2.0, 5.0])
    assert found["idle_watts"] == 0.0
    assert [row["energy"] for row in found["estimates"]] == [1e-6, 5e-6]  # type: ignore[index,union-attr]
    code, _, error = _invoke("--prefill", command)
    assert isinstance(error, InputError) and code
    code, _, error = _invoke(
        "--sysfs", str(tmp_path / "none"), "--prefill", command, "--prefill-tokens", "1"
    )
    assert isinstance(error, Unavailable)
