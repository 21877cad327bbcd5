"""The base's training, from top to bottom.

Random words first, which only reading predicts; then sentences join while the learning rate falls. The loss
is over the codes of the slot at hand; in the last part over the whole vocabulary, as LoRA will train it.
Two losses help at first: guided attention (guide.py), and before each frame the phonemes that it will hold.
Half of each batch continues the network's own guesses (backends/orpheus/rehearsal.py).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from transformers import LlamaForCausalLM

from sotaque.backends.orpheus.rehearsal import rehearsed
from sotaque.micro import guide, progress, spoken, vocabulary
from sotaque.micro.base import sharpness
from sotaque.micro.base.items import SPEAKER_TOKENS, Corpus, collate, phonemes_ahead, shares_ahead
from sotaque.micro.base.losses import losses_of, phoneme_loss, validate
from sotaque.micro.base.network import build
from sotaque.micro.codec import STEPS
from sotaque.micro.muon import Muon

GUIDE_SPREAD = 2.5  # letters
VALIDATED = 128  # held-out clips
SAVE_EVERY = 250  # steps


@dataclass(frozen=True)
class BaseSettings:
    """model: LlamaConfig's arguments. short_until, sentences_from, whole_from: shares of the steps.

    start: a model's folder, which is trained further; none: from nothing.
    short_frames: the longest clip until `short_until`; slot_weights: of the losses of the seven slots.
    guide_until: share of the steps with guided attention and phonemes; guide_weight, phoneme_weight: of them.
    rehearsed: largest share of a clip's codes that are the network's own, in half of the clips.
    highest_score: bound on attention scores.
    """

    model: dict
    start: str | None
    steps: int
    batch: int
    lr: float
    muon_lr: float
    decay_share: float
    short_until: float
    short_frames: int
    sentences_from: float
    sentence_share: float
    whole_from: float
    slot_weights: tuple[float, ...]
    guide_until: float
    guide_weight: float
    phoneme_weight: float
    rehearsed: float
    highest_score: float
    seed: int


class Training:
    """Network, optimisers and corpus: everything that a step needs and a checkpoint holds."""

    def __init__(self, corpus: Corpus, settings: BaseSettings, phonemes: int, place: torch.device):
        self.corpus, self.settings, self.place = corpus, settings, place
        self.network = self._network().to(place)
        self.head = torch.nn.Linear(self.network.config.hidden_size, STEPS * phonemes).to(place)
        self.optimizers = _optimizers(self.network, self.head, settings)
        self.weights = torch.tensor([*settings.slot_weights, 1.0], device=place)
        self.step, self.tokens = 0, 0

    def _network(self) -> LlamaForCausalLM:
        if self.settings.start is None:
            return build(self.settings.model, self.corpus.layout)
        return LlamaForCausalLM.from_pretrained(
            self.settings.start, dtype=torch.float32, attn_implementation="sdpa"
        )

    def state(self) -> dict:
        return {"model": self.network.state_dict(), "head": self.head.state_dict(), "step": self.step,
                "tokens": self.tokens, "optimizers": [o.state_dict() for o in self.optimizers]}  # fmt: skip

    def restore(self, state: dict) -> None:
        self.network.load_state_dict(state["model"])
        self.head.load_state_dict(state["head"])
        self.step, self.tokens = state["step"], state["tokens"]
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)

    def reached(self, share: float) -> bool:
        return self.step >= share * self.settings.steps

    def items(self) -> list:
        """The clips of this step, a function of (seed, step)."""
        wanted = self.settings
        rng = np.random.default_rng((wanted.seed, self.step))
        share = wanted.sentence_share if self.reached(wanted.sentences_from) else 0.0
        return self.corpus.batch(rng, wanted.batch, share, short=not self.reached(wanted.short_until))

    def inputs(self, ids: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """ids (B, L), every other clip rehearsed."""
        if not self.settings.rehearsed:
            return ids
        dice = torch.Generator().manual_seed(self.settings.seed * 1_000_003 + self.step)
        half = {
            "input_ids": ids[::2],
            "labels": labels[::2],
            "attention_mask": ids[::2] != self.corpus.layout.pad,
        }
        own = rehearsed(self.network, half, self.corpus.layout, self.settings.rehearsed, dice)
        ids = ids.clone()
        ids[::2] = own
        return ids

    def advance(self) -> dict[str, float]:
        """One update; its losses in nats."""
        wanted, layout, items = self.settings, self.corpus.layout, self.items()
        ids, labels = (tensor.to(self.place) for tensor in collate(items, layout))
        with torch.autocast(self.place.type, torch.bfloat16):
            heard = self.inputs(ids, labels)
            output = self.network.model(input_ids=heard, use_cache=False, output_hidden_states=True)
            losses, slots = losses_of(
                self.network, output.last_hidden_state, labels, layout, self.reached(wanted.whole_from)
            )
        guided = told = losses.new_zeros(())
        if not self.reached(wanted.guide_until):
            guided, told = self.helping(items, ids, output)
        total = (losses * self.weights[slots]).sum() / self.weights[slots].sum()
        self.update(total + wanted.guide_weight * guided + wanted.phoneme_weight * told)
        self.tokens += len(losses)
        return {"train_nats": losses.mean().item(), "guide_nats": guided.item(), "phoneme_nats": told.item()}

    def helping(self, items: list, ids: torch.Tensor, output) -> tuple[torch.Tensor, torch.Tensor]:
        """The losses of guided attention and of the phonemes ahead."""
        layout, length = self.corpus.layout, ids.shape[1]
        places = guide.expected_places(
            ids, shares_ahead(items, length).to(self.place), SPEAKER_TOKENS, layout.text_end
        )
        entering = output.hidden_states[guide.LAYER].float()
        ahead = phonemes_ahead(items, length).to(self.place)
        return (
            guide.attention_loss(self.network, entering, places, GUIDE_SPREAD),
            phoneme_loss(self.head, output.last_hidden_state, ahead),
        )

    def update(self, loss: torch.Tensor) -> None:
        wanted = self.settings
        for optimizer, peak in zip(self.optimizers, (wanted.muon_lr, wanted.lr), strict=True):
            rate = progress.learning_rate(self.step, wanted.steps, peak, 50, wanted.decay_share)
            progress.set_learning_rate(optimizer, rate)
            optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
        self.step += 1


def _optimizers(network, head: torch.nn.Linear, settings: BaseSettings) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the layers, AdamW for all else."""
    named = dict(network.named_parameters())
    matrices = {name: p for name, p in named.items() if p.ndim == 2 and "layers" in name}
    rest = [p for name, p in named.items() if name not in matrices]
    adam = torch.optim.AdamW([*rest, *head.parameters()], lr=settings.lr, betas=(0.9, 0.95), weight_decay=0.0)
    return [Muon(matrices.values(), lr=settings.muon_lr), adam]


