"""Which column of a listing is what: by its name, by its cells, or as `ingest.columns` says.

Names are compared without case, spaces, `_` and `-`. Cells are looked at where no name says it: which column
names recordings that are there, which holds sentences, which has few different values.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sotaque.data.layouts import parts
from sotaque.data.layouts.reading import Column, current
from sotaque.data.layouts.recordings import Recordings, is_audio
from sotaque.errors import InputError

NAMES = {
    "id": ("id", "name", "utterance_id", "utt_id", "clip_id"),
    "audio": (
        "audio",
        "audio_path",
        "audio_file",
        "audio_filepath",
        "audio_filename",
        "file",
        "file_name",
        "file_path",
        "path",
        "wav",
        "wav_path",
        "wav_file",
        "wav_filename",
        "arquivo",
        "archivo",
    ),
    "text": (
        "text",
        "transcript",
        "transcription",
        "sentence",
        "texto",
        "transcrição",
        "transcripción",
        "frase",
    ),
    "normalised": ("normalised", "normalized", "normalised_text", "normalized_text"),
    "speaker": (
        "speaker",
        "speaker_id",
        "speaker_name",
        "client_id",
        "spk",
        "spk_id",
        "locutor",
        "falante",
        "hablante",
    ),
    "language": ("language", "language_id", "language_code", "lang", "lang_id", "locale", "idioma"),
    "accent": ("accent", "accents", "dialect", "sotaque", "acento"),
    "gender": ("gender", "sex", "gênero", "género"),
    "part": ("part", "split", "subset"),
    "group": ("group",),
    "start": ("start", "start_s", "start_time", "offset"),
    "end": ("end", "end_s", "end_time"),
    "duration": ("duration",),
}
_SAMPLE = 2_000
_MOST = 0.5
_FEW_ROWS = 5
_NUMBER = re.compile(r"[+-]?\d+(?:[.,]\d+)?(?:[eE][+-]?\d+)?")
_GENDERS = {"m", "f", "male", "female", "masculino", "feminino", "femenino", "man", "woman"}
_LANGUAGE = re.compile(
    r"(pt|es|en|ar|fr|de|it|por|spa|eng|ara|portuguese|spanish|english|arabic)([-_][a-z0-9]+)*", re.IGNORECASE
)


def key_of(name: str) -> str:
    """`Speaker ID`, `speaker_id` and `speakerID` are one name."""
    return re.sub(r"[\s_-]", "", unicodedata.normalize("NFC", name)).casefold().lstrip("\ufeff")


def is_language(name: str) -> bool:
    """Whether a word is a language's name or code, such as `pt-BR` or `Portuguese`."""
    return _LANGUAGE.fullmatch(name) is not None


_FIELDS = {key_of(name): (field, rank) for field, names in NAMES.items() for rank, name in enumerate(names)}


def fields_of(header: Sequence[str]) -> dict[str, int]:
    """Field -> position, by the names of a header and by `ingest.columns`."""
    return dict(_fields_of(tuple(header), tuple(current().columns.items())))


@functools.lru_cache
def _fields_of(header: tuple[str, ...], wanted: tuple[tuple[str, str], ...]) -> dict[str, int]:
    keys = [key_of(name) for name in header]
    best: dict[str, tuple[int, int]] = {}
    for position, key in enumerate(keys):
        field, rank = _FIELDS.get(key, ("", 0))
        if field and (rank, position) < best.get(field, (len(_FIELDS), 0)):
            best[field] = rank, position
    found = {field: position for field, (_, position) in best.items()}
    named = {field: keys.index(key_of(name)) for field, name in wanted if key_of(name) in keys}
    return _overruled(found, named)


def _overruled(found: dict[str, int], named: Mapping[str, int]) -> dict[str, int]:
    """What the user names is that and nothing else; a text that is named is the text, normalised or not."""
    taken = set(named.values())
    kept = {field: at for field, at in found.items() if at not in taken}
    if "text" in named:
        kept.pop("normalised", None)
    return {**kept, **named}


def of_header(header: Sequence[str]) -> dict[str, int]:
    """As `fields_of`; empty when this line is no header: it names no audio, or no text."""
    found = fields_of(header)
    complete = ("id" in found or "audio" in found) and ("text" in found or "normalised" in found)
    return found if complete else {}


@dataclass(frozen=True)
class Choice:
    """places: field -> position. columns: what each column was taken for, and why."""

    places: dict[str, int]
    columns: tuple[Column, ...]


@dataclass(frozen=True)
class Kind:
    """What the cells of one column look like.

    word: empty, audio, gender, language, part, numbers or words. words: mean per cell. distinct: share.
    """

    word: str
    reason: str
    words: float = 0.0
    distinct: float = 1.0
    values: int = 0


def kind_of(cells: Sequence[str], recordings: Recordings) -> Kind:
    filled = [cell for cell in cells if cell]
    if not filled:
        return Kind("empty", "it is empty")
    there = sum(recordings.find(cell) is not None for cell in filled)
    named = sum(map(is_audio, filled))
    if there > _MOST * len(filled):
        return Kind("audio", f"{there} of {len(filled)} cells name a recording that is there")
    if named > _MOST * len(filled):
        return Kind("audio", f"{named} of {len(filled)} cells end like the name of a recording")
    different = set(filled)
    shown = ", ".join(sorted(different)[:3])[:60]
    few = f"{len(different)} different {'value' if len(different) == 1 else 'values'}: {shown}"
    counts = {"distinct": len(different) / len(filled), "values": len(different)}
    numbers = [cell for cell in filled if _NUMBER.fullmatch(cell)]
    if len(numbers) > 0.9 * len(filled):
        whole = all(cell.isdigit() for cell in filled)
        return Kind("whole" if whole else "numbers", f"numbers, {few}", **counts)
    folded = {cell.casefold() for cell in different}
    if folded <= _GENDERS:
        return Kind("gender", few, **counts)
    if all(map(_LANGUAGE.fullmatch, different)):
        return Kind("language", few, **counts)
    if folded <= set(parts.PARTS):
        return Kind("part", few, **counts)
    words = sum(len(cell.split()) for cell in filled) / len(filled)
    return Kind("words", f"{words:.1f} words on average, {few}", words=words, **counts)


