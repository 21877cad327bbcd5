"""Every bad text, listing and name there is, among good ones: what becomes of each.

test_ingest.py has the cases of paths, encodings of whole files, ids and duplicates; here are those of
texts and file names, through the command a person runs.
"""

import os
import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path

import pytest

import commands
from bad_sounds import content
from commands import rows
from conftest import ROOT
from sotaque import manifest
from sotaque.data import ingest, normalize, transcripts
from sotaque.errors import REMEDIES, ClipError
from sotaque.manifest import Reject, Utterance
from sotaque.settings import Ingest, Normalize, Settings
from sounds import save, voice


@dataclass(frozen=True)
class Case:
    """What a listing says, and what becomes of it: the text that is kept, or a code and what is said."""

    written: str | bytes
    kept: str = ""
    warned: str = ""
    code: str = ""
    said: str = ""
    language: str = "pt"


CASES = {
    # one way to write it
    "decomposed": Case(unicodedata.normalize("NFD", "ação é pão"), "ação é pão"),
    "spaces": Case("\u00a0Olá,\u00a0\u2003 mundo \u2028\u3000fim ", "Olá, mundo fim"),
    "zero-width": Case("\ufeffco\u200bmo v\u2060ai\u00ad?", "como vai?"),
    "direction": Case("\u202eviva\u202c \u2066o\u2069 sol\u200f", "viva o sol"),
    "quotes": Case("“Oi”, disse ‘ela’; d´água, «sim»", '"Oi", disse \'ela\'; d\'água, "sim"'),
    "open-quote": Case('Disse "oi', 'Disse "oi'),
    "numbers": Case("São 21 às 10h30: R$ 5,00 e ½ do 3º", "São 21 às 10h30: R$ 5,00 e ½ do 3º"),
    # nothing that is said
    "no-text": Case("", code="no-transcript", said="nothing to say in ''"),
    "blanks": Case(" \u00a0\u200b ", code="no-transcript"),
    "punctuation": Case("?!...", code="no-transcript", said="'?!...'"),
    "only-emoji": Case("😀🎉", code="no-transcript"),
    "only-a-note": Case("[risos]", code="no-transcript"),
    # bytes that were lost or misread
    "nul": Case("a\0b", code="control-characters", said=r"'a\x00b'"),
    "latin-1": Case("Ação".encode("latin-1"), code="encoding", said="not UTF-8"),
    "lost": Case("n\ufffdo", code="encoding", said="U+FFFD"),
    "misread": Case("NÃ£o, obrigado", code="encoding", said="was 'Não, obrigado' in UTF-8"),
    "misread-space": Case("Ã\u00a0 noite", code="encoding", said="was 'à noite' in UTF-8"),
    "misread-quotes": Case("Itâ€™s me", code="encoding", said="was 'It’s me' in UTF-8", language="en"),
    "misread-capital": Case("Ã\u0081gua", code="encoding", said="was 'Água' in UTF-8"),
    # too much
    "a-megabyte": Case("a " * 2**19, code="text-too-long", said="1048575 characters, at most 10000"),
    # what a language writes, and what it does not
    "emoji": Case("Oi 😀!", "Oi 😀!", warned="pt does not write 😀"),
    "private-use": Case("Oi \ue000", "Oi \ue000", warned=r"'\ue000'"),
    "joiner": Case("co\u200dmo", "co\u200dmo", warned=r"'\u200d'"),
    "other-letter": Case("A Straße é ali", "A Straße é ali", warned="pt does not write ß"),
    "look-alike": Case("M\u043escou é fria", "M\u043escou é fria", warned="pt does not write \u043e"),
    "german": Case("Die Straße: ein Café!", "Die Straße: ein Café!", language="German"),
    "not-german": Case("Привет, мир", code="wrong-script", said="are Latin, the script of de", language="de"),
    "mixed-scripts": Case("Добар dan", "Добар dan", language="sr"),
    "notes-around-words": Case("[risos] Oi (tosse)", "[risos] Oi (tosse)"),
    "only-notes": Case("[risos] (tosse) <ruído>", code="no-transcript"),
    "cyrillic": Case("Привет, мир", code="wrong-script", said="0 of 9 letters in 'Привет, мир' are Latin"),
    "spanish": Case("¿Qué? ¡Ñandú, pingüino!", "¿Qué? ¡Ñandú, pingüino!", language="es"),
    "not-spanish": Case("Corazão", "Corazão", warned="es does not write ã", language="es"),
    "english": Case("Naïve café’s façade", "Naïve café's façade", language="en"),
    "not-english": Case("A smörgåsbord", "A smörgåsbord", warned="en does not write å", language="en"),
    "arabic": Case("السَّلامُ عَلَيكُم، ٣ مرات؟", "السَّلامُ عَلَيكُم، ٣ مرات؟", language="ar"),
    "arabic-with-a-name": Case(
        "هذا هاتف iPhone جديد", "هذا هاتف iPhone جديد", "ar does not write P e h i n o", language="ar"
    ),
    "not-arabic": Case(
        "Hello there", code="wrong-script", said="are Arabic, the script of ar", language="ar"
    ),
}


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """(kept, rejects, warnings by id, and what the command said)"""
    where = tmp_path_factory.mktemp("texts")
    corpus = commands.folder(where)
    listing = [b"id|text|language"]
    for number, (name, case) in enumerate(CASES.items()):
        save(corpus / f"wavs/{name}.wav", voice(0.5 + number / 100))
        written = case.written if isinstance(case.written, bytes) else case.written.encode()
        listing.append(b"%s|%s|%s" % (name.encode(), written, case.language.encode()))
    (corpus / "metadata.csv").write_bytes(b"\n".join(listing))
    told = commands.sotaque(where, "ingest").stderr
    made = where / "data/manifest"
    return *(rows(made / f"{name}.jsonl") for name in ("00", "rejects", "warnings")), told


