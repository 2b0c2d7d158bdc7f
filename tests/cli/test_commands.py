"""Every command does its work, with stable JSON keys and the documented exit codes."""

from __future__ import annotations

import io
import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer.main
import typer.testing

from spikegpt_neuro.cli.main import app, main
from spikegpt_neuro.network.file import read_network, write_network
from spikegpt_neuro.network.layers import Lif
from spikegpt_neuro.network.random_networks import RandomShape, random_network

Run = Callable[..., subprocess.CompletedProcess[str]]
RunJson = Callable[..., Any]
COMMANDS = [
    "frontier", "measure", "serve", "evaluate", "publish",
    "export", "fit", "inspect", "simulate", "score", "verify", "energy", "map", "train", "profiles",
    "doctor", "demo", "classify", "nir", "netx",
]  # fmt: skip


def test_all_commands_are_there() -> None:
    listed = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    assert sorted(listed) == sorted(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS[:-2])  # nir and netx are groups of commands
def test_help_explains_every_option(command: str) -> None:
    shown = typer.testing.CliRunner().invoke(app, [command, "--help"])
    assert shown.exit_code == 0
    for parameter in typer.main.get_command(app).commands[command].params:  # type: ignore[attr-defined]
        if parameter.name != "help":
            assert len(parameter.help or "") > 10, f"{command} {parameter.name}"
    assert "--json" in shown.stdout


def test_export_says_what_it_did(run_json: RunJson, example: Path, tmp_path: Path) -> None:
    target = tmp_path / "model.net"
    found = run_json("export", example / "kjv-4x192.pth", target)
    assert found["path"] == str(target) and found["bytes"] == target.stat().st_size
    assert (found["n_layer"], found["n_embd"], found["vocabulary_size"]) == (4, 192, 63)
    assert any("random tokens" in note for note in found["notes"])


def test_export_refuses_to_overwrite(run: Run, example: Path, network: Path) -> None:
    before = network.read_bytes()
    done = run("export", example / "kjv-4x192.pth", network, code=2)
    assert "--force" in done.stderr and network.read_bytes() == before


def test_inspect(run: Run, run_json: RunJson, network: Path, tmp_path: Path) -> None:
    drawing = tmp_path / "graph.svg"
    found = run_json("inspect", network, "--graph", drawing)
    assert found["has_vocabulary"] and found["info"]["layout"] == "upstream"
    names = [layer["name"] for layer in found["layers"]]
    assert "blocks.3.srffn.value" in names and "head.readout" in names
    svg = drawing.read_text()
    assert svg.startswith("<svg") and svg.count("<rect") == len(names)
    assert "blocks.3.srffn.value" in run("inspect", network, "--layers").stdout
    text = run("inspect", network, "--text").stdout
    assert text == run_json("inspect", network, "--text")["text"]
    assert "blocks.3.srffn.value = dense(blocks.3.srffn.square)" in text


def test_score_is_within_a_hundredth_of_the_float_checkpoint(
    run_json: RunJson, network: Path, example: Path
) -> None:
    found = run_json(
        "score", network, example / "kjv-valid.txt", "--context", 256, "--tokens", 5120,
        "--against", example / "kjv-4x192.pth",
    )  # fmt: skip
    assert (found["tokens"], found["windows"]) == (5120, 20)
    against = found["against"]
    assert found["bits_per_character"] == pytest.approx(
        against["bits_per_character"] + against["difference_bits_per_character"], abs=1e-12
    )
    assert abs(against["difference_bits_per_character"]) <= 0.01  # what an export may cost
    bits = np.load(example / "kjv-4x192.golden.npz")["valid_window_bits"][:20].sum() / 5120
    # the reference ran in float32, this one too, summed in another order: equal to four decimals
    assert round(against["bits_per_character"], 4) == round(float(bits), 4)


def test_score_reads_standard_input(run_json: RunJson, network: Path) -> None:
    found = run_json("score", network, "-", stdin="In the beginning God created")
    assert found["tokens"] == found["characters"] == 27
    assert found["context"] is None


def test_simulate_is_repeatable(run: Run, run_json: RunJson, network: Path) -> None:
    options = ("simulate", network, "--prompt", "In the beginning", "--tokens", 40)
    found = run_json(*options)
    assert len(found["token_ids"]) == len(found["text"]) == 40
    assert found["tokens_per_second"] > 0
    assert run_json(*options)["token_ids"] == found["token_ids"]
    assert run(*options).stdout == found["text"] + "\n"
    assert run_json(*options, "--seed", 1)["token_ids"] != found["token_ids"]


