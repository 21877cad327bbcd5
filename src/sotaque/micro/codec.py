"""Encoder and codebooks of the small SNAC: trained to describe spectra and phonemes, without a decoder.

A convolution at the frame rate predicts log-mel, harmonics and the phoneme from the quantised latents. It
costs little beside a decoder at 24 kHz, and the codes are final before the decoder is trained (decoder.py).

A language model must be able to guess the codes from a text. So few bits are spent, phonemes must be legible
in them, the coarse codes alone must say as much as they can, and a clip that comes a little later or louder
is described as if it did not: what such a shift changes would be chance to the language model.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from snac import SNAC
from torch import nn
from torch.nn import functional as F

from sotaque.micro import codebooks, progress
from sotaque.micro.likeness import VoiceDistance
from sotaque.micro.pool import Pool
from sotaque.micro.spectra import harmonic_spectrum, log_mel
from sotaque.micro.speech import SILENCE

HOP = 512  # samples of one step of the finest codebook
STEPS = 4  # of a frame


@dataclass(frozen=True)
class CodecSettings:
    """model: the arguments of snac.SNAC; segment: samples; commitment, phonemes: weights of those losses.

    coarse_share: of the clips that are described by their first one or two codebooks alone.
    voices: weight of the distance between the voice that the codes tell and the clip's.
    start: a codec's folder, whose encoder and codebooks are trained further; none: from nothing, and the
    first `plain_steps` without codebooks.
    """

    model: dict
    steps: int
    plain_steps: int
    batch: int
    segment: int
    lr: float
    commitment: float
    phonemes: float
    coarse_share: float
    voices: float
    start: str | None
    seed: int


def build(model: dict) -> SNAC:
    return SNAC(**model)


class Description(nn.Module):
    """Latents (B, C, T) to spectra (B, bins, T), logits of phonemes (B, P, T) and the voice (B, 256)."""

    def __init__(self, channels: int, bins: int, phonemes: int, width: int = 256, depth: int = 4):
        super().__init__()
        self.enter = nn.Conv1d(channels, width, 1)
        self.mix = nn.ModuleList(nn.Conv1d(width, width, 7, padding=3, groups=width) for _ in range(depth))
        self.norm = nn.ModuleList(nn.GroupNorm(1, width) for _ in range(depth))
        self.up = nn.ModuleList(nn.Conv1d(width, 2 * width, 1) for _ in range(depth))
        self.down = nn.ModuleList(nn.Conv1d(2 * width, width, 1) for _ in range(depth))
        self.leave = nn.Conv1d(width, bins + phonemes, 1)
        self.voice = nn.Linear(width, 256)
        self.sizes = (bins, phonemes)

    def forward(self, latents: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        x = self.enter(latents)
        for mix, norm, up, down in zip(self.mix, self.norm, self.up, self.down, strict=True):
            x = x + down(F.gelu(up(norm(mix(x)))))
        return *self.leave(x).split(self.sizes, dim=1), self.voice(x.mean(2))


def targets(audio: torch.Tensor) -> torch.Tensor:
    """(B, 1, T) to (B, bins, T / HOP): log-mel and harmonic spectrum of each step."""
    steps = audio.shape[-1] // HOP
    centred = F.pad(audio, (0, HOP))[..., HOP // 2 :]
    mel = log_mel(centred, n_fft=1024, hop=HOP, n_mels=80)[..., :steps]
    return torch.cat([mel, harmonic_spectrum(centred, hop=HOP)[..., :steps]], dim=1)


@torch.no_grad()
def unit_variance(model: nn.Module, example: torch.Tensor) -> None:
    """Scale every weight-normed convolution so that its output has unit variance on `example` (LSUV)."""

    def rescale(module, _inputs, out):
        module.parametrizations.weight.original0.div_(out.std().clamp_min(1e-6))
        return out / out.std().clamp_min(1e-6)

    layers = [m for m in model.modules() if hasattr(m, "parametrizations") and "weight" in m.parametrizations]
    hooks = [layer.register_forward_hook(rescale) for layer in layers]
    model(example)
    for hook in hooks:
        hook.remove()


class Phonemes:
    """Numbers of all phonemes of a pool."""

    def __init__(self, pool: Pool):
        names = {name for row in pool.rows for _, name in row["phonemes"]} | {SILENCE}
        self.number = {name: number for number, name in enumerate(sorted(names))}


def draw(pool: Pool, settings, step: int) -> tuple[torch.Tensor, list[tuple[int, int]]]:
    """Segments (B, 1, T), a function of (seed, step); the clip and the first sample of each."""
    rng = np.random.default_rng((settings.seed, step))
    chosen = rng.integers(0, len(pool.rows), settings.batch)
    pieces, starts = zip(*(pool.segment(i, settings.segment, rng) for i in chosen), strict=True)
    return torch.from_numpy(np.stack(pieces))[:, None], list(zip(chosen.tolist(), starts, strict=True))


def batches(pool: Pool, settings, step: int) -> torch.Tensor:
    return draw(pool, settings, step)[0]


def labels(pool: Pool, phonemes: Phonemes, places: list[tuple[int, int]], segment: int) -> torch.Tensor:
    """The phoneme in the middle of each step: (B, T / HOP)"""
    said = [pool.phonemes_at(clip, start + middles(segment // HOP)) for clip, start in places]
    return torch.tensor([[phonemes.number[name] for name in names] for names in said])


def middles(steps: int) -> np.ndarray:
    """The sample in the middle of each step."""
    return np.arange(steps) * HOP + HOP // 2


def shifted(audio: torch.Tensor, seed: int, step: int) -> torch.Tensor:
    """The same clips up to HOP / 4 samples earlier or later and up to 1 dB louder or softer. (B, 1, T)"""
    rng = np.random.default_rng((seed, step, 3))
    views = [
        clip.roll(int(rng.integers(-HOP // 4, HOP // 4)), -1) * 10 ** rng.uniform(-0.05, 0.05)
        for clip in audio
    ]
    return torch.stack(views).to(audio)


def depths(settings: CodecSettings, step: int, levels: int) -> torch.Tensor:
    """How many codebooks describe each clip of a batch: mostly all. (B,)"""
    rng = np.random.default_rng((settings.seed, step, 5))
    coarse = rng.random(settings.batch) < settings.coarse_share
    return torch.from_numpy(np.where(coarse, rng.integers(1, levels, settings.batch), levels))


def train(pool: Pool, settings: CodecSettings, folder: Path) -> SNAC:
    """Encoder and codebooks; checkpoints, resumable, in `folder`/encoder.pt."""
    torch.manual_seed(settings.seed)
    place, phonemes = progress.device(), Phonemes(pool)
    codec = (SNAC.from_pretrained(settings.start) if settings.start else build(settings.model)).to(place)
    example = batches(pool, settings, 0).to(place)
    head = Description(codec.latent_dim, targets(example).shape[1], len(phonemes.number)).to(place)
    judge = VoiceDistance().to(place)
    if not settings.start:
        unit_variance(codec.encoder, example)
    trained = [*codec.encoder.parameters(), *codec.quantizer.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(trained, lr=settings.lr, betas=(0.8, 0.98), weight_decay=0.0)
    usage = codebooks.Usage(codec.n_codebooks, codec.codebook_size)
    state, start = progress.load(folder / "encoder.pt"), 0
    if state:
        codec.load_state_dict(state["codec"])
        head.load_state_dict(state["head"])
        optimizer.load_state_dict(state["optimizer"])
        usage.share, start = state["usage"], state["step"]
    encode = torch.compile(codec.encoder)
    log = progress.Log(folder / "encoder-curve.jsonl")
    plain_until = settings.plain_steps if settings.start is None else -1
    for step in range(start, settings.steps):
        plain = step < plain_until
        audio, places = draw(pool, settings, step)
        said = labels(pool, phonemes, places, settings.segment).to(place)
        audio = audio.to(place)
        latents = encode(shifted(audio, settings.seed, step))
        if step == plain_until:
            codebooks.cluster_all(codec, _sample_of_latents(codec, pool, settings))
        depth = depths(settings, step, codec.n_codebooks).to(place)
        quantized, vq_loss, codes, projected = codebooks.quantize(codec, latents, plain, depth)
        spectra, logits, voice = head(quantized)
        spectral_loss, phoneme_loss = F.l1_loss(spectra, targets(audio)), F.cross_entropy(logits, said)
        voice_loss = 1 - F.cosine_similarity(voice, judge.embed(audio)).mean()
        progress.set_learning_rate(
            optimizer, progress.learning_rate(step, settings.steps, settings.lr, 50, 0.3)
        )
        optimizer.zero_grad(set_to_none=True)
        described = spectral_loss + settings.phonemes * phoneme_loss + settings.voices * voice_loss
        (described + settings.commitment * vq_loss).backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        usage.update(codes)
        if not plain and step % 50 == 0 and step < 0.9 * settings.steps:
            usage.restart(codec, projected)
        if step % 50 == 0:
            log(
                step=step, spectral_l1=spectral_loss.item(), vq=vq_loss.item(),
                phoneme_nats=phoneme_loss.item(), voice_distance=voice_loss.item(),
                phonemes_right=(logits.argmax(1) == said).float().mean().item(),
                perplexity=usage.perplexity(), kept_by_shift=kept_by_shift(codec, audio, settings.seed, step),
            )  # fmt: skip
        if (step + 1) % 250 == 0 or step + 1 == settings.steps:
            progress.save_atomically(
                {"codec": codec.state_dict(), "head": head.state_dict(), "optimizer": optimizer.state_dict(),
                 "usage": usage.share, "step": step + 1}, folder / "encoder.pt")  # fmt: skip
    return codec


@torch.no_grad()
def kept_by_shift(codec: SNAC, audio: torch.Tensor, seed: int, step: int) -> list[float]:
    """The share of each level's codes that a small shift of the clips (B, 1, T) leaves as they are."""
    before, after = codec.encode(audio), codec.encode(shifted(audio, seed, step + 1))
    return [round((b == a).float().mean().item(), 3) for b, a in zip(before, after, strict=True)]


@torch.no_grad()
def _sample_of_latents(codec: SNAC, pool: Pool, settings: CodecSettings) -> torch.Tensor:
    """Of 40 batches that no training step draws."""
    place = next(codec.parameters()).device
    steps = (-step - 1 & 0xFFFF for step in range(40))
    return torch.cat([codec.encoder(batches(pool, settings, step).to(place)) for step in steps])
