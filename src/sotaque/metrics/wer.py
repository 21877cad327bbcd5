"""Word and character error rate of what the ASR hears against what should have been said.

WER = (substitutions + deletions + insertions) / words of the reference, summed over the corpus (micro
average). Both sides pass the named normaliser of the utterance's language first. A clip that is missing
or silent is an empty hypothesis: every one of its words is wrong. Since a transcript is needed to tell how a
clip failed (failures.py), the rows of this metric say that too.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sotaque import languages, text
from sotaque.manifest import Utterance
from sotaque.metrics import failures
from sotaque.metrics.context import RATE_HZ, Context, Scores
from sotaque.metrics.registry import Column, Metric, Ratio, Reading
from sotaque.progress import counter

AT_ONCE_CLIPS = 32


@dataclass(frozen=True)
class UtteranceErrors:
    """reference, hypothesis: after the normaliser; counts are of words unless they say characters."""

    reference: str
    hypothesis: str
    words: int
    substitutions: int
    deletions: int
    insertions: int
    characters: int
    character_errors: int

    @property
    def word_errors(self) -> int:
        return self.substitutions + self.deletions + self.insertions


@dataclass(frozen=True)
class ErrorRates:
    """A corpus: the counts of each utterance, in the order given; the rates are views of them."""

    utterances: tuple[UtteranceErrors, ...]

    @property
    def wer(self) -> float | None:
        return _ratio(sum(u.word_errors for u in self.utterances), sum(u.words for u in self.utterances))

    @property
    def cer(self) -> float | None:
        return _ratio(
            sum(u.character_errors for u in self.utterances), sum(u.characters for u in self.utterances)
        )


def utterance_errors(reference: str, hypothesis: str, language: str) -> UtteranceErrors:
    """Count the edits (Levenshtein, by jiwer) between two texts after the normaliser of `language`."""
    import jiwer

    expected = text.normalize_for_wer(reference, language)
    heard = text.normalize_for_wer(hypothesis, language)
    words = jiwer.process_words(expected, heard)
    characters = jiwer.process_characters(expected, heard)
    return UtteranceErrors(
        reference=expected,
        hypothesis=heard,
        words=len(expected.split()),
        substitutions=words.substitutions,
        deletions=words.deletions,
        insertions=words.insertions,
        characters=len(expected),
        character_errors=characters.substitutions + characters.deletions + characters.insertions,
    )


def error_rates(references: Sequence[str], hypotheses: Sequence[str], languages: Sequence[str]) -> ErrorRates:
    """Error rates of a corpus: equally many references, hypotheses and language codes (`pt`)."""
    rows = zip(references, hypotheses, languages, strict=True)
    return ErrorRates(tuple(utterance_errors(*row) for row in rows))


def score(context: Context) -> Scores:
    """Transcribe every clip of the system with the ASR of the base folder; a row tells errors and failure."""
    from sotaque.evaluation.recognizer import Recognizer

    recognizer = Recognizer(context.base / "asr", context.device)
    rows = {row["id"]: row for row in _rows(context, recognizer)}
    codes = sorted({u.language for u in context.utterances})
    normalizers = {code: languages.get(code).normalizer.describe() for code in codes}
    return Scores(
        [rows[u.id] for u in context.utterances], recognizer.describe() | {"normalizer": normalizers}
    )


def _rows(context: Context, recognizer: Any) -> Iterator[dict[str, Any]]:
    """A row per clip; clips of like length and one language share a batch of the ASR."""
    stopped = context.stopped()
    ordered = sorted(context.utterances, key=lambda u: (u.language, u.duration_s, u.id))
    with counter(f"wer of {context.system}", len(ordered)) as advance:
        for language, group in itertools.groupby(ordered, key=lambda u: u.language):
            for batch in _parts(list(group), AT_ONCE_CLIPS):
                sounds = {u.id: context.sound(u) for u in batch}
                audible = {
                    name: sound for name, sound in sounds.items() if failures.is_audible(sound, RATE_HZ)
                }
                texts = recognizer.transcribe(list(audible.values()), RATE_HZ, language)
                transcripts = dict(zip(audible, texts, strict=True))
                for utterance in batch:
                    yield _row(context, utterance, sounds, transcripts, stopped.get(utterance.id))
                    advance()


def _row(
    context: Context,
    utterance: Utterance,
    sounds: dict[str, Any],
    transcripts: dict[str, str],
    stopped: bool | None,
) -> dict[str, Any]:
    errors = utterance_errors(utterance.text, transcripts.get(utterance.id, ""), utterance.language)
    clip = failures.Clip(
        sounds[utterance.id],
        RATE_HZ,
        recording_s=utterance.duration_s,
        stopped=stopped,
        reference=errors.reference.split(),
        transcript=errors.hypothesis.split(),
    )
    row = context.row(utterance, failed=utterance.id not in transcripts) | _as_row(errors)
    return row | {"duration_s": clip.duration_s, "stopped": stopped, "failure": failures.classify(clip)}


def _parts(items: list[Utterance], size: int) -> Iterator[list[Utterance]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _as_row(errors: UtteranceErrors) -> dict[str, Any]:
    return {
        "reference": errors.reference,
        "hypothesis": errors.hypothesis,
        "words": errors.words,
        "substitutions": errors.substitutions,
        "deletions": errors.deletions,
        "insertions": errors.insertions,
        "word_errors": errors.word_errors,
        "characters": errors.characters,
        "character_errors": errors.character_errors,
        "wer": _ratio(errors.word_errors, errors.words),
        "cer": _ratio(errors.character_errors, errors.characters),
    }


def _ratio(numerator: int, denominator: int) -> float | None:
    return numerator / denominator if denominator else None


def describe(method: dict[str, Any]) -> list[tuple[str, str]]:
    normalizers = "; ".join(_normalizer(language, name) for language, name in method["normalizer"].items())
    return [
        ("WER and CER", "errors over the corpus / words or characters; a clip without speech is all wrong"),
        ("Text normaliser", normalizers),
        ("ASR", f"openai-whisper, {method['asr']}; {method['decode']}"),
    ]


def _normalizer(language: str, name: str) -> str:
    """Name, language and what the normaliser does."""
    return f"{name} (for {language}): {languages.get(language).normalizer.summary}"


def explain(_reading: Reading) -> str:
    return (
        "The ASR mishears real recordings too: the WER of the reference row is what ASR and normaliser make "
        "of a perfect reading."
    )


METRIC = Metric(
    columns=(
        Column("wer", "WER", Ratio("word_errors", "words", counts_errors=True), "lower", digits=3,
               target="wer", headline=True, clip_field="wer"),
        Column("cer", "CER", Ratio("character_errors", "characters", counts_errors=True), "lower", digits=3),
    ),
    score=score,
    describe=describe,
    explain=explain,
)  # fmt: skip
