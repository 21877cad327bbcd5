"""Clips as the recogniser hears them in training: disturbed, spelt and padded to one length."""

from dataclasses import dataclass

import numpy as np
import soxr
import torch
import whisper
from torch.nn import functional as F
from whisper.audio import log_mel_spectrogram

from sotaque.micro.asr.spelling import Alphabet, spoken_letters

RATE_HZ = 16_000
MEL_PER_POSITION = 2


def log_mel(samples: np.ndarray, rate_hz: int) -> torch.Tensor:
    """(T,) at rate_hz to whisper's log-mel (80, frames)"""
    resampled = soxr.resample(samples, rate_hz, RATE_HZ, quality="HQ")
    resampled = np.pad(resampled, (0, -len(resampled) % (2 * whisper.audio.HOP_LENGTH)))
    return log_mel_spectrogram(torch.from_numpy(resampled.astype(np.float32)))


def disturb(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Silence around, noise at 10..50 dB, a spectral tilt, another level. (T,) -> (T',)"""
    samples = np.pad(samples, (int(rng.integers(0, 8000)), int(rng.integers(0, 8000))))
    if rng.random() < 0.6:
        noise = rng.standard_normal(len(samples)).astype(np.float32)
        if rng.random() < 0.5:
            noise = np.convolve(noise, np.ones(8, np.float32) / 8, "same")
        level = np.sqrt((samples**2).mean() / max((noise**2).mean(), 1e-12))
        samples = samples + noise * level * 10 ** (-rng.uniform(10, 50) / 20)
    if rng.random() < 0.4:
        tilt = np.float32(rng.uniform(-0.5, 0.5))
        samples = samples + tilt * np.concatenate([[np.float32(0)], samples[:-1]])
    return (samples * 10 ** rng.uniform(-0.5, 0.3)).astype(np.float32)


def mask_and_blur(mel: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """What codecs do to a spectrum: noise in it, smeared frames, bands and moments lost. (80, F) in place"""
    if rng.random() < 0.5:
        noise = torch.from_numpy(rng.standard_normal(mel.shape).astype(np.float32))
        mel = mel + noise * float(rng.uniform(0, 0.12))
    if rng.random() < 0.3:
        mel = F.avg_pool1d(mel[None], 3, 1, 1)[0]
    for _ in range(2):
        low, width = int(rng.integers(0, 72)), int(rng.integers(0, 10))
        mel[low : low + width] = mel.min()
    at, width = int(rng.integers(0, max(1, mel.shape[1] - 8))), int(rng.integers(0, 8))
    mel[:, at : at + width] = mel.min()
    return mel


@dataclass
class Batch:
    """mel (B, 80, F); floor, positions heard, lengths (B,); rows, target (B, L); ctc: all letters."""

    mel: torch.Tensor
    floor: torch.Tensor
    positions: torch.Tensor
    rows: torch.Tensor
    target: torch.Tensor
    ctc: torch.Tensor
    lengths: torch.Tensor

    def to(self, place: torch.device) -> "Batch":
        return Batch(*(tensor.to(place) for tensor in vars(self).values()))


def make_batch(
    clips: list[tuple[np.ndarray, str, str]], rate_hz: int, alphabet: Alphabet, rng, augment: bool
) -> Batch:
    """clips: (samples, text, language)"""
    mels, sequences, letters = [], [], []
    for samples, text, language in clips:
        if augment:
            samples = disturb(samples, rng)
        mel = log_mel(samples, rate_hz)
        mels.append(mask_and_blur(mel, rng) if augment else mel)
        sequences.append(alphabet.sequence(text, language, len(samples) / rate_hz, rng.random() < 0.4))
        letters.append([alphabet.ctc[letter] for letter in spoken_letters(text)])
    floor = torch.stack([mel.max() - 2.0 for mel in mels]).clamp_min(-1.5)
    frames = max(mel.shape[1] for mel in mels)
    frames += -frames % 32
    mel = torch.stack(
        [F.pad(m, (0, frames - m.shape[1]), value=float(f)) for m, f in zip(mels, floor, strict=True)]
    )
    longest = max(map(len, sequences)) - 1
    rows, target = torch.zeros(len(clips), longest, dtype=torch.long), torch.full((len(clips), longest), -100)
    for index, sequence in enumerate(sequences):
        encoded = torch.tensor([alphabet.row[token] for token in sequence])
        rows[index, : len(encoded) - 1] = encoded[:-1]
        target[index, : len(encoded) - 1] = encoded[1:]
        target[index, 1] = -100  # the task is always given
    lengths = torch.tensor([len(letter) for letter in letters])
    positions = torch.tensor([m.shape[1] // MEL_PER_POSITION for m in mels])
    return Batch(
        mel,
        floor,
        positions,
        rows,
        target,
        torch.tensor([index for clip in letters for index in clip]),
        lengths,
    )
