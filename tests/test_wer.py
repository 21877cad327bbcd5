"""Error rates that can be counted by hand, and the ASR behind them."""

import json
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest

import spelling_pairs
import spoken
from sotaque import audio
from sotaque.errors import InputError, ModelError
from sotaque.evaluation import recognizer
from sotaque.metrics import registry, wer


@pytest.mark.parametrize(
    ("reference", "hypothesis", "substitutions", "deletions", "insertions", "words", "cer"),
    [
        ("sol gato três", "sol gato três", 0, 0, 0, 3, 0 / 10),
        ("sol gato três", "sol gado três", 1, 0, 0, 3, 1 / 10),  # the last word is 3
        ("sol gato três", "sol três", 0, 1, 0, 3, 5 / 10),
        ("sol gato três", "sol gato gato três", 0, 0, 1, 3, 5 / 10),
        ("sol gato três", "", 0, 3, 0, 3, 10 / 10),
        ("Sol, gato... TRÊS!", "sol gato 3", 0, 0, 0, 3, 0 / 10),  # what the normaliser removes is no error
        ("não", "nao", 1, 0, 0, 1, 1 / 3),  # accents are letters
    ],
)
def test_errors_counted_by_hand(reference, hypothesis, substitutions, deletions, insertions, words, cer):
    found = wer.utterance_errors(reference, hypothesis, "pt")
    assert (found.substitutions, found.deletions, found.insertions, found.words) == (
        substitutions, deletions, insertions, words,
    )  # fmt: skip
    assert found.character_errors / found.characters == pytest.approx(cer)


def test_arabic_passes_its_own_normaliser():
    found = wer.utterance_errors("أَهْلًا", "اهلا", "ar")
    assert found.word_errors == 0
    with pytest.raises(InputError, match="'xx'"):
        wer.utterance_errors("a", "a", "xx")


def test_an_aside_in_brackets_costs_nothing_read_and_its_words_left_out():
    for opening, closing in ("()", "[]", "<>"):
        aside = f"Ele chegou {opening}muito tarde{closing} ontem."
        read = wer.utterance_errors(aside, "Ele chegou muito tarde ontem.", "pt")
        left_out = wer.utterance_errors(aside, "Ele chegou ontem.", "pt")
        assert (read.word_errors, read.words) == (0, 5)
        assert (left_out.deletions, left_out.word_errors, left_out.words) == (2, 2, 5)
    assert wer.utterance_errors("(aside)", "aside", "en").word_errors == 0
    assert wer.utterance_errors("(aside)", "", "en").word_errors == 1


@pytest.mark.parametrize(("language", "alike", "one", "other"), spelling_pairs.read())
def test_what_is_read_alike_costs_nothing_and_what_is_not_costs_something(language, alike, one, other):
    """Either may be the reference."""
    for reference, hypothesis in ((one, other), (other, one)):
        errors = wer.utterance_errors(reference, hypothesis, language)
        assert (errors.word_errors == 0) == alike, (errors.reference, errors.hypothesis)


def test_corpus_rate_is_the_ratio_of_sums_and_not_the_mean_of_rates():
    rates = wer.error_rates(["oi", "a b c d e f g h i"], ["sol", "a b c d e f g h i"], ["pt", "pt"])
    assert rates.wer == pytest.approx(1 / 10)
    assert wer.error_rates([], [], []).wer is None


@pytest.fixture(scope="module")
def asr(tmp_path_factory):
    import torch

    folder = spoken.whisper(tmp_path_factory.mktemp("base") / "asr")
    return recognizer.Recognizer(folder, torch.device("cpu"))


@pytest.fixture(scope="module")
def waves():
    made = [audio.resample(spoken.wave(t, "pt-br+f1"), spoken.RATE_HZ, 16_000) for t in spoken.TEXTS]
    return [*made, np.tile(made[0], 4), np.zeros(0, np.float32)]


def test_recognizer_hears_in_a_batch_what_it_hears_alone(asr, waves):
    together = asr.transcribe(waves, 16_000, "pt")
    alone = [asr.transcribe([wave], 16_000, "pt")[0] for wave in waves]
    assert together == alone
    assert together[-1] == ""
    assert any(together), "the tiny whisper says nothing, so this test could not fail"


def test_recognizer_agrees_with_whisper_own_decode(asr, waves):
    import whisper

    mel = whisper.log_mel_spectrogram(whisper.pad_or_trim(waves[0]), 80)
    options = whisper.DecodingOptions(
        language="pt", without_timestamps=True, fp16=False, sample_len=recognizer.token_limit(2.0)
    )
    assert asr.transcribe(waves[:1], 16_000, "pt") == [whisper.decode(asr.model, mel, options).text.strip()]


