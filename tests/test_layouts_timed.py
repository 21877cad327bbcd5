"""Transcripts with times: labels and subtitles are cut, alignments are refused, plain text stays as it is."""

from pathlib import Path

import numpy as np
import pytest

from sotaque import audio, manifest
from sotaque.data import ingest
from sotaque.data.layouts import timed
from sotaque.data.layouts.timed import Segment
from sotaque.errors import ClipError
from sotaque.manifest import Reject
from sotaque.settings import Ingest, Settings
from sounds import save, voice

CORPUS, OUT = Path("data/raw/mine"), Path("data/manifest")
TWO = [Segment(0.0, 1.25, "O gato dorme."), Segment(1.25, 2.5, "Ela saiu.")]
AUDACITY = "0.000000\t1.250000\tO gato dorme.\n1.250000\t2.500000\tEla saiu.\n"
SPECTRAL = "0.0\t1.25\tO gato dorme.\n\\\t100.0\t200.0\n1.25\t2.5\tEla saiu.\n"
SRT = "1\n00:00:00,000 --> 00:00:01,250\nO gato\ndorme.\n\n2\n00:00:01,250 --> 00:00:02,500\nEla saiu.\n"
VTT = """WEBVTT

NOTE feito à mão

00:00.000 --> 00:01.250 align:start
O gato dorme.

1
00:00:01.250 --> 00:00:02.500
Ela saiu.
"""
TIGHT = "1\n00:00:00,000 --> 00:00:01,250\nO gato dorme.\n00:00:01,250 --> 00:00:02,500\nEla saiu."
PRAAT = """File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0
xmax = 2.5
tiers? <exists>
size = 2
item []:
    item [1]:
        class = "IntervalTier"
        name = "phones"
        xmin = 0
        xmax = 2.5
        intervals: size = 2
        intervals [1]:
            xmin = 0
            xmax = 1
            text = "g"
        intervals [2]:
            xmin = 1
            xmax = 2.5
            text = "a"
    item [2]:
        class = "IntervalTier"
        name = "frases"
        xmin = 0
        xmax = 2.5
        intervals: size = 3
        intervals [1]:
            xmin = 0
            xmax = 1.25
            text = "O gato dorme."
        intervals [2]:
            xmin = 1.25
            xmax = 2.5
            text = "Ela saiu."
        intervals [3]:
            xmin = 2.5
            xmax = 2.6
            text = ""
"""
HTS = "0 2050000 sil\n2050000 3000000 g\n3000000 4100000 a\n"


@pytest.mark.parametrize("written", [AUDACITY, SPECTRAL, SRT, VTT, TIGHT, PRAAT, SRT.replace("\n", "\r\n")])
def test_segments_are_those_that_were_written(written):
    assert timed.read_segments(written, "x") == TWO


@pytest.mark.parametrize(
    "written",
    ["O gato dorme.", "", "1", "1\n2\n3", "2024 12 dezembro", "Em 2024\t12 pessoas", "das 10:30 às 11:00",
     "0 1 2", "--> siga", "{risos} oi", "10 20 30 40", "<b>oi</b>"],
)  # fmt: skip
def test_plain_text_is_plain_text(written):
    assert timed.read_segments(written, "x") is None


@pytest.mark.parametrize(
    "written",
    [
        HTS,
        "x^x-sil+g=a@1_1/A:0_0\nx^sil-g+a=t@1_1/A:0_0\n",
        PRAAT.split("    item [2]:")[0],
        'File type = "ooTextFile"\nObject class = "TextGrid"\n',
        "WEBVTT\n\n",
        "2.0\t1.0\tao contrário",
        "0.0\t1e9\tdemais",
        '{"text": "O gato dorme."}',
        "{\\rtf1\\ansi O gato dorme.}",
        "<!DOCTYPE html>\n<p>404</p>",
    ],
)
def test_what_is_no_transcript_is_refused(written):
    with pytest.raises(ClipError) as caught:
        timed.read_segments(written, "a.lab")
    assert caught.value.code == "not-a-transcript"
    assert caught.value.reason.startswith("a.lab: ")


def test_the_voice_of_a_cue_is_its_speaker():
    written = "WEBVTT\n\n00:00.000 --> 00:01.000\n<v Ana Maria>Oi, <i>tudo</i> bem?</v>\n"
    [cue] = timed.read_segments(written, "x")
    assert (cue.speaker, cue.text) == ("Ana Maria", "Oi, <i>tudo</i> bem?")


@pytest.fixture
def recording(workplace):
    samples = np.concatenate([voice(1.25, pitch_hz=120), voice(1.25, pitch_hz=180)])
    save(CORPUS / "ana/rec.wav", samples, subtype="FLOAT")
    return samples


def run() -> tuple[list, list]:
    settings = Settings(shards=1, ingest=Ingest(corpus="mine", max_rejected_share=1.0))
    ingest.run(settings, corpus=CORPUS, out=OUT)
    return manifest.read(OUT / "00.jsonl"), manifest.read(OUT / "rejects.jsonl", Reject)


@pytest.mark.parametrize(
    ("name", "written"),
    [("rec.txt", AUDACITY), ("rec.lab", SRT), ("rec.srt", SRT), ("rec.vtt", VTT), ("rec.TextGrid", PRAAT)],
)
def test_a_recording_is_cut_by_its_labels_sample_by_sample(recording, name, written):
    samples = recording
    (CORPUS / "ana" / name).write_text(written)
    kept, rejects = run()
    assert not rejects
    assert [(u.id, u.text, u.speaker) for u in kept] == [
        ("ana-rec", "O gato dorme.", "ana"),
        ("ana-rec-00001250", "Ela saiu.", "ana"),
    ]
    cut = [audio.read(Path(u.audio), u.start_s, u.end_s)[0] for u in kept]
    np.testing.assert_array_equal(np.concatenate(cut), samples)


def test_an_alignment_costs_its_clip_alone(recording):
    (CORPUS / "ana/rec.lab").write_text(HTS)
    save(CORPUS / "ana/b.wav", voice(0.7))
    (CORPUS / "ana/b.lab").write_text("Bom dia.")
    kept, rejects = run()
    assert [u.id for u in kept] == ["ana-b"]
    assert [(r.id, r.code) for r in rejects] == [("ana-rec", "not-a-transcript")]
    assert "ana/rec.lab: it is an alignment of phones" in rejects[0].reason


def test_a_label_beyond_the_recording_or_without_words_is_rejected_and_the_others_stay(recording):
    (CORPUS / "ana/rec.txt").write_text("0.0\t1.25\tO gato dorme.\n1.25\t2.0\t\n7.0\t8.0\tTarde.\n")
    kept, rejects = run()
    assert [u.text for u in kept] == ["O gato dorme."]
    assert {r.id: r.code for r in rejects} == {
        "ana-rec-00001250": "no-transcript",
        "ana-rec-00007000": "segment",
    }


@pytest.mark.parametrize("text", ["00:00:00,000 --> 00:00:01,200 Oi", "WEBVTT 00:00.000 --> 00:01.200 Oi"])
def test_times_in_a_cell_of_a_table_are_no_transcript(recording, text):
    (CORPUS / "list.csv").write_text(f"audio|text\nana/rec.wav|{text}\n")
    save(CORPUS / "b.wav", voice(0.7))
    (CORPUS / "list.csv").open("a").write("b.wav|Bom dia.\n")
    _, rejects = run()
    assert [r.code for r in rejects] == ["not-a-transcript"]
