"""Any corpus layout -> manifest shards; every clip is kept or rejected with a stable code, none is lost.

Audio is looked at, not decoded: `normalize` decodes it and may reject more.
"""

from __future__ import annotations

import contextlib
import logging
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypeVar

from sotaque import audio, files, languages, manifest, sandbox, text
from sotaque import rejects as rejects_module
from sotaque.audio import Header
from sotaque.data import ids, layouts, listings, transcripts
from sotaque.data.layouts.reading import reading
from sotaque.data.layouts.row import Row
from sotaque.errors import ClipError, InputError
from sotaque.manifest import Reject, Utterance, Warned
from sotaque.progress import track
from sotaque.rejects import counted
from sotaque.settings import Settings

REFUSED = Path("logs/rejects-ingest.jsonl")
HEADER_LIMITS = sandbox.Limits(max_s=30.0, max_mb=256)  # an hour of WebM takes 2 s
PARTS = {
    "": "", "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val",
    "dev": "val", "test": "test", "eval": "test",
}  # fmt: skip
R = TypeVar("R", bound=Reject)
log = logging.getLogger("sotaque")


def run(settings: Settings, *, corpus: Path, out: Path) -> dict[str, float]:
    """Write out/<shard>.jsonl for every shard, empty ones too, rejects, warnings and listings.json.

    Raises InputError for an unknown layout, an empty corpus, or more rejects than
    ingest.max_rejected_share; those then lie in logs/rejects-ingest.jsonl.
    """
    wanted = {field: str(column) for field, column in settings.ingest.columns.items()}
    with reading(settings.ingest.encoding, wanted) as found:
        corpus = layouts.root(corpus, settings.ingest.layout)
        layout = layouts.name_of(layouts.find(corpus, settings.ingest.layout))
        log.info("ingest: %s is read as %s", corpus, layout)
        rows = list(layouts.read(corpus, settings.ingest.layout, unpacked=out / "audio"))
        listings.check_columns(found)
        report = listings.summarize(found, rows, corpus, layout)
        has_speakers = listings.has_speaker_column(found) or any(clean_name(row.speaker) for row in rows)
    listings.log_report(report)
    kept, rejects, warnings = sift(rows, corpus, settings, has_speakers)
    kept, copies = without_copies(kept)
    rejects = uniquely_named([*rejects, *copies])
    if len(kept) + len(rejects) != len(rows):
        raise AssertionError(f"{len(rows)} clips in, {len(kept)} kept and {len(rejects)} rejected")
    refuse(kept, rejects, corpus, settings.ingest.max_rejected_share, unlisted_hint(kept, rejects, report))
    names = {utterance.id for utterance in kept}
    warnings = uniquely_named(warning for warning in warnings if warning.id in names)
    shards = defaultdict(list)
    for utterance in kept:
        shards[manifest.shard_of(utterance.id, settings.shards)].append(utterance)
    for name in manifest.shard_names(settings.shards):
        manifest.write(out / f"{name}.jsonl", shards[name])
    manifest.write(out / "rejects.jsonl", rejects)
    manifest.write(out / "warnings.jsonl", warnings)
    files.write_json(out / "listings.json", report)
    codes = f": {counted(rejects)}" if rejects else ""
    log.info("ingest: %d clips kept, %d rejected%s", len(kept), len(rejects), codes)
    if warnings:
        log.warning("ingest: kept with a warning: %s; see %s", counted(warnings), out / "warnings.jsonl")
    return {
        "clips": len(kept),
        "rejected": len(rejects),
        "hours": sum(u.duration_s for u in kept) / 3600,
        "speakers": len({u.speaker for u in kept}),
    }


