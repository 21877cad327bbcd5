"""Feed every reader and parser broken input, and print each traceback with the input that led to it.

    python tests/fuzz.py --seconds 60 --seed 1          (make fuzz SECONDS=60 SEED=1)
    python tests/fuzz.py --seed 1 --only 4711           that one input again

Input number N of a seed is always the same, whatever the speed of the machine. An error that the project
itself raises (SotaqueError) is what bad input should lead to. Everything else is a finding: another
exception, half a minute for one input, a value that cannot be written again. Findings are saved under
scratch/fuzz/. To add a target, write a function below with `@target`: it makes its input from `draw`, in the
current folder, keeps it in `draw.input` and hands it to the reader.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import logging
import os
import random
import shutil
import signal
import struct
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow
import soundfile
from pyarrow import parquet
from ruamel.yaml import YAML

from sotaque import audio, files, jobs, manifest, model_spec, sandbox, seal, settings, stamps, text, yaml_file
from sotaque.backends.orpheus import codec
from sotaque.data import ids, ingest, layouts, tokenize, transcripts
from sotaque.data.measures.row import Measures
from sotaque.errors import ClipError, SotaqueError
from sotaque.evaluation import curves
from sotaque.manifest import Reject, Utterance
from sotaque.training.checkpoint import Scratch

ROOT = Path(__file__).parent.parent
SAVED = ROOT / "scratch/fuzz"
LIMIT_S = 30
CORPUS = Path("data/raw/mine")
SUFFIXES = ".wav .flac .mp3 .ogg .opus .m4a .webm .aiff .caf .amr .wma .txt"
# What breaks parsers: signs of the formats, and texts that are words in one of them and more in another.
WORDS = """
a é ß İ 𝕏 ﷺ ٣ <b> [risos] nan null true yes .. / ~ .wav a.wav { } [ ] : - % # & ' | , ; ( ) ’ ˈ ½ 21 Mr. R$
&a *a !!int !x ? <<: ... |- @ ` = 0 010 0x 0o17 1e 1:30 1_0 .nan -.inf 2001-01-01 -1 1.234,56 --> 00:00:01,000
id text audio speaker path sentence client_id start end id|text|speaker audio,text
"""
PIECES = [
    *WORDS.split(),
    *("", " ", "  ", "\t", "\n", "\r", "\r\n", "\0", "\x1b", "\x7f", "\x85", "\ufeff", "\u2028", "\u202e"),
    *("\\", '"', "\ud800", "\udcff", "e\u0301", "olá mundo", "- ", ": ", "---\n", "!!binary ", "0.0\t1.5\t"),
    *("9" * 30, "9" * 5000, "a" * 300, "[" * 200, "{a: " * 120, "- " * 150),
]  # fmt: skip
FIELDS = """
audio audio_filepath text speaker lang id duration offset start_s end_s split accent group file_name Text
AUDIO path sentence x
"""
LISTINGS = """
metadata.csv list.txt train.tsv validated.tsv line_index.tsv line_index.csv x.psv transcripts.txt
1/2/1-2.trans.txt train/transcripts.txt speaker-info.txt SPEAKERS.TXT
"""


class Draw(random.Random):
    """The random choices of one input. input: what was made of them, for the report."""

    input: Any = None

    def word(self, pieces: int = 12) -> str:
        return "".join(self.choice(PIECES) for _ in range(self.randrange(pieces)))

    def value(self, depth: int = 0) -> Any:
        """Whatever JSON can hold."""
        kind = self.random()
        if kind < 0.4 or (depth > 2 and kind > 0.6):
            return self.word(6)
        if kind < 0.5:
            numbers = [0, 1, -1, 10**30, 10**400, 1.5, float("nan"), float("inf"), -0.0, 5e-324, 1e308]
            return self.choice(numbers)
        if kind < 0.6:
            return self.choice([True, False, None])
        if kind < 0.75:
            return [self.value(depth + 1) for _ in range(self.randrange(4))]
        return {self.word(4): self.value(depth + 1) for _ in range(self.randrange(4))}

    def record(self, keys: list[str]) -> dict[str, Any]:
        return {key: self.value() for key in self.sample(keys, self.randrange(1, min(8, len(keys) + 1)))}

    def mutated(self, content: bytes) -> bytes:
        """Bytes are changed, doubled, cut out and put in, in a few places."""
        found = bytearray(content)
        for _ in range(self.randrange(1, 5)):
            at, length = self.randrange(len(found) + 1), self.choice([1, 2, 4, 8, 100])
            change = self.randrange(5)
            if change == 0:
                del found[at : at + length]
            elif change == 1:
                found[at:at] = found[at : at + length]
            elif change == 2:
                found[at:at] = encode(self.word(3))
            elif change == 3:
                found[at : at + length] = self.choice([b"\xff", b"\0", b"\x7f"]) * length
            else:
                found = found[:at] if self.random() < 0.3 else found
                found[at : at + 1] = self.randbytes(1)
        return bytes(found)

    def jsonl(self, record: dict[str, Any]) -> str:
        """A line that is whole or cut, with others behind it."""
        line = json.dumps(record, ensure_ascii=self.random() < 0.5)
        line = line if self.random() < 0.6 else line[: self.randrange(len(line) + 1)] + self.word(4)
        return (
            line + "\n" + self.choice(["", line, self.word(), "[]", "5", '"x"', "null", "{}", "[" * 99_999])
        )


def encode(written: str) -> bytes:
    return written.encode("utf-8", "surrogatepass")


TARGETS: dict[str, Callable[[Draw], None]] = {}


def target(function: Callable[[Draw], None]) -> Callable[[Draw], None]:
    TARGETS[function.__name__] = function
    return function


# --- params.yaml, a model's file


def _write(draw: Draw, path: Path, content: bytes) -> Path:
    draw.input = content
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def _read_settings(path: Path) -> None:
    """What is read can be sealed."""
    json.dumps(dataclasses.asdict(settings.read(path)), allow_nan=False).encode()


@target
def params_text(draw: Draw) -> None:
    key = draw.choice(list(settings.Settings.__dataclass_fields__))
    more = "\n" + draw.word(20) if draw.random() < 0.3 else ""
    _read_settings(_write(draw, Path("params.yaml"), encode(f"{key}: {draw.word(20)}{more}")))


@target
def params_values(draw: Draw) -> None:
    default = settings.Settings()
    key = draw.choice(list(default.__dataclass_fields__))
    section = getattr(getattr(default, key), "__dataclass_fields__", None)
    value = {draw.choice(list(section)): draw.value()} if section and draw.random() < 0.8 else draw.value()
    _read_settings(_write(draw, Path("params.yaml"), encode(json.dumps({key: value}, ensure_ascii=False))))


@target
def params_mutated(draw: Draw) -> None:
    whole = (ROOT / "params.yaml").read_bytes()
    start = draw.randrange(len(whole))
    part = whole[start : start + 400] if draw.random() < 0.5 else whole
    _read_settings(_write(draw, Path("params.yaml"), draw.mutated(part)))


@target
def model_file(draw: Draw) -> None:
    lines = (ROOT / "workflow/models/micro.yaml").read_text().splitlines()
    for _ in range(draw.randrange(1, 3)):
        at = draw.randrange(len(lines))
        lines[at] = f"{lines[at].split(':')[0]}: {draw.word(15)}" if draw.random() < 0.7 else draw.word(20)
    content = encode("\n".join(lines))
    _write(draw, settings.MODELS / "fuzz.yaml", draw.mutated(content) if draw.random() < 0.3 else content)
    json.dumps(dataclasses.asdict(model_spec.read("fuzz")), allow_nan=False).encode()


def _are_same(ours: Any, theirs: Any) -> bool:
    """Of one type throughout; a key of ours is always a string."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return len(ours) == len(theirs) and all(map(_are_same, ours.values(), theirs.values()))
    if isinstance(ours, list) and isinstance(theirs, list):
        return len(ours) == len(theirs) and all(map(_are_same, ours, theirs))
    return type(ours) is type(theirs) and ours == theirs


@target
def yaml_as_dvc_reads_it(draw: Draw) -> None:
    """What both read has one value."""
    draw.input = draw.choice(["k: ", "- ", "k: [", "{a: ", ""]) + draw.word(6)
    draw.input += draw.choice(["", "]", "}", f"\nb: {draw.word(5)}"])
    value = yaml_file.parse(draw.input, "x")
    try:
        theirs = YAML(typ="safe").load(draw.input)
    except Exception:  # it takes less than we do, which is no wrong value
        return
    assert _are_same(value, theirs), f"{value!r:.200} is not {theirs!r:.200}"


@target
def config_option(draw: Draw) -> None:
    draw.input = draw.word(20)
    json.dumps(yaml_file.parse(draw.input, "--config lr"), allow_nan=False).encode()


# --- manifests, seals and other files that the project itself writes


@target
def manifest_rows(draw: Draw) -> None:
    kind = draw.choice([Utterance, Reject, Measures, tokenize.TokenRow])
    names = [one.name for one in dataclasses.fields(kind)]
    record = draw.record([*names, "x"])
    if draw.random() < 0.7:
        record |= {name: draw.choice(["a", 0, 0.5, None]) for name in names if name not in record}
    path = _write(draw, Path("m.jsonl"), encode(draw.jsonl(record)))
    manifest.jsonl(manifest.read(path, kind)).encode()


def _split_job() -> tuple[jobs.Job, settings.Settings]:
    found = settings.Settings()
    return next(job for job in jobs.of(found) if job.stage.word == "split"), found


@target
def seals(draw: Draw) -> None:
    job, found = _split_job()
    value = {"stage": "split", "fan": {}, "params": {}, "spec": {}, "code": "0", "upstream": {}, "files": {}}
    value |= {key: draw.value() for key in draw.sample(list(value), draw.randrange(3))}
    content = encode(json.dumps(draw.choice([value, value, draw.value()]), ensure_ascii=False))
    content = draw.mutated(content) if draw.random() < 0.5 else content
    _write(draw, job.seal, content)
    uses = [lambda: seal.differences(job), lambda: seal.reopen(job, {})]
    uses += [lambda: stamps.freshen(found)] if draw.random() < 0.1 else []
    for use in uses:
        with contextlib.suppress(SotaqueError):
            use()


@target
def checkpoints(draw: Draw) -> None:
    scratch = Scratch(Path("scratch/train"), {"a": 1})
    state = {"progress": draw.record(["step", "tokens", "history", "saved", "failed", "x"]), "sha256": {}}
    state |= {key: draw.value() for key in state if draw.random() < 0.3}
    with contextlib.suppress(UnicodeEncodeError):
        state["own_sha256"] = files.sha256_of(state) if draw.random() < 0.7 else draw.value()
    content = encode(json.dumps(state, ensure_ascii=False))
    content = draw.mutated(content) if draw.random() < 0.3 else content
    _write(draw, scratch.folder / "step-000001/state.json", content)
    scratch.newest()


@target
def codec_config(draw: Draw) -> None:
    value = draw.choice(
        [{"vq_strides": [4, 2, 1], "x": draw.value()}, {"vq_strides": draw.value()}, draw.value()]
    )
    _write(draw, Path("config.json"), draw.mutated(encode(json.dumps(value))))
    codec.read_config(Path())


@target
def losses(draw: Draw) -> None:
    record = draw.record(["step", "epoch", "train_nats", "val_nats", "lr", "x"])
    _write(draw, Path("losses.jsonl"), encode(draw.jsonl(record)))
    curves.read_losses(Path())


@target
def selection(draw: Draw) -> None:
    candidate = draw.record(["step", "wer", "similarity", "mos", "x"])
    value = {"step": 1, "candidates": draw.choice([[candidate], draw.value()]), "reason": draw.value()}
    _write(draw, Path("selected.json"), draw.mutated(encode(json.dumps(value))))
    curves.read_selection(Path("selected.json"))


# --- corpora


def _empty_corpus() -> None:
    shutil.rmtree(CORPUS.parent, ignore_errors=True)
    CORPUS.mkdir(parents=True)
    (CORPUS / "a.wav").write_bytes(b"x")


def _ingest(draw: Draw) -> None:
    """By some of the layouts that take the corpus for their own; each row becomes a clip or a reject."""
    found = dataclasses.replace(settings.Settings(), ingest=settings.Ingest(corpus="mine"))
    for name, layout in draw.sample(list(layouts.LAYOUTS.items()), 4):
        with contextlib.suppress(SotaqueError):
            root = layouts.root(CORPUS, name)
            if hasattr(layout, "unpack") or not layout.matches(root):
                continue
            rows = list(layouts.read(root, name, Path("unpacked")))
            for row, identifier in zip(rows, ids.unique(row.id for row in rows), strict=True):
                clip = ingest.drafted(row, identifier, root, found)
                if isinstance(clip, ClipError):
                    clip = Reject.of(identifier, row.audio, "ingest", clip)
                manifest.jsonl([clip]).encode()
    if draw.random() < 0.1:
        layouts.find(layouts.root(CORPUS, "auto"))


@target
def jsonl_corpus(draw: Draw) -> None:
    _empty_corpus()
    record = draw.record(FIELDS.split())
    record.setdefault("audio_filepath", draw.choice(["a.wav", draw.word()]))
    record.setdefault("text", draw.choice(["olá", draw.word()]))
    line = json.dumps(record, ensure_ascii=draw.random() < 0.5)
    body = draw.choice([line, f"[{line}]", f"[{line},{json.dumps(draw.value())}]", f"{line}\n{draw.word()}"])
    name = draw.choice(["m.jsonl", "m.json", "metadata.jsonl", "train/metadata.jsonl"])
    _write(draw, CORPUS / name, encode(body))
    _ingest(draw)


HEADERS = [
    *("", "id|text|speaker\n", "audio,text\n", "audio_path,transcript,speaker_id\n", "file_name,text\n"),
    *("client_id\tpath\tsentence\n", "speaker;path;text\n", "a.wav|olá\n", '"audio","text"\n', "WEBVTT\n\n"),
    *("1\n00:00:01,000 --> 00:00:02,000\nolá\n", "0.0\t1.5\tolá\n", "a.wav\tolá\t0.0\t1.5\n"),
]  # fmt: skip


@target
def listings(draw: Draw) -> None:
    _empty_corpus()
    for folder in draw.sample(["wavs", "clips", "audio", "train", "train/audio"], 2):
        (CORPUS / folder).mkdir(parents=True, exist_ok=True)
        (CORPUS / folder / "a.wav").write_bytes(b"x")
    body = draw.choice(HEADERS) + "\n".join(draw.word(20) for _ in range(draw.randrange(5)))
    marks = {"utf-8": b"", "utf-16-le": b"\xff\xfe", "utf-16-be": b"\xfe\xff", "utf-32-le": b"\xff\xfe\0\0"}
    encoding = draw.choice(["utf-8"] * 5 + list(marks))
    content = marks[encoding] + body.encode(encoding, "surrogatepass")
    content = draw.mutated(content) if draw.random() < 0.3 else content
    _write(draw, CORPUS / draw.choice(LISTINGS.split()), content)
    _ingest(draw)


@target
def kaldi_corpus(draw: Draw) -> None:
    _empty_corpus()
    draw.input = {}
    for name, line in {
        "wav.scp": "a a.wav",
        "text": "a olá",
        "segments": "a a 0 1",
        "utt2spk": "a s",
    }.items():
        if name in ("wav.scp", "text") or draw.random() < 0.4:
            draw.input[name] = encode(f"{line}\n{draw.word(20)}\n{draw.word(20)}")
            (CORPUS / name).write_bytes(draw.input[name])
    _ingest(draw)


@target
def corpus_tree(draw: Draw) -> None:
    """Folders with files, links, FIFOs and names that are not UTF-8."""
    _empty_corpus()
    draw.input = []
    places = ["", "s/", "s/t/", "txt/p1/", "wav48/p1/", "1/2/", "train/"]
    for _ in range(draw.randrange(1, 8)):
        stem = draw.choice(["a", "p1_1", "1-2-0001", draw.word(3).replace("/", "").replace("\0", "") or "b"])
        name = (
            draw.choice(places) + stem[:60] + draw.choice([".wav", ".lab", ".txt", ".flac", ".trans.txt", ""])
        )
        path = os.path.join(os.fsencode(CORPUS), name.encode("utf-8", "surrogatepass"))
        kind = draw.choice(["text", "text", "text", "bytes", "folder", "fifo", "loop", "dangling", "outside"])
        draw.input.append((kind, name))
        with contextlib.suppress(OSError):
            os.makedirs(os.path.dirname(path), exist_ok=True)
            if kind == "folder":
                os.mkdir(path)
            elif kind == "fifo":
                os.mkfifo(path)
            elif kind in ("loop", "dangling", "outside"):
                os.symlink({"loop": path, "dangling": b"gone", "outside": b"/etc/hostname"}[kind], path)
            elif not os.path.lexists(path):
                with open(path, "wb") as stream:
                    stream.write(encode(draw.word(15)) if kind == "text" else draw.randbytes(30))
    _ingest(draw)


@target
def parquet_corpus(draw: Draw) -> None:
    if draw.random() > 0.005:  # each is read by a process of its own
        return params_text(draw)
    _empty_corpus()
    rows = [
        {"audio": {"bytes": b"RIFF", "path": draw.word(3)}, "text": f"olá {n}", "id": str(n)}
        for n in range(9)
    ]
    with contextlib.suppress(pyarrow.ArrowException, UnicodeError):
        parquet.write_table(pyarrow.Table.from_pylist(rows), CORPUS / "a.parquet")
        _write(draw, CORPUS / "a.parquet", draw.mutated((CORPUS / "a.parquet").read_bytes()))
        if layouts.LAYOUTS["parquet"].matches(CORPUS):
            list(layouts.read(CORPUS, "parquet", Path("unpacked")))
    return None


# --- texts and names


@target
def transcript(draw: Draw) -> None:
    draw.input = draw.word(30)
    for language in ("pt", "es", "en", "ar"):
        with contextlib.suppress(SotaqueError):
            cleaned = transcripts.cleaned(draw.input, language, "where")
            transcripts.foreign(cleaned, language)
            cleaned.encode()
            text.normalize_for_wer(cleaned, language)


@target
def identifiers(draw: Draw) -> None:
    draw.input = [draw.word(8) for _ in range(draw.randrange(1, 6))]
    draw.input.append(draw.choice(["a", "A", "ａ", "á", "..", "-", "con", ""]))
    made: dict[str, str] = {}
    for name, unique in zip(draw.input, ids.unique(draw.input), strict=True):
        assert 0 < len(unique) <= ids.MAX_CHARACTERS
        assert unique[0] not in "-."
        assert all(c.isascii() and (c.isalnum() or c in "._-") for c in unique)
        assert made.setdefault(unique.casefold(), name) == name, "two names, one id"


# --- audio, many at a time: each batch is read by a process that may crash


AUDIO_BATCH = 64
_CHUNKS = [b"fmt ", b"data", b"ds64", b"LIST", b"junk"]
_SIZES = [0, 1, 16, 0xFFFFFFFF, 0xFFFFFFF0]


def _made_up_audio(draw: Draw) -> bytes:
    """Headers of RIFF with wild sizes, or of Ogg."""
    if draw.random() < 0.3:
        page = bytearray(draw.randbytes(draw.randrange(60, 160)))
        page[:4], page[28:36] = b"OggS", draw.choice([b"OpusHead", b"\x01vorbis\0"])
        return bytes(page + b"OggS" + draw.randbytes(draw.randrange(60)))
    found = draw.choice([b"RIFF", b"RF64", b"RIFX"]) + b"\0\0\0\0WAVE"
    for _ in range(draw.randrange(6)):
        size = draw.choice([*_SIZES, draw.randrange(100)])
        found += draw.choice(_CHUNKS) + struct.pack("<I", size) + draw.randbytes(draw.randrange(30))
    return found


def _good_audio() -> dict[str, bytes]:
    """A tenth of a second in each format that soundfile writes."""
    samples = [0.3 * ((n % 60) / 30 - 1) for n in range(2400)]
    found = {}
    for suffix, kind in {
        ".wav": "WAV",
        ".flac": "FLAC",
        ".mp3": "MP3",
        ".ogg": "OGG",
        ".aiff": "AIFF",
    }.items():
        soundfile.write(f"good{suffix}", samples, 24_000, format=kind)
        found[suffix] = Path(f"good{suffix}").read_bytes()
    return found


_GOOD: dict[str, bytes] = {}


def audio_input(draw: Draw) -> tuple[str, bytes]:
    if not _GOOD:
        _GOOD.update(_good_audio())
    suffix = draw.choice(list(_GOOD))
    content = draw.mutated(_GOOD[suffix]) if draw.random() < 0.7 else _made_up_audio(draw)
    return (suffix if draw.random() < 0.8 else draw.choice(SUFFIXES.split())), content


def read_audio(path: Path) -> sandbox.Answer:
    """In the sandbox: the traceback of what is no ClipError, "" where there is none."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # decoders have much to say
    try:
        audio.read_header(path)
        audio.read(path)
    except ClipError:
        return {"found": ""}, b""
    except Exception:
        return {"found": traceback.format_exc()}, b""
    return {"found": ""}, b""


# --- the loop


@dataclass
class Finding:
    """The first input with this traceback, and how many had it."""

    number: int
    name: str
    input: Any
    traceback: str
    count: int = 1


@dataclass
class Findings:
    inputs: Counter = field(default_factory=Counter)
    found: dict[tuple[str, str], Finding] = field(default_factory=dict)

    def add(self, number: int, name: str, content: Any, said: str) -> None:
        lines = said.splitlines()
        places = [line.strip() for line in lines if line.strip().startswith("File ") and "/sotaque/" in line]
        key = name, f"{lines[-1].split(':')[0]} {places[-1] if places else ''}"
        if key in self.found:
            self.found[key].count += 1
        else:
            self.found[key] = Finding(number, name, content, said)


class HangError(BaseException):
    pass


def _interrupt(*_: object) -> None:
    raise HangError(f"over {LIMIT_S} s")


def run(seed: str, numbers: Iterator[int] | range, until_s: float = float("inf")) -> Findings:
    """Try the inputs of these numbers until the time (of time.monotonic) is over, in a folder of its own."""
    findings, audio_inputs = Findings(), []
    before = Path.cwd()
    signal.signal(signal.SIGALRM, _interrupt)
    logging.disable()  # warnings about input that is bad on purpose
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108 - thousands of small files
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        os.chdir(folder)
        shutil.copytree(ROOT / "workflow/models", settings.MODELS)
        (Path("assets")).symlink_to(ROOT / "assets")
        try:
            for number in numbers:
                if time.monotonic() > until_s:
                    break
                draw = Draw(f"{seed}-{number}")
                if draw.random() < 0.1:
                    audio_inputs.append((number, *audio_input(draw)))
                    if len(audio_inputs) == AUDIO_BATCH:
                        _try_audio(audio_inputs, findings)
                        audio_inputs = []
                else:
                    _try(draw, number, findings)
            _try_audio(audio_inputs, findings)
        finally:
            os.chdir(before)
            logging.disable(logging.NOTSET)
    return findings


def _try(draw: Draw, number: int, findings: Findings) -> None:
    name = draw.choice(list(TARGETS))
    findings.inputs[name] += 1
    signal.alarm(LIMIT_S)
    try:
        TARGETS[name](draw)
    except (SotaqueError, KeyboardInterrupt) as error:
        if isinstance(error, KeyboardInterrupt):
            raise
    except BaseException:
        findings.add(number, name, draw.input, traceback.format_exc())
    finally:
        signal.alarm(0)


def _try_audio(inputs: list[tuple[int, str, bytes]], findings: Findings) -> None:
    """A crash or a hang of a decoder becomes a ClipError there, and is none of ours."""
    paths = []
    for number, suffix, content in inputs:
        paths.append(Path(f"{number}{suffix}"))
        paths[-1].write_bytes(content)
    answers = sandbox.each(read_audio, paths, sandbox.Limits(max_s=LIMIT_S, max_mb=800))
    for (number, suffix, content), path, answer in zip(inputs, paths, answers, strict=True):
        findings.inputs["audio"] += 1
        if not isinstance(answer, ClipError) and answer[0]["found"]:
            findings.add(number, "audio", (suffix, content), answer[0]["found"])
        path.unlink()


def save(seed: str, finding: Finding) -> Path:
    path = SAVED / f"{seed}-{finding.number}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    again = f"python tests/fuzz.py --seed {seed} --only {finding.number}"
    written = f"{again}\n{finding.name}: {finding.input!a}\n\n{finding.traceback}"
    path.write_text(written, encoding="utf-8", errors="backslashreplace")
    return path


def main(arguments: list[str] | None = None) -> int:
    """Returns 1 where there are findings."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", default="1")
    parser.add_argument("--only", type=int, help="the number of one input")
    options = parser.parse_args(arguments)
    numbers = range(sys.maxsize) if options.only is None else range(options.only, options.only + 1)
    findings = run(options.seed, numbers, time.monotonic() + options.seconds)
    total = sum(findings.inputs.values())
    print(f"{total} inputs: {', '.join(f'{name} {n}' for name, n in sorted(findings.inputs.items()))}")
    for finding in findings.found.values():
        print(f"\n{finding.count} times, first in {save(options.seed, finding)}\n{finding.traceback}", end="")
    print(f"{len(findings.found)} places with a traceback (seed {options.seed})")
    return bool(findings.found)


if __name__ == "__main__":
    sys.exit(main())