def test_a_network_that_chooses_its_tokens_itself_chooses_the_greedy_ones(
    run: Run, run_json: RunJson, network: Path
) -> None:
    options = ("simulate", network, "--prompt", "In the beginning", "--tokens", 70)
    greedy = run_json(*options, "--temperature", 0)
    found = run_json(*options, "--closed-loop")
    assert found["token_ids"] == greedy["token_ids"] and found["text"] == greedy["text"]
    assert found["closed_loop"] and not found["left_to_itself"]
    winners = found["counters"]["layers"]["selection.winner"]["output_events"]
    assert winners == found["counters"]["tokens"] == len("In the beginning") + 70
    assert run(*options, "--closed-loop", "--temperature", 0).stdout == found["text"] + "\n"
    refused = run(*options, "--closed-loop", "--temperature", 0.9, "--seed", 1, code=2).stderr
    assert "--temperature: 0 at most" in refused and "--seed: a greedy choice" in refused


def test_the_default_does_not_circle_as_the_greedy_choice_does(
    run_json: RunJson, network: Path
) -> None:
    def distinct(*options: object) -> float:
        text = run_json(
            "simulate", network, "--prompt", "The LORD said", "--tokens", 400, *options
        )["text"]
        runs = [text[i : i + 16] for i in range(len(text) - 15)]
        return len(set(runs)) / len(runs)

    assert distinct("--temperature", 0) < 0.5
    assert distinct() > 0.9


def test_a_prompt_may_be_a_file(run_json: RunJson, network: Path, tmp_path: Path) -> None:
    file = tmp_path / "prompt.txt"
    file.write_text("In the beginning\n")
    told = run_json("simulate", network, "--prompt", "In the beginning", "--tokens", 10)
    for given in (file, "-"):
        options = ("--prompt-file", given, "--tokens", 10)
        read = run_json("simulate", network, *options, stdin="In the beginning\n")
        assert read["token_ids"] == told["token_ids"]


def test_prompts_of_a_file_are_answered_as_each_alone(
    run: Run, run_json: RunJson, network: Path, tmp_path: Path
) -> None:
    lines = ["In the beginning", "And God said", "Blessed are"]
    file = tmp_path / "prompts.txt"
    file.write_text("\n".join(lines) + "\n")
    options = ("--tokens", 15, "--temperature", 0.8, "--seed", 4)
    found = run_json("simulate", network, "--prompts", file, "--batch", 2, *options)
    assert [row["prompt"] for row in found["results"]] == lines
    for row in found["results"]:
        alone = run_json("simulate", network, "--prompt", row["prompt"], *options)
        assert (row["token_ids"], row["text"]) == (alone["token_ids"], alone["text"])
    refused = run("simulate", network, "--prompts", file, "--backend", "lava", code=2)
    assert "--batch 1" in refused.stderr
    file.write_text("In the beginning\n\nAnd\n")
    assert "line 2" in run("simulate", network, "--prompts", file, code=2).stderr


def test_export_to_few_bits_reports_every_projection(
    run: Run, run_json: RunJson, example: Path, text: Path, tmp_path: Path
) -> None:
    vocabulary = ("--vocab", example / "kjv-4x192.vocab.json", "--calibration", text)
    target = tmp_path / "model.net"
    found = run_json(
        "export", example / "kjv-4x192.pth", target, *vocabulary, "--weight-bits", 4,
        "--prune-pattern", "3:4", "--report",
    )  # fmt: skip
    assert len(found["reduced"]) == 29
    for row in found["reduced"]:
        assert row["bits"] == 4 and row["non_zero"] <= 0.75 * row["weights"]
        assert 0 < row["divergence"] < 1
    assert found["quantisation"]["weight_bits"] == 4
    for wrong, said in (
        (("--weight-bits", 9), "2 (ternary) to 8"), (("--weight-bits", "x"), "auto"),
        (("--prune", 1), "below 1"), (("--prune-pattern", "4"), "2:4"),
        (("--weight-bits", "auto", "--max-loss", 0), "max loss"),
        (("--weight-bits", "auto", "--prune", 0.5), "bits only"),
    ):  # fmt: skip
        done = run(
            "export", example / "kjv-4x192.pth", target, "--force", *vocabulary, *wrong, code=2
        )
        assert said in done.stderr


