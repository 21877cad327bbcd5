"""Listings by looking: columns told by cells, quotes undone, no half sentence kept, and all of it said."""

import csv
import io
import json
import logging
import typing
import unicodedata
from pathlib import Path

import pytest

from sotaque import files, manifest
from sotaque.data import ingest
from sotaque.data.layouts import columns, recordings, table
from sotaque.errors import InputError, SettingsError
from sotaque.manifest import Reject, Warned
from sotaque.settings import Ingest, Settings
from sotaque.settings.data import Field
from sotaque.settings.mapping import build
from sounds import save, voice

CORPUS, OUT = Path("data/raw/mine"), Path("data/manifest")
TEXTS = {
    "c1": "O gato dorme na cadeira azul.",
    "c2": "Amanhã vamos à praia bem cedo.",
    "c3": "A chuva molhou o jardim todo.",
    "c4": "Quem fechou a janela ontem?",
    "c5": "O pão saiu quente do forno.",
    "c6": "Ela perdeu o trem das nove.",
}
SPEAKERS = dict(zip(TEXTS, ["rui", "ana"] * 3, strict=True))


@pytest.fixture(autouse=True)
def here(workplace):
    CORPUS.mkdir(parents=True)


def speak(folder: str = "wavs", suffix: str = "wav", name: str = "{}", some=TEXTS) -> None:
    for number, identifier in enumerate(some):
        path = CORPUS / folder / f"{name.format(identifier)}.{suffix}"
        save(path, voice(0.5 + number / 10), format=suffix.upper())


def write(template: str, name: str = "metadata.csv", header: str = "") -> None:
    lines = [template.format(id=i, text=t, speaker=SPEAKERS[i]) for i, t in TEXTS.items()]
    (CORPUS / name).write_text("".join(f"{line}\n" for line in [*filter(None, [header]), *lines]))


def run(**more) -> tuple[dict, dict]:
    """(utterances by id, rejects by id)"""
    wanted = {"corpus": "mine", "max_rejected_share": 1.0, **more}
    ingest.run(Settings(shards=1, ingest=Ingest(**wanted)), corpus=CORPUS, out=OUT)
    rejects = {r.id: r for r in manifest.read(OUT / "rejects.jsonl", Reject)}
    return {u.id: u for u in manifest.read(OUT / "00.jsonl")}, rejects


def texts(found: dict) -> dict[str, str]:
    return {identifier: u.text for identifier, u in found.items()}


def speakers(found: dict) -> dict[str, str]:
    return {identifier: u.speaker for identifier, u in found.items()}


def read_as() -> dict[str, list[str]]:
    """Listing -> what its columns were read as, by the record beside the manifests."""
    listings = files.read_json(OUT / "listings.json")["listings"]
    return {one["file"]: [column["field"] for column in one["columns"]] for one in listings}


# --- which column is what


@pytest.mark.parametrize(
    ("template", "fields"),
    [
        ("{id}|{text}", ["audio", "text"]),
        ("{id}|{text}|{speaker}", ["audio", "text", "speaker"]),
        ("{id}|{speaker}|{text}", ["audio", "speaker", "text"]),
        ("{speaker}|{id}|{text}", ["speaker", "audio", "text"]),
        ("{id}|{speaker}|pt|{text}", ["audio", "speaker", "language", "text"]),
        ("{id}|{text}|{speaker}|m|train|1.9", ["audio", "text", "speaker", "gender", "part", ""]),
        ("wavs/{id}.wav|{speaker}|{text}", ["audio", "speaker", "text"]),
        ("wavs/{id}.wav|{text}|", ["audio", "text", ""]),
        ("wavs/{id}.wav\t{speaker}\t{text}", ["audio", "speaker", "text"]),
        ("{speaker};{text};wavs/{id}.wav", ["speaker", "text", "audio"]),
        ("{id}|{text}|{text}", ["audio", "text", "normalised"]),
        ("{id}|Nº 1: {text}|{text}|{speaker}", ["audio", "text", "normalised", "speaker"]),
    ],
)
def test_columns_without_a_header_are_told_by_their_cells(template, fields):
    speak()
    write(template)
    kept, rejects = run()
    assert (texts(kept), rejects) == (TEXTS, {})
    assert speakers(kept) == (SPEAKERS if "speaker" in fields else dict.fromkeys(TEXTS, "speaker"))
    assert read_as() == {"metadata.csv": fields}


