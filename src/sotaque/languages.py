"""What is known of each language. A language is one row of this table.

Every language that Whisper knows can be spoken, recognised and evaluated. A language without a row of its own
gets the basic normaliser, and no check of its letters.
"""

from __future__ import annotations

import re
import string
from dataclasses import dataclass

from sotaque import normalizers
from sotaque.errors import InputError
from sotaque.normalizers import BASIC, CHARACTERS, Normalizer


@dataclass(frozen=True)
class Language:
    """code: Whisper's. names: others it goes by, lower case: ISO 639-3, ISO 639-1, English.

    script: the first word of its letters' Unicode names; "" where it is written in several.
    letters: what it writes, lower case, with marks and digits; empty where that is not known.
    normalizer: what brings texts to the form in which words are counted and compared.
    """

    code: str
    names: tuple[str, ...]
    script: str = ""
    letters: frozenset[str] = frozenset()
    normalizer: Normalizer = BASIC


def _latin(accented: str) -> frozenset[str]:
    return frozenset(string.ascii_lowercase + string.digits + accented)


def _row(code: str, names: str, *rest: str | frozenset[str] | Normalizer) -> Language:
    return Language(code, tuple(name.strip() for name in names.split(",")), *rest)  # type: ignore[arg-type]


_ROWS = (
    # Letters: Acordo Ortográfico da Língua Portuguesa (1990), bases I, VIII and XIV; ª and º of ordinals.
    _row("pt", "por, portuguese", "LATIN", _latin("áâãàçéêíóôõúüªº"), normalizers.PORTUGUESE),
    # Letters: Ortografía de la lengua española (RAE 2010).
    _row("es", "spa, spanish, castilian", "LATIN", _latin("áéíñóúüªº"), normalizers.SPANISH),
    # Letters: of loan words in dictionaries: café, façade, naïve, jalapeño, rôle, über.
    _row("en", "eng, english", "LATIN", _latin("àâäæçèéêëîïñôöœùûü"), normalizers.ENGLISH),
    # The 28 letters, forms of hamza, ta marbuta, tatweel, vowel signs, letters of foreign sounds, digits.
    _row(
        "ar", "ara, arb, arabic", "ARABIC",
        frozenset("ءآأؤإئابةتثجحخدذرزسشصضطظعغـفقكلمنهوىيٱپچڤگ")
        | frozenset(map(chr, (*range(0x064B, 0x0656), 0x0670, *range(0x0660, 0x066A))))
        | frozenset(string.digits),
        normalizers.ARABIC,
    ),
    # These are written without spaces, so each character counts as a word, as in the Whisper paper.
    _row("zh", "zho, cmn, chinese, mandarin", "CJK", frozenset(), CHARACTERS),
    _row("yue", "cantonese", "CJK", frozenset(), CHARACTERS),
    _row("ja", "jpn, japanese", "", frozenset(), CHARACTERS),
    _row("th", "tha, thai", "THAI", frozenset(), CHARACTERS),
    _row("lo", "lao", "LAO", frozenset(), CHARACTERS),
    _row("km", "khm, khmer", "KHMER", frozenset(), CHARACTERS),
    _row("my", "mya, burmese, myanmar", "MYANMAR", frozenset(), CHARACTERS),
    _row("bo", "bod, tibetan", "TIBETAN", frozenset(), CHARACTERS),
    _row("de", "deu, german", "LATIN"),
    _row("fr", "fra, french", "LATIN"),
    _row("it", "ita, italian", "LATIN"),
    _row("ca", "cat, catalan, valencian", "LATIN"),
    _row("gl", "glg, galician", "LATIN"),
    _row("oc", "oci, occitan", "LATIN"),
    _row("ro", "ron, romanian, moldavian, moldovan", "LATIN"),
    _row("la", "lat, latin", "LATIN"),
    _row("nl", "nld, dutch, flemish", "LATIN"),
    _row("af", "afr, afrikaans", "LATIN"),
    _row("lb", "ltz, luxembourgish, letzeburgesch", "LATIN"),
    _row("yi", "yid, yiddish", "HEBREW"),
    _row("sv", "swe, swedish", "LATIN"),
    _row("da", "dan, danish", "LATIN"),
    _row("no", "nor, nb, nob, norwegian, bokmål", "LATIN"),
    _row("nn", "nno, nynorsk", "LATIN"),
    _row("is", "isl, icelandic", "LATIN"),
    _row("fo", "fao, faroese", "LATIN"),
    _row("fi", "fin, finnish", "LATIN"),
    _row("et", "est, ekk, estonian", "LATIN"),
    _row("lv", "lav, lvs, latvian", "LATIN"),
    _row("lt", "lit, lithuanian", "LATIN"),
    _row("pl", "pol, polish", "LATIN"),
    _row("cs", "ces, czech", "LATIN"),
    _row("sk", "slk, slovak", "LATIN"),
    _row("sl", "slv, slovenian", "LATIN"),
    _row("hr", "hrv, croatian", "LATIN"),
    _row("bs", "bos, bosnian"),
    _row("sr", "srp, serbian"),
    _row("mk", "mkd, macedonian", "CYRILLIC"),
    _row("bg", "bul, bulgarian", "CYRILLIC"),
    _row("ru", "rus, russian", "CYRILLIC"),
    _row("uk", "ukr, ukrainian", "CYRILLIC"),
    _row("be", "bel, belarusian", "CYRILLIC"),
    _row("hu", "hun, hungarian", "LATIN"),
    _row("sq", "sqi, albanian", "LATIN"),
    _row("el", "ell, greek", "GREEK"),
    _row("mt", "mlt, maltese", "LATIN"),
    _row("eu", "eus, basque", "LATIN"),
    _row("cy", "cym, welsh", "LATIN"),
    _row("br", "bre, breton", "LATIN"),
    _row("tr", "tur, turkish", "LATIN"),
    _row("az", "aze, azj, azerbaijani"),
    _row("kk", "kaz, kazakh"),
    _row("uz", "uzb, uzn, uzbek"),
    _row("tk", "tuk, turkmen"),
    _row("tt", "tat, tatar"),
    _row("ba", "bak, bashkir", "CYRILLIC"),
    _row("tg", "tgk, tajik"),
    _row("mn", "mon, khk, mongolian"),
    _row("hy", "hye, armenian", "ARMENIAN"),
    _row("ka", "kat, georgian", "GEORGIAN"),
    _row("he", "heb, iw, hebrew", "HEBREW"),
    _row("fa", "fas, pes, persian, farsi", "ARABIC"),
    _row("ps", "pus, pbt, pashto, pushto", "ARABIC"),
    _row("ur", "urd, urdu", "ARABIC"),
    _row("sd", "snd, sindhi"),
    _row("pa", "pan, punjabi, panjabi"),
    _row("hi", "hin, hindi", "DEVANAGARI"),
    _row("mr", "mar, marathi", "DEVANAGARI"),
    _row("ne", "nep, npi, nepali", "DEVANAGARI"),
    _row("sa", "san, sanskrit"),
    _row("bn", "ben, bengali, bangla", "BENGALI"),
    _row("as", "asm, assamese", "BENGALI"),
    _row("gu", "guj, gujarati", "GUJARATI"),
    _row("ta", "tam, tamil", "TAMIL"),
    _row("te", "tel, telugu", "TELUGU"),
    _row("kn", "kan, kannada", "KANNADA"),
    _row("ml", "mal, malayalam", "MALAYALAM"),
    _row("si", "sin, sinhala, sinhalese", "SINHALA"),
    _row("ko", "kor, korean", "HANGUL"),
    _row("vi", "vie, vietnamese", "LATIN"),
    _row("id", "ind, indonesian", "LATIN"),
    _row("ms", "msa, zsm, malay"),
    _row("jw", "jv, jav, javanese"),
    _row("su", "sun, sundanese"),
    _row("tl", "tgl, fil, tagalog, filipino", "LATIN"),
    _row("mg", "mlg, plt, malagasy", "LATIN"),
    _row("mi", "mri, maori", "LATIN"),
    _row("haw", "hawaiian", "LATIN"),
    _row("sw", "swa, swh, swahili", "LATIN"),
    _row("yo", "yor, yoruba", "LATIN"),
    _row("ha", "hau, hausa"),
    _row("so", "som, somali", "LATIN"),
    _row("sn", "sna, shona", "LATIN"),
    _row("ln", "lin, lingala", "LATIN"),
    _row("am", "amh, amharic", "ETHIOPIC"),
    _row("ht", "hat, haitian creole, haitian", "LATIN"),
)  # fmt: skip

LANGUAGES = {row.code: row for row in _ROWS}
CODES = tuple(LANGUAGES)
_BY_NAME = {name: row for row in _ROWS for name in (row.code, *row.names)}


def get(code: str) -> Language:
    """The row of a code. Raises InputError for a code that Whisper does not know."""
    if code not in LANGUAGES:
        raise InputError(
            f"the language is {code!r}, expected a code that Whisper knows, such as pt, es, en or ar; "
            "docs/text.md lists them"
        )
    return LANGUAGES[code]


def find(name: str) -> Language | None:
    """The row of a code or name as corpora write it: `pt`, `pt-BR`, `por`, `Portuguese`; None for no row."""
    key = " ".join(name.lower().split())
    return _BY_NAME.get(key) or _BY_NAME.get(re.split("[-_ ]", key)[0])
