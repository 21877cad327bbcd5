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

from sotaque import languages
from sotaque.data.layouts import parts
from sotaque.data.layouts.reading import STATED, Column, current
from sotaque.data.layouts.recordings import Recordings, is_audio
from sotaque.data.transcripts import is_no_value
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
_SAMPLE = 2_000  # rows that are looked at
MOST = 0.5  # share of the cells of a column, of which more than this decide what it is
_VARIOUS = 0.8  # share of different cells in a column of sentences
SENTENCE_WORDS = 1.5  # on average: less are names, or single words
_FEW_ROWS = 5  # in so short a listing any repeated name may be the speaker's
_NUMBER = re.compile(r"[+-]?\d+(?:[.,]\d+)?(?:[eE][+-]?\d+)?")
_PHONETIC = re.compile("[\u0250-\u02af\u02c8\u02cc\u02d0]")  # IPA extensions, stress and length
_GENDERS = {"m", "f", "male", "female", "masculino", "feminino", "femenino", "man", "woman"}


def key_of(name: str) -> str:
    """`Speaker ID`, `speaker_id` and `speakerID` are one name."""
    return re.sub(r"[\s_-]", "", unicodedata.normalize("NFC", name)).casefold().lstrip("\ufeff")


def is_language(name: str) -> bool:
    """Whether a word is a language's name or code, such as `pt-BR` or `Portuguese`; a sentence is none."""
    return " " not in name and languages.find(name) is not None


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
    return _apply_overrides(found, named)


