"""A small recogniser in openai-whisper's own format that spells what it hears, letter by letter.

Whisper pads every clip to 30 s. Training computes the clip and a few sampled positions of the padding, each
weighted in the attention by the number of positions it stands for: the same model at a tenth of the cost.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soxr
import torch
import whisper
from torch import nn
from torch.nn import functional as F
from whisper.audio import log_mel_spectrogram
from whisper.model import ModelDimensions, MultiHeadAttention, Whisper
from whisper.tokenizer import get_tokenizer

from sotaque.data.words import bare
from sotaque.micro import progress
from sotaque.micro.pool import Pool

RATE_HZ = 16_000
MEL_PER_POSITION = 2
TIMESTAMP_S = 0.02
MAX_S = 12.0
_LANGUAGES = ("pt", "es", "en")
LETTERS = "abcdefghijklmnopqrstuvwxyzáàâãéêíóôõúçñü "


@dataclass(frozen=True)
class AsrSettings:
    """dims: whisper's ModelDimensions; sampled_padding: positions that stand for the padding to 30 s."""

    dims: dict
    steps: int
    batch: int
    lr: float
    muon_lr: float
    ctc_weight: float
    sampled_padding: int
    seed: int


class Alphabet:
    """The few rows of whisper's vocabulary that occur. ids: whisper's; rows: positions among them."""

    def __init__(self):
        self.tokenizer = get_tokenizer(True, language="pt", task="transcribe")
        special = self.tokenizer
        self.letters = {letter: special.encode(letter)[0] for letter in LETTERS}
        languages = [special.to_language_token(code) for code in _LANGUAGES]
        times = range(special.timestamp_begin, special.timestamp_begin + int(MAX_S / TIMESTAMP_S) + 1)
        self.ids = sorted(
            {*self.letters.values(), *languages, *times, special.eot, special.sot, special.transcribe,
             special.no_timestamps, special.no_speech}
        )  # fmt: skip
        self.row = {token: row for row, token in enumerate(self.ids)}
        self.ctc = {letter: index + 1 for index, letter in enumerate(LETTERS)}  # 0 is the blank

    def spell(self, text: str) -> list[int]:
        """Whisper ids of the bare text, one a letter."""
        return [self.letters[letter] for letter in spoken_letters(text)]

    def sequence(self, text: str, language: str, duration_s: float, timestamps: bool) -> list[int]:
        special = self.tokenizer
        start = [special.sot, special.to_language_token(language), special.transcribe]
        letters = self.spell(text)
        if not timestamps:
            return [*start, special.no_timestamps, *letters, special.eot]
        end = special.timestamp_begin + min(round(duration_s / TIMESTAMP_S), int(MAX_S / TIMESTAMP_S))
        return [*start, special.timestamp_begin, *letters, end, special.eot]


def spoken_letters(text: str) -> str:
    return bare(text).replace("-", " ")


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


class Trainee(nn.Module):
    """Whisper's layers with only the occurring token rows, a CTC head, and weighted attention keys."""

    def __init__(self, dims: ModelDimensions, alphabet: Alphabet):
        super().__init__()
        self.whisper = Whisper(dims)
        self.whisper.decoder.token_embedding = nn.Embedding(len(alphabet.ids), dims.n_text_state)
        nn.init.normal_(self.whisper.decoder.token_embedding.weight, std=0.02)
        nn.init.normal_(self.whisper.decoder.positional_embedding, std=0.01)
        self.ctc = nn.Linear(dims.n_audio_state, len(LETTERS) + 1)
        self.other_rows = math.log(dims.n_vocab - len(alphabet.ids))  # rows of zeros: logits of zero

    def encode(self, mel: torch.Tensor, padding: torch.Tensor, floor: torch.Tensor):
        """mel (B, 80, F), padding (K,): sampled positions, floor (B,): mel of silence.

        Returns (B, P + K, C), the attention bias of each key, and P, the number of positions heard.
        """
        encoder = self.whisper.encoder
        x = F.gelu(encoder.conv2(F.gelu(encoder.conv1(mel)))).permute(0, 2, 1)
        silence = floor[:, None, None].expand(-1, mel.shape[1], 12)
        silence = F.gelu(encoder.conv2(F.gelu(encoder.conv1(silence))))[:, :, 3]
        heard = x.shape[1]
        x = torch.cat([x, silence[:, None].expand(-1, len(padding), -1)], 1)
        positions = torch.cat([torch.arange(heard, device=x.device), padding])
        x = x + encoder.positional_embedding[positions]
        stands_for = (len(encoder.positional_embedding) - heard) / len(padding)
        bias = x.new_zeros(heard + len(padding))
        bias[heard:] = math.log(stands_for)
        for block in encoder.blocks:
            x = x + _attend(block.attn, block.attn_ln(x), None, bias)
            x = x + block.mlp(block.mlp_ln(x))
        return encoder.ln_post(x), bias, heard

    def decode(self, rows: torch.Tensor, audio: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        """rows (B, L) -> logits (B, L, rows + 1), the last one stands for all other tokens"""
        decoder = self.whisper.decoder
        x = decoder.token_embedding(rows) + decoder.positional_embedding[: rows.shape[1]]
        for block in decoder.blocks:
            x = x + _attend(block.attn, block.attn_ln(x), None, None)
            x = x + _attend(block.cross_attn, block.cross_attn_ln(x), audio, bias)
            x = x + block.mlp(block.mlp_ln(x))
        logits = decoder.ln(x) @ decoder.token_embedding.weight.T
        return torch.cat([logits, logits.new_full((*logits.shape[:-1], 1), self.other_rows)], -1)


def _attend(
    layer: MultiHeadAttention, x: torch.Tensor, audio: torch.Tensor | None, bias: torch.Tensor | None
):
    """MultiHeadAttention.forward with a bias for each key; causal where there is none."""
    source = x if audio is None else audio
    split = (layer.n_head, -1)
    query = layer.query(x).unflatten(-1, split).transpose(1, 2)
    key = layer.key(source).unflatten(-1, split).transpose(1, 2)
    value = layer.value(source).unflatten(-1, split).transpose(1, 2)
    mask = None if bias is None else bias[None, None, None, :].expand(1, 1, x.shape[1], -1)
    mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=bias is None)
    return layer.out(mixed.transpose(1, 2).flatten(2))


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