def test_threads_and_the_fine_lava_graph_write_the_same_text(
    run_json: RunJson, network: Path
) -> None:
    options = ("simulate", network, "--prompt", "And", "--tokens", 3, "--temperature", 0)
    alone = run_json(*options)["token_ids"]
    assert run_json(*options, "--threads", 2)["token_ids"] == alone
    assert run_json(*options, "--backend", "lava-fine")["token_ids"] == alone


def test_simulate_resumes_exactly(run_json: RunJson, network: Path, tmp_path: Path) -> None:
    sampling = ("--temperature", 0.9, "--top-p", 0.95, "--seed", 7, "--prompt", "And")
    whole = run_json("simulate", network, *sampling, "--tokens", 30)
    state = ("--state", tmp_path / "chat.state")
    begun = run_json("simulate", network, *sampling, *state, "--tokens", 12)
    ended = run_json("simulate", network, *sampling[:4], *state, "--tokens", 18)
    assert (begun["resumed"], ended["resumed"]) == (False, True)
    assert begun["token_ids"] + ended["token_ids"] == whole["token_ids"]


def test_simulate_from_tokens_with_a_trace(
    run_json: RunJson, network: Path, tmp_path: Path
) -> None:
    trace = tmp_path / "trace.npz"
    found = run_json(
        "simulate", network, "--prompt-tokens", "1,2, 3", "--tokens", 5, "--trace", trace
    )
    assert (found["prompt_tokens"], len(found["token_ids"])) == (3, 5)
    with np.load(trace) as arrays:
        assert arrays["head.readout"].shape == (8, 63)
        assert set(np.unique(arrays["blocks.0.srwkv.lif"])) <= {0, 1}


def test_verify_against_the_checkpoint(
    run: Run, run_json: RunJson, network: Path, text: Path, example: Path, tmp_path: Path
) -> None:
    found = run_json(
        "verify", network, "--text", text, "--tokens", 2048,
        "--against", example / "kjv-4x192.pth",
    )  # fmt: skip
    assert found["holds"] and len(found["layers"]) == 8
    assert all(layer["disagreement"] < 0.1 for layer in found["layers"])
    assert found["backend"] == "emulator" and found["difference"]["layer"].endswith(".lif")
    losses = found["losses_bits_per_token"]
    assert list(losses) == ["weights", "spikes", "activations", "saturation"]
    assert abs(sum(losses.values()) - found["difference_bits_per_token"]) < 1e-9
    # 64 tokens on which the integers happen to be better than the float model
    options = ("--backends", "lava,float", "--tolerance", 0.0001, "--tokens", 64)
    options = ("--text", text, "--against", example / "kjv-4x192.pth", *options)
    shown = run("verify", network, *options).stdout
    assert "saturation: operands clipped" in shown and "better by more than 0.0001" in shown
    assert "was this the checkpoint that was exported" in shown
    assert "the first spike that differs: layer blocks." in shown
    coarse = tmp_path / "coarse.net"
    given = ("--vocab", example / "kjv-4x192.vocab.json", "--activation-bits", 3)
    run("export", example / "kjv-4x192.pth", coarse, *given)
    assert "worse by more than 0.0001" in run("verify", coarse, *options, code=1).stdout


