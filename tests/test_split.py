"""split: places follow from the hash alone, nothing leaks, the corpus' own parts win."""

from collections import Counter

import pytest

from sotaque import manifest
from sotaque.data import split
from sotaque.errors import InputError
from sotaque.manifest import Reject, Utterance
from sotaque.settings import Settings, Split

WANTED = Split(val_share=0.2, test_share=0.2)
DIGITS = ["uma", "duas", "três", "quatro", "cinco", "seis", "sete", "oito", "nove"]


def clip(number: int, text: str = "", speaker: str = "ana", part: str = "") -> Utterance:
    return Utterance(f"c{number:04d}", f"w/c{number:04d}.wav", text or f"frase número {number}", speaker,
                     "pt", duration_s=3.6, part=part)  # fmt: skip


def clips(count: int) -> list[Utterance]:
    return [clip(number) for number in range(count)]


def part_of(parts: dict) -> dict[str, str]:
    return {u.id: name for name, members in parts.items() for u in members}


def test_every_clip_is_in_exactly_one_part_and_says_so():
    parts = split.divide(clips(300), WANTED, seed=1)
    assert sorted(u.id for members in parts.values() for u in members) == [u.id for u in clips(300)]
    assert all(u.part == name for name, members in parts.items() for u in members)


def test_the_shares_are_met():
    parts = split.divide(clips(5000), Split(val_share=0.1, test_share=0.3), seed=7)
    shares = {name: len(members) / 5000 for name, members in parts.items()}
    assert shares == pytest.approx({"train": 0.6, "val": 0.1, "test": 0.3}, abs=0.02)


def test_adding_clips_or_another_order_moves_none():
    few = part_of(split.divide(clips(200), WANTED, seed=1))
    many = part_of(split.divide(clips(1000)[::-1], WANTED, seed=1))
    assert few == {identifier: many[identifier] for identifier in few}


def test_another_seed_is_another_split():
    assert part_of(split.divide(clips(200), WANTED, 1)) != part_of(split.divide(clips(200), WANTED, 2))


def test_the_place_of_a_key_is_that_of_the_first_version():
    """printf 42:oi | sha256sum begins 0cc6c7..., 0x0cc6c7 / 2**24; a change would move everyone's clips."""
    assert split.place("oi", 42) == pytest.approx(0x0CC6C7 / 2**24, abs=2**-24)


def test_texts_that_sound_alike_stay_together_whoever_speaks():
    base = clips(100)
    alike = [clip(1000 + n, f"FRASE número {n}!", speaker="bia") for n in range(100)]
    parts = part_of(split.divide(base + alike, WANTED, 1))
    assert all(parts[f"c{n:04d}"] == parts[f"c{1000 + n:04d}"] for n in range(100))


def test_a_number_in_digits_and_in_words_stays_together():
    words = [clip(n, f"Ela comprou vinte e {digit} casas em {n}") for n, digit in enumerate(DIGITS * 12)]
    digits = [
        clip(1000 + n, f"ela comprou {20 + 1 + n % 9} casas em {n}.", speaker="bia")
        for n in range(len(words))
    ]
    parts = part_of(split.divide(words + digits, WANTED, 1))
    assert all(parts[f"c{n:04d}"] == parts[f"c{1000 + n:04d}"] for n in range(len(words)))
    assert len({parts[f"c{n:04d}"] for n in range(len(words))}) == 3


def test_a_leak_in_another_spelling_is_found():
    members = [
        *clips(9),
        clip(20, "São 21 casas", part="test"),
        clip(21, "São vinte e uma casas", part="train"),
    ]
    kept, leaks = split.without_leaks(members, "text")
    assert [leak.id for leak in leaks] == ["c0021"]
    assert len(kept) == 10


def test_a_place_is_drawn_from_the_words_as_written():
    """So a normaliser that brings more texts to one form leaves all others where they are."""
    members = [clip(n, f"Capítulo vinte e um, página {n}") for n in range(300)]
    parts = part_of(split.divide(members, WANTED, 1))
    for utterance in members:
        where = split.place(f"capítulo vinte e um página {utterance.id.lstrip('c').lstrip('0') or '0'}", 1)
        assert parts[utterance.id] == split.drawn_part(where, split.shares(WANTED))


def test_by_speaker_no_speaker_is_in_two_parts():
    members = [clip(n, speaker=f"s{n % 30}") for n in range(300)]
    parts = split.divide(members, Split(by="speaker", val_share=0.3, test_share=0.3), 1)
    speakers = [{u.speaker for u in part} for part in parts.values()]
    assert sum(map(len, speakers)) == 30
    split.check_leaks(parts, "speaker")


