"""Texts, windows and presets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from spikegpt_neuro.errors import InputError
from spikegpt_neuro.model.configuration import PRESETS, SpikeGPTConfiguration
from spikegpt_neuro.model.spikegpt import SpikeGPT
from spikegpt_neuro.training.data import draw_batch, read_folder, token_tensor, windows


def test_a_folder_is_its_texts_in_sorted_order(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    for name, text in (("b/one.txt", "second"), ("a.txt", "first"), ("c.md", "not a text")):
        (tmp_path / name).write_text(text)
    assert read_folder(tmp_path) == "first\nsecond"
    assert read_folder(tmp_path / "a.txt") == "first"


def test_what_is_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no \.txt file"):
        read_folder(tmp_path)
    (tmp_path / "a.txt").write_bytes(b"caf\xe9")
    with pytest.raises(InputError, match=r"not UTF-8 text: .* at byte 3"):
        read_folder(tmp_path)
    with pytest.raises(InputError, match="holds token 9; vocabulary size 9"):
        token_tensor([0, 9, 1], 9, 2, "text")


def test_targets_are_the_next_tokens() -> None:
    tokens = torch.arange(100)
    for inputs, targets in (
        draw_batch(tokens, 7, 12, np.random.default_rng(0)), windows(tokens, 12),
    ):  # fmt: skip
        assert inputs.shape == targets.shape
        assert torch.equal(targets, inputs + 1)
    # 99 predictions fill 8 windows of 12
    assert torch.equal(windows(tokens, 12)[0].flatten(), tokens[:96])
    starts = draw_batch(torch.arange(14), 400, 12, np.random.default_rng(0))[0][:, 0]
    assert set(starts.tolist()) == {0, 1}


@pytest.mark.parametrize(
    ("name", "vocabulary", "millions"),
    [("tiny", 63, 1.95), ("46m", 5458, 46), ("125m", 21128, 125), ("216m", 50277, 216),
     ("260m", 50277, 260)],
)  # fmt: skip
def test_presets_have_the_sizes_they_are_named_for(
    name: str, vocabulary: int, millions: float
) -> None:
    with torch.device("meta"):
        model = SpikeGPT(SpikeGPTConfiguration("upstream", vocab_size=vocabulary, **PRESETS[name]))  # type: ignore[arg-type]
    parameters = sum(parameter.numel() for parameter in model.parameters())
    assert parameters == pytest.approx(1e6 * millions, rel=0.02)
