"""Any corpus layout -> manifest shards; every clip is kept or rejected with a stable code, none is lost.

Audio is looked at, not decoded: `normalize` decodes it and may reject more.
"""

from __future__ import annotations

import hashlib
import logging
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

from sotaque import audio, files, manifest, text
from sotaque.data import layouts
from sotaque.data.layouts.row import Row
from sotaque.errors import ClipError, InputError
from sotaque.manifest import Reject, Utterance
from sotaque.progress import track
from sotaque.settings import Settings

REFUSED = Path("logs/rejects-ingest.jsonl")
MAX_CHARACTERS = 10_000
MAX_ID_CHARACTERS = 120
PARTS = {
    "": "", "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val",
    "dev": "val", "test": "test", "eval": "test",
}  # fmt: skip
log = logging.getLogger("sotaque")


def run(settings: Settings, *, corpus: Path, out: Path) -> dict[str, float]:
    """Write out/<shard>.jsonl for every shard, empty ones too, and out/rejects.jsonl.

    Raises InputError for an unknown layout, an empty corpus, or more rejects than
    ingest.max_rejected_share; those then lie in logs/rejects-ingest.jsonl.
    """
    rows = list(layouts.read(corpus, settings.ingest.layout, unpacked=out / "audio"))
    kept, rejects = sift(rows, corpus, settings)
    kept, copies = without_copies(kept)
    rejects = uniquely_named([*rejects, *copies])
    if len(kept) + len(rejects) != len(rows):
        raise AssertionError(f"{len(rows)} clips in, {len(kept)} kept and {len(rejects)} rejected")
    refuse(kept, rejects, corpus, settings.ingest.max_rejected_share)
    shards = defaultdict(list)
    for utterance in kept:
        shards[manifest.shard_of(utterance.id, settings.shards)].append(utterance)
    for name in manifest.shard_names(settings.shards):
        manifest.write(out / f"{name}.jsonl", shards[name])
    manifest.write(out / "rejects.jsonl", rejects)
    log.info("ingest: %d clips kept, %d rejected%s", len(kept), len(rejects), _counts(rejects, ": "))
    return {
        "clips": len(kept),
        "rejected": len(rejects),
        "hours": sum(u.duration_s for u in kept) / 3600,
        "speakers": len({u.speaker for u in kept}),
    }


def sift(rows: list[Row], corpus: Path, settings: Settings) -> tuple[list[Utterance], list[Reject]]:
    """Check every row by itself; an id that a kept clip already has is rejected."""
    kept: dict[str, Utterance] = {}
    rejects: list[Reject] = []
    for row, identifier in track(list(zip(rows, unique_ids(rows), strict=True)), "ingest"):
        try:
            utterance = checked(row, identifier, corpus, settings)
            if identifier in kept:
                raise ClipError(
                    "duplicate-id", f"{row.where}: the id {row.id!r} is taken by {kept[identifier].audio}"
                )
            kept[identifier] = utterance
        except ClipError as error:
            rejects.append(_reject(identifier, row.audio, error))
    return list(kept.values()), rejects


def checked(row: Row, identifier: str, corpus: Path, settings: Settings) -> Utterance:
    """A row as an utterance; raises ClipError with the reason why it cannot be one."""
    if row.fault:
        raise row.fault
    language = language_of(row.language or settings.ingest.language, row.where)
    transcript = transcript_of(row, language)
    if row.part.lower() not in PARTS:
        raise ClipError("unknown-part", f"{row.where}: the part is {row.part!r}, allowed: {', '.join(PARTS)}")
    path = row.unpacked or locate(corpus, row.audio)
    header = audio.read_header(path, row.start_s, row.end_s)
    return Utterance(
        id=identifier,
        audio=path.as_posix(),
        text=transcript,
        speaker=text.clean(row.speaker) or settings.ingest.speaker,
        language=language,
        accent=text.clean(row.accent),
        gender=text.clean(row.gender),
        duration_s=round(header.duration_s, 4),
        part=PARTS[row.part.lower()],
        group=text.clean(row.group),
        start_s=row.start_s if header.piece else 0.0,
        end_s=row.end_s if header.piece else None,
    )


def language_of(name: str, where: str) -> str:
    """`pt-BR` -> `pt`; raises ClipError for a language that has no text normaliser."""
    language = re.split("[-_]", name.strip().lower())[0]
    if language not in text.NORMALIZERS:
        allowed = ", ".join(text.NORMALIZERS)
        raise ClipError("unknown-language", f"{where}: the language is {name!r}, allowed: {allowed}")
    return language


