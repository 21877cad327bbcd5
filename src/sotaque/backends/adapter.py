"""What the families have in common in how they are adapted."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from peft import LoraConfig
    from transformers import PreTrainedModel


def lora_config(
    targets: Sequence[str] | str, rank: int, alpha: int, dropout: float, task_type: str | None = None
) -> LoraConfig:
    """peft's configuration; targets: names of modules, or one regular expression over their whole paths."""
    from peft import LoraConfig

    return LoraConfig(
        task_type=task_type,
        r=rank,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules=targets if isinstance(targets, str) else sorted(targets),
        bias="none",
    )


def checkpoint_gradients(network: PreTrainedModel, wanted: bool) -> None:
    """Never re-entrant: under frozen embeddings that gives no adapter a gradient, and says nothing.

    By the names that all releases of transformers 5 have; the later ones warn that others will replace them.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        if wanted:
            network.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        else:
            network.gradient_checkpointing_disable()
