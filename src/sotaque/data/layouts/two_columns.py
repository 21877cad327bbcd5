"""A table of audio and text in a .csv, .tsv, .psv or .txt, cut by `|`, tab, `;` or `,`.

A header may name its columns; without one, the cells say what they are. Several listings may lie side by
side; one called train, val or test says which part its clips are of.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from sotaque.data.layouts import columns, parts, recordings, sources, table
from sotaque.data.layouts.row import Row

LOOKS_FOR = (
    "a .csv, .tsv, .psv or .txt with lines `path/to/clip.wav|text` (or tab, `;`, `,`), perhaps with a header"
)
SUFFIXES = (".csv", ".tsv", ".psv", ".txt")
_LOOKED_AT = 100


def matches(folder: Path) -> bool:
    return bool(_listings(folder))


def rows(folder: Path) -> Iterator[Row]:
    audio = recordings.of(folder)
    for path, delimiter in _listings(folder).items():
        part = parts.part_of(path.stem)
        for row in recordings.resolve(table.read(path, audio, delimiter), audio):
            yield replace(row, part=row.part or part)


def _listings(folder: Path) -> dict[Path, str]:
    """Listing -> delimiter, for every file that has the form: at the top, else in folders without recordings.

    One with a word where others have sentences, such as a table of speakers, is none beside them.
    """
    audio = recordings.of(folder)
    delimiters: dict[Path, str] = {}
    with_sentences = set()

    def is_table(path: Path) -> bool:
        texts = [] if sources.is_accompanying(path.name) else sources.first_lines(path, _LOOKED_AT)
        delimiters[path] = table.guess_delimiter(texts, audio) if texts else ""
        if delimiters[path] and _has_sentences(texts, delimiters[path], audio):
            with_sentences.add(path)
        return bool(delimiters[path])

    found = recordings.listings(folder, SUFFIXES, is_table)
    return {path: delimiters[path] for path in found if path in with_sentences or not with_sentences}


def _has_sentences(texts: list[str], delimiter: str, audio: recordings.Recordings) -> bool:
    cut = [table.cells_of(text, delimiter) for text in texts]
    if columns.of_header(cut[0]):
        return True
    kinds = [columns.kind_of([c[at] for c in cut if at < len(c)], audio) for at in range(len(cut[0]))]
    return any(
        kind.word == "words" and (kind.words > columns.SENTENCE_WORDS or kind.distinct > columns.MOST)
        for kind in kinds
    )
