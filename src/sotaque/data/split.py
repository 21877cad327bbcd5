"""All normalised clips -> train, val and test, by hash: adding clips never moves old ones.

A clip's place follows from the seed and its text (or speaker) alone. Texts that the normaliser for WER
brings to one form (`21`, `vinte e um`) share a place, that of the spelling that sorts first. The place is
drawn from the words as written: a new version of a normaliser moves no clips, and only another spelling of
its own sentence can move a clip.

A clip that the corpus itself calls val or test stays that, and equal ones follow it; those that the corpus
puts into another part are rejected as leaks. In a corpus so small that its shares leave a part empty, the
key that stands nearest fills it, and the log says so.

A val or test clip whose speaker has no training clip is rejected: there is no voice to compare it with, and
no reference for a family that clones one. Where all clips of a part are such, as with split.by: speaker, they
stay: such a part asks for voices that were never heard. Splits do not depend on the model.
"""

from __future__ import annotations

import hashlib
import logging
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

from sotaque import manifest
from sotaque.errors import ClipError, InputError
from sotaque.manifest import Reject, Utterance
from sotaque.normalizers import basic
from sotaque.rejects import counted
from sotaque.settings import Settings, Split
from sotaque.text import normalize_for_wer

log = logging.getLogger("sotaque")

PARTS = ("train", "val", "test")


def run(settings: Settings, *, wav: Path, quality: Path, out: Path) -> dict[str, float]:
    """Write out/{train,val,test}.jsonl, without what quality dropped, and out/rejects.jsonl.

    Rejected are leaks, and held-out clips of speakers without a training clip. `part` is then where a clip
    is. Raises InputError for an empty part.
    """
    shard_names = manifest.shard_names(settings.shards)
    dropped = {reject.id for reject in manifest.read(quality / "rejects.jsonl", Reject)}
    utterances = [
        utterance
        for shard in shard_names
        for utterance in manifest.read(wav / shard / "manifest.jsonl")
        if utterance.id not in dropped
    ]
    kept, leaks = without_leaks(utterances, settings.split.by)
    parts = divide(kept, settings.split, settings.seed)
    check_leaks(parts, settings.split.by)
    parts, unreferenced = drop_without_reference(parts)
    rejected = leaks + unreferenced
    if sum(map(len, parts.values())) + len(rejected) != len(utterances):
        raise AssertionError(f"{len(utterances)} clips in, {len(kept)} placed and {len(rejected)} rejected")
    for name in PARTS:
        manifest.write(out / f"{name}.jsonl", parts[name])
    manifest.write(out / "rejects.jsonl", rejected)
    if leaks:
        log.warning(
            "split: the corpus puts them in two parts: %s; see %s", counted(leaks), out / "rejects.jsonl"
        )
    if unreferenced:
        log.warning(
            "split: the speaker has no training clip: %s; see %s",
            counted(unreferenced),
            out / "rejects.jsonl",
        )
    clips = {f"{name}_clips": float(len(parts[name])) for name in PARTS} | {"rejected": float(len(rejected))}
    return clips | {f"{name}_hours": sum(u.duration_s for u in parts[name]) / 3600 for name in PARTS}


def without_leaks(utterances: list[Utterance], by: str) -> tuple[list[Utterance], list[Reject]]:
    """Of clips that share a text (or speaker), and that the corpus names for two parts, keep those held out.

    Test goes before val, and val before train; clips that it names for no part are kept.
    """
    kept, leaks = [], []
    for key, members in grouped(utterances, by).items():
        held = hint_of(members)
        first = min((u.id for u in members if u.part == held), default="")
        for utterance in members:
            if utterance.part in (held, ""):
                kept.append(utterance)
                continue
            reason = (
                f"the corpus puts it in {utterance.part}, but its {by} {key[:80]!r} is in {held}: {first}"
            )
            leaks.append(Reject.of(utterance.id, utterance.audio, "split", ClipError("leak", reason)))
    return kept, leaks


def drop_without_reference(
    parts: dict[str, list[Utterance]],
) -> tuple[dict[str, list[Utterance]], list[Reject]]:
    """The parts without the val and test clips whose speaker has no training clip; those clips, rejected.

    A part in which all clips are such stays as it is.
    """
    trained = {utterance.speaker for utterance in parts["train"]}
    kept, unreferenced = dict(parts), []
    for name in ("val", "test"):
        known = [utterance for utterance in parts[name] if utterance.speaker in trained]
        if not known:
            continue
        kept[name] = known
        for utterance in parts[name]:
            if utterance.speaker not in trained:
                reason = f"it is in {name}, and its speaker {utterance.speaker!r} has no training clip"
                error = ClipError("no-reference", reason)
                unreferenced.append(Reject.of(utterance.id, utterance.audio, "split", error))
    return kept, unreferenced


