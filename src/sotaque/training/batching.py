"""Which samples make which batch: a function of (seed, epoch, lengths) alone.

So any position of a run can be found again without replaying what came before it.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sotaque.backends import references
from sotaque.backends.protocol import Backend, Example, Reference
from sotaque.data.tokenize import Tokens
from sotaque.errors import InputError, IntegrityError, ModelError
from sotaque.manifest import Utterance
from sotaque.progress import track

BATCHES_A_POOL = 16
TRIES = 8  # references for a sample that is nearly too long


@dataclass(frozen=True)
class Skipped:
    """A clip that cannot be trained on, and why. tokens: its length where that is the reason."""

    id: str
    part: str
    reason: str
    tokens: int = 0
    duration_s: float = 0.0


class Voices:
    """Which clips of the same speaker may be the reference of a sample; recordings: the train part."""

    def __init__(self, backend: Backend, tokens: Tokens, recordings: Sequence[Utterance], seed: int):
        self._tokens, self._seed = tokens, seed
        self._wanted, self._shortest_s = backend.wants_reference, backend.shortest_reference_s
        self._clips: dict[str, list[Utterance]] = defaultdict(list)
        for clip in recordings if self._wanted else ():
            if clip.duration_s >= self._shortest_s and tokens.row(clip.id).length:
                self._clips[clip.speaker].append(clip)

    def of(self, utterance: Utterance, epoch: int) -> Iterator[Reference | None]:
        """Those to try, in an order that is a function of (seed, epoch, id); never the utterance itself.

        Raises InputError when there is none.
        """
        if not self._wanted:
            yield None
            return
        clips, found = self._clips.get(utterance.speaker, ()), 0
        digest = hashlib.sha256(f"{self._seed}:{epoch}:{utterance.id}".encode()).digest()
        first = int.from_bytes(digest[:8], "big")
        for place in range(first, first + min(TRIES, len(clips))):
            other = clips[place % len(clips)]
            if other.id != utterance.id:
                found += 1
                yield Reference(other.text, Path(other.audio), self._tokens.codes(other.id))
        if not found:
            raise InputError(
                f"speaker {utterance.speaker!r} has no other training clip of {self._shortest_s:g} s or more "
                "to be its reference, which this model needs"
            )


class Samples:
    """The training items of one part of the splits, made when asked for.

    lengths (N,): tokens of each sample; duration_s, speakers: of all; skipped: what was left out. Raises
    IntegrityError for codes that the model cannot speak.
    """

    def __init__(
        self,
        backend: Backend,
        tokens: Tokens,
        utterances: Sequence[Utterance],
        part: str,
        max_tokens: int,
        mask_prompt: bool,
        voices: Voices,
    ):
        self._backend, self._tokens, self._mask_prompt = backend, tokens, mask_prompt
        self._voices, self._max_tokens = voices, max_tokens
        self._utterances: list[Utterance] = []
        self.skipped: list[Skipped] = []
        lengths = []
        for utterance in track(utterances, f"reading {part}"):
            row, duration_s = tokens.row(utterance.id), utterance.duration_s
            if row.length == 0:
                reason = row.reject or "no frames"
                self.skipped.append(Skipped(utterance.id, part, reason, duration_s=duration_s))
                continue
            try:
                length = len(self._example(utterance, 0))
            except InputError as error:
                self.skipped.append(Skipped(utterance.id, part, str(error), duration_s=duration_s))
                continue
            except ModelError as error:
                raise IntegrityError(
                    f"{utterance.id}: {error}; its tokens are damaged: delete data/tokens and run again"
                ) from None
            if length > max_tokens:
                reason = f"{duration_s:.1f} s, {length} tokens; train.max_tokens is {max_tokens}"
                self.skipped.append(Skipped(utterance.id, part, reason, length, duration_s))
                continue
            self._utterances.append(utterance)
            lengths.append(length)
        self.lengths = np.array(lengths, dtype=np.int64)
        self.duration_s = sum(utterance.duration_s for utterance in self._utterances)
        self.speakers = tuple(sorted({utterance.speaker for utterance in self._utterances}))

    def __len__(self) -> int:
        return len(self._utterances)

    def __getitem__(self, index: int) -> Example:
        return self.example(index, epoch=0)

    def example(self, index: int, epoch: int) -> Example:
        """Sample `index` in an epoch: what changes is its reference, where the backend wants one."""
        return self._example(self._utterances[index], epoch)

    def id(self, index: int) -> str:
        return self._utterances[index].id

    def _example(self, utterance: Utterance, epoch: int) -> Example:
        """With the first reference that leaves it short enough; all the same, the shortest that was tried.

        A reference that cannot be learnt with is passed over; raises its InputError when all are such.
        """
        codes, found, refused = self._tokens.codes(utterance.id), [], None
        for reference in self._voices.of(utterance, epoch):
            try:
                example = self._backend.example(
                    references.prompt(utterance, reference), codes, self._mask_prompt
                )
            except InputError as error:
                refused = error
                continue
            found.append(example)
            if len(example) <= self._max_tokens:
                break
        if refused and not found:
            raise refused
        return min(found, key=len)


def epoch(lengths: np.ndarray, batch_clips: int, seed: int, number: int) -> list[np.ndarray]:
    """The batches (arrays of indices) of one epoch: every sample once, like lengths together.

    The shuffled samples are cut into pools; each pool is sorted by length and cut into batches; then the
    batches are shuffled.
    """
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, number])))
    order = rng.permutation(len(lengths))
    batches = []
    for start in range(0, len(order), batch_clips * BATCHES_A_POOL):
        pool = order[start : start + batch_clips * BATCHES_A_POOL]
        pool = pool[np.argsort(lengths[pool], kind="stable")]
        batches += [pool[i : i + batch_clips] for i in range(0, len(pool), batch_clips)]
    return [batches[i] for i in rng.permutation(len(batches))]


class Plan:
    """The whole run, step by step: `accumulate` batches make a step; no step spans two epochs."""

    def __init__(self, lengths: np.ndarray, batch_clips: int, accumulate: int, epochs: int, seed: int):
        self._lengths, self._seed = lengths, seed
        self._batch_clips, self._accumulate = batch_clips, accumulate
        batches = -(-len(lengths) // batch_clips)
        self._steps_an_epoch = -(-batches // accumulate)
        self.steps = epochs * self._steps_an_epoch
        self._epoch: tuple[int, list[np.ndarray]] = (-1, [])

    def epoch_of(self, step: int) -> int:
        """The epoch of a step; the first is 0."""
        return (step - 1) // self._steps_an_epoch

    def batches(self, step: int) -> list[np.ndarray]:
        """The batches of optimiser step `step`, which counts from 1."""
        number, inside = self.epoch_of(step), (step - 1) % self._steps_an_epoch
        if self._epoch[0] != number:
            self._epoch = (number, epoch(self._lengths, self._batch_clips, self._seed, number))
        return self._epoch[1][inside * self._accumulate : (inside + 1) * self._accumulate]


def in_order(lengths: np.ndarray, batch_clips: int) -> list[np.ndarray]:
    """All samples once, shortest first: the batches of a validation."""
    order = np.argsort(lengths, kind="stable")
    return [order[i : i + batch_clips] for i in range(0, len(order), batch_clips)]