def test_the_leak_check_finds_a_leak_put_there_by_hand():
    parts = {"train": [clip(1, "Olá, mundo")], "val": [], "test": [clip(2, "olá mundo!")]}
    with pytest.raises(AssertionError, match="olá mundo"):
        split.check_leaks(parts, "text")
    split.check_leaks({**parts, "test": [clip(2, "outra")]}, "text")


def test_with_test_clips_of_its_own_the_others_go_to_train_and_val_only():
    members = clips(200) + [clip(1000 + n, part="test") for n in range(10)]
    parts = split.divide(members, WANTED, 1)
    assert sorted(u.id for u in parts["test"]) == [f"c{1000 + n}" for n in range(10)]
    assert 20 <= len(parts["val"]) <= 60


def test_a_corpus_with_all_three_parts_is_kept_as_it_is():
    members = [clip(n, part=("train", "val", "test")[n % 3]) for n in range(30)]
    parts = split.divide(members, WANTED, 1)
    assert part_of(parts) == {u.id: u.part for u in members}


def test_val_is_drawn_from_train_where_the_corpus_names_none():
    members = [clip(n, part="train" if n % 4 else "test") for n in range(200)]
    parts = split.divide(members, WANTED, 1)
    assert Counter(u.part for u in parts["test"]) == {"test": 50}
    assert len(parts["val"]) > 10


def test_an_equal_text_follows_the_clip_that_the_corpus_calls_test():
    members = clips(50) + [clip(1000 + n, f"Frase número {n}.", part="test") for n in range(20)]
    parts = part_of(split.divide(members, WANTED, 1))
    assert {parts[f"c{n:04d}"] for n in range(20)} == {"test"}


def test_one_text_in_two_parts_of_the_corpus_stays_where_it_is_held_out():
    """Test before val before train; clips without a part follow; the reason names the clip that stays."""
    members = [
        *clips(20),
        clip(100, "Igual", part="test"),
        clip(101, "igual!", part="train"),
        clip(102, "IGUAL", part="val"),
        clip(103, "igual"),
        clip(110, "Outra", part="val"),
        clip(111, "outra...", part="train"),
    ]
    kept, leaks = split.without_leaks(members, "text")
    assert {u.id for u in members} - {u.id for u in kept} == {"c0101", "c0102", "c0111"}
    assert {(r.id, r.stage, r.code) for r in leaks} == {
        (identifier, "split", "leak") for identifier in ("c0101", "c0102", "c0111")
    }
    reasons = {r.id: r.reason for r in leaks}
    assert reasons["c0101"].startswith(
        "the corpus puts it in train, but its text 'igual' is in test: c0100; nothing"
    )
    assert "puts it in train, but its text 'outra' is in val: c0110" in reasons["c0111"]
    parts = split.divide(kept, WANTED, 1)
    split.check_leaks(parts, "text")
    placed = part_of(parts)
    assert (placed["c0100"], placed["c0103"], placed["c0110"]) == ("test", "test", "val")


def test_one_speaker_in_two_parts_of_the_corpus_stays_where_he_is_held_out():
    members = [clip(n, speaker="ana", part="train") for n in range(9)]
    members += [clip(9, speaker="rui", part="train"), clip(10, speaker="rui", part="test")]
    kept, leaks = split.without_leaks(members, "speaker")
    assert [r.id for r in leaks] == ["c0009"]
    assert "its speaker 'rui' is in test: c0010" in leaks[0].reason
    assert len(kept) == 10
    assert not split.without_leaks(members, "text")[1]


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (Split(val_share=0.0, test_share=0.3), r"val empty.*expected shares of val and test above 0"),
        (Split(val_share=0.3, test_share=0.0), r"test empty.*expected shares of val and test above 0"),
        (
            Split(by="speaker", val_share=0.3, test_share=0.3),
            r"empty: 12 clips, 1 different speakers.*split\.by",
        ),
    ],
)
def test_an_empty_part_says_what_to_raise(wanted, message):
    with pytest.raises(InputError, match=message):
        split.divide(clips(12), wanted, 1)


@pytest.mark.parametrize("seed", range(10))
def test_few_clips_still_make_three_parts(seed):
    """Eight clips and shares of 5 %: by chance alone most seeds would leave a part empty."""
    parts = split.divide(clips(8), Split(val_share=0.05, test_share=0.05), seed)
    assert all(parts.values())
    assert len(parts["train"]) >= 4
    split.check_leaks(parts, "text")


