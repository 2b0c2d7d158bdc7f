"""Several processes, half precision, and the plain-torch path that GPUs take, all on a CPU."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from spikegpt_neuro.model import lif as lif_module
from spikegpt_neuro.model import wkv as wkv_module
from spikegpt_neuro.model.configuration import SpikeGPTConfiguration
from spikegpt_neuro.model.spikegpt import SpikeGPT, initialise
from spikegpt_neuro.training.data import token_tensor
from spikegpt_neuro.training.loop import Trainer
from spikegpt_neuro.training.optimiser import Rates
from spikegpt_neuro.training.settings import TrainingSettings

TEXT = token_tensor(np.arange(3000) * 3 % 5, 5, 16, "text")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def make(layout: str) -> SpikeGPT:
    torch.manual_seed(1)
    model = SpikeGPT(SpikeGPTConfiguration(layout, 2, 16, 5, decay_4096=3000))  # type: ignore[arg-type]
    initialise(model)
    return model


@pytest.mark.slow
def test_two_processes(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("to be or not to be, that is the question. " * 20)
    done = subprocess.run(
        # as `accelerate launch` starts several GPUs; for CPUs it would want MPI
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2",
         str(Path(__file__).parent / "two_processes.py"), str(text), str(tmp_path)],
        capture_output=True, text=True, timeout=600,
        env={**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    rows = (tmp_path / "command.csv").read_text().splitlines()
    assert rows[-1].startswith(f"2,{2 * 2 * 8 * 16},")


class PlainWkv:
    """Stands in for the compiled kernel: what other devices run."""

    @staticmethod
    def apply(decay: Tensor, first: Tensor, key: Tensor, value: Tensor, *state: Tensor) -> object:
        result, after = wkv_module.wkv_chunked(
            decay, first, key, value, wkv_module.WkvState(*state)
        )
        return (result, *after)


@pytest.mark.parametrize("layout", ["upstream", "spike-driven"])
def test_plain_path_gives_the_compiled_paths_model(
    layout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = TEXT[:160].view(2, 80)
    found = []
    for plain in (False, True):
        if plain:
            monkeypatch.setattr(lif_module, "Compiled", lif_module.Plain)
            monkeypatch.setattr(wkv_module, "_Fused", PlainWkv)
        model = make(layout).double()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.3 * torch.randn_like(parameter))
        logits, _ = model(tokens)
        logits.square().mean().backward()
        halves, state = [], None
        for part in torch.split(tokens, 33, 1):
            piece, state = model.eval()(part, state)
            halves.append(piece)
        found.append((logits, torch.cat(halves, 1), [p.grad for p in model.parameters()]))
    for a, b in zip(found[0][:2], found[1][:2], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)  # float64 rounding
    for a, b in zip(found[0][2], found[1][2], strict=True):
        assert a is not None and a.any()
        torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("layout", ["upstream", "spike-driven"])
def test_learns_in_bfloat16(layout: str, tmp_path: Path) -> None:
    settings = TrainingSettings(
        steps=120, batch=8, context=16, dropout=0.0, mixed_precision="bf16", evaluate_every=200,
        rates=Rates(adam=5e-3), save_every=200,
    )  # fmt: skip
    model = make(layout)
    kinds = set()
    model.head.register_forward_hook(lambda _, __, result: kinds.add(result.dtype))
    last = Trainer(model, settings, TEXT, TEXT[:300], tmp_path / "m.pt", "{}").run()
    assert kinds == {torch.bfloat16, torch.float32}  # the evaluation is in float32
    assert last.evaluation is not None
    assert last.evaluation.bits_per_character < 0.7  # untrained: log2(5) = 2.32


@pytest.mark.parametrize("context", [1, 2500])
def test_any_context_length(context: int, tmp_path: Path) -> None:
    settings = TrainingSettings(steps=2, batch=2, context=context, rates=Rates(adam=5e-3))
    last = Trainer(
        make("spike-driven"), settings, TEXT, TEXT[: context + 1], tmp_path / "m.pt", "{}"
    ).run()
    assert last.tokens == 2 * 2 * context
    assert last.evaluation is not None
    assert 0 < last.evaluation.bits_per_character < 10