def transcript_of(row: Row, language: str) -> str:
    transcript = text.clean(row.text)
    if not text.is_spoken(transcript, language):
        raise ClipError("no-transcript", f"{row.where}: nothing to say in {row.text[:80]!r}")
    if len(transcript) > MAX_CHARACTERS:
        raise ClipError(
            "text-too-long", f"{row.where}: {len(transcript)} characters, at most {MAX_CHARACTERS}"
        )
    if any(unicodedata.category(c) in ("Cc", "Cs") for c in transcript):
        raise ClipError("control-characters", f"{row.where}: the text holds control characters, such as NUL")
    return transcript


def locate(corpus: Path, name: str) -> Path:
    """The path of a clip; raises ClipError unless it stays inside the corpus folder, links followed."""
    if not name:
        raise ClipError("missing", "the row names no audio")
    if any(unicodedata.category(c) in ("Cc", "Cs") for c in name):
        raise ClipError("unsafe-name", f"the file name {name!r} holds characters that no manifest can")
    path = corpus / name
    try:
        inside = not Path(name).is_absolute() and path.resolve().is_relative_to(corpus.resolve())
    except (OSError, RuntimeError) as error:
        raise ClipError("missing", f"{name!r} leads nowhere: {error}") from None
    if not inside:
        raise ClipError("outside-root", f"{name!r} leads out of the corpus folder; put the audio inside")
    return path


def unique_ids(rows: Iterable[Row]) -> list[str]:
    """Ids that can name files anywhere, different for different ids, even where case is ignored.

    All ids that would collide get eight hex digits of their own SHA-256, so the order of rows is no matter.
    """
    raw = [row.id for row in rows]
    same = defaultdict(set)
    for name in raw:
        same[safe_id(name).casefold()].add(name)
    return [safe_id(n) if len(same[safe_id(n).casefold()]) == 1 else _hashed(n) for n in raw]


def safe_id(name: str) -> str:
    """ASCII letters, digits, `.`, `_` and `-` only, no `-` or `.` in front, at most 120 characters."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", name) if unicodedata.category(c) != "Mn")
    safe = re.sub(r"[^A-Za-z0-9._-]", "_", plain.replace("/", "-")).lstrip("-.")
    return safe if 0 < len(safe) <= MAX_ID_CHARACTERS else _hashed(name)


def _hashed(name: str) -> str:
    digits = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:8]
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", name.replace("/", "-")).lstrip("-.")
    return f"{plain[: MAX_ID_CHARACTERS - 9] or 'clip'}-{digits}"


def without_copies(kept: list[Utterance]) -> tuple[list[Utterance], list[Reject]]:
    """Reject every clip whose audio, a file or a piece of one, is byte for byte that of an earlier one."""
    paths = {utterance.audio for utterance in kept}
    sizes = Counter(Path(path).stat().st_size for path in paths)
    digest = {p: files.sha256(Path(p)) if sizes[Path(p).stat().st_size] > 1 else p for p in paths}
    first: dict[tuple[str, float, float | None], str] = {}
    unique, copies = [], []
    for utterance in kept:
        key = digest[utterance.audio], utterance.start_s, utterance.end_s
        original = first.setdefault(key, utterance.id)
        if original == utterance.id:
            unique.append(utterance)
        else:
            error = ClipError("duplicate-audio", f"the same bytes as {original}, which is kept")
            copies.append(_reject(utterance.id, utterance.audio, error))
    return unique, copies


def refuse(kept: list[Utterance], rejects: list[Reject], corpus: Path, allowed: float) -> None:
    """Stop when too much is rejected, with the counts per code and the place of the full list."""
    total = len(kept) + len(rejects)
    if total == 0:
        raise InputError(f"{corpus}: the layout is known, but it lists no clips")
    share = len(rejects) / total
    if kept and share <= allowed:
        return
    manifest.write(REFUSED, rejects)
    first = rejects[0]
    raise InputError(
        f"{corpus}: {len(rejects)} of {total} clips are rejected ({share:.1%}), allowed are {allowed:.1%} "
        f"(ingest.max_rejected_share){_counts(rejects, ': ')}. The first: "
        f"{first.audio or first.id}: {first.reason}. All of them, with reasons, are in {REFUSED}"
    )


def uniquely_named(rejects: list[Reject]) -> list[Reject]:
    """A second reject of the same id gets `~2`, and so on: a manifest holds an id once."""
    count: Counter[str] = Counter()
    named = []
    for reject in rejects:
        count[reject.id] += 1
        suffix = f"~{count[reject.id]}" if count[reject.id] > 1 else ""
        named.append(Reject(reject.id + suffix, reject.audio, reject.stage, reject.code, reject.reason))
    return named


def _reject(identifier: str, name: str, error: ClipError) -> Reject:
    printable = [s.encode("utf-8", "backslashreplace").decode("utf-8") for s in (name, error.reason)]
    return Reject(identifier, printable[0], "ingest", error.code, printable[1])


def _counts(rejects: list[Reject], before: str) -> str:
    counts = Counter(r.code for r in rejects)
    return before + ", ".join(f"{code} {n}" for code, n in sorted(counts.items())) if counts else ""