def _apply_overrides(found: dict[str, int], named: Mapping[str, int]) -> dict[str, int]:
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

    word: empty, audio, gender, language, part, whole, numbers, phonemes or words. words: mean per cell.
    distinct: share. there: share of cells that name a recording that is there.
    """

    word: str
    reason: str
    words: float = 0.0
    distinct: float = 1.0
    values: int = 0
    there: float = 0.0


def kind_of(cells: Sequence[str], recordings: Recordings) -> Kind:
    filled = [cell for cell in cells if cell and not is_no_value(cell)]
    if not filled:
        return Kind("empty", "it is empty")
    there = sum(recordings.find_listed(cell) is not None for cell in filled)
    named = sum(map(is_audio, filled))
    if there > MOST * len(filled):
        reason = f"{there} of {len(filled)} cells name a recording that is there"
        return Kind("audio", reason, there=there / len(filled))
    if named > MOST * len(filled):
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
    if all(map(is_language, different)):
        return Kind("language", few, **counts)
    if folded <= set(parts.PARTS):
        return Kind("part", few, **counts)
    words = sum(len(cell.split()) for cell in filled) / len(filled)
    if sum(_PHONETIC.search(cell) is not None for cell in filled) > MOST * len(filled):
        return Kind("phonemes", f"letters of the IPA, {few}", words=words, **counts)
    return Kind("words", f"{words:.1f} words on average, {few}", words=words, **counts)


def choose(
    header: Sequence[str],
    body: Sequence[Sequence[str]],
    count: int,
    recordings: Recordings,
    where: str,
    has_normalised: bool = False,
) -> Choice:
    """What each of `count` columns is; the header is empty where the listing has none.

    A header of which only `ingest.columns` knows a name says nothing of the other columns: their cells do.
    has_normalised: whether a second column of sentences is the normalised text even in other words, as `R$ 5`
    and `cinco reais`. Raises InputError when two columns may be the text.
    """
    sample = body[:: max(1, len(body) // _SAMPLE)]
    cells = [[row[at].strip() for row in sample if at < len(row)] for at in range(count)]
    kinds = [kind_of(column, recordings) for column in cells]
    wanted = _find_stated(header, count)
    by_cells = not any(key_of(name) in _FIELDS for name in header)  # else the header says what it knows
    places = {field: at for field, at in fields_of(header).items() if at < count}
    by_name = _drop_lost_audio(places, kinds)
    places = dict(by_name)
    known = set(places.values()) | set(wanted.values())
    free = [at for at in range(count) if at not in known]
    guessed: dict[str, int] = {}
    if not {"audio", "id"} & {*places, *wanted}:
        guessed |= _guess_first("audio", sorted(free, key=lambda at: -kinds[at].there), kinds)
        if not guessed and by_cells and free:
            guessed["audio"] = free[0]
    if not {"text", "normalised"} & {*places, *wanted}:
        left = [at for at in free if at not in guessed.values()]
        guessed |= _guess_text(left, kinds, cells, where, has_normalised)
    if by_cells:
        left = [at for at in free if at not in guessed.values()]
        for field in ("gender", "language", "part"):
            guessed |= {} if field in wanted else _guess_first(field, left, kinds)
        guessed |= {} if "speaker" in wanted else _guess_speaker(left, guessed, kinds, len(sample))
    places = _apply_overrides(places | guessed, wanted)
    columns = []
    for at in range(count):
        field = next((field for field, place in places.items() if place == at), "")
        if at in wanted.values():
            reason = STATED
        elif field in by_name and by_name[field] == at:
            reason = "by its name"
        else:
            reason = kinds[at].reason
        columns.append(Column(at + 1, header[at].strip() if at < len(header) else "", field, reason))
    return Choice(places, tuple(columns))


def _drop_lost_audio(places: dict[str, int], kinds: Sequence[Kind]) -> dict[str, int]:
    """A column that is called as audio is none, where it names no recording and an unknown one does."""
    unknown = [kind for at, kind in enumerate(kinds) if at not in places.values()]
    lost = "audio" in places and kinds[places["audio"]].there == 0 and any(kind.there for kind in unknown)
    return {field: at for field, at in places.items() if not (lost and field in ("audio", "id"))}


def _find_stated(header: Sequence[str], count: int) -> dict[str, int]:
    """Field -> position as `ingest.columns` says; what this listing does not have is for another one."""
    keys, found = [key_of(name) for name in header], {}
    for field, name in current().columns.items():
        if key_of(name) in keys:
            found[field] = keys.index(key_of(name))
        elif name.isdigit() and 1 <= int(name) <= count:
            found[field] = int(name) - 1
    return found


def _guess_first(kind: str, free: Sequence[int], kinds: Sequence[Kind]) -> dict[str, int]:
    at = next((at for at in free if kinds[at].word == kind), None)
    return {} if at is None else {kind: at}


def _guess_text(
    free: Sequence[int],
    kinds: Sequence[Kind],
    cells: Sequence[Sequence[str]],
    where: str,
    has_normalised: bool,
) -> dict[str, int]:
    """The column of sentences; of two that say the same, the second is the normalised text."""
    candidates = [at for at in free if kinds[at].word == "words"]
    if not candidates:  # one-word texts may look like anything
        candidates = [at for at in free if kinds[at].word not in ("audio", "empty", "numbers")][:1]
    if len(candidates) < 2:
        return {"text": candidates[0]} if candidates else {}
    text = max(candidates, key=lambda at: (kinds[at].words, kinds[at].distinct, -at))
    others = [at for at in candidates if at != text]
    twins = [at for at in others if _have_same_words(cells[at], cells[text])]
    if has_normalised:
        twins = twins or [at for at in others if _is_rival(kinds[at], kinds[text])]
    if twins:
        first, second = sorted((text, max(twins, key=lambda at: kinds[at].words)))
        return {"text": first, "normalised": second}
    rival = max(others, key=lambda at: (kinds[at].words, kinds[at].distinct))
    are_short = kinds[text].words < SENTENCE_WORDS and kinds[text].distinct < 2 * kinds[rival].distinct
    if are_short or _is_rival(kinds[rival], kinds[text]):
        shown = " and ".join(f"{at + 1} ({kinds[at].reason})" for at in sorted((rival, text)))
        raise InputError(
            f"{where}: one of two columns may be the text, {shown}; say in params.yaml which is, as in "
            f"ingest.columns: {{text: {text + 1}}}, or quote the texts if they hold the delimiter"
        )
    return {"text": text}


def _have_same_words(cells: Sequence[str], others: Sequence[str]) -> bool:
    """Whether most cells share half of their words or more with those of the other column."""
    pairs = [(_words(a), _words(b)) for a, b in zip(cells, others, strict=False) if a and b]
    same = sum(2 * len(a & b) >= min(len(a), len(b)) > 0 for a, b in pairs)
    return bool(pairs) and same > MOST * len(pairs)


def _words(cell: str) -> set[str]:
    return set(re.findall(r"\w+", unicodedata.normalize("NFC", cell).casefold()))


def _is_rival(kind: Kind, text: Kind) -> bool:
    """Whether a column holds sentences, as many different ones as the text and about as long."""
    return kind.words >= max(SENTENCE_WORDS, text.words / 2) and kind.distinct > _VARIOUS


def _guess_speaker(
    free: Sequence[int], guessed: Mapping[str, int], kinds: Sequence[Kind], rows: int
) -> dict[str, int]:
    """The first column with few different values: names, or else whole numbers."""
    left = [at for at in free if at not in guessed.values()]
    for word in ("words", "whole"):
        for at in left:
            kind = kinds[at]
            is_few = kind.distinct <= MOST or (word == "words" and kind.values < rows <= _FEW_ROWS)
            if kind.word == word and is_few:
                return {"speaker": at}
    return {}