def choose(
    header: Sequence[str], body: Sequence[Sequence[str]], count: int, recordings: Recordings, where: str
) -> Choice:
    """What each of `count` columns is; the header is empty where the listing has none.

    Raises InputError when two columns may be the text, or the user names a column that is not there.
    """
    sample = body[:: max(1, len(body) // _SAMPLE)]
    cells = [[row[at].strip() for row in sample if at < len(row)] for at in range(count)]
    kinds = [kind_of(column, recordings) for column in cells]
    wanted = _wanted(header, count)
    places = {field: at for field, at in fields_of(header).items() if at < count}
    by_name = dict(places)
    known = set(places.values()) | set(wanted.values())
    free = [at for at in range(count) if at not in known]
    guessed: dict[str, int] = {}
    if not {"audio", "id"} & {*places, *wanted}:
        guessed |= _first("audio", free, kinds)
        if not guessed and not header and free:
            guessed["audio"] = free[0]
    if not {"text", "normalised"} & {*places, *wanted}:
        guessed |= _texts([at for at in free if at not in guessed.values()], kinds, cells, where)
    if not header:
        left = [at for at in free if at not in guessed.values()]
        for field in ("gender", "language", "part"):
            guessed |= {} if field in wanted else _first(field, left, kinds)
        guessed |= {} if "speaker" in wanted else _speaker(left, guessed, kinds, len(sample))
    places = _overruled(places | guessed, wanted)
    columns = []
    for at in range(count):
        field = next((field for field, place in places.items() if place == at), "")
        if at in wanted.values():
            reason = "ingest.columns says so"
        elif field in by_name and by_name[field] == at:
            reason = "by its name"
        else:
            reason = kinds[at].reason
        columns.append(Column(at + 1, header[at].strip() if at < len(header) else "", field, reason))
    return Choice(places, tuple(columns))


def _wanted(header: Sequence[str], count: int) -> dict[str, int]:
    """Field -> position as `ingest.columns` says; what this listing does not have is for another one."""
    keys, found = [key_of(name) for name in header], {}
    for field, name in current().columns.items():
        if key_of(name) in keys:
            found[field] = keys.index(key_of(name))
        elif name.isdigit() and 1 <= int(name) <= count:
            found[field] = int(name) - 1
    return found


def _first(kind: str, free: Sequence[int], kinds: Sequence[Kind]) -> dict[str, int]:
    at = next((at for at in free if kinds[at].word == kind), None)
    return {} if at is None else {kind: at}


def _texts(
    free: Sequence[int], kinds: Sequence[Kind], cells: Sequence[Sequence[str]], where: str
) -> dict[str, int]:
    """The column of sentences; of two that say the same, the second is the normalised text."""
    some = [at for at in free if kinds[at].word == "words"]
    if not some:  # one-word texts may look like anything
        some = [at for at in free if kinds[at].word not in ("audio", "empty", "numbers")][:1]
    if len(some) < 2:
        return {"text": some[0]} if some else {}
    text = max(some, key=lambda at: (kinds[at].words, kinds[at].distinct, -at))
    twins = [at for at in some if at != text and _is_twin(at, text, kinds, cells)]
    if twins:
        first, second = sorted((text, max(twins, key=lambda at: kinds[at].words)))
        return {"text": first, "normalised": second}
    rival = max((at for at in some if at != text), key=lambda at: (kinds[at].words, kinds[at].distinct))
    if kinds[text].words < 1.5 and kinds[text].distinct < 2 * kinds[rival].distinct:
        raise InputError(
            f"{where}: columns {rival + 1} and {text + 1} both hold words ({kinds[rival].reason}; "
            f"{kinds[text].reason}); say in params.yaml which is the text: "
            f"ingest.columns: {{text: {text + 1}, speaker: {rival + 1}}}"
        )
    return {"text": text}


def _is_twin(at: int, text: int, kinds: Sequence[Kind], cells: Sequence[Sequence[str]]) -> bool:
    """Whether a column says what the text says: in the same words, or in other sentences as various."""
    pairs = [(a, b) for a, b in zip(cells[at], cells[text], strict=False) if a and b]
    same = sum(bool(set(a.casefold().split()) & set(b.casefold().split())) for a, b in pairs)
    if pairs and same > _MOST * len(pairs):
        return True
    mine, other = kinds[at], kinds[text]
    return mine.words >= max(1.5, other.words / 2) and mine.distinct > _MOST


def _speaker(
    free: Sequence[int], guessed: Mapping[str, int], kinds: Sequence[Kind], rows: int
) -> dict[str, int]:
    """The first column with few different values: names, or else whole numbers."""
    left = [at for at in free if at not in guessed.values()]
    for word in ("words", "whole"):
        for at in left:
            kind = kinds[at]
            is_few = kind.distinct <= _MOST or (word == "words" and kind.values < rows <= _FEW_ROWS)
            if kind.word == word and is_few:
                return {"speaker": at}
    return {}