def test_what_fills_an_empty_part_is_told(caplog):
    split.divide(clips(8), Split(val_share=1e-6, test_share=1e-6), 1)
    assert "leave test empty; it takes 'frase" in caplog.text


def test_the_stage_reads_every_shard_and_counts(tmp_path):
    settings = Settings(shards=3, split=WANTED)
    for shard in manifest.shard_names(3):
        mine = [u for u in clips(100) if manifest.shard_of(u.id, 3) == shard]
        manifest.write(tmp_path / "wav" / shard / "manifest.jsonl", mine)
        manifest.write(tmp_path / "wav" / shard / "rejects.jsonl", [])
    dropped = [Reject(f"c{n:04d}", "", "quality", "noisy", "") for n in (3, 50)]
    manifest.write(tmp_path / "quality/rejects.jsonl", dropped)
    metrics = split.run(settings, wav=tmp_path / "wav", quality=tmp_path / "quality", out=tmp_path / "splits")
    read = {name: manifest.read(tmp_path / f"splits/{name}.jsonl") for name in split.PARTS}
    assert {f"{name}_clips": len(rows) for name, rows in read.items()}.items() <= metrics.items()
    kept = {u.id for rows in read.values() for u in rows}
    assert kept == {u.id for u in clips(100)} - {"c0003", "c0050"}
    assert sum(metrics[f"{name}_hours"] for name in split.PARTS) == pytest.approx(0.098)


def test_the_stage_writes_the_leaks_and_loses_nothing(tmp_path):
    members = [clip(n, part=("train", "val", "test")[n % 3]) for n in range(30)]
    members.append(clip(30, "Frase número 2!", part="train"))
    manifest.write(tmp_path / "wav/00/manifest.jsonl", members)
    manifest.write(tmp_path / "wav/00/rejects.jsonl", [])
    manifest.write(tmp_path / "quality/rejects.jsonl", [])
    out = tmp_path / "splits"
    metrics = split.run(Settings(shards=1), wav=tmp_path / "wav", quality=tmp_path / "quality", out=out)
    rejects = manifest.read(out / "rejects.jsonl", Reject)
    assert [(r.id, r.code) for r in rejects] == [("c0030", "leak")]
    assert metrics["rejected"] == 1
    assert sum(len(manifest.read(out / f"{name}.jsonl")) for name in split.PARTS) == 30


def voices(test: list[Utterance]) -> list[Utterance]:
    """Ten training clips of ana and two val ones, and these test clips."""
    return [clip(n, part="train" if n < 10 else "val") for n in range(12)] + test


def run_stage(tmp_path, members: list[Utterance]):
    """split.run over one shard."""
    manifest.write(tmp_path / "wav/00/manifest.jsonl", members)
    manifest.write(tmp_path / "wav/00/rejects.jsonl", [])
    manifest.write(tmp_path / "quality/rejects.jsonl", [])
    return split.run(
        Settings(shards=1), wav=tmp_path / "wav", quality=tmp_path / "quality", out=tmp_path / "splits"
    )


def test_a_held_out_clip_of_an_untrained_speaker_is_rejected(tmp_path, caplog):
    """rui is in no training clip: nothing to compare with, and no reference to clone."""
    metrics = run_stage(tmp_path, voices([clip(12, part="test"), clip(13, speaker="rui", part="test")]))
    [reject] = manifest.read(tmp_path / "splits/rejects.jsonl", Reject)
    assert (reject.id, reject.stage, reject.code) == ("c0013", "split", "no-reference")
    assert "it is in test, and its speaker 'rui' has no training clip" in reject.reason
    assert "the speaker has no training clip: no-reference 1" in caplog.text
    assert [u.id for u in manifest.read(tmp_path / "splits/test.jsonl")] == ["c0012"]
    assert metrics["rejected"] == 1


def test_a_part_of_untrained_speakers_alone_stays(tmp_path):
    """It asks for voices that were never heard, as with split.by: speaker."""
    members = voices([clip(12, speaker="bia", part="test"), clip(13, speaker="rui", part="test")])
    assert run_stage(tmp_path, members)["rejected"] == 0
    assert len(manifest.read(tmp_path / "splits/test.jsonl")) == 2


def test_a_missing_shard_is_named(tmp_path):
    manifest.write(tmp_path / "quality/rejects.jsonl", [])
    with pytest.raises(InputError, match=r"00/manifest\.jsonl"):
        split.run(Settings(), wav=tmp_path, quality=tmp_path / "quality", out=tmp_path / "splits")
