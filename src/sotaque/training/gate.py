"""A gate that a training passes on request: at one step its speech must be understood.

A loss can look fine over gibberish, so the only proof is to listen. The gate shapes no byte of a result:
it lets a run go on or stops it.
"""

from __future__ import annotations

from pathlib import Path

import torch

from sotaque import manifest
from sotaque.backends.protocol import Backend
from sotaque.backends.references import References
from sotaque.errors import InputError, ModelError
from sotaque.evaluation.recognizer import Recognizer
from sotaque.metrics import wer
from sotaque.metrics.similarity import hash_order
from sotaque.model_spec import ModelSpec
from sotaque.settings import Settings
from sotaque.training import lora
from sotaque.training.select import speak, transcribe


class Gate:
    """The first `gate.clips` validation texts, in the order in which `select` takes them, and an ASR."""

    def __init__(self, settings: Settings, spec: ModelSpec, backend: Backend, base: Path, splits: Path):
        self.settings, self.backend, self.generation = settings, backend, spec.generation
        self.texts = hash_order(manifest.read(splits / "val.jsonl"))[: settings.gate.clips]
        if not self.texts:
            raise InputError(f"{splits / 'val.jsonl'} has no utterance to speak; raise split.val_share")
        self.references = References(backend, manifest.read(splits / "train.jsonl"))
        self.recognizer = Recognizer(base / "asr", backend.device)

    def check(self, network: torch.nn.Module, step: int) -> float:
        """The word error rate of what the network says now.

        Raises ModelError, with the texts and what was heard, when it is over gate.wer.
        """
        network.eval()
        with lora.like_the_base(network):
            waves, _ = speak(
                self.settings, self.backend, self.references, self.texts, network, self.generation
            )
        heard = transcribe(self.recognizer, self.texts, waves, self.backend.codec_rate_hz)
        rates = wer.error_rates([u.text for u in self.texts], heard, [u.language for u in self.texts])
        found, limit = rates.wer or 0.0, self.settings.gate.wer
        if found > limit:
            listed = "; ".join(
                f"{u.id}: {u.text!r} was heard as {text!r}" for u, text in zip(self.texts, heard, strict=True)
            )
            raise ModelError(
                f"at step {step} the speech is not understood: WER {found:.2f} over {len(self.texts)} texts, "
                f"allowed is gate.wer {limit:g} ({listed}). See whether the corpus's texts belong to its "
                "clips and whether lr is right; with a higher gate.wer, or gate.step: 0, the same command "
                "goes on from this step"
            )
        return found
