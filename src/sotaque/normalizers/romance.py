"""Portuguese and Spanish: rules as data, and what applies them. Number words are found by text2num."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import regex

from sotaque.normalizers.basic import prepare

_WORD = regex.compile(r"(?<![\d,])\d+,\d+(?!,?\d)|[\p{L}\p{N}][\p{L}\p{N}\p{Mn}\p{Mc}]*")
_ACRONYM = regex.compile(r"(?<![\p{L}.])(?:\p{L}\.){2,}+(?!\p{L})")
_NUMBER = r"(\d+(?:,\d+)?)"
_DIGITS = re.compile(r"\d+(?:,\d+)?")
_ORDINAL = re.compile(r"(\d+)(os|as|o|a|er)")
_GROUP_SPACE = re.compile(r"(?<=\d)[\u00a0\u2009\u202f](?=\d{3}(?!\d))")
_ROOM = re.compile(r"(?<=\d)(?=[A-Z](?!\w))")  # 3A is no 3.ª
_MILLION = 6


@dataclass(frozen=True)
class Rules:
    """How a language writes and says numbers, and what it writes in more than one way.

    language: text2num's code for it.
    ones: how a lone 1 is said; feminine_one: before hours; kept: what text2num takes for a number, and is
    left as a word when it stands alone. ordinals: 1 to 10, which stay words.
    point: the decimal comma as a word; other_point: a noun that means the same between numbers.
    scales: word -> power of ten; of: between millions and their noun.
    minutes: word after an hour -> digits; half: of the scale before it.
    thousands: marks between groups of three digits.
    per_cent: two words. units: sign -> singular, plural. currencies: the same, then that of the hundredth.
    abbreviations: word, with or without a full stop -> word. spellings: pattern -> replacement, after signs.
    prefixes: joined to the word after them, which doubles a first letter that is in `doubled`.
    """

    language: str
    ones: Mapping[str, str]
    feminine_one: str
    kept: frozenset[str]
    ordinals: tuple[str, ...]
    point: str
    other_point: str
    scales: Mapping[str, int]
    of: str
    conjunction: str
    minus: str
    minutes: Mapping[str, str]
    half: str
    hour: str
    thousands: str
    per_cent: tuple[str, str]
    number_sign: str
    units: Mapping[str, tuple[str, str]]
    currencies: Mapping[str, tuple[str, str, str, str]]
    abbreviations: Mapping[str, str]
    spellings: Mapping[str, str]
    prefixes: str
    doubled: str


PORTUGUESE_RULES = Rules(
    language="pt",
    ones={"1": "um"},
    feminine_one="uma",
    kept=frozenset({"um", "uma"}),
    ordinals=(
        "primeiro", "segundo", "terceiro", "quarto", "quinto", "sexto", "sétimo", "oitavo", "nono", "décimo",
    ),
    point="vírgula",
    other_point="",
    scales={
        "mil": 3, "milhão": 6, "milhões": 6, "bilhão": 9, "bilhões": 9, "trilhão": 12, "trilhões": 12,
    },
    of="de",
    conjunction="e",
    minus="menos",
    minutes={"meia": "30"},
    half="meio",
    hour="hora",
    thousands=".",
    per_cent=("por", "cento"),
    number_sign="número",
    units={
        "km/h": ("quilômetro por hora", "quilômetros por hora"),
        "km": ("quilômetro", "quilômetros"),
        "cm": ("centímetro", "centímetros"),
        "kg": ("quilo", "quilos"),
        "°c": ("grau celsius", "graus celsius"),
        "°": ("grau", "graus"),
    },
    currencies={
        "r$": ("real", "reais", "centavo", "centavos"),
        "us$": ("dólar", "dólares", "centavo", "centavos"),
        "$": ("dólar", "dólares", "centavo", "centavos"),
        "€": ("euro", "euros", "cêntimo", "cêntimos"),
        "£": ("libra", "libras", "péni", "pence"),
    },
    abbreviations={
        "sr": "senhor", "sra": "senhora", "srs": "senhores", "sras": "senhoras", "srta": "senhorita",
        "dr": "doutor", "dra": "doutora", "drs": "doutores", "prof": "professor", "profa": "professora",
        "eng": "engenheiro", "av": "avenida", "vs": "versus", "eua": "estados unidos", "okay": "ok",
        "porcento": "por cento",
    },
    spellings={
        "ü": "u",  # until 2009: tranqüilo, idéia, heróico, vôo, lêem
        r"éi(?=[ao])": "ei",
        r"ói(?=[aoc])": "oi",
        "ôo": "oo",
        "êem": "eem",
        r"é(?=[mn][aeiouáéíóú])": "ê",  # Brazil and Portugal: prêmio and prémio, econômico and económico
        r"ó(?=[mn][aeiouáéíóú])": "ô",
        r"(?<!\w)3a[ -](?=feira)": "terça ",
        r"(?<!\w)cincoenta(?!\w)": "cinquenta",
    },
    prefixes=(
        "anti|auto|co|extra|hiper|infra|inter|intra|macro|mega|micro|mini|mono|multi|neo|pluri|poli|pseudo|"
        "re|retro|semi|sub|super|supra|tele|ultra"
    ),
    doubled="rs",
)  # fmt: skip

SPANISH_RULES = Rules(
    language="es",
    ones={"1": "un", "uno": "un"},
    feminine_one="una",
    kept=frozenset({"un", "una", "uno", "tercer"}),  # text2num 3.1 takes tercer for 3
    ordinals=(
        "primero", "segundo", "tercero", "cuarto", "quinto", "sexto", "séptimo", "octavo", "noveno", "décimo",
    ),
    point="coma",
    other_point="punto",
    scales={"mil": 3, "millón": 6, "millones": 6, "billón": 12, "billones": 12},
    of="de",
    conjunction="y",
    minus="menos",
    minutes={"media": "30", "cuarto": "15"},
    half="medio",
    hour="hora",
    thousands=".,",
    per_cent=("por", "ciento"),
    number_sign="número",
    units={
        "km/h": ("kilómetro por hora", "kilómetros por hora"),
        "km": ("kilómetro", "kilómetros"),
        "cm": ("centímetro", "centímetros"),
        "kg": ("kilo", "kilos"),
        "°c": ("grado celsius", "grados celsius"),
        "°": ("grado", "grados"),
    },
    currencies={
        "us$": ("dólar", "dólares", "centavo", "centavos"),
        "$": ("peso", "pesos", "centavo", "centavos"),
        "€": ("euro", "euros", "céntimo", "céntimos"),
        "£": ("libra", "libras", "penique", "peniques"),
    },
    abbreviations={
        "sr": "señor", "sra": "señora", "sres": "señores", "sras": "señoras", "srta": "señorita",
        "dr": "doctor", "dra": "doctora", "dres": "doctores", "prof": "profesor", "profa": "profesora",
        "ud": "usted", "uds": "ustedes", "vd": "usted", "vds": "ustedes", "av": "avenida",
        "avda": "avenida", "vs": "versus", "okay": "ok", "porciento": "por ciento",
    },
    spellings={
        r"(?<!\w)ee\.?\s?uu(?!\w)": "estados unidos",
        r"(?<!\w)sólo(?!\w)": "solo",  # accents that the academies gave up in 2010
        r"(?<!\w)é(st|s)(?=[eao]s?(?!\w))": r"e\1",
        r"(?<!\w)aqu[eé]l(?!\w)": "aquel",
        r"(?<!\w)aquéll(?=[ao]s?(?!\w))": "aquell",
        r"(?<!\w)guión(?!\w)": "guion",
        r"(?<!\w)kiosco": "quiosco",
        r"(?<!\w)setiembre(?!\w)": "septiembre",
        r"(?<!\w)veintidos(?!\w)": "veintidós",
        r"(?<!\w)veintiún(?!\w)": "veintiuno",
    },
    prefixes=(
        "anti|auto|co|ex|extra|hiper|infra|inter|intra|macro|mega|micro|mini|mono|multi|neo|poli|pseudo|"
        "re|semi|sub|super|supra|tele|ultra"
    ),
    doubled="r",
)  # fmt: skip


class Romance:
    """The normaliser that follows some rules."""

    def __init__(self, rules: Rules):
        self.rules = rules
        self._steps = list(_steps(rules))
        self._prefixed = re.compile(rf"(?<!\S)({rules.prefixes}) (?=[^\W\d_])([{rules.doubled}]?)")

    def __call__(self, text: str) -> str:
        text = _GROUP_SPACE.sub("", prepare(_ROOM.sub(" ", text)))
        text = re.sub(r"(?<!\w)n\.?[º°]s?\s*(?=\d)", f" {self.rules.number_sign} ", text)
        text = re.sub(r"(?<=\w)\.?([ºª])", lambda m: "o" if m[1] == "º" else "a", text)
        text = unicodedata.normalize("NFKC", text).lower()
        for pattern, replacement in self._steps:
            text = pattern.sub(replacement, text)
        text = self._prefixed.sub(self._join_prefix, " ".join(_WORD.findall(text)))
        words = self._replace_number_words(text.split())
        return " ".join(self._write_small_numbers(list(self._multiply_scales(list(words)))))

    def _join_prefix(self, match: re.Match[str]) -> str:
        return match[1] + (match[2] * 2 if match[1][-1] in "aeiou" else match[2])

    def _replace_number_words(self, words: Sequence[str]) -> Iterator[str]:
        """Number words become digits, except for a lone one, small ordinals, and millions without a count."""
        position, words = 0, _unify_points(words, self.rules)
        for start, end, digits in _find_numbers(words, self.rules):
            yield from words[position:start]
            digits = unicodedata.normalize("NFKC", digits).replace(".", "")
            is_word = end - start == 1 and self._is_kept(words[start], digits)
            yield from words[start:end] if is_word or "/" in digits else [digits]
            position = end
        yield from words[position:]

    def _is_kept(self, word: str, digits: str) -> bool:
        ordinal = _ORDINAL.fullmatch(digits)
        is_small_ordinal = ordinal is not None and int(ordinal[1]) <= len(self.rules.ordinals)
        return is_small_ordinal or word in self.rules.kept or self.rules.scales.get(word, 0) >= _MILLION

    def _multiply_scales(self, words: list[str]) -> Iterator[str]:
        """`5 milhões e 200 mil` -> `5200000`, `2,5 milhões` and `2000000 e meio` -> `2500000`."""
        position = 0
        while position < len(words):
            if _DIGITS.fullmatch(words[position]):
                amount, position = self._read_amount(words, position)
                yield amount
            else:
                yield words[position]
                position += 1

    def _read_amount(self, words: list[str], position: int) -> tuple[str, int]:
        """The number that begins at a position, and where it ends."""
        rules, total, limit, end = self.rules, Decimal(0), None, position
        while position < len(words) and _DIGITS.fullmatch(words[position]):
            value, scaled = Decimal(words[position].replace(",", ".")), position + 1
            while scaled < min(len(words), position + 3) and words[scaled] in rules.scales:
                value *= 10 ** rules.scales[words[scaled]]
                scaled += 1
            is_scaled = scaled > position + 1
            if limit is not None and value >= limit:
                break
            if limit is None and not is_scaled:
                return self._read_half(words, position)
            total, end = total + value, scaled
            if not is_scaled:
                break
            limit = Decimal(10 ** rules.scales[words[scaled - 1]])
            position = scaled + (words[scaled : scaled + 1] == [rules.conjunction])
        if words[end : end + 2] == [rules.conjunction, rules.half] and limit is not None:
            total, end = total + limit / 2, end + 2
        return _write_decimal(total), end

    def _read_half(self, words: list[str], position: int) -> tuple[str, int]:
        """`2000000 e meio` -> `2500000`, and the digits of `3,1 4`, which were said one by one, in one."""
        rules, number, end = self.rules, words[position], position + 1
        while "," in number and end < len(words) and re.fullmatch(r"\d", words[end]):
            number, end = number + words[end], end + 1
        if words[end : end + 2] == [rules.conjunction, rules.half] and "," not in number:
            scales = [10**power for power in rules.scales.values() if power >= _MILLION]
            limit = max((scale for scale in scales if int(number) and int(number) % scale == 0), default=0)
            if limit:
                return str(int(number) + limit // 2), end + 2
        return number, end

    def _write_small_numbers(self, words: list[str]) -> Iterator[str]:
        """A lone 1 and small ordinals are words again; `e meia` after an hour is `e 30`."""
        rules = self.rules
        for index, word in enumerate(words):
            ordinal = _ORDINAL.fullmatch(word)
            if word in rules.ones:
                yield rules.ones[word]
            elif ordinal and 1 <= int(ordinal[1]) <= len(rules.ordinals):
                stem = rules.ordinals[int(ordinal[1]) - 1][:-1]
                yield stem + ordinal[2].replace("er", "")
            elif word in rules.minutes and index > 1 and words[index - 1] == rules.conjunction:
                yield rules.minutes[word] if self._is_hour(words[index - 2]) else word
            else:
                yield word

    def _is_hour(self, word: str) -> bool:
        return word == self.rules.feminine_one or (word.isdecimal() and 1 < int(word) <= 24)


def _write_decimal(value: Decimal) -> str:
    return str(int(value)) if value == int(value) else f"{value.normalize():f}".replace(".", ",")


def _steps(rules: Rules) -> Iterator[tuple[Any, str | Callable[[re.Match[str]], str]]]:
    """Patterns over a lower-case text with what replaces them, in the order in which they apply."""

    def choice(words: Mapping[str, object]) -> str:
        return "|".join(map(re.escape, sorted(words, key=len, reverse=True)))

    def price(number: str, scale: str | None, sign: str) -> str:
        singular, plural, cent, cents = rules.currencies[sign]
        if scale:
            of = f" {rules.of}" if rules.scales[scale] >= _MILLION else ""
            return f" {number} {scale}{of} {plural} "
        whole, _, fraction = number.partition(",")
        hundredths = int(fraction.ljust(2, "0")) if fraction else 0
        if hundredths > 99:
            return f" {number} {plural} "
        amounts = [(int(whole), singular, plural), (hundredths, cent, cents)]
        parts = [f"{count} {one if count == 1 else many}" for count, one, many in amounts if count]
        return f" {f' {rules.conjunction} '.join(parts) or f'0 {plural}'} "

    def measure(match: re.Match[str]) -> str:
        singular, plural = rules.units[match[2]]
        return f" {match[1]} {singular if match[1] == '1' else plural} "

    def time(match: re.Match[str]) -> str:
        hour, *minutes = [int(group) for group in match.groups() if group]
        word = rules.feminine_one if hour == 1 else str(hour)
        if not any(minutes):
            return f" {word} {rules.hour if hour == 1 else rules.hour + 's'} "
        return " " + f" {rules.conjunction} ".join([word, *map(str, minutes)]) + " "

    marks = re.escape(rules.thousands)
    yield re.compile(r"(?<=\d)\.(?=(?:er|[oa]s?)(?!\w))"), ""
    yield _ACRONYM, lambda m: m[0].replace(".", "")
    grouped = rf"(?<![\d.,])[1-9]\d{{0,2}}([{marks}])\d{{3}}(?:\1\d{{3}})*(?!\d|[.,]\d{{3}})"
    yield re.compile(grouped), lambda m: m[0].replace(m[1], "")
    yield re.compile(r"(?<![\d.,])(\d+)\.(\d+)(?![.,]?\d)"), r"\1,\2"
    yield re.compile(r"(?<![\w.,)])[-−](?=\d)"), f" {rules.minus} "
    sign, scale = choice(rules.currencies), rf"(?:\s+({choice(rules.scales)})(?!\w))?"
    yield re.compile(rf"(?<![\w$])({sign})\s*{_NUMBER}{scale}"), lambda m: price(m[2], m[3], m[1])
    yield re.compile(rf"{_NUMBER}{scale}\s*({sign})(?!\w)"), lambda m: price(m[1], m[2], m[3])
    yield re.compile(rf"{_NUMBER}\s*({choice(rules.units)})(?!\w)"), measure
    yield re.compile(r"(?<![\w,:])(\d\d?)\s?h\s?(?:([0-5]\d)(?:\s?min)?)?(?!\w)"), time
    yield re.compile(r"(?<![\w,:])(\d\d?):([0-5]\d)(?::([0-5]\d))?(?:\s?h)?(?![\w:])"), time
    yield re.compile(r"\s*%"), f" {' '.join(rules.per_cent)} "
    yield re.compile(r"\s*&\s*"), f" {rules.conjunction} "
    short = rf"(?<!\w)({choice(rules.abbreviations)})(?:\.|(?!\w))"
    yield re.compile(short), lambda m: f" {rules.abbreviations[m[1]]} "
    for pattern, replacement in rules.spellings.items():
        yield re.compile(pattern), replacement


class _Token:
    """A word as text2num wants it. What stands between words is no matter: ASR punctuates as it likes."""

    __slots__ = ("_is_other", "_text")

    def __init__(self, text: str, is_other: bool):
        self._text = text
        self._is_other = is_other

    def text(self) -> str:
        return self._text

    def nt_separated(self, previous: _Token) -> bool:
        return False

    def not_a_number_part(self) -> bool:
        return self._is_other


def _find_numbers(words: Sequence[str], rules: Rules) -> list[tuple[int, int, str]]:
    """(start, end, digits) of each number that is spelled out, by text2num.

    It takes the `cento` of `por cento` for 100, the `mil` of `5 mil` for another number, and reads
    `dois vírgula cinco milhões` as 2,5000000: these words are kept from it. So are the `e` of `dez e mil`,
    which it reads as 10000, and a `punto` that is no decimal point.
    """
    from text_to_num import find_numbers

    tokens = []
    for index, word in enumerate(words):
        is_per_cent = word == rules.per_cent[1] and index > 0 and words[index - 1] == rules.per_cent[0]
        after_digits = word in rules.scales and _ends_in_digits(words[:index], rules)
        is_other = is_per_cent or after_digits or word == rules.other_point
        tokens.append(_Token(word, is_other or _is_plain_and(words, index, rules)))
    return [(found.start, found.end, found.text) for found in find_numbers(tokens, rules.language, 0)]


def _is_plain_and(words: Sequence[str], index: int, rules: Rules) -> bool:
    """Whether this is the `e` of `dez e mil`; that of `dois milhões e mil` is part of the number."""
    return (
        0 < index < len(words) - 1
        and words[index] == rules.conjunction
        and words[index + 1] in rules.scales
        and words[index - 1] not in rules.scales
    )


def _unify_points(words: Sequence[str], rules: Rules) -> list[str]:
    """`tres punto cinco` -> `tres coma cinco`; the noun stays in `un punto` and in `el punto cinco`."""
    unified = list(words)
    for index in range(1, len(unified) - 1):
        before, word, after = unified[index - 1 : index + 2]
        if word != rules.other_point or not (_is_cardinal(before, rules) and _is_cardinal(after, rules)):
            continue
        is_article = before in rules.ones.values() and unified[max(index - 2, 0)] != rules.conjunction
        is_version = index > 1 and unified[index - 2] in (rules.point, rules.other_point)
        if not (is_article or is_version or after in rules.ones.values()):
            unified[index] = rules.point
    return unified


def _is_cardinal(word: str, rules: Rules) -> bool:
    """Whether the word is a number by itself, and no ordinal such as `tercer`, which text2num takes for 3."""
    from text_to_num import find_numbers

    found = find_numbers([_Token(word, False)], rules.language, 0)
    not_counted = rules.kept.difference(rules.ones, rules.ones.values())
    return bool(found) and found[0].text.isdecimal() and word not in not_counted


def _ends_in_digits(words: Sequence[str], rules: Rules) -> bool:
    """Whether a scale word after these words multiplies what text2num does not multiply: digits, decimals."""
    for word in reversed(words):
        if word in rules.scales:
            continue
        return bool(_DIGITS.fullmatch(word)) or rules.point in words[-4:]
    return False