def test_sentences_that_begin_like_codes_of_languages_are_sentences():
    """`no`, `la` and `my` are codes of languages; `f`, `test` and `m` have meanings too."""
    speak(some=["c1", "c2", "c3"])
    said = {"c1": "No fim da rua.", "c2": "La vai ele.", "c3": "My friend chegou."}
    (CORPUS / "metadata.csv").write_text("".join(f"{i}|{t}|f\n" for i, t in said.items()))
    kept, _ = run()
    assert texts(kept) == said
    assert {u.gender for u in kept.values()} == {"f"}


def test_speakers_may_be_numbers_as_in_the_lists_of_vits():
    speak()
    lines = [f"wavs/{i}.wav|{n % 2}|{t}\n" for n, (i, t) in enumerate(TEXTS.items())]
    (CORPUS / "filelist.txt").write_text("".join(lines))
    assert speakers(run()[0]) == {i: str(n % 2) for n, i in enumerate(TEXTS)}


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.txt"])
def test_ljspeech_may_call_its_listing_txt(name):
    speak()
    write("{id}|{text}", name)
    assert texts(run()[0]) == TEXTS


@pytest.mark.parametrize(
    "header", ["speakerID,File Path,TEXT", "Speaker_Id,file_path,text", "speaker,filepath,Text"]
)
def test_names_of_columns_are_compared_without_case_blanks_and_underscores(header):
    speak()
    write('{speaker},wavs/{id}.wav,"{text}"', header=header)
    kept, _ = run()
    assert (texts(kept), speakers(kept)) == (TEXTS, SPEAKERS)


def test_a_header_that_names_only_the_text_leaves_the_audio_to_the_cells():
    speak()
    write("wavs/{id}.wav;{text}", "lista.csv", "gravação;frase")
    kept, rejects = run()
    assert (texts(kept), rejects) == (TEXTS, {})
    assert read_as() == {"lista.csv": ["audio", "text"]}


def test_two_columns_of_single_words_stop_the_run_until_params_say_which_is_the_text():
    speak()
    words = dict(zip(TEXTS, ["sim", "não", "sim", "não", "sim", "talvez"], strict=True))
    (CORPUS / "metadata.csv").write_text("".join(f"{i}|{SPEAKERS[i]}|{w}\n" for i, w in words.items()))
    with pytest.raises(
        InputError, match=r"metadata\.csv: one of two columns may be the text, 2 .* and 3 .*ingest\.columns"
    ):
        run()
    kept, _ = run(columns={"text": 3, "speaker": 2})
    assert (texts(kept), speakers(kept)) == (words, SPEAKERS)


def test_params_say_more_than_names_and_cells():
    speak()
    write("wavs/{id}.wav|{speaker}|Olá|{text}", "list.csv", "audio|speaker|text|frase corrigida")
    kept, _ = run(columns={"text": "Frase_Corrigida", "accent": 2})
    assert texts(kept) == TEXTS
    assert {u.speaker for u in kept.values()} == {"speaker"}
    assert {i: u.accent for i, u in kept.items()} == SPEAKERS


