"""One small corpus, eight sentences of one voice, written down in every layout that `ingest` reads."""

from __future__ import annotations

import csv
import functools
import gzip
import io
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import pyarrow
import soundfile
from pyarrow import parquet

from sotaque.espeak import speak

SPEAKER, LANGUAGE, ACCENT, GENDER = "arf_00295", "es", "es-ar", "f"
TEXTS = (
    "El gato duerme cerca de la ventana.",
    'Dijo "sí", y se fue.',
    "¿Cuánto cuesta el pan; dos pesos?",
    "Mañana, si llueve, no salgo.",
    "Son las doce en punto.",
    "El niño bebió agüita fría.",
    "Nos vemos en la estación.",
    "Qué lindo día, che.",
)
SUFFIXES = ("wav", "flac", "mp3", "ogg")


@dataclass(frozen=True)
class Clip:
    """id as in the corpus; sound: the file to put there."""

    id: str
    text: str
    sound: Path

    @property
    def file(self) -> str:
        return self.id + self.sound.suffix


@functools.cache
def _spoken(text: str):
    return speak(text, "es-419", rate_wpm=260)


def clips(folder: Path, suffix: str) -> list[Clip]:
    """The eight clips, each with its file under `folder`."""
    made = []
    folder.mkdir(parents=True, exist_ok=True)
    for number, text in enumerate(TEXTS, start=1):
        clip = Clip(f"{SPEAKER}_{number:011d}", text, folder / f"{number}.{suffix}")
        if not clip.sound.exists():
            soundfile.write(clip.sound, *_spoken(text), format=suffix.upper())
        made.append(clip)
    return made


def ljspeech(corpus: Path, some: list[Clip]) -> None:
    _put(corpus / "wavs", some)
    _lines(corpus / "metadata.csv", (f"{c.id}|{c.text}|{c.text}" for c in some))


def two_columns(corpus: Path, some: list[Clip]) -> None:
    _put(corpus / "wavs", some)
    _table(corpus / "list.csv", ";", ("audio", "text"), ((f"wavs/{c.file}", c.text) for c in some))


def fish(corpus: Path, some: list[Clip]) -> None:
    _put(corpus / SPEAKER, some)
    for clip in some:
        _lines(corpus / SPEAKER / f"{clip.id}.lab", [clip.text])


def chatterbox(corpus: Path, some: list[Clip]) -> None:
    _put(corpus / "audio", some)
    header = ("audio_path", "transcript", "speaker_id", "duration")
    _table(corpus / "metadata.csv", ",", header, ((f"audio/{c.file}", c.text, SPEAKER, 1.0) for c in some))


def common_voice(corpus: Path, some: list[Clip]) -> None:
    _put(corpus / "clips", some)
    header = "client_id\tpath\tsentence_id\tsentence\tup_votes\tgender\taccents\tlocale"
    listed = [f"{SPEAKER}\t{c.file}\t7\t{c.text}\t2\t{GENDER}\t{ACCENT}\t{LANGUAGE}" for c in some]
    _lines(corpus / "train.tsv", [header, *listed[:4]])
    _lines(corpus / "dev.tsv", [header, listed[4]])
    _lines(corpus / "test.tsv", [header, listed[5]])
    _lines(corpus / "validated.tsv", [header, *listed])
    _lines(corpus / "invalidated.tsv", [header, listed[0].replace(some[0].id, "refused")])


def openslr(corpus: Path, some: list[Clip]) -> None:
    _put(corpus / "es_ar_female", some)
    _lines(corpus / "es_ar_female/line_index.tsv", (f"{c.id}\t{c.text}" for c in some))


def vctk(corpus: Path, some: list[Clip]) -> None:
    """As version 0.92, with two microphones, and the second alone for the last clip."""
    sounds, texts = corpus / "wav48_silence_trimmed" / SPEAKER, corpus / "txt" / SPEAKER
    sounds.mkdir(parents=True)
    texts.mkdir(parents=True)
    for clip in some:
        _lines(texts / f"{clip.id}.txt", [clip.text])
        microphones = ("mic2",) if clip is some[-1] else ("mic1", "mic2")
        for microphone in microphones:
            shutil.copyfile(clip.sound, sounds / f"{clip.id}_{microphone}{clip.sound.suffix}")
    about = f"{SPEAKER}  23  {GENDER.upper()}  {ACCENT}  Salta"
    _lines(corpus / "speaker-info.txt", ["ID  AGE  GENDER  ACCENTS  REGION", about])