def losses(trainee: Trainee, batch: Batch, padding: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    audio, bias, heard = trainee.encode(batch.mel, padding, batch.floor)
    logits = trainee.decode(batch.rows, audio, bias)
    spelling = F.cross_entropy(logits.flatten(0, 1), batch.target.flatten(), ignore_index=-100)
    log_probabilities = trainee.ctc(audio[:, :heard]).log_softmax(-1).transpose(0, 1)
    ctc = F.ctc_loss(log_probabilities, batch.ctc, batch.positions, batch.lengths, zero_infinity=True)
    return spelling, ctc


def sample_padding(heard: int, total: int, count: int, rng: np.random.Generator) -> torch.Tensor:
    """One random position in each of `count` equal stretches of heard..total."""
    edges = np.linspace(heard, total, count + 1)
    return torch.from_numpy((edges[:-1] + rng.random(count) * np.diff(edges)).astype(np.int64))


def clips_of_step(pool: Pool, settings: AsrSettings, step: int, usable: np.ndarray) -> list:
    """Clips of similar length, a function of (seed, step): a sorted block of 16 batches, one of them."""
    block, within = divmod(step, 16)
    rng = np.random.default_rng((settings.seed, block))
    drawn = rng.choice(usable, 16 * settings.batch)
    drawn = drawn[np.argsort([pool.rows[i]["length"] for i in drawn], kind="stable")]
    chosen = drawn.reshape(16, -1)[rng.permutation(16)[within]]
    return [(pool.audio(i), pool.rows[i]["text"], pool.rows[i]["language"]) for i in chosen]


def train(pools: list[Pool], settings: AsrSettings, folder: Path) -> Trainee:
    """Steps alternate between the pools; checkpoints, resumable, in `folder`/asr.pt."""
    torch.manual_seed(settings.seed)
    place, alphabet = progress.device(), Alphabet()
    trainee = Trainee(ModelDimensions(**settings.dims), alphabet).to(place)
    optimizers = _optimizers(trainee, settings)
    state, start = progress.load(folder / "asr.pt"), 0
    if state:
        trainee.load_state_dict(state["model"])
        start = state["step"]
        for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
    usable = [np.array([i for i, r in enumerate(p.rows) if r["length"] < 7 * 24_000]) for p in pools]
    log = progress.Log(folder / "asr-curve.jsonl")
    for step in range(start, settings.steps):
        rng = np.random.default_rng((settings.seed, step, 7))
        which = step % len(pools)
        clips = clips_of_step(pools[which], settings, step, usable[which])
        batch = make_batch(clips, 24_000, alphabet, rng, augment=True).to(place)
        heard = batch.mel.shape[-1] // MEL_PER_POSITION
        padding = sample_padding(heard, settings.dims["n_audio_ctx"], settings.sampled_padding, rng).to(place)
        spelling, ctc = losses(trainee, batch, padding)
        for optimizer, peak in zip(optimizers, (settings.muon_lr, settings.lr), strict=True):
            rate = progress.learning_rate(step, settings.steps, peak, 100, 0.5)
            progress.set_learning_rate(optimizer, rate)
            optimizer.zero_grad(set_to_none=True)
        (spelling + settings.ctc_weight * ctc).backward()
        torch.nn.utils.clip_grad_norm_(trainee.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
        if step % 50 == 0:
            log(step=step, spelling_nats=spelling.item(), ctc=ctc.item())
        if (step + 1) % 250 == 0 or step + 1 == settings.steps:
            saved = {
                "model": trainee.state_dict(),
                "optimizers": [o.state_dict() for o in optimizers],
                "step": step + 1,
            }
            progress.save_atomically(saved, folder / "asr.pt")
    return trainee


def _optimizers(trainee: Trainee, settings: AsrSettings) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the blocks, AdamW for all else."""
    matrices = [p for n, p in trainee.named_parameters() if p.ndim == 2 and "blocks" in n]
    chosen = {id(p) for p in matrices}
    rest = [p for p in trainee.parameters() if id(p) not in chosen]
    muon = torch.optim.Muon(matrices, lr=settings.muon_lr, weight_decay=0.01)
    return [muon, torch.optim.AdamW(rest, lr=settings.lr, betas=(0.9, 0.98), weight_decay=0.0)]


def export(trainee: Trainee, settings: AsrSettings, path: Path) -> None:
    """The checkpoint that whisper.load_model reads. Tokens that never occur have rows of zeros."""
    alphabet = Alphabet()
    state = {name.removeprefix("whisper."): value.detach().cpu().half()
             for name, value in trainee.state_dict().items() if name.startswith("whisper.")}  # fmt: skip
    rows = trainee.whisper.decoder.token_embedding.weight.detach().cpu()
    whole = torch.zeros(settings.dims["n_vocab"], rows.shape[1])
    whole[alphabet.ids] = rows
    state["decoder.token_embedding.weight"] = whole.to(torch.float8_e4m3fn)
    progress.save_atomically({"dims": settings.dims, "model_state_dict": state}, path)