def test_params_name_keys_of_json_and_a_column_that_nothing_has_is_refused():
    speak()
    rows = [
        {"audio": f"wavs/{i}.wav", "text": "...", "utterance": t, "who": SPEAKERS[i]}
        for i, t in TEXTS.items()
    ]
    (CORPUS / "all.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    kept, _ = run(columns={"text": "utterance", "speaker": "who"})
    assert (texts(kept), speakers(kept)) == (TEXTS, SPEAKERS)
    with pytest.raises(
        SettingsError, match=r"ingest\.columns: the speaker is 'whom'.*there are: audio, text, utt"
    ):
        run(columns={"speaker": "whom"})


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_texts_that_hold_the_delimiter_of_their_table_stop_the_run_and_lose_no_half(delimiter):
    """Without a header and without quotes, the halves look like two columns of sentences."""
    speak()
    lines = [f"wavs/{i}.wav{delimiter}{t.replace(' ', ' e ', 1)}\n" for i, t in TEXTS.items()]
    cut = [line[:28] + delimiter + line[28:] for line in lines]
    (CORPUS / "list.csv").write_text("".join(cut))
    with pytest.raises(
        InputError, match=r"list\.csv: one of two columns may be the text, 2 .* and 3 .*quote the texts"
    ):
        run()


def test_a_translation_is_not_taken_for_the_normalised_text():
    speak()
    english = ["The cat sleeps on the blue chair.", "Tomorrow we go to the beach early."] * 3
    pairs = zip(TEXTS.items(), english, strict=True)
    lines = [f"wavs/{i}.wav\t{t}\t{e} {n}\n" for n, ((i, t), e) in enumerate(pairs)]
    (CORPUS / "list.tsv").write_text("".join(lines))
    with pytest.raises(InputError, match=r"list\.tsv: one of two columns may be the text, 2 .* and 3 "):
        run()
    assert texts(run(columns={"text": 2})[0]) == TEXTS


def test_phonemes_beside_the_text_are_not_taken_for_it():
    speak()
    write("{id}|{text}|u ˈɡatu ˈdɔɾmi na kaˈdejɾɐ {speaker}")
    assert texts(run()[0]) == TEXTS


def test_a_column_called_path_that_names_nothing_gives_way_to_one_that_does():
    speak()
    write("/scratch/{speaker}/x-{id}.ogg,wavs/{id}.wav,{text}", header="path,segment,text")
    kept, rejects = run()
    assert (texts(kept), rejects) == (TEXTS, {})
    assert read_as() == {"metadata.csv": ["", "audio", "text"]}


@pytest.mark.parametrize("name", ["lists/train.csv", "filelists/train.txt"])
def test_listings_may_lie_in_a_folder_of_their_own(name):
    speak()
    (CORPUS / name).parent.mkdir()
    write("wavs/{id}.wav|{text}", name)
    kept, rejects = run()
    assert (texts(kept), rejects) == (TEXTS, {})
    assert {u.part for u in kept.values()} == {"train"}
    assert list(read_as()) == [name]


def test_a_link_to_a_folder_inside_the_corpus_is_followed_where_the_listing_says_so():
    speak("sons", "flac")
    (CORPUS / "wavs").symlink_to("sons")
    write("{id}|{text}")
    assert texts(run()[0]) == TEXTS


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"words": 2}, "a key of ingest.columns is 'words', allowed: id, audio"),
        ({"text": 1.5}, "ingest.columns.text"),
    ],
)
def test_a_field_or_a_column_that_cannot_be_is_refused_when_params_are_read(columns, said):

    with pytest.raises(SettingsError, match=said):
        build(Ingest, {"columns": columns}, "params.yaml", "ingest")


def test_a_table_of_speakers_beside_the_listing_is_not_taken_for_texts():
    speak()
    write("wavs/{id}.wav|{text}", "zlist.csv")
    write("wavs/{id}.wav|{speaker}", "accents.csv")
    kept, rejects = run()
    assert (texts(kept), rejects) == (TEXTS, {})
    assert files.read_json(OUT / "listings.json")["passed_over"] == {"count": 1, "examples": ["accents.csv"]}


# --- quotes and broken lines


def written_by_pandas(rows, delimiter: str, quoting: int) -> str:
    """What `to_csv(sep=...)` writes: the csv module does it for pandas."""
    stream = io.StringIO()
    csv.writer(stream, delimiter=delimiter, quoting=quoting, lineterminator="\n").writerows(rows)
    return stream.getvalue()


@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
@pytest.mark.parametrize("delimiter", ["|", "\t", ";", ","])
def test_quotes_of_a_table_are_undone(delimiter, quoting):
    speak()
    odd = {**TEXTS, "c2": f'Ela disse "bom dia"{delimiter} e saiu.', "c5": 'A\nchuva "fina" molhou.'}
    rows = [("audio", "text"), *((f"wavs/{i}.wav", t) for i, t in odd.items())]
    (CORPUS / "dados.csv").write_text(written_by_pandas(rows, delimiter, quoting))
    kept, rejects = run()
    assert not rejects
    assert texts(kept) == {i: " ".join(t.split()) for i, t in odd.items()}


def test_quotes_in_an_unquoted_table_are_letters():
    speak()
    odd = {**TEXTS, "c1": '"Sim", disse ela, "não"', "c2": '"Olá', "c3": 'disse "sim" e saiu'}
    (CORPUS / "metadata.csv").write_text("".join(f"{i}|{t}\n" for i, t in odd.items()))
    assert texts(run()[0]) == odd