def sift(
    rows: list[Row], corpus: Path, settings: Settings, has_speakers: bool
) -> tuple[list[Utterance], list[Reject], list[Warned]]:
    """Check every row by itself; an id that a kept clip already has is rejected.

    has_speakers: whether the corpus names speakers, so that a clip without one gets a warning.
    """
    kept: dict[str, Utterance] = {}
    rejects: list[Reject] = []
    warnings: list[Warned] = []
    names = ids.unique(row.id for row in rows)
    drafts = [drafted(row, name, corpus, settings) for row, name in zip(rows, names, strict=True)]
    for row, name, found in zip(track(rows, "ingest"), names, looked_at(drafts), strict=True):
        if name in kept and not isinstance(found, ClipError):
            taken = f"{row.where}: the id {row.id!r} is taken by {kept[name].audio}"
            found = ClipError("duplicate-id", taken, found[1].duration_s)
        if isinstance(found, ClipError):
            rejects.append(Reject.of(name, row.audio, "ingest", found))
            continue
        kept[name] = measured(*found)
        noted = list(warnings_about(*found, row.text))
        if has_speakers and not clean_name(row.speaker):
            noted.append(no_speaker(row.where, kept[name].speaker))
        for warning in noted:
            warnings.append(Warned.of(name, kept[name].audio, "ingest", warning))
    return list(kept.values()), rejects, warnings


def looked_at(drafts: list[Utterance | ClipError]) -> Iterator[tuple[Utterance, Header] | ClipError]:
    """Each draft with the header of its audio, read where a bad one can do no harm."""
    with_audio = [draft for draft in drafts if isinstance(draft, Utterance)]
    with contextlib.closing(sandbox.each(header_of, with_audio, HEADER_LIMITS)) as headers:
        for draft in drafts:
            answer = draft if isinstance(draft, ClipError) else next(headers)
            yield answer if isinstance(answer, ClipError) else (draft, Header(**answer[0]))


def header_of(draft: Utterance) -> sandbox.Answer:
    return asdict(audio.read_header(Path(draft.audio), draft.start_s, draft.end_s)), b""


def drafted(row: Row, identifier: str, corpus: Path, settings: Settings) -> Utterance | ClipError:
    """A row as an utterance whose audio nobody has looked at yet, or why it cannot be one."""
    try:
        if row.fault:
            raise row.fault
        language = language_of(clean_name(row.language) or settings.ingest.language, row.where)
        transcript = transcripts.cleaned(row.text, language, row.where)
        if row.part.lower() not in PARTS:
            named = f"{row.where}: the part is {row.part!r}, allowed: {', '.join(filter(None, PARTS))}"
            raise ClipError("unknown-part", named)
        path = row.unpacked or locate(corpus, row.audio)
    except ClipError as error:
        return error
    return Utterance(
        id=identifier,
        audio=path.as_posix(),
        text=transcript,
        speaker=clean_name(row.speaker) or settings.ingest.speaker,
        language=language,
        accent=clean_name(row.accent),
        gender=clean_name(row.gender),
        part=PARTS[row.part.lower()],
        group=clean_name(row.group),
        start_s=row.start_s,
        end_s=row.end_s,
    )


def clean_name(written: str) -> str:
    """A name as it is written, "" for the words that programs write for nothing, such as `nan`."""
    return "" if transcripts.is_no_value(written.strip()) else text.clean(written)


def measured(draft: Utterance, header: Header) -> Utterance:
    utterance = replace(draft, duration_s=round(header.duration_s, 4))
    return utterance if header.piece else replace(utterance, start_s=0.0, end_s=None)


def warnings_about(utterance: Utterance, header: Header, written: str) -> Iterator[ClipError]:
    """What does not stop a clip, but should be looked at. written: its text as the corpus has it."""
    if transcripts.has_markup(written):
        yield ClipError("markup", f"{written[:80]!r} was read as {utterance.text[:80]!r}")
    strange = transcripts.foreign(utterance.text, utterance.language)
    if strange:
        listed = " ".join(ascii(c) if unicodedata.category(c)[0] in "CM" else c for c in strange)
        reason = f"{utterance.language} does not write {listed} of {utterance.text[:80]!r}"
        yield ClipError("foreign-characters", reason)
    suffix = Path(utterance.audio).suffix
    if suffix.lower() not in audio.CONTAINERS[header.container]:
        reason = f"called {suffix or 'without a suffix'}, read as {header.container}, which it holds"
        yield ClipError("wrong-suffix", reason)