def train(
    corpus_folder: Path,
    held_out: list[spoken.Spoken],
    codebook_size: int,
    settings: BaseSettings,
    folder: Path,
) -> LlamaForCausalLM:
    """Checkpoints, resumable, in `folder`/base.pt."""
    torch.manual_seed(settings.seed)
    tokenizer = vocabulary.build(codebook_size)
    layout = vocabulary.layout(tokenizer)
    names = sorted({name for one in held_out for name in one.phonemes})
    corpus = Corpus(corpus_folder, tokenizer, layout, names, settings.short_frames)
    held_out = [corpus.item(one) for one in held_out[:VALIDATED]]
    training = Training(corpus, settings, len(names), progress.device())
    state = progress.load(folder / "base.pt")
    if state:
        training.restore(state)
    training.network.model.compile(dynamic=True)
    seen = collate(held_out[:16], layout)[0].to(training.place)
    log, running = progress.Log(folder / "base-curve.jsonl"), None
    while training.step < settings.steps:
        if training.step % SAVE_EVERY == 0:
            highest = sharpness.bound(training.network, seen, settings.highest_score)
            log(step=training.step, highest_score=highest)
        losses = training.advance()
        running = losses["train_nats"] if running is None else 0.95 * running + 0.05 * losses["train_nats"]
        if training.step % 25 == 0:
            log(step=training.step, tokens=training.tokens, **losses | {"train_nats": running})
        if training.step % SAVE_EVERY == 0 or training.step == settings.steps:
            figures = validate(training.network, held_out, layout)
            log(step=training.step, tokens=training.tokens, **figures)
            corpus.refresh()
            progress.save_atomically(training.state(), folder / "base.pt")
    return training.network