def test_a_delimiter_inside_a_text_rejects_the_line():
    speak()
    write("{id}|{text}")
    listing = CORPUS / "metadata.csv"
    listing.write_text(listing.read_text().replace("molhou o", "molhou | o"))
    kept, rejects = run()
    assert texts(kept) == {i: t for i, t in TEXTS.items() if i != "c3"}
    assert {i: r.code for i, r in rejects.items()} == {"c3": "columns"}


@pytest.mark.parametrize("template", ["{id}|{text}", "{id}|{speaker}|{text}", "wavs/{id}.wav\t{text}"])
def test_a_text_that_goes_on_in_the_next_line_rejects_both(template):
    speak()
    write(template)
    listing = CORPUS / "metadata.csv"
    listing.write_text(listing.read_text().replace("molhou o", "molhou\no"))
    kept, rejects = run()
    assert texts(kept) == {i: t for i, t in TEXTS.items() if i != "c3"}
    assert {r.code for r in rejects.values()} == {"columns"}
    assert len(rejects) == 2
    assert "seems to go on in the next line" in rejects["c3"].reason


def test_a_line_that_lacks_its_text_costs_itself_alone():
    """c3 is there, and c9 looks like an id: neither is the second half of a text."""
    speak()
    write("{id}|{text}")
    listing = CORPUS / "metadata.csv"
    listing.write_text(listing.read_text().replace("c3|A chuva molhou o jardim todo.", "c3") + "c9\n")
    kept, rejects = run()
    assert sorted(kept) == ["c1", "c2", "c4", "c5", "c6"]
    assert {i: r.code for i, r in rejects.items()} == {"c3": "columns", "c9": "columns"}


def test_a_quoted_text_without_an_end_costs_its_line_and_joins_no_other_clip():
    speak()
    lines = ["audio_path,transcript", *(f'wavs/{i}.wav,"{t}"' for i, t in TEXTS.items())]
    lines[2] = lines[2].removesuffix('"')
    lines[4] = 'wavs/c4.wav,Quem fechou a janela ontem?"'
    (CORPUS / "metadata.csv").write_text("\n".join(lines))
    kept, rejects = run()
    assert {i: r.code for i, r in rejects.items()} == {"c2": "quotes"}
    assert texts(kept) == {i: t for i, t in {**TEXTS, "c4": TEXTS["c4"] + '"'}.items() if i != "c2"}


# --- which recording is meant


@pytest.mark.parametrize(
    "path",
    [
        "/home/someone/data/maria/wavs/{id}.wav",
        "C:\\Users\\Maria\\corpus\\wavs\\{id}.wav",
        "\\\\server\\share\\maria\\wavs\\{id}.wav",
        "/home/someone/{id}.wav",
        "DUMMY/{id}.wav",
        "./wavs//{id}.wav",
        "wavs/{id}.mp3",
        "WAVS/{id}.WAV",
        "{id}",
    ],
)
def test_the_part_of_a_path_that_is_in_the_corpus_is_found(path):
    speak()
    write(path + "|{text}", "list.csv", "audio_file|text")
    kept, rejects = run()
    assert not rejects
    assert {u.audio: u.text for u in kept.values()} == {
        f"data/raw/mine/wavs/{i}.wav": t for i, t in TEXTS.items()
    }
    if not path.startswith((".", "WAVS")):
        assert sorted(kept) == list(TEXTS), "the other machine's folders are in no id"


def test_paths_of_two_speakers_are_never_taken_for_one():
    """Of the folders that another machine had, only the one that most paths share may be left out."""
    speak(some=["c1", "c2", "c3"])
    listed = ["/a/ana/c1.wav", "/a/ana/c2.wav", "/a/rui/c3.wav"]
    (CORPUS / "list.csv").write_text(
        "audio|text\n" + "".join(f"{p}|{t}\n" for p, t in zip(listed, TEXTS.values(), strict=False))
    )
    kept, rejects = run()
    assert sorted(kept) == ["c1", "c2"]
    assert [r.code for r in rejects.values()] == ["outside-root"]


