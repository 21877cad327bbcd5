"""Report what each column was read as, and which recordings and listings were not read."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sotaque import files
from sotaque.data.layouts import columns, recordings, sources
from sotaque.data.layouts.reading import STATED, Listing, Reading
from sotaque.data.layouts.row import Row
from sotaque.errors import SettingsError

_SHOWN = 20
_HEADINGS_SHOWN = 3
_LISTINGS = (
    ".csv", ".tsv", ".psv", ".txt", ".json", ".jsonl", ".ndjson", ".gz", ".lab", ".srt", ".vtt", ".textgrid",
    ".parquet", ".xlsx",
)  # fmt: skip
_SEAL = "seal.json"  # of the demonstration corpus, which a stage makes
_LEFT_ASIDE = {"unlisted": "recordings in no listing", "passed_over": "listings that were not read"}
log = logging.getLogger("sotaque")


def check_columns(found: Reading) -> None:
    """Raise SettingsError when `ingest.columns` names a column that no listing has, or one column twice."""
    names = [column for listing in found.listings.values() for column in listing.columns]
    used = {column.field for column in names if column.reason == STATED}
    for listing in found.listings.values():
        _check_named_once(found, listing)
    for field, wanted in found.columns.items():
        if field not in used:
            there = list(dict.fromkeys(column.name or str(column.number) for column in names))
            headings = [listing for listing in found.listings.values() if listing.heading]
            close = difflib.get_close_matches(
                wanted, [*there, *(cell for listing in headings for cell in listing.heading)], n=1
            )
            hint = f"; did you mean {close[0]!r}?" if close else ""
            lines = "".join(
                f"; line 1 of {listing.file} looks like a header: {', '.join(listing.heading)}"
                for listing in headings[:_HEADINGS_SHOWN]
            )
            raise SettingsError(
                f"ingest.columns: the {field} is {wanted!r}, but no listing of the corpus has such a column; "
                f"there are: {', '.join(there) or 'none, this layout has no table'}{lines}{hint}"
            )


def _check_named_once(found: Reading, listing: Listing) -> None:
    fields: dict[int, str] = {}
    keys = [columns.key_of(column.name) for column in listing.columns if column.name]
    for field, wanted in found.columns.items():
        for column in listing.columns:
            key = columns.key_of(wanted)
            is_this = key == columns.key_of(column.name) if key in keys else wanted == str(column.number)
            other = fields.setdefault(column.number, field) if is_this else field
            if other != field:
                raise SettingsError(
                    f"ingest.columns: column {wanted} of {listing.file} is named twice, as the {other} and "
                    f"as the {field}; expected one field for each column; correct one in params.yaml"
                )


def has_speaker_column(found: Reading) -> bool:
    every = [column.field for listing in found.listings.values() for column in listing.columns]
    return "speaker" in every


def summarize(found: Reading, rows: Iterable[Row], corpus: Path, layout: str) -> dict[str, Any]:
    """What listings.json holds: the columns of each listing, and what of the corpus was left aside."""
    rows = list(rows)
    listed = {row.audio for row in rows}
    rejected = {row.where for row in rows if row.fault}
    unlisted = [path for path in recordings.of(corpus).paths if path not in listed]
    passed_over = [
        name
        for name, _ in sources.walk(corpus)
        if name.lower().endswith(_LISTINGS)
        and str(corpus / name) not in found.opened
        and not sources.is_accompanying(name.rpartition("/")[2])
        and name not in rejected
        and name != _SEAL
    ]
    return {
        "corpus": files.escape(corpus.as_posix()),
        "layout": layout,
        "listings": [_to_json(listing) for _, listing in sorted(found.listings.items())],
        "unlisted": _count_examples(unlisted),
        "passed_over": _count_examples(passed_over),
    }


def _count_examples(names: list[str]) -> dict[str, Any]:
    return {"count": len(names), "examples": [files.escape(name) for name in names[:_SHOWN]]}


def log_report(report: dict[str, Any]) -> None:
    """Log it: columns used and ignored, recordings in no listing, listings that were not read."""
    for listing in report["listings"]:
        used = [
            f"{_name(column)} is the {column['field']}" for column in listing["columns"] if column["field"]
        ]
        ignored = [_name(column) for column in listing["columns"] if not column["field"]]
        end = f"; ignored: {', '.join(ignored)}" if ignored else ""
        log.info("ingest: %s: %s%s", listing["file"], ", ".join(used), end)
    for key, words in _LEFT_ASIDE.items():
        left_aside = report[key]
        if left_aside["count"]:
            examples = ", ".join(left_aside["examples"][:3])
            log.warning("ingest: %s: %d, such as %s", words, left_aside["count"], examples)


def _to_json(listing: Any) -> dict[str, Any]:
    values = asdict(listing)
    del values["heading"]  # for messages only
    for column in values["columns"]:
        column.update({key: files.escape(word) for key, word in column.items() if isinstance(word, str)})
    return {**values, "file": files.escape(values["file"]), "columns": list(values["columns"])}


def _name(column: dict[str, Any]) -> str:
    return repr(column["name"]) if column["name"] else f"column {column['number']}"
