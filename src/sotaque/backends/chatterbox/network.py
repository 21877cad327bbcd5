"""T3, the Llama that reads text and speaks S3 codes: loading, its embeddings, the loss, saving like the base.

T3.forward pads text, which stands before speech, so that speech would hear the padding; and T3.loss compares
each logit with its own input. So rows are put together here from T3's own parts, each without padding inside,
and padded at the end, where a causal network never looks.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch.nn.utils.rnn import pad_sequence

from sotaque.backends import cross_entropy, folders, upstream
from sotaque.backends.chatterbox import layout
from sotaque.backends.protocol import IGNORED
from sotaque.errors import ModelError

NAME = "t3_mtl23ls_v2.safetensors"  # what from_local of chatterbox-tts 0.1.7 reads
NAMES = (NAME, "t3_mtl23ls_v3.safetensors")
OTHERS = {"t3_cfg.safetensors": "the English Chatterbox", "t3_turbo_v1.safetensors": "Chatterbox Turbo"}
ROWS = ("prompt", "text", "speech")
EXAGGERATION = 0.5  # of what is learnt: upstream's neutral


def weights_file(folder: Path) -> Path:
    """T3's file: of version 2, else 3, else the only one, as in the regional models.

    Raises ModelError naming what was found instead.
    """
    found = sorted(folder.glob("t3_*.safetensors"))
    for name in NAMES:
        if folder / name in found:
            return folder / name
    regional = [path for path in found if path.name not in OTHERS]
    if len(regional) == 1:
        return regional[0]
    there = [f"{path.name}, {OTHERS[path.name]}" for path in found if path.name in OTHERS]
    raise ModelError(
        f"{folder}: expected {' or '.join(NAMES)} of ResembleAI/chatterbox; found: "
        + ("; ".join(there) or ", ".join(path.name for path in regional) or "no t3_*.safetensors")
    )


def load(folder: Path, dtype: torch.dtype | str, device: torch.device) -> torch.nn.Module:
    """T3 of a folder, in eval mode; dtype "auto" keeps those of the file.

    Raises ModelError for a checkpoint of another Chatterbox, or one that lacks a tensor.
    """
    path = weights_file(folder)
    try:
        state = load_file(path)
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path}: not a file of weights: {error}; fetch it again") from None
    _check(path, state)
    t3 = _empty()
    try:
        t3.load_state_dict(state, assign=True)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"{path}: not the weights of the multilingual T3: {reason}") from None
    if dtype != "auto":
        for parameter in t3.parameters():  # not the buffers: the frequencies of the positions stay float32
            parameter.data = parameter.data.to(dtype)
    return t3.to(device).eval()


def _empty() -> torch.nn.Module:
    """T3 without weights: half a billion random numbers would be drawn to be thrown away."""
    config = upstream.load("chatterbox.models.t3.modules.t3_config").T3Config.multilingual()
    kind = upstream.load("chatterbox.models.t3").T3
    with torch.device("meta"):
        t3 = kind(config)
    t3.tfmr.rotary_emb = type(t3.tfmr.rotary_emb)(t3.cfg)  # it has no weights to be loaded
    return t3


def _check(path: Path, state: dict[str, torch.Tensor]) -> None:
    if any(key.startswith("tfmr.h.") for key in state):
        raise ModelError(f"{path}: a GPT-2, as in Chatterbox Turbo; expected the multilingual T3, a Llama")
    for key, rows in (("text_emb", layout.TEXT_VOCABULARY), ("speech_emb", layout.SPEECH_VOCABULARY)):
        weight = state.get(f"{key}.weight")
        if weight is None or len(weight) != rows:
            there = "is missing" if weight is None else f"has {len(weight)} rows"
            raise ModelError(
                f"{path}: {key}.weight {there}, expected {rows}, the vocabulary of the multilingual T3"
            )


def t3_of(network: torch.nn.Module) -> torch.nn.Module:
    """The T3 inside a network that may wear an adapter."""
    return network.get_base_model() if hasattr(network, "get_base_model") else network


def conditioning(
    t3: torch.nn.Module, speaker: torch.Tensor, prompt: torch.Tensor, exaggeration: float
) -> Any:
    """A fresh T3Cond of a speaker (256,) and prompt codes (P,): T3 writes into it, and keeps its graph."""
    device, dtype = t3.speech_head.weight.device, t3.speech_emb.weight.dtype
    return upstream.load("chatterbox.models.t3.modules.cond_enc").T3Cond(
        speaker_emb=speaker[None].to(device, dtype),
        cond_prompt_speech_tokens=prompt[None].to(device),
        emotion_adv=torch.full((1, 1, 1), exaggeration, device=device, dtype=dtype),
    )


def embedded(t3: torch.nn.Module, batch: dict[str, torch.Tensor], row: int, drop_text: bool) -> torch.Tensor:
    """The inputs (L, D) of one row: conditioning, text, speech, each of its own length.

    drop_text: of the text its positions stay, as in the guidance's row of T3.inference.
    """
    prompt, text, speech = (batch[name][row, : batch[f"{name}_length"][row]] for name in ROWS)
    cond = conditioning(t3, batch["speaker"][row], prompt, EXAGGERATION)
    words = t3.text_emb(text)
    if drop_text:
        words = torch.zeros_like(words)
    words = words + t3.text_pos_emb.get_fixed_embedding(torch.arange(len(text)))[0]
    places = torch.tensor(layout.speech_positions(len(speech)))
    sounds = t3.speech_emb(speech) + t3.speech_pos_emb.get_fixed_embedding(places)[0]
    return torch.cat([t3.prepare_conditioning(cond)[0], words, sounds])


def without_text(t3: torch.nn.Module, rows: int, share: float) -> list[bool]:
    """Which rows lose their text: a share of them in training, none else."""
    return (torch.rand(rows) < share).tolist() if t3.training else [False] * rows


def at_labels(
    network: torch.nn.Module, batch: dict[str, torch.Tensor], text_drop: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Hidden states (N, D) at the N positions with a label, and those labels (N,), row by row."""
    t3 = t3_of(network)
    dropped = without_text(t3, len(batch["text"]), text_drop)
    inputs = [embedded(t3, batch, row, drop) for row, drop in enumerate(dropped)]
    hidden = t3.tfmr(inputs_embeds=pad_sequence(inputs, batch_first=True), use_cache=False).last_hidden_state
    states, labels = [], []
    for row, own in enumerate(inputs):
        wanted = batch["labels"][row]
        wanted = wanted[wanted != IGNORED]
        states.append(hidden[row, len(own) - len(wanted) : len(own)])
        labels.append(wanted)
    return torch.cat(states), torch.cat(labels)


def loss(
    network: torch.nn.Module, batch: dict[str, torch.Tensor], text_drop: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Sum of the cross-entropies in nats and the number of labels."""
    hidden, labels = at_labels(network, batch, text_drop)
    total = cross_entropy.summed(t3_of(network).speech_head, hidden, labels)
    return total, torch.tensor(len(labels), device=labels.device)


def save_like(base: Path, t3: torch.nn.Module, folder: Path) -> None:
    """Write T3 under the name that upstream loads, with the base's tensor names and dtypes.

    Every other file is the base's own, but for other versions of T3, which would be mistaken for this one.
    """
    with folders.like(base, folder, "t3_*.safetensors") as made:
        folders.save_weights(weights_file(base), t3.state_dict(), made / NAME)