@pytest.mark.parametrize("name", CASES)
def test_a_text_is_kept_as_it_should_be_or_rejected_with_what_was_found(outcome, name):
    kept, rejects, warnings, _ = outcome
    case = CASES[name]
    if case.code:
        assert rejects[name]["code"] == case.code
        assert rejects[name]["reason"].startswith(f"metadata.csv, line {list(CASES).index(name) + 2}: ")
        assert case.said in rejects[name]["reason"]
        assert rejects[name]["reason"].endswith(f"; {REMEDIES[case.code]}")
    else:
        assert kept[name]["text"] == case.kept, rejects.get(name)
        assert bool(case.warned) == (name in warnings)
        assert case.warned in warnings.get(name, {}).get("reason", "")


def test_no_text_is_lost_and_nothing_is_a_traceback(outcome):
    kept, rejects, warnings, told = outcome
    assert kept.keys() | rejects.keys() == CASES.keys()
    assert not kept.keys() & rejects.keys()
    assert {row["code"] for row in warnings.values()} == {"foreign-characters"}
    assert f"kept with a warning: foreign-characters {len(warnings)}" in told
    assert "Traceback" not in told


@pytest.mark.parametrize("language", ["pt", "es", "en"])
def test_the_words_that_the_package_ships_are_written_in_their_language(language):
    for name in (f"{language}.txt", f"{language}-templates.txt"):
        shipped = (ROOT / "src/sotaque/data/lexicon" / name).read_text(encoding="utf-8")
        assert transcripts.foreign(shipped.replace("\n", " "), language) == ""


# --- names of files


def ingested(corpus: Path):
    settings = Settings(shards=1, ingest=Ingest(corpus="mine", max_rejected_share=1.0))
    ingest.run(settings, corpus=corpus, out=Path("out"))
    kept = {u.id: u for u in manifest.read(Path("out/00.jsonl"))}
    return kept, {r.id: r for r in manifest.read(Path("out/rejects.jsonl"), Reject)}


def speak(corpus: Path, *names: str) -> None:
    for number, name in enumerate(names):
        (corpus / "ana").mkdir(parents=True, exist_ok=True)
        (corpus / f"ana/{name}.wav").write_bytes(content(voice(0.5 + number / 10)))
        (corpus / f"ana/{name}.lab").write_text(f"Frase {number}.")


def test_names_that_shells_and_systems_stumble_over_are_kept_under_safe_ids(workplace):
    corpus = Path("data/raw/mine")
    names = ["-rf", "A", "a", "com espaço", "n" * 250, "'; DROP TABLE", "$(reboot)", "*"]
    speak(corpus, *names)
    kept, rejects = ingested(corpus)
    assert not rejects
    assert {Path(u.audio).stem for u in kept.values()} == set(names)
    assert len({identifier.casefold() for identifier in kept}) == len(names)
    assert all(re.fullmatch("[A-Za-z0-9._][A-Za-z0-9._-]{0,119}", identifier) for identifier in kept)


def test_names_that_no_manifest_can_hold_are_rejected_and_shown_with_escapes(workplace):
    corpus = Path("data/raw/mine")
    speak(corpus, "good", "two\nlines", os.fsdecode(b"latin-\xe9"))
    kept, rejects = ingested(corpus)
    assert list(kept) == ["ana-good"]
    assert {(r.code, r.audio) for r in rejects.values()} == {
        ("unsafe-name", "ana/two\nlines.wav"),
        ("unsafe-name", "ana/latin-\\udce9.wav"),
    }
    assert all(REMEDIES["unsafe-name"] in r.reason for r in rejects.values())


# --- a text that is another clip's


@pytest.mark.parametrize(
    ("text", "seconds", "code", "said"),
    [
        ("a" * 80, 1.0, "speech-too-fast", "80.00 characters per second"),
        ("a" * 39, 1.0, "", ""),
        ("Oi", 3.0, "", ""),
        ("2024", 3.0, "", ""),
        ("A", 3.0, "speech-too-slow", "0.33 characters per second"),
    ],
)
def test_a_text_far_too_long_or_short_for_its_audio_is_rejected(workplace, text, seconds, code, said):
    path = save(Path("a.wav"), voice(seconds))
    utterance = Utterance("a", path.as_posix(), text, "ana", "pt")
    if not code:
        normalize.prepared(utterance, Normalize(), 24_000)
        return
    with pytest.raises(ClipError, match=said) as caught:
        normalize.prepared(utterance, Normalize(), 24_000)
    assert caught.value.code == code
    assert "characters_per_s is" in caught.value.reason