def test_recognizer_resamples(asr, waves):
    import soxr

    at_24k = soxr.resample(waves[0], 16_000, 24_000)
    back = soxr.resample(at_24k, 24_000, 16_000)
    assert asr.transcribe([at_24k], 24_000, "pt") == asr.transcribe([back], 16_000, "pt")


@pytest.mark.parametrize(
    ("duration_s", "tokens"), [(0.0, 150), (0.4, 150), (5.0, 150), (5.1, 300), (30.0, 900)]
)
def test_token_limit_grows_in_steps(duration_s, tokens):
    assert recognizer.token_limit(duration_s) == tokens


def test_a_looping_asr_stops_at_the_limit(asr, waves):
    """The random whisper never ends by itself; the decoder's own limit of 224 would hold it much longer."""
    from whisper.tokenizer import get_tokenizer

    [text] = asr.transcribe(waves[:1], 16_000, "pt")
    tokens = get_tokenizer(True, language="pt", task="transcribe").encode(text)
    assert 0 < len(tokens) <= recognizer.token_limit(2.0) * 1.2


def test_recognizer_refuses_what_is_no_checkpoint(tmp_path):
    import torch

    with pytest.raises(ModelError, match=r"expected one whisper checkpoint .* found none"):
        recognizer.Recognizer(tmp_path, torch.device("cpu"))
    (tmp_path / "a.pt").write_bytes(b"not a checkpoint")
    with pytest.raises(ModelError, match=r"a\.pt: not a checkpoint of openai-whisper"):
        recognizer.Recognizer(tmp_path, torch.device("cpu"))
    (tmp_path / "b.pt").write_bytes(b"")
    with pytest.raises(ModelError, match=r"found a\.pt, b\.pt"):
        recognizer.Recognizer(tmp_path, torch.device("cpu"))


def test_recognizer_refuses_a_language_whisper_does_not_have(asr):
    with pytest.raises(ModelError, match="'xx'"):
        asr.transcribe([], 16_000, "xx")


def test_a_missing_and_a_silent_clip_count_as_wholly_wrong(workplace):
    spoken.whisper(workplace / "models/micro/base/asr")
    test = [spoken.utterance(f"t{i}", text) for i, text in enumerate(spoken.TEXTS)]
    (workplace / "wav/tuned").mkdir(parents=True)
    audio.write(workplace / "wav/tuned/t1.wav", np.zeros(24_000, np.float32), 24_000)
    (workplace / "wav/tuned/t2.wav").write_bytes(b"")
    scores = wer.score(spoken.context(test, []))
    assert [row["status"] for row in scores.rows] == ["failed"] * 4
    assert [row["wer"] for row in scores.rows] == [1.0] * 4
    assert [row["failure"] for row in scores.rows] == ["empty", "silent", "empty", "empty"]
    summary = registry.summarize(wer.METRIC, scores.rows)
    assert (summary["wer"], summary["cer"]) == (1.0, 1.0)
    assert scores.method["normalizer"] == {"pt": f"portuguese 2 (text2num {version('text2num')})"}


def test_a_damaged_clip_stops_by_name(workplace):
    test = [spoken.utterance("t0", spoken.TEXTS[0])]
    (workplace / "wav/tuned").mkdir(parents=True)
    (workplace / "wav/tuned/t0.wav").write_bytes((workplace / "data/wav/00/t0.wav").read_bytes()[:5000])
    with pytest.raises(InputError, match=r"wav/tuned/t0\.wav: truncated"):
        spoken.context(test, []).wave(test[0])


def test_a_row_tells_how_its_clip_failed(workplace):
    """Whether the model ended a clip stands in clips.jsonl, beside the WAVs."""
    spoken.whisper(workplace / "models/micro/base/asr")
    test = [spoken.utterance(f"t{i}", text) for i, text in enumerate(spoken.TEXTS[:3])]
    long = np.concatenate([spoken.wave(spoken.TEXTS[2], "pt-br+f1")] * 5)
    for clip, samples in zip(test, [None, None, long], strict=True):
        sound = audio.read(Path(clip.audio))[0] if samples is None else samples
        audio.write(workplace / f"wav/tuned/{clip.id}.wav", sound, 24_000)
    stopped = {"t0": True, "t1": False, "t2": True}
    rows = "".join(json.dumps({"id": name, "stopped": value}) + "\n" for name, value in stopped.items())
    (workplace / "wav/tuned/clips.jsonl").write_text(rows)
    found = {row["id"]: row for row in wer.score(spoken.context(test, [])).rows}
    assert {name: row["stopped"] for name, row in found.items()} == stopped
    assert found["t1"]["failure"] == "limit"
    assert found["t2"]["failure"] in ("repeated", "too-long"), "by what the random ASR makes of it"
    assert found["t0"]["speaker"] == "iara"
    assert found["t2"]["duration_s"] == pytest.approx(5 * test[2].duration_s, rel=1e-3)
