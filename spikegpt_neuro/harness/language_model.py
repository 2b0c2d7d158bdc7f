"""``SpikeGPTLM``: a model of lm-evaluation-harness, whatever computes it.

Log-likelihoods are natural logarithms of softmax(logits * logit_scale), summed in float64. Texts
are cut into tokens as the harness's own Hugging Face models do: white space at the end of a context
belongs to its continuation, and a continuation's tokens are those of both together behind the
context's own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.api.registry import register_model

from spikegpt_neuro.errors import InputError
from spikegpt_neuro.harness.predictors import FloatPredictor, IntegerPredictor, Predictor
from spikegpt_neuro.network.network import as_language_model
from spikegpt_neuro.opening import backend_of, open_network, vocabulary_of
from spikegpt_neuro.predictions import prediction_bits
from spikegpt_neuro.scoring import piece_length
from spikegpt_neuro.vocabulary import Vocabulary

FLOAT = "float"
LONGEST_CONTINUATION = 256
"""Tokens that are generated where a task names no number."""
Progress = Callable[[int, int], None]


@register_model("spikegpt-neuro")
class SpikeGPTLM(LM):
    """``network``: a model.net; ``backend``: what executes it, or ``float`` for the checkpoint
    ``against``, with the layout, embedding and rescaling of the export.

    ``vocabulary``: its file, where the network holds none. ``prefix``: the text before every
    document whose context is empty; its own tokens are not predicted. There is no longest context.
    Raises InputError, and Unavailable where the machine lacks what the backend needs.
    """

    def __init__(
        self,
        network: str | PathLike[str],
        backend: str = "emulator",
        against: str | PathLike[str] | None = None,
        vocabulary: str | PathLike[str] | None = None,
        prefix: str = "\n",
        progress: Progress = lambda done, total: None,
        **unused: Any,
    ) -> None:
        super().__init__()
        # the harness adds these to what the user gave
        unknown = sorted(set(unused) - {"batch_size", "max_batch_size", "device"})
        if unknown:
            raise InputError("SpikeGPTLM has no such parameter:", unknown)
        opened = as_language_model(open_network(Path(network)))
        self.vocabulary: Vocabulary = vocabulary_of(
            opened, None if vocabulary is None else Path(vocabulary)
        )
        self.prefix = self.vocabulary.encode(prefix).tolist()
        if not self.prefix:
            raise InputError("prefix has no tokens; a first token cannot be predicted.")
        self.progress = progress
        self.backend = backend
        self.tokens_read = 0
        self._predictor: Predictor
        if backend == FLOAT:
            from spikegpt_neuro.comparison.float_model import load_float_model

            if against is None:
                raise InputError("float results are of a checkpoint: give against (--against).")
            self._predictor = FloatPredictor(load_float_model(Path(against), opened))
        else:
            session = backend_of(backend, 1).open_model(opened)
            self._predictor = IntegerPredictor(opened, session)
        self._piece = piece_length(self._predictor.vocabulary_size)

    def close(self) -> None:
        """End the backend's session."""
        self._predictor.close()

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        """Log-probability of each continuation after its context, and whether it is the greedy
        one. See ``LM.loglikelihood``.
        """
        found = []
        for index, request in enumerate(requests):
            context, continuation = request.args
            before, after = self._pair(context, continuation)
            result = self._likelihood(before, after)
            self.cache_hook.add_partial("loglikelihood", request.args, result)
            found.append(result)
            self.progress(index + 1, len(requests))
        return found

    def loglikelihood_rolling(self, requests: list[Instance]) -> list[float]:
        """Log-probability of each whole text behind ``prefix``, the state carried through."""
        found = []
        for index, request in enumerate(requests):
            result, _ = self._likelihood(self.prefix, self._encode(request.args[0]))
            self.cache_hook.add_partial("loglikelihood_rolling", request.args, result)
            found.append(result)
            self.progress(index + 1, len(requests))
        return found

    def generate_until(self, requests: list[Instance]) -> list[str]:
        """Greedy text after each context up to the first of the ``until`` texts, without it.

        Raises InputError for a task that samples: choices would not be the same on two backends.
        """
        found = []
        for index, request in enumerate(requests):
            context, options = request.args
            result = self._generate(self._encode(context) or self.prefix, options)
            self.cache_hook.add_partial("generate_until", request.args, result)
            found.append(result)
            self.progress(index + 1, len(requests))
        return found

    @property
    def tokenizer_name(self) -> str:
        """Names the vocabulary in the harness's caches of requests."""
        return f"{self.vocabulary.kind}-{self.vocabulary.sha256[:16]}"

    def _encode(self, text: str) -> list[int]:
        return self.vocabulary.encode(text).tolist() if text else []

    def _pair(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        """Tokens of a context and of its continuation."""
        kept = context.rstrip()
        continuation = context[len(kept) :] + continuation
        if not kept:
            return self.prefix, self._encode(continuation)
        before = self._encode(kept)
        return before, self._encode(kept + continuation)[len(before) :]

    def _likelihood(self, before: Sequence[int], after: Sequence[int]) -> tuple[float, bool]:
        """Natural log-probability of ``after`` behind ``before``, and whether it is greedy."""
        tokens = np.array([*before, *after], np.int64)
        predictor, first = self._predictor, len(before) - 1
        predictor.reset()
        bits: list[float] = []
        greedy = True
        for begin in range(0, tokens.size - 1, self._piece):
            end = min(begin + self._piece, tokens.size - 1)
            logits = predictor.read(tokens[begin:end].tolist())
            self.tokens_read += end - begin
            wanted = max(first - begin, 0)
            if wanted >= end - begin:
                continue
            logits, targets = logits[wanted:], tokens[begin + wanted + 1 : end + 1]
            bits += prediction_bits(logits, targets, predictor.logit_scale).tolist()
            greedy &= bool(np.array_equal(logits.argmax(axis=1), targets))
        return -math.fsum(bits) * math.log(2.0), greedy

    def _generate(self, context: Sequence[int], options: dict[str, Any]) -> str:
        if options.get("do_sample") or options.get("temperature", 0.0) not in (0, None):
            raise InputError("this task samples; only greedy generation is offered.")
        until = options.get("until") or []
        stops = [until] if isinstance(until, str) else list(until)
        most = int(options.get("max_gen_toks", LONGEST_CONTINUATION))
        self._predictor.reset()
        for begin in range(0, len(context), self._piece):
            logits = self._predictor.read(context[begin : begin + self._piece])
        self.tokens_read += len(context)
        chosen: list[int] = []
        text = ""
        while len(chosen) < most:
            chosen.append(int(logits[-1, : self.vocabulary.size].argmax()))
            text = self.vocabulary.decode(chosen)
            found = [text.index(stop) for stop in stops if stop in text]
            if found:
                return text[: min(found)]
            if len(chosen) < most:
                logits = self._predictor.read(chosen[-1:])
                self.tokens_read += 1
        return text
