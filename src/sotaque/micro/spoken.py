"""What the base model is trained on: texts by its own voices, as SNAC codes.

Clip i of a part is a function of (seed, part, i): words (random sequences) or sentences (templates).
"""

import json
import os
import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from sotaque.backends.orpheus.codec import Codec
from sotaque.micro import progress, speech
from sotaque.micro.codec import STEPS, middles
from sotaque.micro.voices import Voice

BLOCK = 512  # clips that are spoken, encoded and written together


@dataclass(frozen=True)
class Spoken:
    """text: with the speaker's tag; codes: (F, 7) int16; language: of the text.

    phonemes: (F * STEPS), what is said in the middle of each step of the codec's finest codebook.
    """

    text: str
    codes: np.ndarray
    language: str
    phonemes: list[str]


def draw(seed: int, part: str, index: int, language_shares: dict[str, float]) -> tuple[Voice, str]:
    """Voice and text of one clip. words: one to six at random; sentences; held-out: reserved sentences."""
    rng = random.Random(f"{seed}:spoken:{part}:{index}")  # noqa: S311
    voice = speech.base_voice(rng, language_shares)
    share = 0.0 if part == "words" else 1.0
    return voice, speech.training_text(rng, voice.language, share, 1, 6, reserved=part == "held-out")


def make_block(
    folder: Path, codec_folder: Path, seed: int, part: str, block: int, shares: dict[str, float]
) -> None:
    """Write block number `block` of `part`, unless it is there."""
    path = folder / f"{part}-{block:04d}.npz"
    if path.exists():
        return
    drawn = [draw(seed, part, block * BLOCK + i, shares) for i in range(BLOCK)]
    codec = Codec(codec_folder, progress.device())
    codes, rows = [], []
    for voice, text in drawn:
        samples, phonemes = speech.render_phonemes(voice, text)
        codes.append(codec.encode([samples])[0])  # alone: fits the cache
        said = speech.phonemes_at(phonemes, len(samples), middles(STEPS * len(codes[-1])))
        rows.append({"text": f"{voice.speaker}: {text}", "language": voice.language,
                     "frames": len(codes[-1]), "phonemes": " ".join(said)})  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    with open(temporary, "wb") as out:
        np.savez(out, codes=np.concatenate(codes), rows=np.array(json.dumps(rows, ensure_ascii=False)))
    os.replace(temporary, path)


def make(
    folder: Path, codec_folder: Path, seed: int, part: str, blocks: range, shares: dict[str, float]
) -> None:
    torch.set_num_threads(1)
    for block in blocks:
        make_block(folder, codec_folder, seed, part, block, shares)
        print(f"spoken: {part} block {block}", flush=True)


def read(path: Path) -> list[Spoken]:
    with np.load(path) as arrays:
        rows, codes = json.loads(str(arrays["rows"])), arrays["codes"]
    ends = np.cumsum([row["frames"] for row in rows])[:-1]
    return [
        Spoken(row["text"], own, row["language"], row["phonemes"].split())
        for row, own in zip(rows, np.split(codes, ends), strict=True)
    ]


def blocks(folder: Path, part: str) -> list[Path]:
    return sorted(folder.glob(f"{part}-*.npz"))
