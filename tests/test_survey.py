"""results/corpus.html: counts that add up, every number from the rows, players whole, all text inert."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

import pages
import sounds
import tiny
from pages import EVIL, Reader
from sotaque import audio, files, manifest
from sotaque.data import survey
from sotaque.data.measures import table
from sotaque.data.measures.row import Measures
from sotaque.data.page import worst
from sotaque.manifest import Reject, Utterance, Warned
from sotaque.page import charts
from sotaque.settings import Settings, Survey

SHARDS, RATE_HZ, CLIPS = 2, 24_000, 24
SHARD_NAMES = manifest.shard_names(SHARDS)
ROOTS = {name: Path("data") / name for name in ("manifest", "wav", "measures", "quality")}


READ = {
    "corpus": "data/raw/mine", "layout": "two-columns",
    "listings": [
        {"file": "list.csv", "rows": 26, "delimiter": ",", "quoted": True, "columns": [
            {"number": 1, "name": "path", "field": "audio", "reason": "by its name"},
            {"number": 2, "name": f"mood {EVIL}", "field": "", "reason": f"2 different values: {EVIL}"},
        ]},
    ],
    "unlisted": {"count": 30, "examples": [f"wavs/{n}{EVIL}.wav" for n in range(20)]},
    "passed_over": {"count": 0, "examples": []},
}  # fmt: skip


def text_of(number: int) -> str:
    return f"{EVIL} frase {number}" if number == 3 else f"Não é a frase {number}."


def measures_of(number: int) -> Measures:
    """Clip 0 is the shortest, clip 5 the noisiest; the last one is not measured at its source."""
    name = f"c{number:02d}"
    source = {} if number == CLIPS - 1 else {
        "source_loudness_lufs": -20.0 - number / 10, "peak_dbfs": -3.0, "clipped_share": 0.0,
        "dc_offset": 0.0,
    }  # fmt: skip
    return Measures(
        id=name, speaker=("ana", "rui")[number % 2], language="pt", accent=("pt-br", "")[number % 2],
        duration_s=0.5 + number / 10, loudness_lufs=-23.0, bandwidth_hz=11_000.0,
        snr_db=3.0 if number == 5 else 40.0, silence_share=number / 100, characters_per_s=14.0 + number % 3,
        samples_sha256=files.sha256_of(number), sentence_sha256=files.sha256_of(name),
        unknown_characters=0, **source,
    )  # fmt: skip


@pytest.fixture
def corpus(workplace):
    """What the stages before would have left: 26 clips in, one rejected by each of them."""
    tiny.base(Path("models/micro/base"), tiny.SMALL)
    reject = Reject("x1", "x1.wav", "ingest", "truncated", f"says {EVIL}")
    manifest.write(ROOTS["manifest"] / "rejects.jsonl", [reject])
    manifest.write(
        ROOTS["manifest"] / "warnings.jsonl", [Warned("c01", "c01.mp3", "ingest", "wrong-suffix", "is WAV")]
    )
    files.write_json(ROOTS["manifest"] / "listings.json", READ)
    for shard in SHARD_NAMES:
        numbers = [n for n in range(CLIPS) if manifest.shard_of(f"c{n:02d}", SHARDS) == shard]
        kept = [utterance(number, shard) for number in numbers]
        unfit = [Reject("x2", "x2.wav", "normalize", "too-short", "0.1 s")] if shard == "00" else []
        ingested = [*kept, *(replace(kept[0], id=r.id) for r in unfit)]
        manifest.write(ROOTS["manifest"] / f"{shard}.jsonl", ingested)
        manifest.write(ROOTS["wav"] / shard / "manifest.jsonl", kept)
        manifest.write(ROOTS["wav"] / shard / "rejects.jsonl", unfit)
        manifest.write(ROOTS["measures"] / f"{shard}.jsonl", map(measures_of, numbers))
    manifest.write(ROOTS["quality"] / "rejects.jsonl", [Reject("c05", "c05.wav", "quality", "noisy", "3 dB")])
    return replace(Settings(), shards=SHARDS)


def utterance(number: int, shard: str) -> Utterance:
    path = ROOTS["wav"] / shard / f"c{number:02d}.wav"
    audio.write(path, sounds.voice(0.5 + number / 10, RATE_HZ), RATE_HZ)
    row = measures_of(number)
    return Utterance(row.id, path.as_posix(), text_of(number), row.speaker, "pt", row.accent,
                     duration_s=row.duration_s, loudness_lufs=-23.0)  # fmt: skip


def run(settings: Settings, out: str = "results/corpus"):
    counts = survey.run(settings, **ROOTS, base=Path("models/micro/base"), out=Path(out))
    rows = [json.loads(line) for line in Path(f"{out}.jsonl").read_text(encoding="utf-8").splitlines()]
    return counts, rows, Path(f"{out}.html").read_text(encoding="utf-8")


def test_every_clip_is_one_row_with_its_flags(corpus):
    counts, rows, _ = run(corpus)
    assert [row["id"] for row in rows] == [f"c{n:02d}" for n in range(CLIPS)]
    flags = {row["id"]: row["flags"] for row in rows if row["flags"]}
    assert flags == {f"c{n:02d}": ["short"] for n in range(5)} | {"c05": ["noisy"]}
    assert [row["id"] for row in rows if row["dropped"]] == ["c05"]
    assert rows[-1]["peak_dbfs"] is None
    assert rows[0]["unknown_characters"] == 0
    hours = sum(0.5 + n / 10 for n in range(CLIPS)) / 3600
    assert counts.items() >= {"clips": CLIPS, "flagged": 6, "short": 5, "noisy": 1, "quiet": 0}.items()
    assert counts["hours"] == pytest.approx(hours)


def test_the_counts_add_up_on_the_page(corpus):
    text = Reader(run(corpus)[2]).words()
    assert "6 of 24 clips are flagged, 1 is dropped." in text
    assert "ingest 26 25 1 normalize 25 24 1 quality 24 23 1" in text
    assert "truncated ingest 1 x1: says" in text
    assert "too-short normalize 1 x2: 0.1 s" in text
    assert "noisy quality 1 c05: 3 dB" in text
    assert "wrong-suffix ingest 1 c01: is WAV" in text


def test_what_was_read_as_what_and_what_was_left_aside_stands_on_the_page(corpus):
    run(corpus)
    page = Path("results/corpus.html").read_text(encoding="utf-8")
    section = page.split('<section id="listings">')[1].split("</section>")[0]
    assert "was read as <code>two-columns</code>" in section
    assert (
        '<th scope="row">list.csv</th><td>26</td><td>1</td><td class="words">path</td><td>audio</td>'
        in section
    )
    assert '<span class="none">ignored</span>' in section
    assert "30 recordings are in no listing and are not used: wavs/0" in section
    assert "and others." in section
    assert "were not read" not in section
    assert EVIL not in section


def test_a_corpus_of_many_listings_shows_some_and_counts_the_others(corpus):
    one = READ["listings"][0]
    many = [{**one, "file": f"s{n}/metadata.csv"} for n in range(25)]
    nothing = {"count": 0, "examples": []}
    files.write_json(ROOTS["manifest"] / "listings.json", {**READ, "listings": many, "unlisted": nothing})
    run(corpus)
    page = Path("results/corpus.html").read_text(encoding="utf-8")
    assert "Columns of the listings; 5 more listings are not shown" in page
    assert "Every recording of the corpus is in a listing." in page


def test_a_clip_lost_between_stages_is_not_passed_over(corpus):
    manifest.write(ROOTS["wav"] / "00/rejects.jsonl", [])
    with pytest.raises(AssertionError, match="25 clips ingested, 24 normalised, 0 rejected"):
        run(corpus)


def test_tables_of_flags_speakers_and_characters(corpus):
    text = Reader(run(corpus)[2]).words()
    assert "short duration below 1 s 5 0 c00 0.50 s c01 0.60 s c02 0.70 s" in text
    assert "noisy signal to noise below 15 dB 1 1 c05 3.0 dB" in text
    assert "mistranscribed CER of the ASR above 0.3 measure.asr is off 0" in text
    minutes = sum(0.5 + n / 10 for n in range(1, CLIPS, 2)) / 3600
    assert f"rui pt – 12 {minutes:.2f} 1.70 s" in text
    assert "ã latin small letter a with tilde 23 bytes" in text


def test_text_of_others_is_inert(corpus):
    pages.assert_text_of_others_is_inert(run(replace(corpus, survey=Survey(clips=30)))[2])


def test_page_needs_nothing_from_outside(corpus):
    pages.assert_needs_nothing_from_outside(run(corpus)[2])


def test_every_link_leads_somewhere(corpus):
    reader = Reader(run(corpus)[2])
    places = {attributes.get("id") for _, attributes in reader.elements}
    assert {a["href"].removeprefix("#") for a in reader.of("a")} <= places
    assert len(reader.of("h1")) == 1
    assert all(image["alt"] for image in reader.of("img"))


def test_players_hold_the_samples_of_the_normalised_clips(corpus):
    reader = Reader(run(corpus)[2])
    players = {a["aria-label"].split(":")[0]: a["src"] for a in reader.of("audio")}
    assert {"c00", "c01", "c02", "c05", "c23"} <= set(players)
    shard = manifest.shard_of("c05", SHARDS)
    samples, rate_hz = pages.samples_of(players["c05"])
    expected, expected_hz = soundfile.read(ROOTS["wav"] / shard / "c05.wav", dtype="int16")
    assert (samples, rate_hz) == (expected.tobytes(), expected_hz)


def test_the_worst_are_those_and_what_is_all_alike_has_none(corpus):
    clips = table.read(ROOTS["measures"], SHARD_NAMES)
    found = worst.indices(clips, 2)
    assert found["short"] == [0, 1]
    assert found["long"] == [23, 22]
    assert found["noisy"] == [5]
    assert found["silence"] == [23, 22]
    assert found["quiet"] == [22, 21], "clip 23 was not measured"
    assert found["narrow-band"] == found["mistranscribed"] == found["duplicate-audio"] == []


def test_page_and_rows_are_the_same_twice_whatever_the_shards(corpus):
    run(corpus)
    first = [Path(f"results/corpus.{kind}").read_bytes() for kind in ("html", "jsonl")]
    run(corpus, "results/again")
    assert first == [Path(f"results/again.{kind}").read_bytes() for kind in ("html", "jsonl")]
    assert str(Path.cwd()).encode() not in first[0]


def test_a_model_without_a_tokenizer_json_is_said_not_guessed(corpus):
    Path("models/micro/base/network/tokenizer.json").unlink()
    assert "The model has no tokenizer.json, so they were not compared." in Reader(run(corpus)[2]).words()


def test_a_histogram_counts_every_value():
    values = np.array([0.0] * 10 + [5.0] * 5 + [10.0])
    drawn = charts.histogram(
        "x < y", "seconds", values, 10, [charts.Level("near", x=6.0), charts.Level("out", x=99.0)]
    )
    bars = [
        tuple(map(float, bar))
        for bar in re.findall(r'y="([\d.]+)" width="([\d.]+)" height="([\d.]+)"', drawn)
    ]
    assert len(bars) == 3
    heights = [height for _, _, height in bars]
    plane = charts.HEIGHT - charts.TOP - charts.BOTTOM
    assert heights == pytest.approx([plane, plane / 2, plane / 10], abs=0.2)
    assert all(
        top + height == pytest.approx(charts.HEIGHT - charts.BOTTOM, abs=0.2) for top, _, height in bars
    )
    assert "x &lt; y" in drawn
    assert drawn.count('class="s3 level"') == 2, "the line and its legend"
    assert "<li>out, far off</li>" in drawn


def test_a_single_clip_among_thousands_can_be_seen():
    drawn = charts.histogram("one", "s", np.array([0.0] * 100_000 + [1.0]), 40)
    heights = [float(h) for h in re.findall(r'height="([\d.]+)"', drawn)]
    assert min(heights) == charts.LOWEST_BAR
