"""The small Orpheus: a Llama that reads letters and speaks SNAC codes, in the voices of voices.BASE."""

from sotaque.micro.base.items import (
    IGNORED,
    SPEAKER_TOKENS,
    Corpus,
    Item,
    collate,
    phonemes_ahead,
    shares_ahead,
)
from sotaque.micro.base.losses import losses_of, phoneme_loss, slot_losses, validate
from sotaque.micro.base.network import build, export
from sotaque.micro.base.training import VALIDATED, BaseSettings, train

__all__ = [
    "IGNORED", "SPEAKER_TOKENS", "VALIDATED", "BaseSettings", "Corpus", "Item", "build", "collate", "export",
    "losses_of", "phoneme_loss", "phonemes_ahead", "shares_ahead", "slot_losses", "train", "validate",
]  # fmt: skip
