"""measure and quality: each fault put into a clip is found by its own code; what is dropped is listed."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import spoken
import tiny
from sotaque import audio, backends, files, jobs, manifest, seal, stamps
from sotaque import settings as settings_module
from sotaque.data import measure, normalize, quality, survey
from sotaque.data.measures import codec
from sotaque.data.measures.row import Measures
from sotaque.errors import InputError, SettingsError
from sotaque.manifest import Reject, Utterance
from sotaque.metrics import wer
from sotaque.settings import Measure, Quality, Settings

SHARDS = 2
MODEL = Path("workflow/models/micro.yaml")
BASE = Path("models/micro/base")
MANIFEST, WAV, MEASURES, QUALITY = (
    Path("data") / name for name in ("manifest", "wav", "measures", "quality")
)
RATE_HZ = 24_000
TEXT = "Amanhã vou à praia."


def sources() -> dict[str, np.ndarray]:
    """id -> a recording at 24 kHz with one fault, or none."""
    clean = spoken.wave(TEXT, "pt-br+f1")
    other = spoken.wave("O gato dorme perto da janela.", "pt-br+f1")
    rng = np.random.default_rng(0)
    noise = rng.standard_normal(len(clean)).astype(np.float32) * clean.std()
    pause = np.zeros(RATE_HZ, np.float32)
    dull = audio.resample(audio.resample(clean, RATE_HZ, 16_000), 16_000, RATE_HZ)
    return {
        "clean": clean,
        "foreign": spoken.wave("Quanto custa o pão?", "pt-br+f1"),
        "clipped": np.clip(30 * clean, -1, 1),
        "offset": clean + np.float32(0.05),
        "dull": dull,
        "noisy": clean + noise / 3,
        "paused": np.concatenate([clean[: len(clean) // 2], pause, pause, clean[len(clean) // 2 :]]),
        "quiet": clean * np.float32(0.02),
        "short": spoken.wave("Seis.", "pt-br+f1"),
        "twin-a": other,
        "twin-b": other,
    }


EXPECTED = {
    "clipped": "clipped", "offset": "dc-offset", "dull": "narrow-band", "noisy": "noisy", "paused": "silence",
    "foreign": "foreign-characters", "quiet": "quiet", "short": "short", "twin-b": "duplicate-audio",
}  # fmt: skip


def text_of(name: str) -> str:
    """No two clips say the same."""
    given = {"short": "Seis.", "foreign": "Wie viel kostet das Weißbrot?"}
    return given.get(name, f"{TEXT} {list(sources()).index(name)}")


def run_measure(settings: Settings, only: str = "") -> list[Measures]:
    """The rows of every shard, or of one."""
    rows = []
    for shard in [only] if only else manifest.shard_names(SHARDS):
        paths = {
            "model": MODEL,
            "manifest": MANIFEST,
            "wav": WAV / shard,
            "base": BASE,
            "out": MEASURES / shard,
        }
        measure.run(settings, **paths, shard=shard)
        rows += manifest.read(MEASURES / f"{shard}.jsonl", Measures)
    return rows


@pytest.fixture
def corpus(workplace):
    """The sources, ingested by hand and normalised by the stage itself; texts that differ."""
    tiny.base(BASE, tiny.SMALL)
    by_shard = {shard: [] for shard in manifest.shard_names(SHARDS)}
    for name, samples in sources().items():
        path = Path(f"data/raw/demo/{name}.wav")
        audio.write(path, samples, RATE_HZ)
        utterance = Utterance(name, path.as_posix(), text_of(name), "iara", "pt", "pt-br",
                              duration_s=len(samples) / RATE_HZ)  # fmt: skip
        by_shard[manifest.shard_of(name, SHARDS)].append(utterance)
    manifest.write(MANIFEST / "rejects.jsonl", [])
    manifest.write(MANIFEST / "warnings.jsonl", [])
    read = {
        "corpus": "data/raw/demo",
        "layout": "ljspeech",
        "listings": [],
        "unlisted": {"count": 0, "examples": []},
        "passed_over": {"count": 0, "examples": []},
    }
    files.write_json(MANIFEST / "listings.json", read)
    settings = replace(Settings(), shards=SHARDS)
    for shard, utterances in by_shard.items():
        manifest.write(MANIFEST / f"{shard}.jsonl", utterances)
        normalize.run(settings, model=MODEL, manifest=MANIFEST, shard=shard, out=WAV / shard)
    return settings


def run_survey(settings: Settings) -> dict[str, dict]:
    survey.run(settings, manifest=MANIFEST, wav=WAV, measures=MEASURES, quality=QUALITY, base=BASE,
               out=Path("results/corpus"))  # fmt: skip
    lines = Path("results/corpus.jsonl").read_text(encoding="utf-8").splitlines()
    return {row["id"]: row for row in map(json.loads, lines)}


def test_each_fault_is_told_by_its_own_code(corpus):
    """But for the rate: among copies of one sentence, any other is an outlier."""
    run_measure(corpus)
    quality.run(corpus, manifest=MANIFEST, measures=MEASURES, wav=WAV, out=QUALITY)
    rows = run_survey(corpus)
    assert list(rows) == sorted(sources())
    flags = {name: [code for code in row["flags"] if code != "speaking-rate"] for name, row in rows.items()}
    assert flags == {name: [EXPECTED[name]] if name in EXPECTED else [] for name in sorted(sources())}
    assert {name: row["dropped"] for name, row in rows.items() if row["dropped"]} == {
        "twin-b": "duplicate-audio"
    }


def test_numbers_of_recordings_are_those_that_were_made(corpus):
    rows = {row.id: row for row in run_measure(corpus)}
    assert rows["offset"].dc_offset == pytest.approx(0.05, abs=2e-3)
    assert rows["clipped"].peak_dbfs == pytest.approx(0.0, abs=0.001)
    assert rows["clean"].source_loudness_lufs == pytest.approx(-23.0, abs=0.05)
    assert rows["quiet"].source_loudness_lufs == pytest.approx(-23.0 + 20 * np.log10(0.02), abs=0.2)
    assert rows["noisy"].snr_db == pytest.approx(20 * np.log10(3), abs=2.5)
    assert rows["clean"].samples_sha256 != rows["dull"].samples_sha256
    assert rows["twin-a"].samples_sha256 == rows["twin-b"].samples_sha256
    assert all(row.cer is row.codec_distance_db is None for row in rows.values())


def test_the_same_clips_give_the_same_bytes(corpus):
    run_measure(corpus)
    first = [path.read_bytes() for path in sorted(MEASURES.iterdir())]
    run_measure(corpus)
    assert first == [path.read_bytes() for path in sorted(MEASURES.iterdir())]


def test_a_recording_that_has_gone_leaves_the_rest_measured(corpus, caplog):
    Path("data/raw/demo/clean.wav").unlink()
    rows = {row.id: row for row in run_measure(corpus)}
    assert (rows["clean"].peak_dbfs, rows["clean"].clipped_share) == (None, None)
    assert rows["clean"].snr_db > 15
    assert "the recording of clean is left out: missing" in caplog.text


def test_on_demand_the_asr_hears_and_the_codec_speaks_every_clip(corpus):
    spoken.whisper(BASE / "asr")
    rows = run_measure(replace(corpus, measure=Measure(asr=True, codec=True)), only="01")
    assert len(rows) > 2
    for row in rows:
        errors = wer.utterance_errors(text_of(row.id), row.heard, "pt")
        assert row.cer == pytest.approx(errors.character_errors / errors.characters)
        assert row.codec_distance_db > 0
    backend = backends.load("orpheus", BASE, torch.device("cpu"))
    wave, _ = audio.read(WAV / "01" / f"{rows[0].id}.wav")
    back = backend.decode(backend.encode([wave])[0], codec.SEED)
    assert rows[0].codec_distance_db == pytest.approx(codec.distance_db(wave, back, RATE_HZ), abs=1e-3)


def clip(name: str, **changes) -> Measures:
    values = {
        "id": name, "speaker": "ana", "language": "pt", "accent": "", "duration_s": 3.6,
        "loudness_lufs": -23.0, "bandwidth_hz": 11_000.0, "snr_db": 40.0, "silence_share": 0.1,
        "characters_per_s": 14.0,
        "samples_sha256": files.sha256_of(name), "sentence_sha256": files.sha256_of([name]),
    }  # fmt: skip
    return Measures(**values | changes)


def judge(rows: list[Measures], **wanted) -> tuple[dict[str, float], list[Reject]]:
    """The stage quality over rows written by hand."""
    for shard in manifest.shard_names(SHARDS):
        mine = [row for row in rows if manifest.shard_of(row.id, SHARDS) == shard]
        manifest.write(MEASURES / f"{shard}.jsonl", mine)
        manifest.write(MANIFEST / f"{shard}.jsonl", [])
        manifest.write(WAV / shard / "rejects.jsonl", [])
    manifest.write(MANIFEST / "rejects.jsonl", [])
    settings = replace(Settings(), shards=SHARDS, quality=Quality(**wanted))
    counts = quality.run(settings, manifest=MANIFEST, measures=MEASURES, wav=WAV, out=QUALITY)
    return counts, manifest.read(QUALITY / "rejects.jsonl", Reject)


def test_what_goes_in_is_kept_or_dropped(workplace):
    rows = [clip(f"c{n:02d}", snr_db=float(n)) for n in range(40)]
    counts, rejects = judge(rows, drop={"noisy": 5.0})
    assert [r.id for r in rejects] == ["c00", "c01", "c02", "c03", "c04"]
    assert {(r.stage, r.code) for r in rejects} == {("quality", "noisy")}
    assert counts == {"clips": 35, "dropped": 5, "hours": pytest.approx(35 * 3.6 / 3600)}
    assert rejects[3].reason.startswith("its snr_db is 3, the limit of quality.drop is 5; ")
    assert rejects[3].audio == f"data/wav/{manifest.shard_of('c03', SHARDS)}/c03.wav"


def test_a_flag_alone_drops_nothing(workplace):
    rows = [clip(f"c{n}", snr_db=-5.0, duration_s=0.5, clipped_share=0.5) for n in range(10)]
    assert judge(rows)[0]["dropped"] == 0
    assert judge(rows, drop={})[0]["dropped"] == 0


def test_a_clip_with_two_faults_is_rejected_once(workplace):
    rows = [clip("bad", snr_db=0.0, bandwidth_hz=4000.0), *(clip(f"c{n}") for n in range(9))]
    _, rejects = judge(rows, drop={"noisy": 10.0, "narrow-band": 9000.0})
    assert [(r.id, r.code) for r in rejects] == [("bad", "narrow-band")]


def test_the_first_of_equal_samples_stays_wherever_the_shards_put_them(workplace):
    same = files.sha256_of("the same")
    rows = [clip(f"c{n}", **({"samples_sha256": same} if n in (2, 5, 7) else {})) for n in range(20)]
    _, rejects = judge(rows[::-1])
    assert [(r.id, r.code) for r in rejects] == [("c5", "duplicate-audio"), ("c7", "duplicate-audio")]


def test_what_was_not_measured_drops_nothing(workplace):
    counts, _ = judge([clip(f"c{n}") for n in range(10)], drop={"mistranscribed": 0.0, "codec-loss": 0.0})
    assert counts["dropped"] == 0


def test_an_outlier_of_the_rate_is_dropped_by_its_z_score(workplace):
    rows = [clip(f"c{n:02d}", characters_per_s=14 + 0.1 * (n % 5)) for n in range(30)]
    rows.append(clip("cut", characters_per_s=28.0))
    _, rejects = judge(rows, drop={"speaking-rate": 20.0})
    assert [r.id for r in rejects] == ["cut"]


def test_limits_too_hard_for_the_corpus_stop_the_run(workplace):
    rows = [clip(f"c{n}", snr_db=float(n)) for n in range(10)]
    with pytest.raises(InputError, match=r"would drop 4 of 10 clips \(40.0%\): noisy 4; allowed are 30.0%"):
        judge(rows, drop={"noisy": 4.0})
    assert len(manifest.read(quality.REFUSED, Reject)) == 4
    assert not (QUALITY / "rejects.jsonl").exists()
    assert judge(rows, drop={"noisy": 3.0})[0]["dropped"] == 3


def test_a_code_that_is_none_is_named(workplace):
    Path("params.yaml").write_text("quality: {drop: {noisey: 3}}\n")
    with pytest.raises(SettingsError, match=r"a key of quality.drop is 'noisey', allowed: short, long"):
        settings_module.read(Path("params.yaml"))


def test_an_empty_corpus_has_nothing_to_drop(workplace):
    assert judge([])[0] == {"clips": 0, "dropped": 0, "hours": 0.0}


def stale(settings: Settings) -> set[str]:
    """The stages whose own seals no longer say what is wanted."""
    return {
        job.stage.word for job in jobs.of(settings) if stamps.explain_staleness(job, settings) is not None
    }


@pytest.fixture
def finished(workplace):
    """Every stage sealed, over outputs written by hand."""
    for job in jobs.of(Settings()):
        for out in job.outs:
            files.write_text(out if job.stage.parts else out / "rejects.jsonl", "{}")
        seal.close(job, seal.wanted(job, Settings()))


def test_moving_a_limit_makes_the_page_again_and_nothing_else(finished):
    assert stale(Settings()) == set()
    assert stale(replace(Settings(), quality=Quality(min_snr_db=20.0))) == {"survey"}
    assert stale(replace(Settings(), quality=Quality(drop={"noisy": 5.0}))) == {"quality", "survey"}
    assert stale(replace(Settings(), measure=Measure(asr=True))) == {"measure"}


def test_what_is_trained_on_changes_only_with_what_is_dropped(finished):
    """quality made again, by other measures: split is up to date while the list of rejects is the same."""
    [made] = (job for job in jobs.of(Settings()) if job.stage.word == "quality")
    before = seal.wanted(made, Settings())
    seal.close(made, before | {"upstream": {"other": "measures"}})
    assert "split" not in stale(Settings())
    files.write_text(made.out / "rejects.jsonl", '{"another": "list"}')
    seal.close(made, before)
    assert {"split", "report"} <= stale(Settings())
