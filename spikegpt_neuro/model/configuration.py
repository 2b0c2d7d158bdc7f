"""What a SpikeGPT is made of: one frozen value that, with a state dict, rebuilds the model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Final, Literal

from spikegpt_neuro.errors import InputError
from spikegpt_neuro.network.labels import Pooling, label_problems

Layout = Literal["upstream", "rwkv", "spike-driven"]
LAYOUTS: Final[tuple[Layout, ...]] = ("upstream", "rwkv", "spike-driven")
LARGEST_LEVELS = 15
BranchDecay = int | tuple[int, ...]
"""Of all neurons of a population, or of each channel."""


@dataclass(frozen=True)
class SpikeGPTConfiguration:
    """Architecture of a model. Sizes in channels; ``hidden_size`` 0 means 4 * ``n_embd``.

    ``layout``        'upstream': the released layout, LIF neurons on the residual branches.
                      'rwkv': the same without neurons, which is RWKV-4 (arXiv 2305.13048).
                      'spike-driven': every projection takes spikes (``model/blocks.py``).
    ``ffn_pre``       not spike-driven: block 0 begins with an SRFFN instead of an SRWKV.
    ``embedding``     'binary': 1 where the embedding weight is >= 0, else 0; 'real': the weight.
    ``labels``        of a classifier: its classes; empty: a language model, whose head gives the
                      vocabulary. A classifier's head gives a logit a class after every token.
    ``pooling``       of a classifier: the decision is that of the 'last' token's logits, or of
                      their 'mean' over the text (the head is linear: the head of the mean).
    ``rescale_every`` not spike-driven: halve the stream after every N-th block and divide the
                      weights into it to match (upstream's run-time code does so with 6); 0 is off.

    ``branch_decays``  upstream: share of the membrane potential that ``lif1`` and ``lif2`` of each
                      block in turn lose a token, in 1/4096, one number or one a channel; empty:
                      2048 (tau 2) everywhere.
    ``branch_soft_reset``  upstream: spikes subtract the threshold instead of zeroing the membrane.

    Spike-driven choices:

    ``branches``      'sequential': SRWKV, then SRFFN, each behind its own norm and LIF. 'parallel':
                      both read one LIF's spikes and add to the stream together: fewer time steps.
    ``norm``          'layer': layer normalisation before a block's LIF and before the head;
                      'batch': per-channel statistics, which fold into the LIF's rescaling.
    ``decay_4096``    share of the membrane potential lost a token, in 1/4096; 4096: memoryless.
    ``soft_reset``    subtract the fired levels from the membrane potential instead of zeroing it.
    ``levels_input``, ``levels_product``, ``levels_hidden``
                      largest spike of the LIF at a block part's input, behind gate * wkv (operands
                      of ``output``), and behind the FFN key (operands of ``ffn.value``); 1: binary.
    ``levels_head``   largest spike of a LIF before the head projection; 0: the head takes the
                      normalised stream.
    """

    layout: Layout
    n_layer: int
    n_embd: int
    vocab_size: int
    hidden_size: int = 0
    ffn_pre: bool = False
    embedding: Literal["binary", "real"] = "binary"
    rescale_every: int = 0
    branches: Literal["sequential", "parallel"] = "sequential"
    norm: Literal["layer", "batch"] = "layer"
    decay_4096: int = 4096
    soft_reset: bool = True
    levels_input: int = 3
    levels_product: int = 3
    levels_hidden: int = 3
    levels_head: int = 0
    labels: tuple[str, ...] = ()
    pooling: Pooling = "last"
    branch_decays: tuple[BranchDecay, ...] = ()
    branch_soft_reset: bool = False

    def __post_init__(self) -> None:
        for name in ("labels", "branch_decays"):
            values: Any = getattr(self, name)
            if isinstance(values, list | tuple):  # lists, as JSON has them
                plain = (tuple(value) if isinstance(value, list) else value for value in values)
                object.__setattr__(self, name, tuple(plain))
        if self.hidden_size == 0 and type(self.n_embd) is int:
            object.__setattr__(self, "hidden_size", 4 * self.n_embd)
        problems = list(self._problems())
        if problems:
            raise InputError("This model configuration cannot be built.", problems)

    def _problems(self) -> Iterator[str]:
        wrong = list(_type_problems(asdict(self)))
        if wrong:  # what is of a wrong type cannot be compared
            yield from wrong
            return
        if self.layout not in LAYOUTS:
            yield f"layout is {self.layout!r}; allowed: {', '.join(map(repr, LAYOUTS))}"
        if self.embedding not in ("binary", "real"):
            yield f"embedding is {self.embedding!r}; allowed: 'binary', 'real'"
        if self.branches not in ("sequential", "parallel"):
            yield f"branches is {self.branches!r}; allowed: 'sequential', 'parallel'"
        if self.norm not in ("layer", "batch"):
            yield f"norm is {self.norm!r}; allowed: 'layer', 'batch'"
        for name in ("n_layer", "n_embd", "vocab_size", "hidden_size"):
            if getattr(self, name) < 1:
                yield f"{name} is {getattr(self, name)}; must be at least 1"
        if not 0 <= self.decay_4096 <= 4096:
            yield f"decay_4096 is {self.decay_4096}; allowed: 0..4096"
        if self.rescale_every < 0:
            yield f"rescale_every is {self.rescale_every}; must be 0 (off) or more"
        for name in ("levels_input", "levels_product", "levels_hidden", "levels_head"):
            low = 0 if name == "levels_head" else 1
            if not low <= getattr(self, name) <= LARGEST_LEVELS:
                yield f"{name} is {getattr(self, name)}; allowed: {low}..{LARGEST_LEVELS}"
        yield from self._branch_problems()
        yield from label_problems(self.labels, self.pooling)
        if self.layout == "spike-driven" and (self.ffn_pre or self.rescale_every):
            yield "ffn_pre and rescale_every belong to the layouts upstream and rwkv"
        if self.layout != "spike-driven" and self.branches == "parallel":
            yield "parallel branches belong to the spike-driven layout"

    def _branch_problems(self) -> Iterator[str]:
        decays = self.branch_decays
        if decays and len(decays) != 2 * self.n_layer:
            yield f"branch_decays has {len(decays)} values; must be none or {2 * self.n_layer}"
        for index, decay in enumerate(decays):
            values = decay if isinstance(decay, tuple) else (decay,)
            if isinstance(decay, tuple) and len(decay) != self.n_embd:
                yield f"branch_decays[{index}] has {len(decay)} values; must be {self.n_embd}"
            elif not all(type(value) is int and 0 <= value <= 4096 for value in values):
                yield f"branch_decays[{index}]: must be integers of 0..4096"
        if self.layout != "upstream" and (decays or self.branch_soft_reset):
            yield "branch_decays and branch_soft_reset belong to the layout upstream"

    def branch_decay(self, block: int, which: int) -> BranchDecay:
        """``decay_4096`` of a block's ``lif1`` (``which`` 0) or ``lif2`` (1), layout upstream."""
        return self.branch_decays[2 * block + which] if self.branch_decays else 2048

    @property
    def outputs(self) -> int:
        """Logits a token: one a class, or one a token of the vocabulary."""
        return len(self.labels) or self.vocab_size

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as stored in checkpoints; labels and pooling only of classifiers, neurons
        of branches only where they are not the released layout's."""
        values = asdict(self)
        if not self.labels:
            del values["labels"], values["pooling"]
        for name in ("branch_decays", "branch_soft_reset"):
            if not values[name]:
                del values[name]
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> SpikeGPTConfiguration:
        """From a checkpoint's ``configuration``; unknown or missing keys are an ``InputError``."""
        if problems := configuration_problems(values):
            raise InputError("The checkpoint's configuration cannot be used.", problems)
        return cls(**values)


