"""A small corpus of real espeak-ng speech, already normalised and split, and a tiny random whisper."""

import json
from pathlib import Path

import numpy as np

from sotaque import audio, manifest, settings, yaml_file
from sotaque.data import pauses
from sotaque.espeak import speak
from sotaque.evaluation.synthesize import match_loudness
from sotaque.manifest import Utterance
from sotaque.metrics.context import Context

RATE_HZ = 24_000
TEXTS = ("O gato dorme perto da janela.", "Amanhã vou à praia.", "Quanto custa o pão?", "São doze horas.")
BASE, MERGED = Path("models/micro/base"), Path("models/micro/merged")
VOICES = {"iara": "pt-br+f1", "rui": "pt+m3"}


def wave(text: str, voice: str, target_lufs: float = -23.0) -> np.ndarray:
    samples, rate_hz = speak(text, voice)
    samples = audio.resample(samples, rate_hz, RATE_HZ)
    samples = pauses.trimmed(samples, RATE_HZ, pauses.by_level(samples, RATE_HZ, 45.0), 0.05)
    return match_loudness(samples, RATE_HZ, target_lufs)


def utterance(name: str, text: str, speaker: str = "iara", group: str = "") -> Utterance:
    """Speak a text into data/wav/00/<name>.wav of the working folder."""
    path = Path(f"data/wav/00/{name}.wav")
    samples = wave(text, VOICES[speaker])
    audio.write(path, samples, RATE_HZ)
    return Utterance(name, path.as_posix(), text, speaker, "pt", "pt-br", "f",
                     len(samples) / RATE_HZ, -23.0, group=group)  # fmt: skip


def splits(test: list[Utterance], train: list[Utterance]) -> Path:
    folder = Path("data/splits")
    for part, utterances in {"train": train, "val": train[:1], "test": test}.items():
        manifest.write(folder / f"{part}.jsonl", utterances)
    return folder


def context(test: list[Utterance], train: list[Utterance], system: str = "tuned", **changes) -> Context:
    """A context over the working folder; every system's WAVs are in wav/<system>."""
    import torch

    values = {
        "settings": settings.Settings(), "spec": None, "system": system, "base": BASE, "network": MERGED,
        "wav": Path("wav") / system, "utterances": test, "train": train, "device": torch.device("cpu"),
    }  # fmt: skip
    return Context(**values | changes)


def short_generation(max_s: float) -> None:
    """Let the working folder's micro.yaml sample freely, for at most max_s a clip."""
    path = Path("workflow/models/micro.yaml")
    values = yaml_file.read(path) | {"generation": {"temperature": 1.0, "top_p": 1.0, "max_s": max_s}}
    path.write_text(json.dumps(values))


def whisper(folder: Path, seed: int = 0) -> Path:
    """A random checkpoint in openai-whisper's own format; what it hears is noise, but always the same."""
    import torch
    from whisper.model import ModelDimensions, Whisper

    torch.manual_seed(seed)
    dims = ModelDimensions(
        n_mels=80, n_audio_ctx=1500, n_audio_state=8, n_audio_head=2, n_audio_layer=1,
        n_vocab=51865, n_text_ctx=448, n_text_state=8, n_text_head=2, n_text_layer=1,
    )  # fmt: skip
    model = Whisper(dims)
    torch.nn.init.normal_(model.decoder.token_embedding.weight)
    folder.mkdir(parents=True, exist_ok=True)
    torch.save({"dims": vars(dims), "model_state_dict": model.state_dict()}, folder / "tiny.pt")
    return folder
