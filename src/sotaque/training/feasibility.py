"""Name what cannot be trained on or spoken before the first step, not hours later.

A clip that is too long for `train.max_tokens` or for the network is left out of the training. A val or test
text that cannot be read, or whose speaker has no reference, would stop `select` or `synthesize` by name. One
whose recording is longer than its limit would be cut in every system.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sotaque import manifest
from sotaque.backends import durations, references
from sotaque.backends.families import Generation
from sotaque.backends.protocol import Backend, Reference
from sotaque.errors import InputError, join_first
from sotaque.manifest import Utterance
from sotaque.training.batching import Samples, Skipped

log = logging.getLogger("sotaque")

MAX_SKIPPED = 0.5  # share of the minutes of a part that may be left out
NAMED = 20


def check_skipped(samples: Samples, path: Path, max_tokens: int) -> None:
    """Name the clips that are left out of a part; raises InputError when they are most of its minutes."""
    skipped = samples.skipped
    for clip in skipped:
        log.warning("train: %s is left out: %s", clip.id, clip.reason)
    lost_s = sum(clip.duration_s for clip in skipped)
    total_s = lost_s + samples.duration_s
    if skipped:
        log.warning(
            "train: %d of %d clips of %s (%.1f of %.1f min) are left out",
            len(skipped), len(skipped) + len(samples), path, lost_s / 60, total_s / 60,
        )  # fmt: skip
    if len(samples) and lost_s <= MAX_SKIPPED * total_s:
        return
    if not len(samples):
        found = f"{path} has no clip that can be used ({len(skipped)} were left out)"
    else:
        found = f"{path}: {lost_s / total_s:.0%} of the minutes would be left out"
    examples = join_first([f"{clip.id}: {clip.reason}" for clip in skipped], NAMED)
    raise InputError(f"{found}: {examples}. {_fix_skipped(skipped, max_tokens)}")


def _fix_skipped(skipped: Sequence[Skipped], max_tokens: int) -> str:
    needed = max((clip.tokens for clip in skipped), default=0)
    if needed > max_tokens:
        return (
            f"Raise train.max_tokens, now {max_tokens}, in params.yaml (the longest has {needed} tokens), or "
            "cut these recordings into shorter utterances"
        )
    return "See split.val_share, split.test_share and the reasons above"


@dataclass(frozen=True)
class Cut:
    """A text whose recording is longer than the limit of its generation, both in seconds."""

    id: str
    duration_s: float
    limit_s: float
    cause: str


def check_texts(
    backend: Backend,
    generation: Generation,
    splits: Path,
    reference_of: Callable[[Utterance], Reference | None],
    model: Path,
) -> list[Cut]:
    """Name the val and test clips that cannot be spoken to their end; returns them.

    model: the model's file, for messages. Raises InputError naming those that cannot be spoken at all.
    """
    cuts, refused = [], []
    for path in (splits / "val.jsonl", splits / "test.jsonl"):
        for utterance in manifest.read(path) if path.exists() else ():
            try:
                prompt = references.prompt(utterance, reference_of(utterance))
                limit_s = backend.limit_frames(prompt, generation) / backend.frame_rate_hz
            except InputError as error:
                refused.append(f"{path}: {utterance.id}: {error}")
                continue
            if limit_s < utterance.duration_s:
                cause = _cause(utterance, limit_s, generation)
                cuts.append(Cut(utterance.id, utterance.duration_s, limit_s, cause))
    if refused:
        raise InputError(
            f"{len(refused)} of the val and test clips cannot be spoken by this model: "
            f"{join_first(refused, NAMED)}. Correct these texts, or take the clips out of the corpus"
        )
    for cause, fix in _fixes(generation, model).items():
        lines = [
            f"{cut.id}: {cut.duration_s:.1f} s, its limit is {cut.limit_s:.1f} s"
            for cut in cuts
            if cut.cause == cause
        ]
        if lines:
            log.warning(
                "train: %d val and test clips would be cut, %s: %s. %s",
                len(lines), cause, join_first(lines, NAMED), fix,
            )  # fmt: skip
    return cuts


BY_USER, BY_TEXT, BY_CONTEXT = "by generation.max_s", "by the limit of their text", "by the model's context"


def _cause(utterance: Utterance, limit_s: float, generation: Generation) -> str:
    """What made the limit: the lowest of three."""
    if generation.max_s is not None and generation.max_s < utterance.duration_s:
        return BY_USER
    if durations.limit_s(utterance.text, utterance.language) < utterance.duration_s:
        return BY_TEXT
    return BY_CONTEXT


def _fixes(generation: Generation, model: Path) -> dict[str, str]:
    return {
        BY_USER: f"Take generation.max_s ({generation.max_s}) out of {model}: each text then has a limit",
        BY_TEXT: (
            f"They are read {durations.MARGIN:g} times as slowly as usual: see whether these texts belong to "
            "these recordings, and whether those hold long pauses"
        ),
        BY_CONTEXT: "Cut these recordings into shorter utterances, or lower normalize.max_s",
    }
