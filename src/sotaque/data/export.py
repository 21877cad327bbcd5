"""`sotaque export --to FORMAT`: the finished corpus in a layout that other programs read.

What is exported are the clips of data/splits with their normalised WAVs, and for Fish Speech their codes.
An export is there as a whole or not at all: made beside its place, it is moved there when the disk has it.
"""

from __future__ import annotations

import filecmp
import glob
import json
import logging
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from sotaque import files, manifest
from sotaque.data import ids
from sotaque.data.split import PARTS
from sotaque.data.tokenize import Tokens
from sotaque.errors import ClipError, InputError
from sotaque.manifest import Reject, Utterance
from sotaque.progress import track
from sotaque.settings import Settings

SPLITS, EXPORTS = Path("data/splits"), Path("data/export")
FOLDERS = {"train": "train", "val": "validation", "test": "test"}
COLUMNS = ("id", "text", "speaker", "language", "accent", "gender", "duration_s", "group")
_NAMES_FOLDER = re.compile(r"\w[\w .-]{0,60}(?<! )")
_SHOWN = 5
log = logging.getLogger("sotaque")

# Path in the export -> the file whose bytes belong there, or what makes them.
Plan = dict[str, Path | Callable[[], bytes]]


def run(settings: Settings, *, to: str, out: Path | None = None) -> int:
    """Write out/ (data/export/<to>/ unless named); returns exit status 0. What is there and equal stays.

    Raises InputError when a stage has not run yet, or when other files lie in `out`.
    """
    out = out or EXPORTS / to
    utterances = [u for part in PARTS for u in manifest.read(SPLITS / f"{part}.jsonl")]
    for utterance in utterances:
        if not Path(utterance.audio).is_file():
            raise InputError(
                f"{utterance.audio}: {utterance.id} stands in {SPLITS}, but its WAV is not there; "
                "run snakemake --cores all"
            )
    plan = FORMATS[to](utterances, settings)
    check_alone(out, plan)
    remove_left_over(out)
    if not all(is_there(out / name, content) for name, content in sorted(plan.items())):
        with files.atomic_folder(out) as made:
            for name, content in track(sorted(plan.items()), "export"):
                put(made / name, content, before=out / name)
            files.settle(made)
    wavs = sum(name.endswith(".wav") for name in plan)
    print(f"{wavs} of {len(utterances)} clips, {len(plan)} files: {out}")
    return 0


def fish(utterances: list[Utterance], settings: Settings) -> Plan:
    """Fish Speech: <speaker>/<id>.wav, .lab and, where there are tokens, .npy: int16 (codebooks, frames)."""
    tokens = tokens_of(settings)
    folder = speaker_folders(u.speaker for u in utterances)
    plan: Plan = {}
    for utterance in utterances:
        stem = f"{folder[utterance.speaker]}/{utterance.id}"
        plan[f"{stem}.wav"] = Path(utterance.audio)
        plan[f"{stem}.lab"] = utterance.text.encode
        if tokens and tokens.row(utterance.id).length:
            plan[f"{stem}.npy"] = lambda name=utterance.id: files.npy(tokens.codes(name).T)
    return plan


def ljspeech(utterances: list[Utterance], settings: Settings) -> Plan:
    """LJSpeech: metadata.csv with `id|text|text`, no header, and wavs/<id>.wav.

    A text that holds `|` cannot be written there: its clip goes to rejects.jsonl.
    """
    speakers = {u.speaker for u in utterances}
    if len(speakers) > 1:
        log.warning("export: LJSpeech names no speakers, and there are %d; the others do", len(speakers))
    fit = sorted((u for u in utterances if "|" not in u.text), key=lambda u: u.id)
    fault = ClipError("columns", "its text holds `|`, which cuts the columns of LJSpeech")
    rejects = [Reject.of(u.id, u.audio, "export", fault) for u in utterances if "|" in u.text]
    plan: Plan = {f"wavs/{u.id}.wav": Path(u.audio) for u in fit}
    plan["metadata.csv"] = "".join(f"{u.id}|{u.text}|{u.text}\n" for u in fit).encode
    if rejects:
        log.warning("export: %d clips are left out; rejects.jsonl names them", len(rejects))
        plan["rejects.jsonl"] = manifest.jsonl(rejects).encode
    return plan


def audiofolder(utterances: list[Utterance], settings: Settings) -> Plan:
    """Hugging Face's audiofolder: {train,validation,test}/<id>.wav and a metadata.jsonl in each."""
    plan: Plan = {}
    for part, folder in FOLDERS.items():
        lines = []
        for utterance in sorted((u for u in utterances if u.part == part), key=lambda u: u.id):
            name = f"{utterance.id}.wav"
            plan[f"{folder}/{name}"] = Path(utterance.audio)
            record = {"file_name": name} | {column: getattr(utterance, column) for column in COLUMNS}
            lines.append(json.dumps(record, ensure_ascii=False) + "\n")
        plan[f"{folder}/metadata.jsonl"] = "".join(lines).encode
    return plan


FORMATS: dict[str, Callable[[list[Utterance], Settings], Plan]] = {
    "fish": fish,
    "ljspeech": ljspeech,
    "audiofolder": audiofolder,
}


def tokens_of(settings: Settings) -> Tokens | None:
    """The tokens of the model in params.yaml, None before `tokenize` has made them all."""
    folder = Path("data/tokens") / settings.model
    shards = manifest.shard_names(settings.shards)
    if all((folder / f"{shard}{end}").exists() for shard in shards for end in (".jsonl", ".npy")):
        return Tokens(folder, shards, Path("models") / settings.model / "base")
    log.warning("export: without codes; %s is not complete (snakemake --cores all makes it)", folder)
    return None


def speaker_folders(speakers: Iterable[str]) -> dict[str, str]:
    """A folder for each speaker, called as the speaker is where that can name a folder anywhere."""
    names = sorted(set(speakers))
    count = Counter(name.casefold() for name in names)
    safe = dict(zip(names, ids.unique(names), strict=True))
    return {n: n if _NAMES_FOLDER.fullmatch(n) and count[n.casefold()] == 1 else safe[n] for n in names}


def check_alone(out: Path, plan: Plan) -> None:
    """Raise InputError for files that are not of this export.

    They may be clips that the corpus no longer has, and a reader of the folder would take them.
    """
    if out.is_mount():
        raise InputError(f"{out}: a disk is mounted there; name a folder inside it with --out")
    found = [path.relative_to(out).as_posix() for path in files.walk(out)]
    others = [name for name in found if name not in plan]
    if others:
        shown = ", ".join(others[:_SHOWN])
        raise InputError(
            f"{out}: {len(others)} files there are not of this export, such as {shown}; "
            "take them away, or name another folder with --out"
        )


def remove_left_over(out: Path) -> None:
    """What a killed export has made beside its place."""
    for folder in out.parent.glob(f".{glob.escape(out.name)}.*.part"):
        shutil.rmtree(folder)


def is_there(target: Path, content: Path | Callable[[], bytes]) -> bool:
    """Whether a file has its bytes already; copies are known by size and time, or by bytes."""
    if not target.exists():
        return False
    if isinstance(content, Path):
        return filecmp.cmp(content, target)
    return target.read_bytes() == content()


def put(target: Path, content: Path | Callable[[], bytes], before: Path) -> None:
    """Make one file of an export; where it was there before, it is that one."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if is_there(before, content):
        try:
            os.link(before, target)
        except OSError:
            shutil.copy2(before, target)
    elif isinstance(content, Path):
        shutil.copy2(content, target)
    else:
        target.write_bytes(content())