def test_names_in_another_unicode_form_or_case_are_found():
    speak(name="lição {}", suffix="WAV")
    for path in (CORPUS / "wavs").iterdir():
        path.rename(path.with_name(unicodedata.normalize("NFD", path.name)))
    write(unicodedata.normalize("NFC", "wavs/lição {id}.wav|{text}"))
    kept, rejects = run()
    assert (list(texts(kept).values()), rejects) == (list(TEXTS.values()), {})


def test_two_files_that_differ_in_case_alone_are_not_guessed_between():
    save(CORPUS / "wavs/A.wav", voice(0.5))
    save(CORPUS / "wavs/a.wav", voice(0.6))
    save(CORPUS / "wavs/b.wav", voice(0.7))
    found = recordings.Recordings(CORPUS)
    assert [found.find(name) for name in ("A", "a", "B", "wavs/a.WAV")] == [
        "wavs/A.wav", "wavs/a.wav", "wavs/b.wav", "wavs/a.wav",
    ]  # fmt: skip
    save(CORPUS / "wavs/É.wav", voice(0.8))
    save(CORPUS / "wavs/é.wav", voice(0.9))
    again = recordings.Recordings(CORPUS)
    assert again.find("É") == "wavs/É.wav"
    (CORPUS / "wavs/a.wav").rename(CORPUS / "wavs/aA.wav")
    (CORPUS / "wavs/A.wav").rename(CORPUS / "wavs/Aa.wav")
    assert recordings.Recordings(CORPUS).find("AA") is None


# --- times


@pytest.mark.parametrize("names", ["start,end", "start_s,end_s", "Start Time,End Time", "offset,duration"])
def test_start_and_end_of_a_table_cut_the_recording(names):
    save(CORPUS / "long.wav", voice(6.0))
    is_duration = names.endswith("duration")
    lines = [f"long.wav,{n},{1 if is_duration else n + 1},{t}" for n, t in enumerate(TEXTS.values())]
    (CORPUS / "list.csv").write_text("\n".join([f"path,{names},text", *lines]))
    kept, rejects = run()
    assert not rejects
    assert [(u.id, u.start_s, u.end_s, u.text) for u in kept.values()] == [
        ("long" if n == 0 else f"long-{n * 1000:08d}", float(n), n + 1.0, t)
        for n, t in enumerate(TEXTS.values())
    ]


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("1.9", 1.9),
        ("1,9", 1.9),
        (" 2 ", 2.0),
        ("00:01:02.5", 62.5),
        ("1:02", 62.0),
        (3, 3.0),
        ("", None),
        (None, None),
    ],
)
def test_seconds_are_numbers_or_a_clock(written, seconds):
    assert table.seconds(written, "x") == seconds


@pytest.mark.parametrize(
    "written", ["soon", "1.9 s", "nan", "inf", float("nan"), True, [1], "1e300", "1:2:3:4"]
)
def test_what_is_no_time_is_named(written):
    with pytest.raises(ValueError, match=r"x is .*expected seconds"):
        table.seconds(written, "x")


def test_durations_in_json_may_be_words():
    speak()
    rows = [
        {"audio_filepath": f"wavs/{i}.wav", "text": t, "duration": str(0.5 + n / 10)}
        for n, (i, t) in enumerate(TEXTS.items())
    ]
    (CORPUS / "manifest.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    kept, rejects = run()
    assert (texts(kept), rejects) == (TEXTS, {})
    assert {u.end_s for u in kept.values()} == {None}


# --- words that are no text


@pytest.mark.parametrize("word", ["nan", "NaN", "NULL", "None", "N/A", "null"])
def test_words_that_programs_write_for_nothing_are_no_transcript(word):
    speak()
    write("{id}|{text}|{speaker}", header="id|text|speaker")
    listing = CORPUS / "metadata.csv"
    listing.write_text(listing.read_text().replace(TEXTS["c3"], word).replace("|ana", f"|{word}"))
    kept, rejects = run(speaker="alguém")
    assert {i: r.code for i, r in rejects.items()} == {"c3": "no-transcript"}
    assert repr(word) in rejects["c3"].reason
    assert {u.speaker for u in kept.values()} == {"rui", "alguém"}


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("O gato &quot;dorme&quot; na cadeira &amp; sonha.", 'O gato "dorme" na cadeira & sonha.'),
        ("<b>Amanhã</b> vamos à praia<br/>bem cedo.", "Amanhã vamos à praia bem cedo."),
        ("P&atilde;o &#233; bom, &amp;quot;sim&amp;quot;", 'Pão é bom, "sim"'),
        ('<p class="x">Olá</p><p>mundo</p>', "Olá mundo"),
        ("se a < b e c > d, AT&T; fim", "se a < b e c > d, AT&T; fim"),
        ("Oi <laugh> tudo bem <sigh>", "Oi <laugh> tudo bem <sigh>"),
    ],
)
def test_entities_and_tags_of_html_are_undone_with_a_warning(written, kept):
    speak()
    write("{id}|{text}")
    listing = CORPUS / "metadata.csv"
    listing.write_text(listing.read_text().replace(TEXTS["c3"], written))
    found, rejects = run()
    assert not rejects
    assert found["c3"].text == kept
    warned = {w.id: w.code for w in manifest.read(OUT / "warnings.jsonl", Warned)}
    assert warned == ({} if written == kept else {"c3": "markup"})


