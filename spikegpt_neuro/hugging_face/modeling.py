"""``SpikeGPTForCausalLM``: ``model.SpikeGPT`` behind the interface of ``transformers``.

Nothing is computed here: logits are those of ``SpikeGPT.forward``, bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, GenerationMixin, PreTrainedModel
from transformers.utils import ModelOutput

from spikegpt_neuro.errors import InputError
from spikegpt_neuro.hugging_face.configuration import SpikeGPTConfig
from spikegpt_neuro.model.passage import State
from spikegpt_neuro.model.spikegpt import SpikeGPT, initialise


class RecurrentState:
    """What ``generate`` carries from token to token in place of a cache of keys and values.

    ``tensors``: the model's ``State``, each [B, size], whatever the number of tokens ``seen``.
    """

    def __init__(self, tensors: State, seen: int) -> None:
        self.tensors = tensors
        self.seen = seen

    def reorder_cache(self, beams: Tensor) -> None:
        """Row i becomes what row ``beams[i]`` was (beam search)."""
        self.tensors = {
            name: value.index_select(0, beams.to(value.device))
            for name, value in self.tensors.items()
        }

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Tokens read so far."""
        return self.seen


@dataclass
class SpikeGPTOutput(ModelOutput):
    """``loss``, mean nats a prediction, where labels were given; ``logits`` [B, T, vocabulary];
    ``state`` where it was asked for (``use_cache``).
    """

    loss: Tensor | None = None
    logits: Tensor | None = None
    state: RecurrentState | None = None


class SpikeGPTForCausalLM(PreTrainedModel, GenerationMixin):
    """A SpikeGPT of any layout as a causal language model. A classifier is refused."""

    config_class = SpikeGPTConfig
    base_model_prefix = "model"
    main_input_name = "input_ids"
    supports_gradient_checkpointing = False
    _is_stateful = True

    def __init__(self, config: SpikeGPTConfig, **options: Any) -> None:
        super().__init__(config, **options)
        configuration = config.configuration
        if configuration.labels:
            raise InputError(
                f"this model is a classifier of {len(configuration.labels)} classes, not a "
                "language model.",
                advice="Use `spikegpt-neuro classify` after an export.",
            )
        self.model = SpikeGPT(configuration)
        if self.model.emb.weight.device.type != "meta":  # from_pretrained fills it afterwards
            initialise(self.model)
        self.post_init()

    @classmethod
    def from_pretrained(cls, *arguments: Any, **options: Any) -> Any:
        """As ``PreTrainedModel``'s; tensors missing, left over or misshapen are an InputError."""
        wanted = options.pop("output_loading_info", False)
        model, found = super().from_pretrained(*arguments, output_loading_info=True, **options)
        problems = [f"{name}: missing" for name in sorted(found["missing_keys"])]
        problems += [f"{name}: unexpected" for name in sorted(found["unexpected_keys"])]
        problems += [f"{entry[0]}: of another shape" for entry in sorted(found["mismatched_keys"])]
        if problems:
            raise InputError(
                "the weights are not those of the model that config.json describes:", problems
            )
        return (model, found) if wanted else model

    def _init_weights(self, module: nn.Module) -> None:
        """Nothing module by module: ``initialise`` is of the whole model, and missing weights are
        an error."""

    def get_input_embeddings(self) -> nn.Module:
        """The embedding; binary where the configuration says so."""
        return self.model.emb

    def set_input_embeddings(self, value: Any) -> None:
        """Refused: the vocabulary belongs to the model."""
        raise InputError("the embedding of a SpikeGPT cannot be replaced.")

    def get_output_embeddings(self) -> nn.Module:
        """The head's projection."""
        return self.model.head

    @classmethod
    def _supports_default_dynamic_cache(cls) -> bool:
        return False

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        state: RecurrentState | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int = 0,
        return_dict: bool | None = None,
        **options: Any,
    ) -> SpikeGPTOutput | tuple[Any, ...]:
        """Logits of ``input_ids`` [B, T] behind what ``state`` has read.

        ``attention_mask`` [B, T or tokens read + T]: 0 where a row is padded. A recurrent model
        would read padding like any token; rows with any are therefore run alone, without it, and
        give the same bits as alone; their logits at padding are 0. Padding behind a row changes
        nothing before it and is read where no state is asked for. ``logits_to_keep``: of the last
        tokens only; 0: of all. ``labels`` [B, T]: as ``input_ids``, -100 where not to be predicted.
        """
        if use_cache is None:
            use_cache = bool(self.config.use_cache) and not self.training
        mask = None
        if attention_mask is not None:
            mask = attention_mask[:, -input_ids.shape[1] :].bool()
            if bool(mask.all()) or (not use_cache and _only_behind(mask)):
                mask = None
        before = None if state is None else state.tensors
        if mask is None:
            logits, after = self.model(input_ids, before)
        else:
            logits, after = self._each_alone(input_ids, mask, before)
        loss = None
        if labels is not None:
            loss = self.loss_function(
                logits=logits, labels=labels, vocab_size=self.config.vocab_size, **options
            )
        seen = input_ids.shape[1] + (0 if state is None else state.seen)
        result = SpikeGPTOutput(
            loss=loss,
            logits=logits[:, -logits_to_keep:],
            state=RecurrentState(after, seen) if use_cache else None,
        )
        if return_dict is None:
            return_dict = bool(self.config.return_dict)
        return result if return_dict else result.to_tuple()

    def _update_model_kwargs_for_generation(
        self, outputs: ModelOutput, model_kwargs: dict[str, Any], *arguments: Any, **options: Any
    ) -> dict[str, Any]:
        if outputs.get("state") is not None:
            model_kwargs["state"] = outputs["state"]
        updated: dict[str, Any] = super()._update_model_kwargs_for_generation(
            outputs, model_kwargs, *arguments, **options
        )
        return updated

    def _each_alone(
        self, tokens: Tensor, mask: Tensor, before: State | None
    ) -> tuple[Tensor, State]:
        """Rows without their padding, one after another."""
        rows, states = [], []
        for index in range(tokens.shape[0]):
            kept = mask[index]
            if not bool(kept.any()):
                raise InputError(f"row {index} of the batch is padding only.")
            own = None
            if before is not None:
                own = {name: value[index : index + 1] for name, value in before.items()}
            found, after = self.model(tokens[index : index + 1, kept], own)
            row = found.new_zeros(tokens.shape[1], found.shape[2])
            rows.append(row.index_put((kept.nonzero()[:, 0],), found[0]))
            states.append(after)
        return torch.stack(rows), {
            name: torch.cat([found[name] for found in states]) for name in states[0]
        }


def _only_behind(mask: Tensor) -> bool:
    """Whether no row has padding before or between its tokens."""
    return not bool((mask[:, 1:] & ~mask[:, :-1]).any())


def register() -> None:
    """Make ``AutoConfig`` and ``AutoModelForCausalLM`` know the classes; once is enough."""
    AutoConfig.register(SpikeGPTConfig.model_type, SpikeGPTConfig, exist_ok=True)
    AutoModelForCausalLM.register(SpikeGPTConfig, SpikeGPTForCausalLM, exist_ok=True)
