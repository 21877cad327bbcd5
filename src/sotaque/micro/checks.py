"""Figures of the shipped micro models, measured through the main pipeline's own evaluation.

Heard: the targets' voices (no training heard them) and the base's; said: reserved texts only.
"""

import json
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

import jiwer
import numpy as np
import torch

from sotaque import processor
from sotaque.backends.families import OrpheusGeneration
from sotaque.backends.orpheus import generate
from sotaque.backends.orpheus.codec import Codec
from sotaque.backends.orpheus.network import load as load_network
from sotaque.backends.orpheus.tokenizer import Tokenizer
from sotaque.data.sentences import demonstration
from sotaque.evaluation.recognizer import Recognizer
from sotaque.metrics.mos import OpinionPredictor
from sotaque.metrics.similarity import SpeakerEncoder, cosine
from sotaque.micro import base as base_module
from sotaque.micro import cepstrum, speech, spoken, vocabulary
from sotaque.micro.asr.spelling import spoken_letters
from sotaque.micro.settings import Micro
from sotaque.micro.voices import BASE, TARGETS, Voice

RATE_HZ = speech.RATE_HZ
LONGEST_S = 8.0
CLIPS_A_VOICE = 8  # of the base's voices, through the codec


@dataclass(frozen=True)
class CheckSettings:
    """clips: over which a figure is taken; mos_clips: over which DNSMOS is."""

    clips: int
    mos_clips: int


@dataclass(frozen=True)
class Said:
    """One clip of a check: who, what, and (T,) samples."""

    voice: Voice
    text: str
    samples: np.ndarray


class Checks:
    """The shipped models and what judges them."""

    def __init__(self, micro: Micro):
        self.micro, self.settings = micro, micro.section("checks", CheckSettings)
        self.cpu = torch.device("cpu")
        self.codec = Codec(micro.assets / "codec", self.cpu)
        self.tokenizer = Tokenizer(micro.assets / "base", self.codec.codebook_size)
        self.network = load_network(micro.assets / "base", self.tokenizer.layout, torch.float32, self.cpu)
        self.recognizer = Recognizer(micro.assets / "asr", self.cpu)
        self.speaker_encoder, self.opinion = SpeakerEncoder(), OpinionPredictor()

    def wer(self, clips: list[Said]) -> float:
        """Over all words together, of the bare texts; languages are told to the recogniser."""
        heard = {}
        for language in sorted({clip.voice.language for clip in clips}):
            numbers = [i for i, clip in enumerate(clips) if clip.voice.language == language]
            texts = self.recognizer.transcribe([clips[i].samples for i in numbers], RATE_HZ, language)
            heard |= dict(zip(numbers, texts, strict=True))
        references = [spoken_letters(clip.text) for clip in clips]
        return jiwer.wer(references, [spoken_letters(heard[i]) or "-" for i in range(len(clips))])

    def mos(self, clips: list[Said]) -> float:
        chosen = clips[: self.settings.mos_clips]
        return float(np.mean([self.opinion.predict(clip.samples, RATE_HZ)["mos"] for clip in chosen]))

    def voice_of(self, clip: Said) -> np.ndarray:
        vector = self.speaker_encoder.embed(clip.samples, RATE_HZ)
        return np.zeros(256) if vector is None else vector

    def through_codec(self, clips: list[Said]) -> list[Said]:
        codes = self.codec.encode([clip.samples for clip in clips])
        return [Said(c.voice, c.text, self.codec.decode(k, 0)) for c, k in zip(clips, codes, strict=True)]

    def speak(self, voice: Voice, text: str, seed: int) -> Said:
        """The base, asked for one of its own voices."""
        ids = self.tokenizer.layout.prompt(self.tokenizer.text_ids(f"{voice.speaker}: {text}"))
        generation = OrpheusGeneration(temperature=0.4, top_p=0.9, repetition_penalty=1.0, max_s=LONGEST_S)
        frames = self.codec.frames(round(LONGEST_S * RATE_HZ))
        [(codes, _)] = generate.speak(
            self.network, self.tokenizer.layout, [ids], [seed], generation, [frames]
        )
        return Said(voice, text, self.codec.decode(codes, 0))


def target_clips(accent: str, part: str, count: int) -> list[Said]:
    voice = TARGETS[accent]
    counts = (count, 0) if part == "test" else (0, count)
    texts = [s.text for s in demonstration(voice.language, 0, *counts, 7)]
    return [Said(voice, text, speech.render(voice, text)) for text in texts]


def base_texts(count: int, seed: int) -> list[tuple[Voice, str]]:
    """Reserved sentences for the base's voices in turn: no training held them."""
    rng = random.Random(f"{seed}:checks")  # noqa: S311
    voices = [BASE[i % len(BASE)] for i in range(count)]
    return [(v, speech.training_text(rng, v.language, 1.0, 1, 1, reserved=True)) for v in voices]


