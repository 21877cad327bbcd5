"""Figures about sound: WER by the micro recogniser, Resemblyzer's voices, DNSMOS. Samples are at 24 kHz."""

import functools
from pathlib import Path

import numpy as np
import soxr
import torch

from sotaque.micro.asr import spoken_letters
from sotaque.micro.speech import RATE_HZ

_ASR_RATE_HZ = 16_000


def to_16k(samples: np.ndarray) -> np.ndarray:
    return soxr.resample(samples, RATE_HZ, _ASR_RATE_HZ).astype(np.float32)


class Recogniser:
    """The checkpoint as whisper.load_model gives it."""

    def __init__(self, path: Path):
        import whisper

        self.whisper = whisper
        self.model = whisper.load_model(str(path), device="cpu")

    @torch.no_grad()
    def transcribe(self, clips: list[np.ndarray], language: str, batch: int = 8) -> list[str]:
        options = self.whisper.DecodingOptions(language=language, without_timestamps=True, fp16=False)
        texts = []
        for start in range(0, len(clips), batch):
            mels = [
                self.whisper.log_mel_spectrogram(self.whisper.pad_or_trim(to_16k(clip)))
                for clip in clips[start : start + batch]
            ]
            texts += [result.text for result in self.whisper.decode(self.model, torch.stack(mels), options)]
        return texts


def word_error_rate(references: list[str], heard: list[str]) -> float:
    """Over all words together, of the bare texts."""
    import jiwer

    return jiwer.wer(
        [spoken_letters(text) for text in references], [spoken_letters(text) or "-" for text in heard]
    )


@functools.cache
def _voice_encoder():
    from resemblyzer import VoiceEncoder

    return VoiceEncoder("cpu", verbose=False)


def voice_embedding(samples: np.ndarray) -> np.ndarray:
    """(256,) of unit length."""
    from resemblyzer import preprocess_wav

    return _voice_encoder().embed_utterance(preprocess_wav(to_16k(samples), source_sr=_ASR_RATE_HZ))


def mos(clips: list[np.ndarray]) -> float:
    """Mean overall DNSMOS, 1..5. Clips shorter than its window are repeated by the library."""
    from speechmos import dnsmos

    return float(
        np.mean([dnsmos.run(np.clip(to_16k(clip), -1, 1), _ASR_RATE_HZ)["ovrl_mos"] for clip in clips])
    )