def librispeech(corpus: Path, some: list[Clip]) -> None:
    """Two chapters of train-clean-100 and one of dev-other."""
    chapters = {"train-clean-100/19": some[:3], "train-clean-100/26": some[3:6], "dev-other/7": some[6:]}
    for name, members in chapters.items():
        part, chapter = name.split("/")
        folder = corpus / part / SPEAKER / chapter
        _put(folder, members)
        _lines(folder / f"{SPEAKER}-{chapter}.trans.txt", (f"{c.id} {c.text}" for c in members))
    _lines(corpus / "SPEAKERS.TXT", [";ID |SEX| SUBSET", f"{SPEAKER} | {GENDER.upper()} | train-clean-100"])


def kaldi(corpus: Path, some: list[Clip]) -> None:
    _put(corpus / "audio", some)
    _lines(corpus / "wav.scp", (f"{c.id} audio/{c.file}" for c in some))
    _lines(corpus / "text", (f"{c.id} {c.text}" for c in some))
    _lines(corpus / "utt2spk", (f"{c.id} {SPEAKER}" for c in some))
    _lines(corpus / "utt2lang", (f"{c.id} spa" for c in some))
    _lines(corpus / "spk2gender", [f"{SPEAKER} {GENDER}"])


def audiofolder(corpus: Path, some: list[Clip]) -> None:
    header = ("file_name", "id", "transcription", "speaker_id", "language", "accent", "gender")
    tail = (SPEAKER, LANGUAGE, ACCENT, GENDER)
    for part, members in (("train", some[:5]), ("test", some[5:])):
        _put(corpus / part, members)
        _table(corpus / part / "metadata.csv", ",", header, ((c.file, c.id, c.text, *tail) for c in members))


def jsonl(corpus: Path, some: list[Clip]) -> None:
    _put(corpus / "audio", some)
    records = (
        {
            "audio_filepath": f"audio/{c.file}",
            "text": c.text,
            "duration": soundfile.info(c.sound).duration,
            "speaker": SPEAKER,
            "lang": LANGUAGE,
            "gender": GENDER,
        }
        for c in some
    )
    _lines(corpus / "manifest.json", (json.dumps(r, ensure_ascii=False) for r in records))


def lhotse(corpus: Path, some: list[Clip]) -> None:
    _put(corpus / "audio", some)
    recordings, supervisions = [], []
    for clip in some:
        info = soundfile.info(clip.sound)
        source = {"type": "file", "channels": [0], "source": f"audio/{clip.file}"}
        about = {"sampling_rate": info.samplerate, "num_samples": info.frames, "duration": info.duration}
        recordings.append({"id": f"r-{clip.id}", "sources": [source], **about})
        said = {"text": clip.text, "speaker": SPEAKER, "language": "Spanish", "gender": GENDER}
        piece = {"recording_id": f"r-{clip.id}", "start": 0.0, "duration": info.duration, "channel": 0}
        supervisions.append({"id": clip.id, **piece, **said})
    (corpus / "manifests").mkdir()
    _lines(corpus / "manifests/recordings.jsonl", map(json.dumps, recordings))
    written = "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in supervisions)
    (corpus / "manifests/supervisions.jsonl.gz").write_bytes(gzip.compress(written.encode(), mtime=0))


def packed(corpus: Path, some: list[Clip]) -> None:
    """Parquet, two clips to a row group."""
    rows = [
        {
            "audio": {"bytes": c.sound.read_bytes(), "path": c.file},
            "sentence": c.text,
            "speaker": SPEAKER,
            "locale": LANGUAGE,
            "gender": GENDER,
            "up_votes": 2,
        }
        for c in some
    ]
    (corpus / "data").mkdir(parents=True)
    for number, members in enumerate((rows[:5], rows[5:])):
        path = corpus / f"data/train-{number:05d}-of-00002.parquet"
        parquet.write_table(pyarrow.Table.from_pylist(members), path, row_group_size=2)


LAYOUTS = {
    "ljspeech": ljspeech,
    "two-columns": two_columns,
    "fish": fish,
    "chatterbox": chatterbox,
    "common-voice": common_voice,
    "openslr": openslr,
    "vctk": vctk,
    "librispeech": librispeech,
    "kaldi": kaldi,
    "lhotse": lhotse,
    "audiofolder": audiofolder,
    "jsonl": jsonl,
    "parquet": packed,
}


def _put(folder: Path, some: list[Clip]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for clip in some:
        shutil.copyfile(clip.sound, folder / clip.file)


def _lines(path: Path, lines) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _table(path: Path, delimiter: str, header, rows) -> None:
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, lineterminator="\n").writerows([header, *rows])
    path.write_text(text.getvalue(), encoding="utf-8")
