"""Turn the WAVs of one shard into codec tokens: `<shard>.npy`, all clips end to end, and its index.

The array is int16 (frames, codes per frame), memory-mappable, clips in order of id. The index has one
row for every clip of the shard; a clip that cannot be used has no frames and says why, so nothing is lost.
"""

from __future__ import annotations

import functools
import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from sotaque import audio, files, manifest, model_spec
from sotaque.errors import ClipError, InputError, IntegrityError
from sotaque.manifest import Utterance
from sotaque.progress import counter
from sotaque.settings import Settings

Item = TypeVar("Item")
Read = TypeVar("Read")
log = logging.getLogger("sotaque")


@dataclass(frozen=True)
class TokenRow:
    """Where a clip lies in the array.

    start, length: frames. dropped_frames: repeated frames that were left out. codec_sha256: of the codec's
    files. reject, reason: the code and words of what is wrong with the clip, empty when it is fit.
    """

    id: str
    start: int
    length: int
    codec_sha256: str
    dropped_frames: int = 0
    reject: str = ""
    reason: str = ""


def run(settings: Settings, *, model: Path, wav: Path, base: Path, out: Path, shard: str) -> dict[str, float]:
    """Write out.npy and out.jsonl; returns clips, rejected, frames and the share of frames dropped."""
    from sotaque import backends, device

    backend = backends.load(model_spec.of(settings).backend, base, device.prepare(1))
    utterances = sorted(manifest.read(wav / "manifest.jsonl"), key=lambda u: u.id)
    read = functools.partial(_read, rate_hz=backend.sample_rate_hz)
    codes: dict[str, np.ndarray] = {}
    rejects: dict[str, ClipError] = {}
    with counter(f"tokenize {shard}", len(utterances)) as advance:
        for waves, unread in read_ahead(read, batches(utterances, settings.tokenize.batch_s)):
            codes.update(zip(waves, backend.encode(list(waves.values())), strict=True))
            rejects.update(unread)
            for _ in range(len(waves) + len(unread)):
                advance()
    return _write(out, utterances, codes, rejects, codec_sha256(base), settings.tokenize.drop_repeated_frames)


def batches(utterances: Iterable[Utterance], batch_s: float) -> Iterator[list[Utterance]]:
    """Clips of like length together, at most batch_s seconds of sound at a time: all that is in memory."""
    batch: list[Utterance] = []
    total_s = 0.0
    for utterance in sorted(utterances, key=lambda u: (u.duration_s, u.id)):
        if batch and total_s + utterance.duration_s > batch_s:
            yield batch
            batch, total_s = [], 0.0
        batch.append(utterance)
        total_s += utterance.duration_s
    if batch:
        yield batch


def read_ahead(read: Callable[[Item], Read], items: Iterable[Item]) -> Iterator[Read]:
    """read(item) for every item, in order; a thread reads the next while the caller works on this one."""
    with ThreadPoolExecutor(1) as reader:
        ahead: deque[Future[Read]] = deque()
        for item in items:
            ahead.append(reader.submit(read, item))
            if len(ahead) > 1:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def _read(batch: Iterable[Utterance], rate_hz: int) -> tuple[dict[str, np.ndarray], dict[str, ClipError]]:
    """id -> samples (T,), and id -> why there are none.

    A clip may be at a higher rate than the codec hears: a family may want more of a reference than of what
    it encodes. Raises InputError for one at a lower rate.
    """
    waves: dict[str, np.ndarray] = {}
    unread: dict[str, ClipError] = {}
    for utterance in batch:
        try:
            samples, found_hz = audio.read(Path(utterance.audio))
        except ClipError as error:
            unread[utterance.id] = error
            continue
        if found_hz < rate_hz:
            raise InputError(
                f"{utterance.audio} is at {found_hz} Hz, but the codec hears {rate_hz} Hz; "
                f"set sample_rate_hz: {rate_hz} in the model's YAML and normalize again"
            )
        waves[utterance.id] = audio.resample(samples, found_hz, rate_hz)
    return waves, unread


def _write(
    out: Path,
    utterances: Sequence[Utterance],
    codes: dict[str, np.ndarray],
    rejects: dict[str, ClipError],
    codec: str,
    drop: bool,
) -> dict[str, float]:
    rows, kept, start = [], [], 0
    for utterance in utterances:
        if utterance.id in rejects:
            error = rejects[utterance.id]
            rows.append(TokenRow(utterance.id, start, 0, codec, 0, error.code, error.reason))
            log.warning("tokenize: %s is left out: %s", utterance.id, error)
            continue
        whole = codes[utterance.id]
        mine = drop_repeated(whole) if drop else whole
        rows.append(TokenRow(utterance.id, start, len(mine), codec, len(whole) - len(mine)))
        kept.append(mine)
        start += len(mine)
    array = np.concatenate(kept) if kept else np.zeros((0, 0), np.int16)
    files.write_bytes(Path(f"{out}.npy"), files.npy(array))
    manifest.write(Path(f"{out}.jsonl"), rows)
    dropped = sum(row.dropped_frames for row in rows)
    return {
        "clips": len(kept),
        "rejected": len(rejects),
        "frames": start,
        "dropped_share": dropped / max(1, dropped + start),
    }


def drop_repeated(codes: np.ndarray) -> np.ndarray:
    """Leave out each frame whose first code is that of the frame before it: (F, K) -> (F', K).

    As Orpheus's authors do; it shortens pauses and speeds the speech up.
    """
    keep = np.ones(len(codes), dtype=bool)
    keep[1:] = codes[1:, 0] != codes[:-1, 0]
    return codes[keep]


@functools.lru_cache
def codec_sha256(base: Path) -> str:
    folder = base / "codec"
    return files.sha256_of({p.relative_to(folder).as_posix(): files.sha256(p) for p in files.walk(folder)})


class Tokens:
    """The tokens of all shards, read where they lie.

    Raises IntegrityError when an index does not belong to its array or to the codec of `base`.
    """

    def __init__(self, folder: Path, shards: Iterable[str], base: Path):
        self._rows: dict[str, tuple[str, TokenRow]] = {}
        self._arrays: dict[str, np.ndarray] = {}
        for shard in shards:
            rows = manifest.read(folder / f"{shard}.jsonl", TokenRow)
            frames = sum(row.length for row in rows)
            path = folder / f"{shard}.npy"
            self._arrays[shard] = np.load(path, mmap_mode="r" if frames else None, allow_pickle=False)
            if len(self._arrays[shard]) != frames:
                raise IntegrityError(
                    f"{path} has {len(self._arrays[shard])} frames, its index {frames}; "
                    "delete both and run the pipeline again"
                )
            for row in rows:
                if row.codec_sha256 != codec_sha256(base):
                    raise IntegrityError(
                        f"{folder / shard}.jsonl: {row.id} was made by another codec than the one in {base}; "
                        "delete it and run the pipeline again"
                    )
                self._rows[row.id] = shard, row

    def row(self, identifier: str) -> TokenRow:
        """Raises InputError for a clip that was never tokenized."""
        if identifier not in self._rows:
            raise InputError(
                f"{identifier} stands in the splits, but not in the tokens; run tokenize again for its shard"
            )
        return self._rows[identifier][1]

    def codes(self, identifier: str) -> np.ndarray:
        """(F, K) int16; no frames for a rejected clip."""
        row = self.row(identifier)
        return self._arrays[self._rows[identifier][0]][row.start : row.start + row.length]
