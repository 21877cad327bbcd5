"""openai-whisper over a local checkpoint: greedy, one language, no fallback, bounded length.

The usual fallback to higher temperatures draws random numbers, and hides that a clip was hard. Without it
whisper can repeat itself for ever on a short clip, so the number of tokens is bounded by the duration.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sotaque import audio
from sotaque.errors import ModelError

RATE_HZ = 16_000
WINDOW_S = 30.0
BATCH_CLIPS = 8
TOKENS_PER_S = 30
STEP_S = 5


def token_limit(duration_s: float) -> int:
    """Tokens that whisper may spend on a clip: 30 for each second, in steps of five seconds.

    Fast speech has 10 word pieces a second, or 20 letters. Coarse steps let clips share a batch.
    """
    return TOKENS_PER_S * STEP_S * max(1, math.ceil(duration_s / STEP_S))


class Recognizer:
    """The ASR of a base folder, `asr/<one file>.pt`. Raises ModelError when it cannot be loaded."""

    def __init__(self, asr: Path, device: torch.device):
        import whisper

        checkpoints = sorted(asr.glob("*.pt"))
        if len(checkpoints) != 1:
            found = ", ".join(p.name for p in checkpoints) or "none"
            raise ModelError(
                f"{asr}: expected one whisper checkpoint (*.pt), found {found}; run sotaque fetch"
            )
        self.name = checkpoints[0].name
        try:
            self.model = whisper.load_model(str(checkpoints[0]), device=device)
        except Exception as error:  # torch and pickle raise many kinds for a damaged file
            raise ModelError(f"{checkpoints[0]}: not a checkpoint of openai-whisper: {error}") from error
        self.model.eval()
        self.half = device.type == "cuda"

    def transcribe(self, waves: Sequence[np.ndarray], rate_hz: int, language: str) -> list[str]:
        """What is said in waves (T,) float32 at rate_hz; an empty wave says nothing."""
        self._check(language)
        waves = [audio.resample(np.asarray(w, np.float32), rate_hz, RATE_HZ) for w in waves]
        texts = [""] * len(waves)
        buckets: dict[int, list[int]] = {}
        for index, wave in enumerate(waves):
            duration_s = len(wave) / RATE_HZ
            if duration_s > WINDOW_S:
                texts[index] = self._transcribe_long(wave, language)
            elif len(wave):
                buckets.setdefault(token_limit(duration_s), []).append(index)
        for limit in sorted(buckets):
            for start in range(0, len(buckets[limit]), BATCH_CLIPS):
                batch = buckets[limit][start : start + BATCH_CLIPS]
                for index, text in zip(
                    batch, self._decode([waves[i] for i in batch], language, limit), strict=True
                ):
                    texts[index] = text
        return texts

    def describe(self) -> dict[str, Any]:
        """For the report: which ASR, and how it decodes."""
        decode = f"greedy, temperature 0, no fallback or timestamps, at most {TOKENS_PER_S} tokens a second"
        return {"asr": self.name, "decode": decode}

    def _check(self, language: str) -> None:
        from whisper.tokenizer import LANGUAGES

        if language not in LANGUAGES or (language != "en" and not self.model.is_multilingual):
            raise ModelError(
                f"the ASR {self.name} cannot hear {language!r}; choose a multilingual whisper checkpoint"
            )

    @torch.inference_mode()
    def _decode(self, waves: Sequence[np.ndarray], language: str, limit: int) -> list[str]:
        import whisper

        mels = [
            whisper.log_mel_spectrogram(
                whisper.pad_or_trim(w), self.model.dims.n_mels, device=self.model.device
            )
            for w in waves
        ]
        options = whisper.DecodingOptions(
            language=language, temperature=0.0, without_timestamps=True, fp16=self.half,
            sample_len=min(limit, self.model.dims.n_text_ctx // 2),
        )  # fmt: skip
        return [result.text.strip() for result in whisper.decode(self.model, torch.stack(mels), options)]

    @torch.inference_mode()
    def _transcribe_long(self, wave: np.ndarray, language: str) -> str:
        """Over 30 s: whisper's own sliding window, which needs its timestamps."""
        result = self.model.transcribe(
            wave, language=language, temperature=0.0, condition_on_previous_text=False, fp16=self.half
        )
        return result["text"].strip()