def test_verify_of_two_different_networks_names_the_place(
    run: Run, run_json: RunJson, network: Path, text: Path, example: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.net"
    run("export", example / "kjv-4x192.pth", other, "--activation-bits", 6)
    options = ("verify", network, "--text", text, "--tokens", 20)
    options += ("--backends", "emulator,emulator")
    assert run_json(*options)["equal"] is True
    found = run_json(*options, "--other", other, code=1)
    assert found["equal"] is False
    assert {"layer", "step", "index", "left", "right"} == set(found["difference"])
    assert found["difference"]["step"] == 0


def test_energy(run: Run, run_json: RunJson, network: Path, text: Path, tmp_path: Path) -> None:
    found = run_json("energy", network, "--text", text, "--tokens", 200)
    assert found["energy_joules_per_token"] > 0 and found["tokens"] == 200
    page = tmp_path / "report.html"
    run("energy", network, "--text", text, "--tokens", 50, "--profile", "loihi2", "--output", page)
    assert page.read_text().lstrip().lower().startswith("<!doctype html>")


def test_thousands_are_apart_in_one_way(run: Run, network: Path, text: Path) -> None:
    """Commas everywhere: 1,929,024, never 1 929 024."""
    shown = "".join(
        run(*command).stdout
        for command in (
            ("inspect", network, "--layers"),
            ("energy", network, "--text", text, "--tokens", 100),
            ("map", network, "--profile", "loihi2"),
        )
    )
    assert re.search(r"\b1,929,024\b", shown)
    assert not re.search(r"\b\d{1,3} \d{3}\b", shown)
    without_digests = re.sub(r"\b[0-9a-f]{64}\b", "", shown)
    assert not re.search(r"(?<![\d.,-])\d{6,}\b", without_digests)


def test_map_and_profiles(run: Run, run_json: RunJson, network: Path) -> None:
    assert run_json("map", network, "--profile", "loihi2")["packings"]
    names = [profile["name"] for profile in run_json("profiles")["profiles"]]
    assert {"loihi2", "loihi1-paper", "cmos45-int8"} <= set(names)
    assert run_json("profiles", "loihi2")["coefficients"]
    assert "Loihi" in run("profiles", "loihi2").stdout


MISTAKES: dict[str, tuple[tuple[object, ...], int, str]] = {
    "no command": ((), 2, ""),
    "unknown command": (("fly",), 2, "fly"),
    "unknown option": (("doctor", "--wings"), 2, "--wings"),
    "no file": (("inspect", "none.net"), 2, "none.net"),
    "not a network": (("inspect", __file__), 2, "network"),
    "folder": (("inspect", "/"), 2, "is a folder"),
    "not a checkpoint": (("export", __file__, "x.net"), 2, "neither a torch checkpoint"),
    "no such folder": (("export", "CHECKPOINT", "/none/x.net"), 2, "/none does not exist"),
    "wrong bits": (("export", "CHECKPOINT", "x.net", "--activation-bits", 99), 2, "99"),
    "no vocabulary": (("export", "CHECKPOINT", "x.net", "--calibration", __file__), 2, "--vocab"),
    "wrong layout": (("export", "CHECKPOINT", "x.net", "--layout", "spike-driven"), 2, "upstream"),
    "no prompt": (("simulate", "NET"), 2, "--prompt"),
    "two prompts": (("simulate", "NET", "--prompt", "a", "--prompt-tokens", "1"), 2, "either"),
    "prompt and file": (("simulate", "NET", "--prompt", "a", "--prompt-file", "b"), 2, "either"),
    "no prompt file": (("simulate", "NET", "--prompt-file", "none.txt"), 2, "does not exist"),
    "bad token": (("simulate", "NET", "--prompt-tokens", "1,63"), 2, "outside the vocabulary"),
    "no number": (("simulate", "NET", "--prompt-tokens", "a"), 2, "numbers"),
    "unknown character": (("simulate", "NET", "--prompt", "Ünd"), 2, "U+00DC"),
    "temperature": (("simulate", "NET", "--prompt", "a", "--temperature", -1), 2, "temperature -1"),
    "negative count": (("simulate", "NET", "--prompt", "a", "--tokens", -1), 2, "--tokens -1"),
    "backend": (("simulate", "NET", "--prompt", "a", "--backend", "x"), 2, "no backend 'x'"),
    "threads": (("simulate", "NET", "--prompt", "a", "--threads", 0), 2, "0 threads"),
    "threads of Lava": (
        ("simulate", "NET", "--prompt", "a", "--threads", 2, "--backend", "lava"), 2, "--threads",
    ),
    "one backend": (("verify", "NET", "--text", "TEXT", "--backends", "emulator"), 2, "name two"),
    "context": (("score", "NET", "TEXT", "--context", 0), 2, "--context 0"),
    "short text": (("score", "NET", "-"), 2, "standard input is empty"),
    "profile": (("energy", "NET", "--text", "TEXT", "--profile", "abacus"), 2, "abacus"),
    "report": (("energy", "NET", "--text", "TEXT", "--output", "x.pdf"), 2, "x.pdf"),
    "no board": (("simulate", "NET", "--prompt", "a", "--backend", "loihi2"), 3, "loihi2"),
    "no example": (("demo", "--example", "/none"), 2, "looked in /none"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_end_in_a_sentence_and_an_exit_code(
    network: Path, text: Path, example: Path, tmp_path: Path, mistake: str,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    arguments, code, message = MISTAKES[mistake]
    places = {
        "NET": network, "TEXT": text, "CHECKPOINT": example / "kjv-4x192.pth",
        "x.net": tmp_path / "x.net",
    }  # fmt: skip
    named = [str(places.get(str(argument), argument)) for argument in arguments]
    monkeypatch.setattr(sys, "argv", ["spikegpt-neuro", *named])
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO()))
    with pytest.raises(SystemExit) as ended:
        main()
    shown = capsys.readouterr()
    assert ended.value.code == code
    assert message in shown.err and "Traceback" not in shown.err
    if arguments:
        assert shown.out == ""


def test_a_reader_that_goes_away_is_no_traceback(network: Path) -> None:
    program = subprocess.Popen(
        [
            sys.executable, "-m", "spikegpt_neuro.cli.main", "simulate", str(network),
            "--prompt", "a", "--tokens", "100000",
        ],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert program.stdout is not None and program.stderr is not None
    program.stdout.read(10)
    program.stdout.close()
    errors = program.stderr.read()
    assert program.wait(timeout=60) == 1
    assert b"Traceback" not in errors


def _heed_interrupts() -> None:
    """In the child: a shell's background jobs inherit an ignored SIGINT; a person's program not."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def test_an_interrupt_ends_with_130(network: Path) -> None:
    program = subprocess.Popen(
        [
            sys.executable, "-m", "spikegpt_neuro.cli.main", "simulate", str(network),
            "--prompt", "a", "--tokens", "10000000",
        ],
        preexec_fn=_heed_interrupts, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert program.stdout is not None
    program.stdout.read(10)
    program.send_signal(2)
    _, errors = program.communicate(timeout=60)
    assert program.returncode == 130
    assert b"Traceback" not in errors


def test_the_demo_tells_the_whole_story(run_json: RunJson, tmp_path: Path) -> None:
    found = run_json("demo", "--output", tmp_path / "demo.net")
    assert (tmp_path / "demo.net").is_file()
    score = found["score"]
    assert score["tokens"] == 25_600
    assert round(score["bits_per_character_float"], 4) in (1.9689, 1.9690)  # one borderline spike
    assert abs(score["difference_bits_per_character"]) <= 0.01  # what an export may cost
    assert found["verify"]["equal"] is True and found["verify"]["tokens"] == 512
    assert {report["profile"] for report in found["energy"]["reports"]} >= {"loihi2"}
    assert found["simulate"]["text"]
    assert found["seconds"] < 180


def test_fit_writes_json_only(tmp_path: Path, example: Path) -> None:
    """Standard output is one JSON value, whatever the solver prints, and names what was chosen."""
    shape = RandomShape(
        "spike-driven", 1, 16, 63, levels=7, voltage_decay=4096, binary_embedding=False
    )  # fmt: skip
    write_network(random_network(shape), tmp_path / "whole.net")
    (tmp_path / "text.txt").write_text((example / "kjv-valid.txt").read_text()[:300])
    talking = (
        "import ctypes, sys\n"
        "from spikegpt_neuro.cli.main import main\n"
        "from spikegpt_neuro.converters import budget\n"
        "original = budget.milp\n"
        "def talking(*arguments, **options):\n"
        "    ctypes.CDLL(None).puts(b'a line for developers')\n"
        "    return original(*arguments, **options)\n"
        "budget.milp = talking\n"
        "main()\n"
    )
    done = subprocess.run(
        [
            sys.executable, "-c", talking, "fit", tmp_path / "whole.net", tmp_path / "fitted.net",
            "--text", tmp_path / "text.txt", "--vocab", example / "kjv-4x192.vocab.json",
            "--joules", "1", "--json",
        ],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["path"] == str(tmp_path / "fitted.net")
    populations = [x for x in read_network(tmp_path / "fitted.net").layers if isinstance(x, Lif)]
    assert found["levels"] == {layer.name: layer.levels for layer in populations}
    assert found["chosen"]["loss"] == 0  # a joule a token is enough for the whole network
    assert found["chosen"]["levels"] <= 7  # levels that no neuron reached on the text go
