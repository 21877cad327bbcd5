"""The families under the contract: how each is made, and what the tests ask of a backend."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import tiny
import tiny_chatterbox
import tiny_csm
import tiny_openaudio
from conftest import ROOT
from sotaque import audio, backends
from sotaque.backends.protocol import Prompt, Reference
from sotaque.settings import Lora
from sotaque.training import lora

LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
PROMPTS = (
    Prompt("olá, mundo", "ana", "pt"),
    Prompt("um", "zé", "pt"),
    Prompt("uma frase bem mais comprida", "ana", "pt"),
)
FRAMES = (3, 7, 5)


@dataclass(frozen=True)
class Family:
    """make(folder): a base folder as `fetch` leaves it. greedy, lively: generation without and with chance.

    spec: the model's file of the tiny stand-in, for the whole chain; empty where `make demo` goes it.
    main(codes): those of codes (F, K) that the main stream says, (N,). ranked(backend, rows): the codes that
    the main stream's logits (N, V) rank first, (N,).
    """

    backend: str
    make: Callable[[Path], Path]
    targets: tuple[str, ...] | str
    greedy: dict[str, float]
    lively: dict[str, float]
    main: Callable[[np.ndarray], np.ndarray]
    ranked: Callable[[Any, torch.Tensor], list[int]]
    spec: str = ""


def shipped(folder: Path) -> Path:
    """The micro model as `fetch` lays it out."""
    for part, name in (("network", "base"), ("codec", "codec")):
        (folder / part).symlink_to(ROOT / "assets/micro" / name)
    return folder


def _orpheus(make: Callable[[Path], Path], spec: str = "") -> Family:
    def ranked(backend, rows):
        slots = [backend.layout.slot_ids(i % backend.codes_per_frame) for i in range(len(rows))]
        return [int(row[start:end].argmax()) for row, (start, end) in zip(rows, slots, strict=True)]

    return Family(
        "orpheus",
        make,
        LINEAR,
        greedy={"temperature": 0.0, "repetition_penalty": 1.0},
        lively={"temperature": 0.9, "top_p": 0.95, "repetition_penalty": 1.1},
        main=lambda codes: codes.reshape(-1),
        ranked=ranked,
        spec=spec,
    )


FAMILIES = {
    "orpheus-real": _orpheus(tiny.real, tiny.SPEC),
    "orpheus-micro": _orpheus(shipped),
    "chatterbox": Family(
        "chatterbox",
        tiny_chatterbox.base,
        tiny_chatterbox.TARGETS,
        greedy={"temperature": 0.0, "repetition_penalty": 1.0, "cfg": 0.0},
        lively={"temperature": 0.9, "cfg": 0.5, "repetition_penalty": 1.2},
        main=lambda codes: codes[:, 0],
        ranked=lambda backend, rows: rows[:, :6561].argmax(1).tolist(),
        spec=tiny_chatterbox.SPEC,
    ),
    "csm": Family(
        "csm",
        tiny_csm.base,
        tiny_csm.TARGETS,
        greedy={"temperature": 0.0},
        lively={"temperature": 0.9, "top_k": 50},
        main=lambda codes: codes[:, 0],
        ranked=lambda backend, rows: rows[:, : tiny_csm.CODEBOOK_SIZE].argmax(1).tolist(),
        spec=tiny_csm.SPEC,
    ),
    "openaudio": Family(
        "openaudio",
        tiny_openaudio.base,
        tiny_openaudio.TARGETS,
        greedy={"temperature": 0.0, "repetition_penalty": 1.0},
        lively={"temperature": 1.0, "top_p": 0.95, "repetition_penalty": 1.1},
        main=lambda codes: codes[:, 0],
        ranked=lambda backend, rows: (
            rows[:, backend.layout.semantic_begin : backend.layout.semantic_end].argmax(1).tolist()
        ),
        spec=tiny_openaudio.SPEC,
    ),
}


class Subject:
    """One family's backend under test, over a base folder of its own, or one that is already made."""

    def __init__(self, name: str, folder: Path, base: Path | None = None):
        self.family = FAMILIES[name]
        base = base or self.family.make(folder / "base")
        self.backend = backends.load(self.family.backend, base, CPU)
        self.folder = folder
        self.prompts = [self._prompt(prompt) for prompt in PROMPTS]

    def _prompt(self, prompt: Prompt) -> Prompt:
        if not self.backend.wants_reference:
            return prompt
        rate_hz, path = self.backend.sample_rate_hz, self.folder / f"{prompt.speaker}.wav"
        wave = self.wave(self.backend.shortest_reference_s + 0.1, len(prompt.speaker))
        audio.write(path, wave, rate_hz)
        [codes] = self.backend.encode([wave])
        reference = Reference("outra frase", path, codes)
        return Prompt(prompt.text, prompt.speaker, prompt.language, reference)

    def codes(self, frames: int, seed: int = 0) -> np.ndarray:
        return self.backend.encode([self.wave(frames / self.backend.frame_rate_hz, seed)])[0]

    def wave(self, seconds: float, seed: int) -> np.ndarray:
        """At the rate that the backend hears."""
        return tiny.wave(seconds * self.backend.sample_rate_hz / tiny.RATE_HZ, seed)

    def examples(self, mask_prompt: bool = True) -> list[Any]:
        return [
            self.backend.example(prompt, self.codes(frames, frames), mask_prompt)
            for prompt, frames in zip(self.prompts, FRAMES, strict=True)
        ]

    def lasting(self, frames: int, **values: float) -> Any:
        """Generation of at most so many frames."""
        return self.backend.generation(max_s=(frames + 0.5) / self.backend.frame_rate_hz, **values)

    def logits(self, network: torch.nn.Module, *items: Any) -> torch.Tensor:
        with torch.inference_mode():
            return self.backend.logits(network, self.backend.collate(items))

    def adapter(self, network: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
        return lora.attach(
            self.backend, network, self.family.targets, Lora(rank=4, alpha=8, dropout=0.0), seed
        )

    def shaken(self, network: torch.nn.Module) -> torch.nn.Module:
        """An adapter that has learnt something: no tensor of it is zero."""
        adapted = self.adapter(network)
        torch.manual_seed(1)
        for parameter in lora.trainable(adapted).values():
            parameter.data.add_(0.05 * torch.randn_like(parameter))
        return adapted


def subject(name: str, folder: Path) -> Subject:
    (folder / "base").mkdir()
    return Subject(name, folder)


CPU = torch.device("cpu")
