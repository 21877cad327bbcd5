"""Sentences of the demonstration: everyday templates and random word sequences, in three languages.

A text is *reserved* by its hash: only the demonstration's corpus may hold it, the micro models never
train on it. A word is *novel* by its hash: only the demonstration's part "novel" holds it.
"""

import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from sotaque.data.words import (
    bare,
    conjugate,
    feminine,
    is_novel,
    lexicon,
    number,
    plural,
    stable_hash,
    templates,
    time_of_day,
    words,
)  # fmt: skip
from sotaque.errors import InputError

RESERVED_BUCKETS = 4
_SLOT = re.compile(r"\{([^}]*)\}")
_ARTICLES = {
    "pt": {"o": "o a", "um": "um uma", "no": "no na", "do": "do da", "ao": "ao à", "pelo": "pelo pela"},
    "es": {"el": "el la", "un": "un una", "del": "del de+la", "al": "al a+la"},
    "en": {"the": "the the", "a": "a a"},
}
_TITLE_KINDS = {"pt": ("name", "city"), "es": ("name", "city"), "en": ("name", "city", "weekday", "month")}
_PLURALS = {"objects": "object", "animals": "animal", "persons": "person"}


@dataclass(frozen=True)
class Sentence:
    text: str
    part: str  # train, test or novel


def is_reserved(text: str) -> bool:
    """Whether only the demonstration may hold this text (one in four)."""
    return stable_hash(bare(text)) % RESERVED_BUCKETS == 0


def novel_words(text: str, language: str) -> list[str]:
    return [word for word in bare(text).split() if is_novel(word, language)]


class Grammar:
    """Draws texts of one language. `wanted` decides which open words may fill a slot."""

    def __init__(self, language: str, rng: random.Random, novel: bool = False):
        self.language, self.rng, self.novel = language, rng, novel
        self.random_words = [word for word in words(language) if not is_novel(word, language)]

    def template(self) -> str:
        """A sentence with a capital and a full stop."""
        text = _SLOT.sub(self._fill, self.rng.choice(templates(self.language)))
        first = next(i for i, letter in enumerate(text) if letter.isalpha())
        return text[:first] + text[first].upper() + text[first + 1 :]

    def sequence(self, low: int = 1, high: int = 6) -> str:
        """`low` to `high` words in no order, so that nothing but reading helps."""
        return " ".join(self.rng.choices(self.random_words, k=self.rng.randint(low, high)))

    def _fill(self, match: re.Match) -> str:
        parts = match[1].split()
        if parts == ["number"]:
            return number(self.rng.randint(2, 99), self.language)
        if parts == ["time"]:
            return time_of_day(
                self.rng.randint(2, 12), self.rng.choice((0, 30, 15, 10, 20, 5)), self.language
            )
        if len(parts) == 1:
            return self._word(parts[0])
        return self._noun_phrase(*parts)

    def _word(self, kind: str) -> str:
        if kind in _PLURALS:
            gender = "" if self.language == "en" else ".m"
            return self._choose(_PLURALS[kind] + gender, lambda word: plural(word, self.language))
        if kind == "verb":
            return self._choose(kind, lambda word: conjugate(word, self.language)[0])
        word = self._choose(kind, lambda word: word)
        return word.title() if kind in _TITLE_KINDS[self.language] else word

    def _noun_phrase(self, article: str, kind: str, adjective: str | None = None) -> str:
        masculine, female = (form.replace("+", " ") for form in _ARTICLES[self.language][article].split())
        if self.language == "en":
            noun = self._choose(kind, lambda word: word)
            before = f"{self._choose('adjective', lambda word: word)} {noun}" if adjective else noun
            return f"{'an' if article == 'a' and before[0] in 'aeiou' else article} {before}"
        if self.rng.random() < 0.5:
            phrase = f"{masculine} {self._choose(kind + '.m', lambda word: word)}"
            return phrase + (f" {self._choose('adjective', lambda word: word)}" if adjective else "")
        phrase = f"{female} {self._choose(kind + '.f', lambda word: word)}"
        return phrase + (f" {self._choose('adjective', feminine)}" if adjective else "")

    def _choose(self, kind: str, form: Callable[[str], str | None]) -> str:
        """A word of `kind`; a novel one half of the time where novel words are wanted."""
        forms = [formed for formed in map(form, lexicon(self.language)[kind]) if formed]
        known = [word for word in forms if not is_novel(word, self.language)]
        unheard = [word for word in forms if is_novel(word, self.language)]
        pool = unheard if self.novel and unheard and self.rng.random() < 0.8 else known
        return self.rng.choice(pool)


def training_texts(language: str, seed: int, template_share: float, low: int, high: int) -> Iterator[str]:
    """Endless texts for the micro models: never reserved, never with a novel word."""
    grammar = Grammar(language, random.Random(f"{seed}:{language}"))  # noqa: S311
    while True:
        text = grammar.template() if grammar.rng.random() < template_share else grammar.sequence(low, high)
        if not is_reserved(text) and not novel_words(text, language):
            yield text


def _distinct(
    draw: Callable[[], str], accept: Callable[[str], bool], count: int, taken: set[str]
) -> list[str]:
    """`count` new texts; gives up, naming the number found, where the grammar has no more."""
    found: list[str] = []
    for _ in range(1000 * count + 1000):
        if len(found) == count:
            return found
        text = draw()
        if bare(text) not in taken and accept(text):
            taken.add(bare(text))
            found.append(text)
    raise InputError(f"the grammar gave {len(found)} of {count} distinct sentences; ask for fewer")


def demonstration(language: str, n_train: int, n_test: int, n_novel: int, seed: int) -> list[Sentence]:
    """Texts of a demonstration corpus: all reserved, no text twice.

    test: template sentences; novel: template sentences with words that no training text holds;
    train: half templates, half random word sequences, so that an adapted model keeps reading.
    """
    taken: set[str] = set()

    def draw(part: str, count: int, novel: bool, method: Callable[[Grammar], str]) -> list[Sentence]:
        grammar = Grammar(language, random.Random(f"{seed}:{language}:{part}:{novel}"), novel)  # noqa: S311
        texts = _distinct(
            lambda: method(grammar),
            lambda text: is_reserved(text) and bool(novel_words(text, language)) == novel,
            count,
            taken,
        )
        return [Sentence(text, part) for text in texts]

    test = draw("test", n_test, False, Grammar.template)
    novel = draw("novel", n_novel, True, Grammar.template)
    read = draw("train", n_train // 2, False, lambda grammar: grammar.sequence(2, 6))
    said = draw("train", n_train - n_train // 2, False, Grammar.template)
    train = [sentence for pair in zip(read, said, strict=False) for sentence in pair]
    return train + said[len(read) :] + test + novel