def no_speaker(where: str, speaker: str) -> ClipError:
    """The warning about a clip that gets the speaker of params.yaml, while the corpus names speakers."""
    reason = f"{where}: no speaker is named (blank, nan, NULL or None), expected a name as other clips have"
    return ClipError("no-speaker", f"{reason}; it gets ingest.speaker, which is {speaker!r}")


def language_of(name: str, where: str) -> str:
    """`pt-BR`, `por` and `Portuguese` -> `pt`; raises ClipError for one that Whisper does not know."""
    language = languages.find(name)
    if language is None:
        expected = "expected one that Whisper knows, such as pt, pt-BR, por or Portuguese"
        raise ClipError("unknown-language", f"{where}: the language is {name!r}, {expected}")
    return language.code


def locate(corpus: Path, name: str) -> Path:
    """The path of a clip; raises ClipError unless it stays inside the corpus folder, links followed."""
    if not name:
        raise ClipError("missing", "the row names no audio")
    if any(unicodedata.category(c) in ("Cc", "Cs") for c in name):
        raise ClipError("unsafe-name", f"the file name {name!r} holds characters that no manifest can")
    path = corpus / name
    try:
        inside = not Path(name).is_absolute() and path.resolve().is_relative_to(corpus.resolve())
        if path.is_dir():
            raise ClipError("missing", f"{name!r} is a folder")
    except (OSError, RuntimeError) as error:
        raise ClipError("missing", f"{name!r} leads nowhere: {error}") from None
    if not inside:
        raise ClipError("outside-root", f"{name!r} leads out of the corpus folder; put the audio inside")
    return path


def without_copies(kept: list[Utterance]) -> tuple[list[Utterance], list[Reject]]:
    """Reject every clip whose audio, a file or a piece of one, is byte for byte that of an earlier one.

    The others note the checksum of their file.
    """
    digest = {path: files.sha256(Path(path)) for path in {utterance.audio for utterance in kept}}
    first: dict[tuple[str, float, float | None], str] = {}
    unique, copies = [], []
    for utterance in kept:
        key = digest[utterance.audio], utterance.start_s, utterance.end_s
        original = first.setdefault(key, utterance.id)
        if original == utterance.id:
            unique.append(replace(utterance, source_sha256=digest[utterance.audio]))
        else:
            error = ClipError("duplicate-audio", f"the same bytes as {original}, which is kept")
            copies.append(Reject.of(utterance.id, utterance.audio, "ingest", error, utterance.duration_s))
    return unique, copies


def refuse(kept: list[Utterance], rejects: list[Reject], corpus: Path, allowed: float, hint: str) -> None:
    """Stop when too many clips or minutes are rejected, with the counts per code and the full list."""
    clips = len(kept) + len(rejects)
    if clips == 0:
        raise InputError(f"{corpus}: the layout is known, but it lists no clips")
    duration_s = sum(row.duration_s for row in (*kept, *rejects))
    hint += layouts.archives(corpus)
    rejects_module.refuse(rejects, clips, duration_s, allowed, where=f"{corpus}", into=REFUSED, hint=hint)


def unlisted_hint(kept: list[Utterance], rejects: list[Reject], report: dict[str, Any]) -> str:
    """Where every clip is missing: one of the recordings that no listing names; "" for none."""
    unlisted = report["unlisted"]
    if kept or not unlisted["count"] or {reject.code for reject in rejects} != {"missing"}:
        return ""
    recording = unlisted["examples"][0]
    return (
        f". No listing names the {unlisted['count']} recordings that are there, such as {recording}; "
        "write their paths in the listing"
    )


def uniquely_named(rejects: Iterable[R]) -> list[R]:
    """A second row of the same id gets `~2`, and so on: a manifest holds an id once."""
    count: Counter[str] = Counter()
    named = []
    for reject in rejects:
        count[reject.id] += 1
        suffix = f"~{count[reject.id]}" if count[reject.id] > 1 else ""
        named.append(replace(reject, id=reject.id + suffix))
    return named
