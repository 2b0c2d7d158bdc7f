"""The commands ``energy``, ``map`` and ``profiles``, from files to exit codes."""

from __future__ import annotations

import csv
import io
import json
import os
import string
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import spikegpt_neuro as sn
from spikegpt_neuro.cli.program import app
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.network.file import write_network
from spikegpt_neuro.network.random_networks import RandomShape, random_network


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A network, its vocabulary and a text."""
    folder = tmp_path_factory.mktemp("commands")
    found = {name: folder / name for name in ("model.net", "vocabulary.json", "text.txt")}
    letters = string.ascii_letters[:50]
    write_network(random_network(RandomShape(vocabulary_size=50)), found["model.net"])
    vocabulary = json.dumps({str(i): letter for i, letter in enumerate(letters)})
    found["vocabulary.json"].write_bytes(vocabulary.encode("utf-16"))
    found["text.txt"].write_text("spikesgobywhilenobodylooks" * 4)
    return found


def _energy(files: dict[str, Path], *arguments: str) -> list[str]:
    return [
        "energy", str(files["model.net"]), "--text", str(files["text.txt"]),
        "--vocab", str(files["vocabulary.json"]), "--quiet", *arguments,
    ]  # fmt: skip


def test_energy_prints_one_json_value_with_the_promised_key(files: dict[str, Path]) -> None:
    result = CliRunner().invoke(app, _energy(files, "--profile", "loihi2", "--json"))
    assert result.exit_code == 0, result.output
    values = json.loads(result.stdout)
    assert values["energy_joules_per_token"] > 0
    assert values["profile"] == "loihi2"
    assert values["tokens"] == 104
    assert [r["mode"] for r in values["reports"]] == ["pipelined", "fall-through", "closed-loop"]


def test_energy_writes_the_same_bytes_in_another_process_with_a_fixed_date(
    files: dict[str, Path], tmp_path: Path
) -> None:
    names = ("a.html", "a.json", "a.csv", "a.parts.csv")
    for seed in ("1", "2"):  # of the order of sets
        folder = tmp_path / seed
        folder.mkdir()
        wanted = [word for name in names for word in ("--output", str(folder / name))]
        arguments = _energy(
            files, "--tokens", "30", "--date", "2026-02-03", "--figures", str(folder / "figures"),
            *wanted,
        )  # fmt: skip
        subprocess.run(
            [sys.executable, "-c", "from spikegpt_neuro.cli.main import main; main()", *arguments],
            check=True, capture_output=True, timeout=1200,
            env={**os.environ, "PYTHONHASHSEED": seed},
        )  # fmt: skip
    first, second = (
        {path.relative_to(tmp_path / seed): path for path in (tmp_path / seed).rglob("*.*")}
        for seed in ("1", "2")
    )
    assert first.keys() == second.keys() and len(first) > len(names)
    for name, path in first.items():
        assert path.read_bytes() == second[name].read_bytes(), name
    assert b"2026-02-03" in (tmp_path / "1" / "a.html").read_bytes()


def test_energy_writes_every_kind_of_report_in_one_run(
    files: dict[str, Path], tmp_path: Path
) -> None:
    names = ("a.json", "a.csv", "a.parts.csv", "a.html")
    wanted = [word for name in names for word in ("--output", str(tmp_path / name))]
    result = CliRunner().invoke(app, _energy(files, *wanted, "--profile", "loihi2"))
    assert result.exit_code == 0, result.output
    texts = {name: (tmp_path / name).read_text("utf-8") for name in names}
    assert all("blocks.0.srwkv.key" in text for text in texts.values())
    reports = json.loads(texts["a.json"])["reports"]
    parts = list(csv.DictReader(io.StringIO(texts["a.parts.csv"])))
    for report in reports:
        mine = [
            float(row["energy_joules_per_token"]) for row in parts if row["mode"] == report["mode"]
        ]
        assert sum(mine) == report["energy_joules_per_token"] > 0
    layers = list(csv.DictReader(io.StringIO(texts["a.csv"])))
    assert len(layers) == sum(len(report["per_layer"]) for report in reports)


def test_a_report_of_an_unknown_kind_is_refused_before_anything_runs(
    files: dict[str, Path], tmp_path: Path
) -> None:
    result = CliRunner().invoke(app, _energy(files, "--output", str(tmp_path / "a.pdf")))
    assert isinstance(result.exception, InputError)
    assert ".parts.csv" in str(result.exception)


def test_energy_writes_figures_and_takes_a_profile_of_the_users(
    files: dict[str, Path], tmp_path: Path
) -> None:
    profile = tmp_path / "mine.toml"
    profile.write_text(
        'schema = 1\nname = "mine"\ntitle = "t"\nsummary = "s"\nmethod = "per-token"\n'
        '[coefficients.energy_per_token]\nvalue = 0.25\nunit = "J"\nstatus = "measured"\n'
        'source = "wall socket"\n'
    )
    figures = tmp_path / "figures"
    arguments = ("--profile", str(profile), "--figures", str(figures), "--json")
    result = CliRunner().invoke(app, _energy(files, *arguments))
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["energy_joules_per_token"] == 0.25
    assert (figures / "firing-rates.svg").is_file() and (figures / "spikes.png").is_file()


def test_map_lists_every_packing_and_strict_fails_on_broken_rules(files: dict[str, Path]) -> None:
    net = str(files["model.net"])
    result = CliRunner().invoke(app, ["map", net, "--profile", "loihi2", "--json", "--strict"])
    assert result.exit_code == 0, result.output
    values = json.loads(result.stdout)
    assert len(values["packings"]) == 3 and values["violations"] == []
    broken = CliRunner().invoke(app, ["map", net, "--profile", "loihi1-paper", "--strict"])
    assert broken.exit_code == 1
    assert "graded_spikes" in broken.stdout


def test_map_checks_capacity_where_cores_are_not_described(files: dict[str, Path]) -> None:
    arguments = ["map", str(files["model.net"]), "--profile", "xylo", "--json"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert {n["what"] for n in json.loads(result.stdout)["needs"]} == {
        "neurons", "weights", "bytes",
    }  # fmt: skip


def test_map_weighs_traffic_by_a_text(files: dict[str, Path]) -> None:
    arguments = [
        "map", str(files["model.net"]), "--text", str(files["text.txt"]), "--json",
        "--vocab", str(files["vocabulary.json"]), "--quiet",
    ]  # fmt: skip
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    values = json.loads(result.stdout)
    assert values["traffic_assumes_every_value_non_zero"] is False


def test_map_and_energy_choose_the_same_mapping(files: dict[str, Path]) -> None:
    ran = ["--text", str(files["text.txt"]), "--vocab", str(files["vocabulary.json"]), "--quiet"]
    chosen = ["--profile", "loihi2", "--for", "energy", "--mode", "fall-through", *ran]
    result = CliRunner().invoke(app, ["map", str(files["model.net"]), "--json", *chosen])
    assert result.exit_code == 0, result.output
    values = json.loads(result.stdout)
    choice = values["choice"]
    assert (choice["for"], choice["modes"]) == ("energy", ["fall-through"])
    packed, spread, best = choice["compared"]
    assert (packed["mapping"], spread["mapping"], best["mapping"]) == ("packed", "spread", "energy")
    joules = [row["fall-through"]["joules_per_token"] for row in choice["compared"]]
    assert joules[2] == min(joules)
    over = packed["fall-through"]["joules_over_those_of_the_choice"]
    assert over == joules[0] / joules[2]
    assert values["cores"] == best["cores"] and values["spread"] == choice["found"]
    energy = CliRunner().invoke(app, ["energy", str(files["model.net"]), "--json", *chosen])
    assert energy.exit_code == 0, energy.output
    (report,) = json.loads(energy.stdout)["reports"]
    assert report["energy_joules_per_token"] == pytest.approx(joules[2], rel=1e-12)
    assert report["mapping"]["cores"] == best["cores"]
    shown = CliRunner().invoke(app, ["map", str(files["model.net"]), *chosen])
    assert "Least energy a token, estimated" in shown.stdout
    assert "packed: 1." in shown.stdout


def test_map_chooses_by_the_events_of_a_run(files: dict[str, Path]) -> None:
    net = str(files["model.net"])
    result = CliRunner().invoke(app, ["map", net, "--for", "time"])
    assert isinstance(result.exception, InputError)
    assert "--for needs the events of a run" in str(result.exception)
    ran = ["--text", str(files["text.txt"]), "--vocab", str(files["vocabulary.json"])]
    refused = CliRunner().invoke(app, ["map", net, "--for", "time", "--profile", "xylo", *ran])
    assert "describes no neuro cores" in str(refused.exception)


def test_profiles_lists_and_shows(files: dict[str, Path]) -> None:
    listed = CliRunner().invoke(app, ["profiles", "--json"])
    assert "loihi2" in [p["name"] for p in json.loads(listed.stdout)["profiles"]]
    shown = CliRunner().invoke(app, ["profiles", "loihi2", "--json"])
    values = json.loads(shown.stdout)
    assert values["coefficients"]["static_power_per_chip"]["status"] == "measured"
    unknown = CliRunner().invoke(app, ["profiles", "loihi9"])
    assert isinstance(unknown.exception, InputError)


def test_the_command_and_the_library_give_the_same_rows(files: dict[str, Path]) -> None:
    arguments = _energy(
        files, "--tokens", "40", "--profile", "cmos45-int8", "--profile", "loihi2", "--batch", "4",
        "--streams", "3", "--rate", "50",
    )  # fmt: skip
    result = CliRunner().invoke(app, [*arguments, "--json"])
    assert result.exit_code == 0, result.output
    values = json.loads(result.stdout)
    study = sn.energy(
        files["model.net"], files["text.txt"].read_text("utf-8"), ("cmos45-int8", "loihi2"),
        tokens=40, batches=(4,), streams=(3,), rates=(50,), vocabulary=files["vocabulary.json"],
    )  # fmt: skip
    assert len(values["batches"]) == 2 and len(values["streams"]) == 1
    assert values["batches"] == [row.to_dict() for row in study.batches]
    assert values["streams"] == [row.to_dict() for row in study.streams]
    assert values["arrival_rates"] == [row.to_dict() for row in study.arrivals]
    shown = CliRunner().invoke(app, arguments)
    assert shown.exit_code == 0 and all(
        title in shown.stdout
        for title in ("Batches:", "Interleaved generations:", "Arrival rates:")
    )


def test_a_rate_that_cannot_be_is_refused_before_anything_runs(files: dict[str, Path]) -> None:
    result = CliRunner().invoke(app, _energy(files, "--rate", "0"))
    assert isinstance(result.exception, InputError)
    assert "a rate is a number above 0" in str(result.exception)
