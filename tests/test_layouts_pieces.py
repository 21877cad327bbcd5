"""Pieces of long recordings: what is cut out is what was put in, sample by sample."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

import corpora
from sotaque import audio, manifest
from sotaque.data import ingest, normalize
from sotaque.errors import ClipError
from sotaque.manifest import Reject
from sotaque.settings import Ingest, Settings
from sounds import save, voice

CORPUS, OUT = Path("data/raw/mine"), Path("data/manifest")
RATE_HZ = 22_050


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    return tmp_path_factory.mktemp("sounds")


@pytest.fixture(autouse=True)
def corpus(workplace):
    CORPUS.mkdir(parents=True)


def recording(folder: Path, suffix: str):
    """The eight clips end to end in one file of the corpus: their starts and ends in seconds."""
    parts = [soundfile.read(clip.sound, dtype="float32")[0] for clip in corpora.clips(folder, "wav")]
    save(CORPUS / f"all.{suffix}", np.concatenate(parts), RATE_HZ)
    ends = np.cumsum([len(part) for part in parts]) / RATE_HZ
    return list(zip([0.0, *ends[:-1].tolist()], ends.tolist(), corpora.TEXTS, strict=True))


def kaldi(pieces, suffix: str):
    (CORPUS / "wav.scp").write_text(f"rec all.{suffix}\n")
    (CORPUS / "text").write_text("".join(f"u{n} {text}\n" for n, (_, _, text) in enumerate(pieces)))
    (CORPUS / "utt2spk").write_text("".join(f"u{n} ana\n" for n in range(len(pieces))))
    spans = "".join(f"u{n} rec {start!r} {end!r}\n" for n, (start, end, _) in enumerate(pieces))
    (CORPUS / "segments").write_text(spans)


def nemo(pieces, suffix: str):
    records = (
        {
            "audio_filepath": f"all.{suffix}",
            "offset": start,
            "duration": end - start,
            "text": text,
            "speaker": "ana",
        }
        for start, end, text in pieces
    )
    (CORPUS / "manifest.json").write_text("".join(json.dumps(record) + "\n" for record in records))


def run():
    settings = Settings(shards=1, ingest=Ingest(corpus="mine", language="es", max_rejected_share=1.0))
    ingest.run(settings, corpus=CORPUS, out=OUT)
    return settings, manifest.read(OUT / "00.jsonl")


@pytest.mark.parametrize("suffix", ["wav", "flac"])
@pytest.mark.parametrize("write", [kaldi, nemo])
def test_pieces_are_the_clips_sample_by_sample(write, suffix, sounds):
    write(recording(sounds, suffix), suffix)
    found = {u.text: u for u in run()[1]}
    assert sorted(found) == sorted(corpora.TEXTS)
    for clip in corpora.clips(sounds, "wav"):
        piece = found[clip.text]
        samples, rate_hz = audio.read(Path(piece.audio), piece.start_s, piece.end_s)
        assert rate_hz == RATE_HZ
        np.testing.assert_array_equal(samples, audio.read(clip.sound)[0])
        assert piece.duration_s == round(len(samples) / RATE_HZ, 4)


def test_pieces_of_an_mp3_are_pieces_of_its_sound(sounds):
    pieces = recording(sounds, "mp3")
    whole, _ = audio.read(CORPUS / "all.mp3")
    for start_s, end_s, _ in pieces:
        samples, _ = audio.read(CORPUS / "all.mp3", start_s, end_s)
        first = round(start_s * RATE_HZ)
        np.testing.assert_allclose(samples, whole[first : first + len(samples)], atol=1e-4)


def test_a_normalised_piece_is_a_whole_clip(sounds):
    pieces = recording(sounds, "wav")
    kaldi(pieces, "wav")
    settings, _ = run()
    model = Path("workflow/models/micro.yaml")
    normalize.run(settings, model=model, manifest=OUT, shard="00", out=Path("data/wav/00"))
    cut = {u.text: u for u in manifest.read(Path("data/wav/00/manifest.jsonl"))}
    for path in CORPUS.iterdir():
        path.unlink()
    corpora.ljspeech(CORPUS, corpora.clips(sounds, "wav"))
    run()
    normalize.run(settings, model=model, manifest=OUT, shard="00", out=Path("data/wav/whole"))
    whole = {u.text: u for u in manifest.read(Path("data/wav/whole/manifest.jsonl"))}
    assert len(cut) == len(whole) == 8
    for text, utterance in cut.items():
        assert (utterance.start_s, utterance.end_s) == (0.0, None)
        assert Path(utterance.audio).read_bytes() == Path(whole[text].audio).read_bytes()


def test_nemo_pieces_are_named_by_their_start(sounds):
    nemo([(0.0, 1.0, "Uno"), (1.0, 2.25, "Dos")], "wav")
    recording(sounds, "wav")
    assert [(u.id, u.start_s, u.end_s) for u in run()[1]] == [("all", 0.0, 1.0), ("all-00001000", 1.0, 2.25)]


def test_the_same_piece_twice_is_kept_once(sounds):
    kaldi([(0.0, 1.0, "Uno"), (0.0, 1.0, "Dos"), (1.0, 2.0, "Tres")], "wav")
    recording(sounds, "wav")
    assert [u.text for u in run()[1]] == ["Uno", "Tres"]
    rejects = manifest.read(OUT / "rejects.jsonl", Reject)
    assert [(r.id, r.code) for r in rejects] == [("u1", "duplicate-audio")]


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("bad rec 5.0 4.0", "segment"),
        ("bad rec -1.0 4.0", "segment"),
        ("bad rec 0.5 9999", "segment"),
        ("bad rec 9998 9999", "segment"),
        ("bad rec nan 1.0", "segment"),
        ("bad rec 0.5 nan", "segment"),
        ("bad rec one 1.0", "segment"),
        ("bad rec 1.0", "segment"),
        ("bad other 0.0 1.0", "missing"),
    ],
)
def test_bad_segments_are_rejected_by_their_code(line, code, sounds):
    kaldi(recording(sounds, "wav"), "wav")
    with (CORPUS / "segments").open("a") as stream:
        stream.write(line + "\n")
    with (CORPUS / "text").open("a") as stream:
        stream.write("bad Hola\n")
    assert len(run()[1]) == 8
    rejects = manifest.read(OUT / "rejects.jsonl", Reject)
    assert [(r.id, r.code) for r in rejects] == [("bad", code)]


@pytest.mark.parametrize(
    ("start_s", "end_s", "expected"),
    [
        (0.0, None, (0.0, 2.0)),
        (0.0, 2.0, (0.0, 2.0)),
        (0.0, 1.95, (0.0, 2.0)),
        (0.0, 2.4, (0.0, 2.0)),
        (0.0, 1.5, (0.0, 1.5)),
        (0.5, None, (0.5, 2.0)),
        (0.5, 2.4, (0.5, 2.0)),
        (0.5, 1.0, (0.5, 1.0)),
    ],
)
def test_ends_that_listings_round_are_forgiven(start_s, end_s, expected):
    path = save(CORPUS / "a.wav", voice(2.0), 24_000, subtype="FLOAT")
    samples, _ = audio.read(path, start_s, end_s)
    np.testing.assert_array_equal(
        samples, voice(2.0)[round(expected[0] * 24_000) : round(expected[1] * 24_000)]
    )


def test_a_long_recording_may_be_cut_where_the_whole_is_too_long():
    path = save(CORPUS / "long.wav", np.tile(voice(1.0, 4_000), 700), 4_000)
    with pytest.raises(ClipError, match="too-long"):
        audio.read_header(path)
    assert audio.read_header(path, 650.0, 652.0).duration_s == 2.0
    assert len(audio.read(path, 650.0, 652.0)[0]) == 8_000
