"""The espeak-ng voices of the demonstration: who speaks in the base model, who is heard besides, who is new.

The targets' variants (pitch, formants) occur in no list but TARGETS, and no base voice has a target's accent.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Voice:
    """espeak: `voice+variant`; pitch and pitch_range: 0..99, 50 is the variant's own."""

    speaker: str
    language: str
    espeak: str
    rate_wpm: int = 160
    pitch: int = 50
    pitch_range: int = 50

    def speak(self, text: str):
        """(samples (T,) float32, rate in Hz)"""
        from sotaque.espeak import speak

        return speak(text, self.espeak, self.rate_wpm, self.pitch, self.pitch_range)


TARGETS = {
    "pt-br": Voice("iara", "pt", "pt-br+f1"),
    "es-mx": Voice("memo", "es", "es-419+m1"),
    "en-gb": Voice("nell", "en", "en+m4"),
}

BASE = (
    Voice("rui", "pt", "pt"),
    Voice("ana", "pt", "pt+f2"),
    Voice("gil", "pt", "pt+m3", pitch=40),
    Voice("eva", "pt", "pt+f3"),
    Voice("leo", "es", "es+m7"),
    Voice("pia", "es", "es+f2"),
    Voice("ted", "en", "en-us+m3"),
    Voice("amy", "en", "en-us+f4"),
)

# Heard by the codec and the ASR only: any of these accents with any of these variants.
HEARD_ACCENTS = {"pt": ("pt", "pt-br"), "es": ("es", "es-419"), "en": ("en-us", "en")}
HEARD_VARIANTS = (
    "f2",
    "f3",
    "f4",
    "f5",
    "m3",
    "m5",
    "m6",
    "m7",
    "m8",
    "Andrea",
    "Alicia",
    "Annie",
    "Diogo",
    "Gene",
    "Henrique",
    "Hugo",
    "Marco",
    "Mario",
    "Michael",
    "Mike",
    "adam",
    "anika",
    "antonio",
    "belinda",
    "benjamin",
    "boris",
    "david",
    "ed",
    "edward",
    "linda",
    "marcelo",
    "max",
    "miguel",
    "pablo",
    "paul",
    "pedro",
    "quincy",
    "rob",
    "robert",
    "sandro",
    "shelby",
    "steph",
    "travis",
    "victor",
    "zac",
)
