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
        said = self.speak_phonemes(text)
        return said.samples, said.rate_hz

    def speak_phonemes(self, text: str):
        """espeak.Speech"""
        from sotaque.espeak import speak_phonemes

        return speak_phonemes(text, self.espeak, self.rate_wpm, self.pitch, self.pitch_range)


TARGETS = {
    "pt-br": Voice("iara", "pt", "pt-br+f1"),
    "es-mx": Voice("memo", "es", "es-419+m1"),
    "en-gb": Voice("nell", "en", "en+m4"),
}

BASE = (
    Voice("rui", "pt", "pt"),
    Voice("ana", "pt", "pt+f2"),
    Voice("leo", "es", "es+m7"),
    Voice("amy", "en", "en-us+f4"),
)

# Heard by the codec and the ASR only: any of these accents with any of these variants. Ordinary voices alone:
# whispering, croaking and robots' variants would take room from them in so small a codec.
HEARD_ACCENTS = {"pt": ("pt", "pt-br"), "es": ("es", "es-419"), "en": ("en-us", "en")}
HEARD_VARIANTS = ("f2", "f3", "f4", "f5", "m2", "m3", "m5", "m6", "m7", "m8")