# --- ingest.columns corrects one column, and nothing else


@pytest.mark.parametrize(("name", "cut"), [("metadata.csv", "|"), ("lista.csv", ","), ("lista.tsv", "\t")])
@pytest.mark.parametrize("wanted", [{"text": "frase lida"}, {"audio": "clip"}, {"speaker": "quem"}])
def test_a_column_that_params_do_not_name_is_still_known_by_its_cells(name, cut, wanted):
    speak()
    write(
        cut.join(["{id}", '"{text}"' if cut == "," else "{text}", "{speaker}"]),
        name,
        f"clip{cut}frase lida{cut}quem",
    )
    kept, rejects = run(columns=wanted)
    assert (texts(kept), speakers(kept), rejects) == (TEXTS, SPEAKERS, {})
    assert read_as() == {name: ["audio", "text", "speaker"]}


def test_a_column_that_params_do_not_name_is_still_known_by_its_name():
    speak()
    write('wavs/{id}.wav,"{text}",{speaker},x', "a.csv", "file,frase lida,speaker,nota")
    kept, _ = run(columns={"text": "frase lida"})
    assert (texts(kept), speakers(kept)) == (TEXTS, SPEAKERS)
    assert read_as() == {"a.csv": ["audio", "text", "speaker", ""]}


@pytest.mark.parametrize(
    "wanted",
    [{"text": 3, "speaker": 3}, {"text": "quem", "speaker": "Quem"}, {"text": "quem", "speaker": 3}],
)
def test_one_column_that_params_name_twice_is_said_to_be_named_twice(wanted):
    speak()
    write("{id}|{text}|{speaker}", header="clip|frase lida|quem")
    with pytest.raises(
        SettingsError,
        match=r"column \w+ of metadata\.csv is named twice, as the text and as the speaker; expected",
    ):
        run(columns=wanted)


def test_a_misspelt_column_is_answered_with_the_names_of_the_first_line():
    speak()
    write("{id}|{text}|{speaker}", header="clip|frase lida|quem")
    (CORPUS / "wavs/c3.wav").unlink()
    with pytest.raises(SettingsError) as caught:
        run(columns={"text": "frase ilda"})
    assert "the text is 'frase ilda', but no listing of the corpus has such a column" in str(caught.value)
    assert "line 1 of metadata.csv looks like a header: clip, frase lida, quem" in str(caught.value)
    assert str(caught.value).endswith("did you mean 'frase lida'?")


def test_an_unknown_header_that_is_read_as_a_clip_is_said_to_look_like_a_header():
    speak()
    write("{id}|{text}|{speaker}", header="clip|frase lida|quem")
    kept, rejects = run()
    assert (texts(kept), speakers(kept)) == (TEXTS, SPEAKERS)
    [reject] = rejects.values()
    assert reject.code == "missing"
    assert "metadata.csv, line 1: 'clip' is no recording" in reject.reason
    assert "looks like a header: clip, frase lida, quem" in reject.reason
    assert 'ingest.columns: {text: "frase lida"}' in reject.reason


@pytest.mark.parametrize("first", ["c0|Bom dia|ana", "perdido|Bom dia.|eva", "perdido|Bom dia|ana"])
def test_a_clip_whose_file_is_missing_is_no_header(first):
    speak()
    write("{id}|{text}|{speaker}", header=first)
    [reject] = run()[1].values()
    assert (reject.code, "header" in reject.reason) == ("missing", False)