def divide(utterances: list[Utterance], wanted: Split, seed: int) -> dict[str, list[Utterance]]:
    """Part -> its utterances.

    A part for which the corpus names clips of its own takes no others; where it names none for val (or
    test), they are drawn from the rest, clips that it calls train included.
    """
    groups = grouped(utterances, wanted.by)
    hints = {key: hint_of(members) for key, members in groups.items()}
    drawn = {part: share for part, share in shares(wanted).items() if part not in hints.values()}
    places = {key: place(min(written_key_of(u, wanted.by) for u in groups[key]), seed) for key in groups}
    free = [key for key in groups if hints[key] not in ("val", "test")]
    drawing = fill_empty({key: drawn_part(places[key], drawn) for key in free}, places, drawn)
    parts: dict[str, list[Utterance]] = {name: [] for name in PARTS}
    for key, members in groups.items():
        part = drawing.get(key, hints[key])
        parts[part] += [replace(utterance, part=part) for utterance in members]
    check_parts(parts, len(free), wanted.by)
    return parts


def key_of(utterance: Utterance, by: str) -> str:
    """What no two parts may share: the speaker, or the words of the text, however they are spelled."""
    if by == "speaker":
        return utterance.speaker
    return normalize_for_wer(utterance.text, utterance.language)


def written_key_of(utterance: Utterance, by: str) -> str:
    """What a place is drawn from: the speaker, or the words of the text in their own spelling."""
    return utterance.speaker if by == "speaker" else basic(utterance.text)


def grouped(utterances: list[Utterance], by: str) -> dict[str, list[Utterance]]:
    """Key -> the utterances that have it."""
    groups = defaultdict(list)
    for utterance in utterances:
        groups[key_of(utterance, by)].append(utterance)
    return groups


def hint_of(members: list[Utterance]) -> str:
    """The part that the corpus names for a group, of several the one most held out; "" for none."""
    named = {utterance.part for utterance in members}
    return next((part for part in reversed(PARTS) if part in named), "")


def place(key: str, seed: int) -> float:
    """Where a key stands in [0, 1): the same for ever for one seed."""
    digest = hashlib.sha256(f"{seed}:{key}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def shares(wanted: Split) -> dict[str, float]:
    return {"test": wanted.test_share, "val": wanted.val_share}


def drawn_part(where: float, drawn: dict[str, float]) -> str:
    """[0, test_share) is test, the next val_share is val, the rest train."""
    low = 0.0
    for part, share in drawn.items():
        if low <= where < low + share:
            return part
        low += share
    return "train"


def fill_empty(drawing: dict[str, str], places: dict[str, float], drawn: dict[str, float]) -> dict[str, str]:
    """The same drawing, with the key nearest to the start of an empty part moved into it."""
    drawing, low = dict(drawing), 0.0
    for part, share in drawn.items():
        candidates = [key for key, where in drawing.items() if where == "train"]
        if share > 0 and part not in drawing.values() and len(candidates) > 1:
            nearest = min(candidates, key=lambda key: (abs(places[key] - low), key))
            log.warning("split: so few clips leave %s empty; it takes %r from train", part, nearest[:80])
            drawing[nearest] = part
        low += share
    return drawing


def check_parts(parts: dict[str, list[Utterance]], free: int, by: str) -> None:
    """Raise InputError for the first empty part."""
    for name in ("test", "val", "train"):
        if not parts[name]:
            total = sum(map(len, parts.values()))
            raise InputError(
                f"split leaves {name} empty: {total} clips, {free} different {by}s that it may place; "
                f"expected shares of val and test above 0 and 3 {by}s or more: give it more clips, or set "
                "split.by to the other of text and speaker"
            )


def check_leaks(parts: dict[str, list[Utterance]], by: str) -> None:
    """Raise AssertionError when a text (or speaker) stands in two parts."""
    seen: dict[str, str] = {}
    for part, members in parts.items():
        for utterance in members:
            key = key_of(utterance, by)
            if seen.setdefault(key, part) != part:
                raise AssertionError(f"{utterance.id}: its {by} {key!r} is in {seen[key]} and in {part}")
