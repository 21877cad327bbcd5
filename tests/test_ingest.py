"""ingest: every layout gives the same utterances; of everything else it says why, and nothing is lost."""

import codecs
import json
import shutil
from pathlib import Path

import pytest

from sotaque import manifest
from sotaque.data import ids, ingest, layouts
from sotaque.errors import REMEDIES, InputError
from sotaque.manifest import Reject
from sotaque.settings import Ingest, Settings
from sounds import save, voice

CORPUS = Path("data/raw/mine")
OUT = Path("data/manifest")
TEXTS = {"a1": "Olá, mundo.", "a2": "Que horas são?", "a3": "Café com pão; queijo, e mel!"}


@pytest.fixture(autouse=True)
def working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    CORPUS.mkdir(parents=True)


def wavs(folder="wavs", names=TEXTS, suffix="wav"):
    """Clips of different lengths, so that no two files are equal."""
    for number, name in enumerate(names):
        save(CORPUS / folder / f"{name}.{suffix}", voice(0.5 + number / 10))


def listing(content: str, name="metadata.csv", encoding="utf-8"):
    (CORPUS / name).write_bytes(content.encode(encoding))


def run(allowed=1.0, **more):
    """(kept by id, rejects by id)"""
    settings = Settings(shards=2, ingest=Ingest(corpus="mine", max_rejected_share=allowed, **more))
    shutil.rmtree(OUT, ignore_errors=True)
    metrics = ingest.run(settings, corpus=CORPUS, out=OUT)
    kept = {u.id: u for shard in ("00", "01") for u in manifest.read(OUT / f"{shard}.jsonl")}
    rejects = {r.id: r for r in manifest.read(OUT / "rejects.jsonl", Reject)}
    assert (metrics["clips"], metrics["rejected"]) == (len(kept), len(rejects))
    return kept, rejects


def codes(rejects) -> dict[str, str]:
    return {identifier: reject.code for identifier, reject in rejects.items()}


def lines(template: str, header: str = "") -> str:
    return header + "".join(template.format(id=i, text=t) + "\n" for i, t in TEXTS.items())


# --- layouts


LISTINGS = {
    "ljspeech": [
        ("metadata.csv", lines("{id}|{text}")),
        ("metadata.csv", lines("{id}|raw of it|{text}")),
        ("metadata.csv", lines("{id}|{text}|")),
        ("metadata.csv", lines("{id}|{text}", "id|text\n")),
        ("metadata.csv", lines("spk|{text}|{id}", "speaker|transcript|id\n")),
    ],
    "two-columns": [
        ("list.csv", lines("wavs/{id}.wav|{text}")),
        ("list.txt", lines("{id}.wav|{text}")),
        ("list.tsv", lines("wavs/{id}.wav\t{text}")),
        ("list.csv", lines('wavs/{id}.wav,"{text}"')),
        ("list.csv", lines('"wavs/{id}.wav";"{text}"')),
        ("list.csv", lines("wavs/{id}.wav|{text}", "audio|text\n")),
        ("list.csv", lines('"{text}",wavs/{id}.wav,9', "Sentence,path,up_votes\n")),
        ("list.tsv", lines("x\twavs/{id}.wav\t{text}", "client_id\tpath\tsentence\n")),
    ],
    "chatterbox": [
        (
            "metadata.csv",
            lines('wavs/{id}.wav,"{text}",s1,1.0', "audio_path,transcript,speaker_id,duration\n"),
        ),
        ("metadata.csv", lines('"{id}.wav","{text}"', '"audio_path","transcript"\n')),
    ],
}
CASES = [(layout, name, text) for layout, cases in LISTINGS.items() for name, text in cases]


@pytest.mark.parametrize(("layout", "name", "content"), CASES)
def test_every_variant_gives_the_same_utterances(layout, name, content):
    wavs()
    listing(content, name)
    assert layouts.find(CORPUS) is layouts.LAYOUTS[layout]
    kept, rejects = run()
    assert {identifier: u.text for identifier, u in kept.items()} == TEXTS
    assert {u.audio for u in kept.values()} == {f"data/raw/mine/wavs/{name}.wav" for name in TEXTS}
    assert [kept[i].duration_s for i in TEXTS] == [0.5, 0.6, 0.7]
    assert not rejects


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize(("layout", "name", "content"), [CASES[0], CASES[5], CASES[11]])
def test_encodings_and_line_ends_change_nothing(encoding, newline, layout, name, content):
    wavs()
    listing(content.replace("\n", newline), name, encoding)
    kept, rejects = run()
    assert ({i: u.text for i, u in kept.items()}, rejects) == (TEXTS, {})


