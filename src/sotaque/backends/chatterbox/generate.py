"""Speech by upstream's own T3.inference, one text at a time, and nothing of it left behind.

Each call of it adds hooks to three layers, which it never takes off, turns the attention of the whole network
to the slow kind for good, and hangs a second model on T3, whose tensors would be saved with it.
"""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Iterator, Sequence

import torch
import tqdm

from sotaque.backends import upstream
from sotaque.backends.chatterbox import layout
from sotaque.backends.chatterbox.network import conditioning
from sotaque.backends.chatterbox.voice import Voice
from sotaque.backends.families import ChatterboxGeneration

KEPT = ("_attn_implementation", "output_attentions")


def speak(
    t3: torch.nn.Module, text_ids: Sequence[int], voice: Voice, seed: int, generation: ChatterboxGeneration
) -> list[int]:
    """The ids that T3 says, its stop included; the same for one (text, voice, seed) in any company."""
    row = layout.text_row(text_ids)
    # With min_p 1 only the likeliest id is left, which is what temperature 0 means; upstream divides by it.
    greedy = generation.temperature == 0
    with _left_as_found(t3), _seeded(t3.speech_head.weight.device, seed):
        ids = t3.inference(
            t3_cond=conditioning(t3, voice.speaker, voice.prompt, generation.exaggeration),
            text_tokens=torch.tensor([row, row]),  # the second is the guidance's, and loses its text
            max_new_tokens=max(1, int(generation.max_s * layout.FRAME_RATE_HZ)),
            temperature=1.0 if greedy else generation.temperature,
            min_p=1.0 if greedy else generation.min_p,
            top_p=generation.top_p,
            repetition_penalty=generation.repetition_penalty,
            cfg_weight=generation.cfg,
        )
    return ids[0].tolist()


@contextlib.contextmanager
def _seeded(device: torch.device, seed: int) -> Iterator[None]:
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


@contextlib.contextmanager
def _left_as_found(t3: torch.nn.Module) -> Iterator[None]:
    hooks = {layer: dict(layer.self_attn._forward_hooks) for layer in t3.tfmr.layers}
    config = {name: getattr(t3.cfg, name) for name in KEPT}
    _quiet()
    try:
        yield
    finally:
        for layer, before in hooks.items():
            for key in set(layer.self_attn._forward_hooks) - before.keys():
                del layer.self_attn._forward_hooks[key]
        for name, value in config.items():
            setattr(t3.cfg, name, value)
        if hasattr(t3, "patched_model"):
            del t3.patched_model


@functools.cache
def _quiet() -> None:
    """No bar for every clip, no warning of each repeated code, which upstream answers itself."""
    upstream.load("chatterbox.models.t3.t3").tqdm = functools.partial(tqdm.tqdm, disable=True)
    for name in ("chatterbox", "transformers.generation.configuration_utils"):
        logging.getLogger(name).setLevel(logging.ERROR)
