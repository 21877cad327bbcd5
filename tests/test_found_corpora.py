"""Corpora as people have them: one folder too deep, from Windows, with column names of their own language."""

import json
import shutil
import zipfile
from pathlib import Path

import pytest

from sotaque import manifest
from sotaque.data import ingest
from sotaque.errors import InputError
from sotaque.manifest import Reject
from sotaque.settings import Ingest, Settings
from sounds import save, voice

CORPUS, OUT = Path("data/raw/mine"), Path("data/manifest")
TEXTS = {"0": "Amanhã vou à praia.", "1": "São doze horas; não é?", "2": 'Disse "sim", e saiu.'}


@pytest.fixture(autouse=True)
def here(workplace):
    CORPUS.mkdir(parents=True)


def speak(folder: str, suffix: str = "wav", name: str = "{}") -> None:
    for number, identifier in enumerate(TEXTS):
        save(CORPUS / folder / f"{name.format(identifier)}.{suffix}", voice(0.5 + number / 10))


def run() -> list[manifest.Utterance]:
    ingest.run(Settings(shards=1, ingest=Ingest(corpus="mine")), corpus=CORPUS, out=OUT)
    assert not manifest.read(OUT / "rejects.jsonl", Reject)
    return manifest.read(OUT / "00.jsonl")


def test_an_archive_brings_a_folder_in_which_the_corpus_lies():
    speak("Corpus-1.1/wavs")
    (CORPUS / "Corpus-1.1/metadata.csv").write_text("".join(f"{i}|{t}\n" for i, t in TEXTS.items()))
    (CORPUS / "__MACOSX").mkdir()
    (CORPUS / ".DS_Store").touch()
    assert [(u.id, u.text) for u in run()] == list(TEXTS.items())


def test_a_table_from_excel_and_a_folder_of_mp3():
    """Semicolons, quotes where the text holds one, CRLF, a byte order mark, blanks in names."""
    speak("mp3", "mp3", "clip {}")
    lines = [f'clip {i}.mp3;"{t.replace(chr(34), chr(34) * 2)}";Maria' for i, t in TEXTS.items()]
    written = "".join(f"{line}\r\n" for line in ("file;text;speaker", *lines))
    (CORPUS / "transcripts.csv").write_bytes(b"\xef\xbb\xbf" + written.encode())
    found = run()
    assert [(u.text, u.speaker) for u in found] == [(t, "Maria") for t in TEXTS.values()]
    assert found[0].audio == "data/raw/mine/mp3/clip 0.mp3"


def test_paths_of_windows_and_columns_in_portuguese():
    speak("gravacoes/dia 1")
    lines = [f"gravacoes\\dia 1\\{i}.wav\t{t}\tMaria" for i, t in TEXTS.items()]
    (CORPUS / "lista.tsv").write_text("\n".join(["Arquivo\tTranscrição\tLocutor", *lines]))
    assert [(u.text, u.speaker) for u in run()] == [(t, "Maria") for t in TEXTS.values()]


def test_a_text_file_beside_each_recording_in_folders_of_folders():
    speak("Maria/sessão 1", "WAV")
    for identifier, text in TEXTS.items():
        (CORPUS / f"Maria/sessão 1/{identifier}.txt").write_text(text + "\n")
    (CORPUS / "Maria/README.txt").write_text("Gravado em casa.")
    assert [(u.text, u.speaker) for u in run()] == [(t, "Maria") for t in TEXTS.values()]


def test_one_json_list():
    speak(".", "flac")
    entries = [{"audio": f"{i}.flac", "text": t} for i, t in TEXTS.items()]
    (CORPUS / "data.json").write_text(json.dumps(entries, indent=2))
    assert [(u.id, u.text) for u in run()] == list(TEXTS.items())


def test_an_entry_of_a_json_list_that_is_none_is_rejected_by_its_number():
    speak(".")
    entries = [{"audio": f"{i}.wav", "text": t} for i, t in TEXTS.items()]
    (CORPUS / "data.json").write_text(json.dumps([*entries, ["3.wav", "Oi"]]))
    settings = Settings(shards=1, ingest=Ingest(corpus="mine", max_rejected_share=0.5))
    ingest.run(settings, corpus=CORPUS, out=OUT)
    [reject] = manifest.read(OUT / "rejects.jsonl", Reject)
    assert reject.code == "json"
    assert reject.reason.startswith("data.json, entry 4: not a JSON object")


@pytest.mark.parametrize("listed", [True, False])
def test_an_archive_that_nobody_unpacked_is_named(listed):
    speak("wavs")
    with zipfile.ZipFile(CORPUS / "clips.zip", "w") as archive:
        archive.write(CORPUS / "wavs/0.wav", "0.wav")
    shutil.rmtree(CORPUS / "wavs")
    if listed:
        (CORPUS / "list.csv").write_text("0.wav|Oi\n")
    with pytest.raises(InputError, match=r"archives are not opened, unpack clips\.zip there first"):
        run()


def test_a_table_whose_columns_nobody_knows_is_shown():
    speak("wavs")
    (CORPUS / "table.csv").write_text("Datei,Satz\n0,Guten Tag\n")
    with pytest.raises(InputError, match=r"Found: table\.csv \(begins 'Datei,Satz'\), wavs/"):
        run()
