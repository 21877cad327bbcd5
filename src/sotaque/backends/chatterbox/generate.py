"""Speech by upstream's own T3.inference, one text at a time, and nothing of it left behind.

Each call of it adds hooks to three layers, which it never takes off, turns the attention of the whole network
to the slow kind for good, and hangs a second model on T3, whose tensors would be saved with it.

Upstream has two ways to stop (families.ChatterboxGeneration.version). v2: chatterbox-tts 0.1.7 as it is, with
its AlignmentStreamAnalyzer. v3: the same without the analyser, as upstream samples since its commit 3f35dfc;
0.1.7 makes an analyser for every multilingual T3. So this T3 is declared not multilingual, which it asks for
nothing else. Both are compared with upstream in tests/test_chatterbox_upstream.py.
"""

from __future__ import annotations

import contextlib
import copy
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
REPETITION_PENALTY = {"v2": 2.0, "v3": 1.2}
ATTENTION = "transformers.integrations.sdpa_attention"  # is asked for weights that nobody reads
ANALYSED_TEXT = 5  # ids with start and stop: of shorter texts the analyser raises IndexError


def speak(
    t3: torch.nn.Module,
    text_ids: Sequence[int],
    voice: Voice,
    seed: int,
    generation: ChatterboxGeneration,
    max_codes: int,
) -> list[int]:
    """At most max_codes ids that T3 generates, its stop included; equal for equal arguments in any batch."""
    row, penalty = layout.text_row(text_ids), generation.repetition_penalty
    analyses = generation.version == "v2" and len(row) > ANALYSED_TEXT
    # With min_p 1 only the likeliest id is left, which is what temperature 0 means; upstream divides by it.
    greedy = generation.temperature == 0
    with _left_as_found(t3), _analyser(t3, analyses), _seeded(t3.speech_head.weight.device, seed):
        ids = t3.inference(
            t3_cond=conditioning(t3, voice.speaker, voice.prompt, generation.exaggeration),
            text_tokens=torch.tensor([row, row]),  # the second is the guidance's, and loses its text
            max_new_tokens=max_codes,
            temperature=1.0 if greedy else generation.temperature,
            min_p=1.0 if greedy else generation.min_p,
            top_p=generation.top_p,
            repetition_penalty=REPETITION_PENALTY[generation.version] if penalty is None else penalty,
            cfg_weight=generation.cfg,
        )
    return ids[0].tolist()


@contextlib.contextmanager
def _analyser(t3: torch.nn.Module, wanted: bool) -> Iterator[None]:
    """T3.inference with its AlignmentStreamAnalyzer, or without."""
    before = t3.hp
    if not wanted:
        t3.hp = copy.copy(before)
        t3.hp.__class__ = type("T3Config", (type(before),), {"is_multilingual": False})
    try:
        yield
    finally:
        t3.hp = before


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
    for name in ("chatterbox", "transformers.generation.configuration_utils", ATTENTION):
        logging.getLogger(name).setLevel(logging.ERROR)
