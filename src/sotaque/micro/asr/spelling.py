"""How the recogniser spells: the few rows of whisper's vocabulary that occur, and the letters of CTC."""

from whisper.tokenizer import get_tokenizer

from sotaque.data.words import bare

TIMESTAMP_S = 0.02
MAX_S = 12.0
_LANGUAGES = ("pt", "es", "en")
LETTERS = "abcdefghijklmnopqrstuvwxyzáàâãéêíóôõúçñü "


class Alphabet:
    """The few rows of whisper's vocabulary that occur. ids: whisper's; rows: positions among them."""

    def __init__(self):
        self.tokenizer = get_tokenizer(True, language="pt", task="transcribe")
        special = self.tokenizer
        self.letters = {letter: special.encode(letter)[0] for letter in LETTERS}
        languages = [special.to_language_token(code) for code in _LANGUAGES]
        times = range(special.timestamp_begin, special.timestamp_begin + int(MAX_S / TIMESTAMP_S) + 1)
        self.ids = sorted(
            {*self.letters.values(), *languages, *times, special.eot, special.sot, special.transcribe,
             special.no_timestamps, special.no_speech}
        )  # fmt: skip
        self.row = {token: row for row, token in enumerate(self.ids)}
        self.ctc = {letter: index + 1 for index, letter in enumerate(LETTERS)}  # 0 is the blank

    def spell(self, text: str) -> list[int]:
        """Whisper ids of the bare text, one a letter."""
        return [self.letters[letter] for letter in spoken_letters(text)]

    def sequence(self, text: str, language: str, duration_s: float, timestamps: bool) -> list[int]:
        special = self.tokenizer
        start = [special.sot, special.to_language_token(language), special.transcribe]
        letters = self.spell(text)
        if not timestamps:
            return [*start, special.no_timestamps, *letters, special.eot]
        end = special.timestamp_begin + min(round(duration_s / TIMESTAMP_S), int(MAX_S / TIMESTAMP_S))
        return [*start, special.timestamp_begin, *letters, end, special.eot]


def spoken_letters(text: str) -> str:
    return bare(text).replace("-", " ")
