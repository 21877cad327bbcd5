"""What a step of the base's training sees: token sequences of spoken texts, and batches of them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from sotaque.backends.orpheus.layout import SLOTS, Layout
from sotaque.micro import guide, spoken
from sotaque.micro.codec import STEPS

IGNORED = -100
SPEAKER_TOKENS = 7  # human start, text start, three letters of the speaker, colon and space


@dataclass(frozen=True)
class Item:
    """prompt: ids before the speech; sequence (L,): all ids; phonemes (F, STEPS): IGNORED where unknown.

    shares (F,): of the text that is spoken by each frame.
    """

    prompt: list[int]
    sequence: np.ndarray
    phonemes: np.ndarray
    shares: np.ndarray

    @property
    def spoken_tokens(self) -> int:
        return len(self.sequence) - len(self.prompt)


class Corpus:
    """Token sequences of all blocks on disk, newly made blocks included at each `refresh`."""

    def __init__(self, folder: Path, tokenizer, layout: Layout, names: list[str], short_frames: int = 0):
        self.folder, self.tokenizer, self.layout = folder, tokenizer, layout
        self.number = {name: number for number, name in enumerate(names)}
        self.short_frames = short_frames
        self.items: dict[str, list[Item]] = {"words": [], "sentences": []}
        self.read: set[Path] = set()
        self.refresh()

    def refresh(self) -> None:
        for part, items in self.items.items():
            for path in spoken.blocks(self.folder, part):
                if path not in self.read:
                    self.read.add(path)
                    items.extend(self.item(one) for one in spoken.read(path))
        longest = SLOTS * self.short_frames + 2
        self.short = [item for item in self.items["words"] if item.spoken_tokens <= longest]

    def item(self, one: spoken.Spoken) -> Item:
        text_ids = self.tokenizer.encode(one.text, add_special_tokens=False)
        sequence = np.array(self.layout.sequence(text_ids, one.codes), np.int32)
        said = np.array([self.number.get(name, IGNORED) for name in one.phonemes], np.int16)
        shares = guide.spoken_shares(one.phonemes)
        return Item(self.layout.prompt(text_ids), sequence, said.reshape(-1, STEPS), shares)

    def batch(self, rng: np.random.Generator, size: int, sentence_share: float, short: bool) -> list:
        """Items of similar length: one of eight slices of a sorted draw. short: the shortest words only."""
        count = 8 * size
        words = self.short if short else self.items["words"]
        sentences = rng.binomial(count, sentence_share) if self.items["sentences"] else 0
        said = self.items["sentences"]
        drawn = [said[i] for i in rng.integers(0, max(1, len(said)), sentences)]
        drawn += [words[i] for i in rng.integers(0, len(words), count - sentences)]
        drawn.sort(key=lambda item: len(item.sequence))
        start = size * int(rng.integers(0, 8))
        return drawn[start : start + size]


def collate(items: list[Item], layout: Layout) -> tuple[torch.Tensor, torch.Tensor]:
    """input ids and labels, both (B, L); prompts and padding carry no loss."""
    longest = max(len(item.sequence) for item in items)
    longest += -longest % 8
    ids = torch.full((len(items), longest), layout.pad)
    labels = torch.full((len(items), longest), IGNORED)
    for row, item in enumerate(items):
        sequence, start = torch.from_numpy(item.sequence.astype(np.int64)), len(item.prompt)
        ids[row, : len(sequence)] = sequence
        labels[row, start : len(sequence)] = sequence[start:]
    return ids, labels


def phonemes_ahead(items: list[Item], length: int) -> torch.Tensor:
    """Where the next token begins a frame, the phonemes of that frame: (B, length, STEPS), else IGNORED."""
    ahead = torch.full((len(items), length, STEPS), IGNORED)
    for row, item in enumerate(items):
        places = len(item.prompt) - 1 + SLOTS * np.arange(len(item.phonemes))
        ahead[row, places] = torch.from_numpy(item.phonemes.astype(np.int64))
    return ahead


def shares_ahead(items: list[Item], length: int) -> torch.Tensor:
    """The share of the text that is spoken by the frame of the next token: (B, length), -1 for none."""
    ahead = torch.full((len(items), length), -1.0)
    for row, item in enumerate(items):
        start = len(item.prompt) - 1
        ahead[row, start : start + SLOTS * len(item.shares)] = torch.from_numpy(item.shares.repeat(SLOTS))
    return ahead
