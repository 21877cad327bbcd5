"""The names of measures and codes for the eye, and how each was measured."""

from __future__ import annotations

from dataclasses import dataclass

from sotaque.data.measures import limits
from sotaque.data.measures.limits import Limit


@dataclass(frozen=True)
class Measure:
    """digits: behind the point. plotted: whether its values are many enough to be worth a histogram."""

    name: str
    unit: str
    digits: int
    plotted: bool = True

    def number(self, value: float) -> str:
        return f"{value:.{self.digits}f}".replace("-", "−")

    def value(self, value: float) -> str:
        return f"{self.number(value)} {self.unit}".strip()

    @property
    def within(self) -> str:
        """The name inside a sentence."""
        return self.name if self.name[:2].isupper() else self.name[0].lower() + self.name[1:]

    @property
    def axis(self) -> str:
        return f"{self.within}, {self.unit}" if self.unit else self.within


MEASURES = {
    "duration_s": Measure("Duration", "s", 2),
    "characters_per_s": Measure("Rate of speech", "characters/s", 1),
    "rate_z": Measure("Rate of speech, z-score", "", 1, plotted=False),
    "silence_share": Measure("Share of silence", "", 2),
    "snr_db": Measure("Signal to noise", "dB", 1),
    "bandwidth_hz": Measure("Bandwidth", "Hz", 0),
    "loudness_lufs": Measure("Loudness, normalised", "LUFS", 1),
    "source_loudness_lufs": Measure("Loudness of the recording", "LUFS", 1),
    "peak_dbfs": Measure("Peak of the recording", "dBFS", 1),
    "clipped_share": Measure("Share of clipped samples", "", 4),
    "dc_offset": Measure("DC offset", "", 4),
    "cer": Measure("CER of the ASR", "", 2),
    "codec_distance_db": Measure("Distance of the codec's round trip", "dB", 2),
    "codec_z": Measure("Distance of the codec's round trip, z-score", "", 1, plotted=False),
    "foreign_characters": Measure("Foreign characters", "", 0, plotted=False),
    "unknown_characters": Measure("Unknown characters", "", 0, plotted=False),
    "earlier_audio": Measure("Earlier clips with the same samples", "", 0, plotted=False),
    "earlier_sentence": Measure("Earlier clips with the same words", "", 0, plotted=False),
}
NOT_MEASURED = {"cer": "measure.asr is off", "codec_z": "measure.codec is off"}


def condition(limit: Limit, bound: float) -> str:
    """`bandwidth below 9000 Hz`; bounds are given as params.yaml has them."""
    measure = MEASURES[limit.measure]
    sense = {limits.below: "below", limits.above: "above", limits.either_way: "beyond ±"}[limit.exceeds]
    gap = "" if sense.endswith("±") else " "
    return f"{measure.within} {sense}{gap}{bound:g} {measure.unit}".strip().replace(" -", " −")


METHOD = {
    "Which sound": "bandwidth, noise, silence and rate are those of the normalised clip, which the model "
    "learns; loudness of the recording, peak, clipping and DC offset those of the file that came",
    "Loudness": "EBU R128, integrated",
    "Clipped samples": "in runs of three or more at the clip's own highest or lowest value",
    "Bandwidth": "the highest frequency within 60 dB of the strongest, in the mean spectrum (Welch, 40 ms)",
    "Signal to noise": "mean power of the frames with speech, less the noise, over the noise: the mean of "
    "the quietest 3 % of all frames of 10 ms; a clip without a pause or stop has more than is said here",
    "Silence": "share of the frames of 32 ms that silero-vad gives less than 0.5",
    "Rate of speech": "characters of the text as it is normalised for WER, over the duration",
    "z-scores": "modified: 0.6745 (x − median) / MAD; of the rate among the clips of the same language "
    "(Iglewicz and Hoaglin, 1993)",
    "CER": "what the model's own ASR hears against the transcript, both normalised as for WER",
    "Codec": "mean difference of 80 log-mel bands between a clip and its round trip",
    "Duplicates": "the same 16-bit samples after normalisation; the same normalised text of the same speaker",
}