def configuration_problems(values: Mapping[str, Any], *, partial: bool = False) -> list[str]:
    """Everything wrong with a stored configuration: keys, types, and then ranges.

    ``partial``: keys may be missing, as the tensors beside them say the same.
    """
    known = {field.name for field in fields(SpikeGPTConfiguration)}
    required = {"layout", "n_layer", "n_embd", "vocab_size"}
    unknown = sorted(map(repr, set(values) - known))
    problems = [f"unknown key {name}" for name in unknown]
    missing = sorted(required - set(values))
    problems += [f"missing key {name!r}" for name in missing if not partial]
    problems += _type_problems({name: values[name] for name in known & set(values)})
    if not problems and not missing:
        try:
            SpikeGPTConfiguration(**values)
        except InputError as error:
            problems += error.problems
    return problems


def _type_problems(values: Mapping[str, Any]) -> Iterator[str]:
    """Values whose type is not that of their field; True is no integer here."""
    for name, value in sorted(values.items()):
        wanted = _TYPES.get(str(SpikeGPTConfiguration.__annotations__[name]), str)
        if type(value) is not wanted and not (wanted is tuple and type(value) is list):
            yield f"{name} is {value!r:.60}; must be {_TYPE_NAMES[wanted]}"
        elif isinstance(value, int) and abs(value) > _LARGEST:
            yield f"{name} is {value}; must be at most {_LARGEST}"


_TYPES: dict[str, type] = {
    "int": int,
    "bool": bool,
    "tuple[str, ...]": tuple,
    "tuple[BranchDecay, ...]": tuple,
}
_TYPE_NAMES: dict[type, str] = {
    int: "an integer",
    bool: "true or false",
    str: "text",
    tuple: "a list",
}
_LARGEST = 1 << 24
"""Most blocks, channels or tokens: beyond any model, so that a size in a file costs nothing."""


PRESETS: dict[str, dict[str, int]] = {
    "tiny": {"n_layer": 4, "n_embd": 192},
    "46m": {"n_layer": 12, "n_embd": 512},
    "125m": {"n_layer": 12, "n_embd": 768},
    "216m": {"n_layer": 18, "n_embd": 768},
    "260m": {"n_layer": 24, "n_embd": 768},
}
"""Depth and width by name; the larger names follow the sizes of the SpikeGPT paper and release."""