# --- clips without a speaker in a corpus that has speakers


@pytest.mark.parametrize("blank", ["", " ", "nan", "NULL", "None"])
@pytest.mark.parametrize("header", ["", "id|text|speaker"])
def test_a_clip_without_a_speaker_is_warned_about_where_others_have_one(blank, header, caplog):
    speak()
    write("{id}|{text}|{speaker}", header=header)
    listing = CORPUS / "metadata.csv"
    listing.write_text(listing.read_text().replace(f"{TEXTS['c2']}|ana", f"{TEXTS['c2']}|{blank}"))
    kept, rejects = run()
    assert (speakers(kept), rejects) == ({**SPEAKERS, "c2": "speaker"}, {})
    [warning] = manifest.read(OUT / "warnings.jsonl", Warned)
    assert (warning.id, warning.code) == ("c2", "no-speaker")
    assert f"metadata.csv, line {2 + bool(header)}: no speaker is named" in warning.reason
    assert "it gets ingest.speaker, which is 'speaker'" in warning.reason
    assert "kept with a warning: no-speaker 1" in caplog.text


def test_words_for_nothing_are_blank_for_language_accent_and_gender_too():
    speak()
    write(
        'wavs/{id}.wav,"{text}",{speaker},NULL,nan,None', "a.csv", "audio,text,speaker,language,accent,gender"
    )
    kept, rejects = run()
    assert (len(kept), rejects) == (len(TEXTS), {})
    assert {(u.language, u.accent, u.gender) for u in kept.values()} == {("pt", "", "")}


def test_a_language_column_is_known_by_its_cells_though_some_are_blank():
    speak()
    write("{id}|{text}|{speaker}|pt-BR")
    listing = CORPUS / "metadata.csv"
    listing.write_text(listing.read_text().replace("pt-BR", "None", 1))
    assert len(run()[0]) == len(TEXTS)
    assert read_as() == {"metadata.csv": ["audio", "text", "speaker", "language"]}


def test_a_corpus_without_speakers_gets_no_warning():
    speak()
    write("{id}|{text}")
    run()
    assert manifest.read(OUT / "warnings.jsonl", Warned) == []


# --- what is ignored is said


def test_unknown_columns_unlisted_recordings_and_other_listings_are_named(caplog):
    speak()
    write("wavs/{id}.wav,{speaker},8,{text}", "a.csv", "path,source,mos,text")
    (CORPUS / "a.csv").write_text("".join((CORPUS / "a.csv").read_text().splitlines(keepends=True)[:3]))
    (CORPUS / "old").mkdir()
    write("{id}|{text}", "old/metadata.csv")
    (CORPUS / "README.txt").write_text("Gravado em casa.")
    with caplog.at_level(logging.INFO, "sotaque"):
        run()
    report = files.read_json(OUT / "listings.json")
    assert report["unlisted"] == {"count": 4, "examples": [f"wavs/c{n}.wav" for n in (3, 4, 5, 6)]}
    assert report["passed_over"] == {"count": 1, "examples": ["old/metadata.csv"]}
    assert "a.csv: 'path' is the audio, 'text' is the text; ignored: 'source', 'mos'" in caplog.text
    assert "recordings in no listing: 4, such as wavs/c3.wav" in caplog.text
    assert "listings that were not read: 1, such as old/metadata.csv" in caplog.text


def test_names_in_the_record_that_are_not_utf_8_are_escaped():
    speak()
    write("{id}|{text}")
    Path("x.wav").write_bytes((CORPUS / "wavs/c1.wav").read_bytes())
    Path("x.wav").rename(CORPUS / "wavs" / b"a\xe7\xe3o.wav".decode("utf-8", "surrogateescape"))
    run()
    assert files.read_json(OUT / "listings.json")["unlisted"]["examples"] == ["wavs/a\\udce7\\udce3o.wav"]


def test_every_field_of_the_settings_has_names_and_the_other_way_round():
    assert {*columns.NAMES} - {"normalised"} == {*typing.get_args(Field)}
    keys = [columns.key_of(name) for names in columns.NAMES.values() for name in names]
    fields = [field for field, names in columns.NAMES.items() for _ in names]
    assert len({*zip(keys, fields, strict=True)}) == len({*keys}), "no name means two things"