@pytest.mark.parametrize("suffix", ["wav", "flac", "mp3"])
def test_fish_folders_name_the_speaker(suffix):
    wavs("ana", suffix=suffix)
    save(CORPUS / f"rui/deep/b1.{suffix}", voice(0.9))
    for name, text in TEXTS.items():
        (CORPUS / "ana" / f"{name}.lab").write_text(text + "\n", encoding="utf-8")
    (CORPUS / "rui/deep/b1.lab").write_text("Tchau", encoding="utf-8")
    kept, _ = run()
    assert {i: (u.speaker, u.text) for i, u in kept.items()} == {
        **{f"ana-{i}": ("ana", text) for i, text in TEXTS.items()},
        "rui-deep-b1": ("rui", "Tchau"),
    }


def test_fish_takes_one_of_two_audio_files_with_one_transcript():
    wavs("ana", ["a1"])
    save(CORPUS / "ana/a1.flac", voice(0.8))
    (CORPUS / "ana/a1.lab").write_text("Oi", encoding="utf-8")
    kept, rejects = run()
    assert (list(kept), codes(rejects)) == (["ana-a1"], {"ana-a1": "duplicate-id"})


def test_fish_rejects_audio_without_text_and_text_without_audio():
    wavs("ana")
    (CORPUS / "ana/a1.lab").write_text("Oi", encoding="utf-8")
    (CORPUS / "ana/a2.lab").write_bytes("São".encode("latin-1"))
    (CORPUS / "ana/zz.lab").write_text("Oi", encoding="utf-8")
    kept, rejects = run()
    assert list(kept) == ["ana-a1"]
    assert codes(rejects) == {"ana-a2": "encoding", "ana-a3": "no-transcript", "ana-zz": "missing"}


def test_columns_win_over_params_and_are_kept():
    wavs()
    listing(
        "id|text|speaker_id|locale|accents|sex|split|group\n"
        "a1|Hola|memo|es-MX|es-mx|m|dev|calle\n"
        "a2|Olá||||||\n"
        "a3|Oi|ana|pt|pt-br|f|Training|\n"
    )
    kept, _ = run(language="pt", speaker="alguém")
    found = {i: (u.speaker, u.language, u.accent, u.gender, u.part, u.group) for i, u in kept.items()}
    assert found == {
        "a1": ("memo", "es", "es-mx", "m", "val", "calle"),
        "a2": ("alguém", "pt", "", "", "", ""),
        "a3": ("ana", "pt", "pt-br", "f", "train", ""),
    }


def test_listings_called_train_and_test_name_the_part():
    wavs()
    listing("wavs/a1.wav|Olá\nwavs/a2.wav|Oi\n", "train.txt")
    listing("wavs/a3.wav|Tchau\n", "test.txt")
    kept, _ = run()
    assert {i: u.part for i, u in kept.items()} == {"a1": "train", "a2": "train", "a3": "test"}


def test_no_known_layout_says_what_was_looked_for_and_found():
    for number in range(14):
        (CORPUS / f"file{number:02d}.bin").write_bytes(b"x")
    (CORPUS / "notes").mkdir()
    with pytest.raises(InputError) as caught:
        run()
    message = str(caught.value)
    assert all(name in message for name in layouts.LAYOUTS)
    assert "file00.bin, file01.bin" in message
    assert "and 5 more" in message


def test_a_layout_asked_for_by_name_must_be_there():
    wavs()
    listing(lines("{id}|{text}"))
    with pytest.raises(InputError, match=r"fish: .*\.lab"):
        run(layout="fish")


def test_an_empty_and_a_missing_folder_are_told_apart():
    with pytest.raises(InputError, match="the folder is empty"):
        run()
    CORPUS.rmdir()
    with pytest.raises(InputError, match=r"no such folder.*ingest\.corpus"):
        run()


def test_a_listing_with_a_header_only_lists_nothing():
    wavs()
    listing("id|text\n")
    with pytest.raises(InputError, match="lists no clips"):
        run()


# --- bad rows


def rejected(row: str, header: str = "", names=("good",)) -> str:
    """The code with which one bad row among good ones is rejected; the good ones are all kept."""
    wavs(names=[*names, "x"])
    listing(
        header + "".join(f"{name}|Tudo bem{'|' * header.count('|')}"[:200] + "\n" for name in names) + row
    )
    kept, rejects = run()
    assert list(kept) == list(names)
    assert len(rejects) == 1
    assert next(iter(rejects.values())).reason
    return next(iter(rejects.values())).code