def recogniser_figures(checks: Checks) -> dict:
    count = checks.settings.clips
    figures = {}
    for accent in TARGETS:
        figures[f"wer_{accent}"] = checks.wer(target_clips(accent, "test", count))
        figures[f"wer_{accent}_novel_words"] = checks.wer(target_clips(accent, "novel", count // 2))
    own = [Said(v, t, speech.render(v, t)) for v, t in base_texts(count, 1)]
    return figures | {"wer_base_voices": checks.wer(own)}


def codec_figures(checks: Checks) -> dict:
    """Round trips of the targets' and the base's voices: WER, likeness to the own voice, opinion."""
    figures, centroids, decoded, recorded = {}, {}, [], []
    for accent, voice in TARGETS.items():
        clips = target_clips(accent, "test", checks.settings.clips)
        trips = checks.through_codec(clips)
        figures[f"wer_{accent}"] = checks.wer(trips)
        figures[f"mos_{accent}"], figures[f"mos_{accent}_recorded"] = checks.mos(trips), checks.mos(clips)
        centroids[voice.speaker] = np.mean([checks.voice_of(clip) for clip in clips], axis=0)
        recorded, decoded = [*recorded, *clips], [*decoded, *trips]
    for voice in BASE:
        texts = base_texts(CLIPS_A_VOICE * len(BASE), 2)
        clips = [Said(voice, t, speech.render(voice, t)) for v, t in texts if v == voice]
        centroids[voice.speaker] = np.mean([checks.voice_of(clip) for clip in clips], axis=0)
        recorded, decoded = [*recorded, *clips], [*decoded, *checks.through_codec(clips)]
    return figures | _likeness(checks, decoded, centroids) | _second_opinion(recorded, decoded)


def _by_voice(clips: list[Said], measure: Callable[[Said], np.ndarray]) -> dict[str, list[np.ndarray]]:
    found: dict[str, list[np.ndarray]] = {}
    for clip in clips:
        found.setdefault(clip.voice.speaker, []).append(measure(clip))
    return found


def _cepstra(clip: Said) -> np.ndarray:
    return cepstrum.statistics(clip.samples, RATE_HZ)


def _second_opinion(recorded: list[Said], decoded: list[Said]) -> dict:
    """The share of decoded clips, and of voices, that their cepstra, too, put nearest to themselves."""
    voices, trips = cepstrum.Voices(_by_voice(recorded, _cepstra)), _by_voice(decoded, _cepstra)
    hits = [voices.nearest(one) == name for name, clips in trips.items() for one in clips]
    whole = [voices.nearest(np.mean(clips, axis=0)) == name for name, clips in trips.items()]
    return {
        "clips_nearest_own_voice_by_cepstrum": float(np.mean(hits)),
        "voices_nearest_own_by_cepstrum": float(np.mean(whole)),
    }


def _likeness(checks: Checks, decoded: list[Said], centroids: dict[str, np.ndarray]) -> dict:
    """Cosine with the own voice, voice by voice; whether a clip, and a voice, is nearest to its own."""
    by_voice = _by_voice(decoded, checks.voice_of)

    def nearest(vector: np.ndarray) -> str:
        return max(centroids, key=lambda name: cosine(vector, centroids[name]))

    own = {n: float(np.mean([cosine(v, centroids[n]) for v in vectors])) for n, vectors in by_voice.items()}
    hits = [nearest(vector) == name for name, vectors in by_voice.items() for vector in vectors]
    voices = {name: nearest(np.mean(vectors, axis=0)) for name, vectors in by_voice.items()}
    return {
        "similarity": own,
        "similarity_lowest": min(own.values()),
        "voices_nearest_own_share": float(np.mean([found == name for name, found in voices.items()])),
        "clips_nearest_own_voice": float(np.mean(hits)),
        "voices_nearest_own": [name for name, found in voices.items() if found == name],
        "voices_nearest_another": {name: found for name, found in voices.items() if found != name},
    }


def base_figures(checks: Checks) -> dict:
    """Sentences that the base never read, in its own voices; speed at batch 1 on one core."""
    started = time.process_time()  # one thread: the core's own time, whatever else the machine does
    made = [checks.speak(v, t, seed) for seed, (v, t) in enumerate(base_texts(checks.settings.clips, 3))]
    spent_s = time.process_time() - started
    seconds = sum(len(clip.samples) for clip in made) / RATE_HZ
    recorded = [len(speech.render(clip.voice, clip.text)) / RATE_HZ for clip in made]
    held_out = spoken.read(checks.micro.work / "spoken" / "held-out-0000.npz")[: base_module.VALIDATED]
    layout, size = checks.tokenizer.layout, checks.codec.codebook_size
    corpus = base_module.Corpus(checks.micro.work / "nothing", vocabulary.build(size), layout, [])
    by_language = {
        language: checks.wer([c for c in made if c.voice.language == language])
        for language in ("pt", "es", "en")
    }
    return {
        "wer": checks.wer(made),
        "wer_by_language": by_language,
        "rtf_batch_1": spent_s / seconds,
        "duration_ratio": seconds / sum(recorded),
        "mos": checks.mos(made),
        **base_module.validate(checks.network, [corpus.item(one) for one in held_out], layout),
    }


def hardware() -> dict:
    return {
        "cpu": processor.describe(),
        "threads_per_process": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "torch": torch.__version__,
    }


FIGURES: dict[str, Callable[[Checks], dict]] = {
    "asr": recogniser_figures,
    "codec": codec_figures,
    "base": base_figures,
}


def run(micro: Micro) -> None:
    """Write figures.json beside each model, then its card."""
    from sotaque.micro import card

    checks = Checks(micro)
    for name, measure in FIGURES.items():
        figures = {"measured": measure(checks), "hardware": hardware(), "settings": micro.sections}
        path = micro.assets / name / "figures.json"
        path.write_text(json.dumps(figures, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        print(f"checks: {name}: {json.dumps(figures['measured'], ensure_ascii=False)}", flush=True)
    card.write_all(micro)
