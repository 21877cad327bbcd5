"""The espeak-ng voices of the demonstration: who speaks in the base model, who is heard besides, who is new.

The targets' variants (pitch, formants) occur in no list but TARGETS: no training hears a target's voice.
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
    "pt-br": Voice("iara", "pt", "pt-br+f1", 140),
    "es-mx": Voice("memo", "es", "es-419+m1", 140),
    "en-gb": Voice("nell", "en", "en+m4", 140),
}

BASE = (
    Voice("rui", "pt", "pt", 160),
    Voice("ana", "pt", "pt+f2", 160),
    Voice("gil", "pt", "pt+m3", 150, 55),
    Voice("eva", "pt", "pt+steph", 140),
    Voice("isa", "pt", "pt+f4", 135, 40),
    Voice("edu", "pt", "pt+Andy", 145),
    Voice("bia", "pt", "pt-br+f3", 150),
    Voice("gus", "pt", "pt-br+m6", 140),
    Voice("lia", "pt", "pt-br+f5", 135, 60),
    Voice("ari", "pt", "pt-br+m8", 150, 60),
    Voice("ida", "pt", "pt-br+linda", 145, 40),
    Voice("ugo", "pt", "pt-br", 155, 40),
    Voice("leo", "es", "es+m7", 160),
    Voice("ada", "es", "es+f3", 145),
    Voice("teo", "es", "es-419+m3", 140),
    Voice("luz", "es", "es-419+f2", 150, 40),
    Voice("amy", "en", "en-us+f4", 160),
    Voice("ian", "en", "en-us+m6", 140),
    Voice("kim", "en", "en+f5", 145),
    Voice("tom", "en", "en+m3", 150, 40),
)

# Heard by the codec and the ASR only: any of these accents with any of these variants. Ordinary voices alone:
# whispering, croaking and robots' variants would take room from them in so small a codec.
HEARD_ACCENTS = {"pt": ("pt", "pt-br"), "es": ("es", "es-419"), "en": ("en-us", "en")}
HEARD_VARIANTS = (
    "f2", "f3", "f4", "f5", "m2", "m3", "m5", "m6", "m7", "m8", "Alicia", "Andrea", "Andy", "Annie", "Denis",
    "Diogo", "Gene", "Henrique", "Jacky", "Lee", "Marco", "Mario", "Mike", "anika", "antonio", "belinda",
    "ed", "ian", "john", "linda", "michel", "miguel", "pablo", "pedro", "quincy", "shelby", "steph", "travis",
)  # fmt: skip