@pytest.mark.parametrize(
    ("row", "code"),
    [
        ("x|", "no-transcript"),
        ("x|   \u00a0", "no-transcript"),
        ("x|?!...", "no-transcript"),
        ("x|😀", "no-transcript"),
        ("x|[risos]", "no-transcript"),
        ("x|\u200b\u202e", "no-transcript"),
        ("x|a\x00b", "control-characters"),
        ("x|" + "a " * 500_000, "text-too-long"),
        ("x|one|two|three", "columns"),
        ("x", "columns"),
        ("nowhere|Oi", "missing"),
        ("../../../x|Oi", "outside-root"),
        ("a\x00b|Oi", "unsafe-name"),
        ("n" * 300 + "|Oi", "missing"),
    ],
)
def test_a_bad_row_is_rejected_by_its_code(row, code):
    assert rejected(row) == code


def test_the_reject_names_file_line_and_value():
    wavs()
    listing("a1|Oi\n\na2|...\na3|Oi\n")
    _, rejects = run()
    reason = "metadata.csv, line 3: nothing to say in '...'; " + REMEDIES["no-transcript"]
    assert rejects["a2"] == Reject("a2", "wavs/a2.wav", "ingest", "no-transcript", reason)


def test_a_latin_1_line_is_rejected_with_the_remedy_and_the_others_are_kept():
    wavs()
    content = "a1|Olá\na2|bom dia\n".encode() + "a3|Ação\n".encode("latin-1")
    (CORPUS / "metadata.csv").write_bytes(content)
    kept, rejects = run()
    assert sorted(kept) == ["a1", "a2"]
    assert codes(rejects) == {"a3": "encoding"}
    assert "line 3" in rejects["a3"].reason
    assert "iconv" in rejects["a3"].reason


def test_a_cut_utf_16_listing_is_one_clear_error():
    wavs()
    (CORPUS / "metadata.csv").write_bytes(codecs.BOM_UTF16_LE + "a1|Olá".encode("utf-16-le") + b"\x00")
    with pytest.raises(InputError, match="UTF-16"):
        run()


def test_an_unbalanced_quote_costs_its_own_line_only():
    wavs()
    listing('audio_path,transcript\nwavs/a1.wav,"Olá\nwavs/a2.wav,"Oi"\nwavs/a3.wav,"Tchau"\n')
    kept, rejects = run()
    assert sorted(kept) == ["a2", "a3"]
    assert codes(rejects) == {"a1": "quotes"}


def test_a_quote_in_a_table_of_bars_is_a_letter():
    wavs()
    listing('a1|"Olá\na2|disse "sim"\na3|Oi"\n')
    kept, _ = run()
    assert [kept[i].text for i in sorted(kept)] == ['"Olá', 'disse "sim"', 'Oi"']


def test_unknown_languages_and_parts_are_rejected():
    wavs()
    listing("id|text|language|part\na1|Oi|pt|\na2|Oi|tlh|\na3|Oi|pt|holdout\n")
    _, rejects = run()
    assert codes(rejects) == {"a2": "unknown-language", "a3": "unknown-part"}


def test_text_is_nfc_without_invisible_characters():
    wavs()
    listing("a1|a\u0301gua\u200b \u202eviva\u00a0 sim\na2|Oi\na3|Oi\n")
    assert run()[0]["a1"].text == "água viva sim"


@pytest.mark.parametrize("name", ["/etc/passwd", "../../secret.wav", "wavs/out.wav", "linked/secret.wav"])
def test_no_path_leads_out_of_the_corpus(name):
    wavs()
    secret = save(CORPUS.parent / "secret.wav", voice())
    (CORPUS / "wavs/out.wav").symlink_to(secret.resolve())
    (CORPUS / "linked").symlink_to(CORPUS.parent.resolve())
    listing(f"audio|text\n{name}|Segredo\nwavs/a1.wav|Oi\n", "list.csv")
    kept, rejects = run()
    assert list(kept) == ["a1"]
    assert [r.code for r in rejects.values()] == ["outside-root"]


def test_links_that_stay_inside_are_followed_and_loops_are_rejected():
    wavs()
    (CORPUS / "wavs/b1.wav").symlink_to("a1.wav")
    (CORPUS / "wavs/loop.wav").symlink_to("loop.wav")
    listing("b1|Oi\nloop|Oi\n")
    kept, rejects = run()
    assert list(kept) == ["b1"]
    assert codes(rejects) == {"loop": "missing"}


def test_fish_does_not_enter_linked_folders_and_says_so():
    wavs("ana", ["a1"])
    (CORPUS / "ana/a1.lab").write_text("Oi", encoding="utf-8")
    (CORPUS / "again").symlink_to(CORPUS.resolve())
    secret = CORPUS.parent / "secret.txt"
    secret.write_text("segredo", encoding="utf-8")
    save(CORPUS / "ana/a2.wav", voice(0.8))
    (CORPUS / "ana/a2.lab").symlink_to(secret.resolve())
    kept, rejects = run()
    assert list(kept) == ["ana-a1"]
    assert codes(rejects) == {"again": "outside-root", "ana-a2": "outside-root"}


