"""Word and character error rate of what the ASR hears against what should have been said.

WER = (substitutions + deletions + insertions) / words of the reference, summed over the corpus (micro
average). Both sides pass the named normaliser of the utterance's language first. A clip that is missing
or silent is an empty hypothesis: every one of its words is wrong.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sotaque import languages, text
from sotaque.manifest import Utterance
from sotaque.metrics import bootstrap
from sotaque.metrics.context import RATE_HZ, Context, Scores
from sotaque.progress import counter
from sotaque.settings import Settings

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
        return bootstrap.ratio([u.word_errors for u in self.utterances], [u.words for u in self.utterances])

    @property
    def cer(self) -> float | None:
        return bootstrap.ratio(
            [u.character_errors for u in self.utterances], [u.characters for u in self.utterances]
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
    """Let the ASR of the base folder hear every clip of the system."""
    from sotaque.evaluation.recognizer import Recognizer

    recognizer = Recognizer(context.base / "asr", context.device)
    hypotheses = _transcribe(context, recognizer)
    rows = []
    for utterance in context.utterances:
        heard = hypotheses.get(utterance.id)
        errors = utterance_errors(utterance.text, heard or "", utterance.language)
        rows.append(context.row(utterance, failed=heard is None) | _as_row(errors))
    codes = sorted({u.language for u in context.utterances})
    normalizers = {code: languages.get(code).normalizer.describe() for code in codes}
    return Scores(rows, recognizer.describe() | {"normalizer": normalizers})


def _transcribe(context: Context, recognizer: Any) -> dict[str, str]:
    """id -> what was heard, for the clips that have sound; clips of like length share a batch."""
    heard: dict[str, str] = {}
    ordered = sorted(context.utterances, key=lambda u: (u.language, u.duration_s, u.id))
    with counter(f"wer of {context.system}", len(ordered)) as advance:
        for language, group in itertools.groupby(ordered, key=lambda u: u.language):
            for some in _parts(list(group), AT_ONCE_CLIPS):
                waves = {u.id: context.wave(u) for u in some}
                spoken = {name: wave for name, wave in waves.items() if wave is not None}
                texts = recognizer.transcribe(list(spoken.values()), RATE_HZ, language)
                heard.update(zip(spoken, texts, strict=True))
                for _ in some:
                    advance()
    return heard


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
        "characters": errors.characters,
        "character_errors": errors.character_errors,
        "wer": bootstrap.ratio([errors.word_errors], [errors.words]),
        "cer": bootstrap.ratio([errors.character_errors], [errors.characters]),
    }


def word_errors(row: dict[str, Any]) -> int:
    return row["substitutions"] + row["deletions"] + row["insertions"]


def summarize(rows: Sequence[dict[str, Any]], settings: Settings) -> dict[str, float | None]:
    """Corpus WER with its 95 % interval, and CER."""
    errors, words = [word_errors(r) for r in rows], [r["words"] for r in rows]
    low, high = bootstrap.interval(errors, words, settings.evaluate.bootstrap_samples, settings.seed)
    character_errors, characters = [r["character_errors"] for r in rows], [r["characters"] for r in rows]
    return {
        "wer": bootstrap.ratio(errors, words),
        "wer_low": low,
        "wer_high": high,
        "cer": bootstrap.ratio(character_errors, characters),
    }
