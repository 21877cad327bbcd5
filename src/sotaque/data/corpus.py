"""The built-in demonstration corpus: one espeak-ng voice reads sentences of a small grammar.

Its layout is LJSpeech's, with a header and further columns: what `ingest` would be given by anyone.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from sotaque import audio, files
from sotaque.data.sentences import Sentence, demonstration
from sotaque.micro.voices import TARGETS, Voice
from sotaque.progress import track
from sotaque.settings import Settings

COLUMNS = ("id", "text", "normalised", "speaker", "language", "accent", "part", "group")
NOVEL_GROUP = "novel-words"


def run(settings: Settings, *, out: Path) -> dict[str, float]:
    """Write out/metadata.csv and out/wavs/<id>.wav (espeak-ng's own 22.05 kHz, 16-bit, mono)."""
    wanted = settings.corpus
    voice = TARGETS[wanted.accent]
    sentences = demonstration(
        voice.language, wanted.train_clips, wanted.test_clips, wanted.novel_clips, settings.seed
    )
    written = with_wrong_texts(sentences) if wanted.wrong_texts else sentences
    rows, total_s = [], 0.0
    pairs = zip(named(voice, sentences), written, strict=True)
    for (identifier, spoken), sentence in track(list(pairs), "corpus"):
        samples, rate_hz = voice.speak(spoken.text)
        audio.write(out / "wavs" / f"{identifier}.wav", samples, rate_hz)
        rows.append(row(identifier, sentence, voice, wanted.accent))
        total_s += len(samples) / rate_hz
    files.write_text(out / "metadata.csv", "".join("|".join(cells) + "\n" for cells in (COLUMNS, *rows)))
    return {"clips": len(rows), "hours": total_s / 3600}


def with_wrong_texts(sentences: list[Sentence]) -> list[Sentence]:
    """Each training sentence replaced by another one, half of them further; no other part is touched.

    A control: what is tuned on such a corpus learns the voice, but not to read.
    """
    train = [sentence for sentence in sentences if sentence.part == "train"]
    wrong = iter([*train[len(train) // 2 :], *train[: len(train) // 2]])
    return [next(wrong) if sentence.part == "train" else sentence for sentence in sentences]


def named(voice: Voice, sentences: list[Sentence]) -> list[tuple[str, Sentence]]:
    """Sentences with their ids; each kind is counted by itself, so that more of one renames no other."""
    count: Counter[str] = Counter()
    pairs = []
    for sentence in sentences:
        count[sentence.part] += 1
        kind = "" if sentence.part == "train" else f"{sentence.part}-"
        pairs.append((f"{voice.speaker}-{kind}{count[sentence.part]:05d}", sentence))
    return pairs


def row(identifier: str, sentence: Sentence, voice: Voice, accent: str) -> tuple[str, ...]:
    """One line of metadata.csv; train clips name no part, so that `split` draws val from them."""
    part = "" if sentence.part == "train" else "test"
    group = NOVEL_GROUP if sentence.part == "novel" else ""
    return (identifier, sentence.text, sentence.text, voice.speaker, voice.language, accent, part, group)