def test_a_corpus_folder_that_is_itself_a_link_is_fine(tmp_path):
    wavs()
    listing(lines("{id}|{text}"))
    CORPUS.rename(tmp_path / "elsewhere")
    CORPUS.symlink_to(tmp_path / "elsewhere")
    assert sorted(run()[0]) == sorted(TEXTS)


def test_bad_audio_is_rejected_by_its_header():
    wavs(names=["good", "cut", "empty", "html"])
    content = (CORPUS / "wavs/cut.wav").read_bytes()
    (CORPUS / "wavs/cut.wav").write_bytes(content[: len(content) // 2])
    (CORPUS / "wavs/empty.wav").write_bytes(b"")
    (CORPUS / "wavs/html.wav").write_bytes(b"<html>404</html>")
    listing("".join(f"{name}|Oi\n" for name in ("good", "cut", "empty", "html")))
    kept, rejects = run()
    assert list(kept) == ["good"]
    assert codes(rejects) == {"cut": "truncated", "empty": "empty", "html": "unreadable"}


# --- ids and duplicates


def test_ids_are_safe_unique_and_do_not_depend_on_order():
    names = ["a/b", "a-b", "Clip", "clip", "olá mundo", "-rf", ".hidden", "你好", "x" * 200, "plain"]
    made = ids.unique(names)
    assert len({i.casefold() for i in made}) == len(names)
    assert all(
        i.isascii() and i[0] not in "-." and len(i) <= 120 and "/" not in i and " " not in i for i in made
    )
    assert made[4:7] == ["ola_mundo", "rf", "hidden"]
    assert made[-1] == "plain"
    assert ids.unique(names[::-1]) == made[::-1]


def test_the_same_id_twice_keeps_the_first_and_every_reject_has_a_row():
    wavs()
    listing("a1|Um\na1|Dois\na1|Três\na2|Oi\na3|Oi\n")
    kept, rejects = run()
    assert kept["a1"].text == "Um"
    assert codes(rejects) == {"a1": "duplicate-id", "a1~2": "duplicate-id"}


def test_the_same_audio_under_two_ids_is_kept_once():
    wavs()
    shutil.copy(CORPUS / "wavs/a1.wav", CORPUS / "wavs/copy.wav")
    listing("a1|Um\na2|Dois\ncopy|Um\n")
    kept, rejects = run()
    assert sorted(kept) == ["a1", "a2"]
    assert codes(rejects) == {"copy": "duplicate-audio"}
    assert "a1" in rejects["copy"].reason


# --- the stage


def test_every_shard_is_written_even_an_empty_one_and_bytes_repeat():
    wavs()
    listing(lines("{id}|{text}"))
    run()
    first = {p.name: p.read_bytes() for p in OUT.iterdir()}
    run()
    assert sorted(first) == ["00.jsonl", "01.jsonl", "listings.json", "rejects.jsonl", "warnings.jsonl"]
    assert first == {p.name: p.read_bytes() for p in OUT.iterdir()}
    for shard in ("00", "01"):
        for row in map(json.loads, first[f"{shard}.jsonl"].decode().splitlines()):
            assert manifest.shard_of(row["id"], 2) == shard


def test_too_many_rejects_stop_the_run_with_counts_and_the_place_of_the_list():
    wavs()
    listing("a1|Oi\na2|...\na3|Oi\nb1|Oi\nb2|Oi\n")
    with pytest.raises(
        InputError, match=r"3 of 5.*60\.0%.*allowed are 50\.0%.*missing 2, no-transcript 1.*logs/"
    ):
        run(allowed=0.5)
    assert not OUT.exists()
    rows = manifest.read(Path("logs/rejects-ingest.jsonl"), Reject)
    assert codes({r.id: r for r in rows}) == {"a2": "no-transcript", "b1": "missing", "b2": "missing"}
    assert len(run(allowed=0.6)[0]) == 2


def test_nothing_kept_stops_the_run_whatever_is_allowed():
    (CORPUS / "wavs").mkdir()
    listing("a1|Oi\n")
    with pytest.raises(InputError, match="1 of 1"):
        run(allowed=1.0)


def test_where_every_clip_is_missing_a_recording_that_no_listing_names_is_shown():
    wavs("sons/dia 1")
    listing("".join(f"wavs/{name}.wav|{text}\n" for name, text in TEXTS.items()), "lista.csv")
    with pytest.raises(
        InputError,
        match=r"No listing names the 3 recordings that are there, such as sons/dia 1/a1\.wav; write",
    ):
        run()
