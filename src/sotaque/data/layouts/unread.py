"""Formats that are not read: how to recognise each, and what to do."""

from __future__ import annotations

from pathlib import Path

from sotaque.data.layouts import sources
from sotaque.data.layouts.recordings import is_audio

_SAVED = (
    "it was written by Hugging Face's datasets with save_to_disk, which is not read. Write it as Parquet: "
    'from datasets import load_from_disk; d = load_from_disk("OLD"); '
    '[d[part].to_parquet(f"NEW/{part}.parquet") for part in d], or d.to_parquet("NEW/train.parquet") '
    "where it has no parts"
)
_BY_SUFFIX = {
    ".arrow": _SAVED,
    ".xlsx": "its listing is an Excel workbook; save the sheet as CSV UTF-8",
    ".xls": "its listing is an Excel workbook; save the sheet as CSV UTF-8",
    ".ods": "its listing is a spreadsheet; save the sheet as CSV UTF-8",
    ".docx": "its transcripts are Word documents; save them as plain text in UTF-8",
    ".tfrecord": "it holds TFRecords; write WAVs and a metadata.csv with `file_name,text`",
    ".h5": "it holds HDF5 files; write WAVs and a metadata.csv with `file_name,text`",
    ".pkl": "it holds pickles, which are never opened; write WAVs and a metadata.csv with `file_name,text`",
    ".eaf": "its transcripts are ELAN's; export them there as a Praat TextGrid or as subtitles (SRT)",
    ".trs": "its transcripts are Transcriber's; export them as subtitles (SRT) or as a Praat TextGrid",
    ".cha": "its transcripts are CHAT's of CLAN; convert them: chat2praat, or chat2srt",
    ".stm": "its transcripts are in STM; write a Kaldi folder: wav.scp, segments and text",
    ".ctm": "its transcripts are in CTM, word by word; write a Kaldi folder: wav.scp, segments and text",
    ".mlf": "its transcripts are in HTK's master label file; write a .lab with plain text for each clip",
}
_NO_TRANSCRIPTS = (
    "{count} recordings are there (such as {example}), but no transcripts. Put what is said in each clip "
    "into a .lab file of the same name beside it, or list all in metadata.csv with `file_name,text`; "
    "an ASR such as Whisper can write a first version, to be corrected by ear"
)


_LISTINGS = {
    ".csv", ".tsv", ".psv", ".txt", ".json", ".jsonl", ".lab", ".parquet", ".gz", ".zip", ".tar", ".scp",
}  # fmt: skip


def explain(folder: Path) -> str:
    """What this folder holds, where that is known, and what to do; "" for anything else."""
    names = [name for name, _ in sources.walk(folder)]
    suffixes = {Path(name).suffix.lower() for name in names}
    known = next((advice for suffix, advice in _BY_SUFFIX.items() if suffix in suffixes), "")
    audio = [name for name in names if is_audio(name)]
    if known or not audio or suffixes & _LISTINGS:
        return known
    return _NO_TRANSCRIPTS.format(count=len(audio), example=ascii(audio[0])[1:-1])
