"""The small Orpheus: a Llama that reads letters and speaks SNAC codes, in the voices of voices.BASE.

Random words first, which only reading predicts; then sentences join while the learning rate falls. The loss
is over the codes of the slot at hand; in the last part over the whole vocabulary, as LoRA will train it.
Two losses help at first: guided attention (guide.py), and before each frame the phonemes that it will hold.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F
from transformers import LlamaConfig, LlamaForCausalLM

from sotaque.backends.orpheus.layout import SLOTS, Layout
from sotaque.micro import guide, progress, spoken, vocabulary
from sotaque.micro.codec import STEPS
from sotaque.micro.muon import Muon

IGNORED = -100
SPEAKER_TOKENS = 7  # human start, text start, three letters of the speaker, colon and space
GUIDE_SPREAD = 2.5  # letters
VALIDATED = 128  # held-out clips


@dataclass(frozen=True)
class BaseSettings:
    """model: LlamaConfig's arguments. short_until, sentences_from, whole_from: shares of the steps.

    short_frames: the longest clip until `short_until`; slot_weights: of the losses of the seven slots.
    guide_until: share of the steps with guided attention and phonemes; guide_weight, phoneme_weight: of them.
    """

    model: dict
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
    seed: int


def build(model: dict, layout: Layout) -> LlamaForCausalLM:
    config = LlamaConfig(
        vocab_size=layout.end_audio, bos_token_id=layout.text_start, eos_token_id=layout.speech_end,
        pad_token_id=layout.pad, attn_implementation="sdpa", **model,
    )  # fmt: skip
    return LlamaForCausalLM(config)


@dataclass(frozen=True)
class Item:
    """prompt: ids before the speech; sequence (L,): all ids; phonemes (F, STEPS): IGNORED where unknown.

    shares (F,): of the text that is spoken by each frame.
    """

    prompt: list[int]
    sequence: np.ndarray
    phonemes: np.ndarray
    shares: np.ndarray

    @property
    def spoken_tokens(self) -> int:
        return len(self.sequence) - len(self.prompt)


class Corpus:
    """Token sequences of all blocks on disk, newly made blocks included at each `refresh`."""

    def __init__(self, folder: Path, tokenizer, layout: Layout, names: list[str], short_frames: int = 0):
        self.folder, self.tokenizer, self.layout = folder, tokenizer, layout
        self.number = {name: number for number, name in enumerate(names)}
        self.short_frames = short_frames
        self.items: dict[str, list[Item]] = {"words": [], "sentences": []}
        self.read: set[Path] = set()
        self.refresh()

    def refresh(self) -> None:
        for part, items in self.items.items():
            for path in spoken.blocks(self.folder, part):
                if path not in self.read:
                    self.read.add(path)
                    items.extend(self.item(one) for one in spoken.read(path))
        longest = SLOTS * self.short_frames + 2
        self.short = [item for item in self.items["words"] if item.spoken_tokens <= longest]

    def item(self, one: spoken.Spoken) -> Item:
        text_ids = self.tokenizer.encode(one.text, add_special_tokens=False)
        sequence = np.array(self.layout.sequence(text_ids, one.codes), np.int32)
        said = np.array([self.number.get(name, IGNORED) for name in one.phonemes], np.int16)
        shares = guide.spoken_shares(one.phonemes)
        return Item(self.layout.prompt(text_ids), sequence, said.reshape(-1, STEPS), shares)

    def batch(self, rng: np.random.Generator, size: int, sentence_share: float, short: bool) -> list:
        """Items of similar length: one of eight slices of a sorted draw. short: the shortest words only."""
        count = 8 * size
        words = self.short if short else self.items["words"]
        sentences = rng.binomial(count, sentence_share) if self.items["sentences"] else 0
        said = self.items["sentences"]
        drawn = [said[i] for i in rng.integers(0, max(1, len(said)), sentences)]
        drawn += [words[i] for i in rng.integers(0, len(words), count - sentences)]
        drawn.sort(key=lambda item: len(item.sequence))
        start = size * int(rng.integers(0, 8))
        return drawn[start : start + size]


def collate(items: list[Item], layout: Layout) -> tuple[torch.Tensor, torch.Tensor]:
    """input ids and labels, both (B, L); prompts and padding carry no loss."""
    longest = max(len(item.sequence) for item in items)
    longest += -longest % 8
    ids = torch.full((len(items), longest), layout.pad)
    labels = torch.full((len(items), longest), IGNORED)
    for row, item in enumerate(items):
        sequence, start = torch.from_numpy(item.sequence.astype(np.int64)), len(item.prompt)
        ids[row, : len(sequence)] = sequence
        labels[row, start : len(sequence)] = sequence[start:]
    return ids, labels


def phonemes_ahead(items: list[Item], length: int) -> torch.Tensor:
    """Where the next token begins a frame, the phonemes of that frame: (B, length, STEPS), else IGNORED."""
    ahead = torch.full((len(items), length, STEPS), IGNORED)
    for row, item in enumerate(items):
        places = len(item.prompt) - 1 + SLOTS * np.arange(len(item.phonemes))
        ahead[row, places] = torch.from_numpy(item.phonemes.astype(np.int64))
    return ahead


def shares_ahead(items: list[Item], length: int) -> torch.Tensor:
    """The share of the text that is spoken by the frame of the next token: (B, length), -1 for none."""
    ahead = torch.full((len(items), length), -1.0)
    for row, item in enumerate(items):
        start = len(item.prompt) - 1
        ahead[row, start : start + SLOTS * len(item.shares)] = torch.from_numpy(item.shares.repeat(SLOTS))
    return ahead


def phoneme_loss(head: torch.nn.Linear, hidden: torch.Tensor, ahead: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of `phonemes_ahead`, told from the hidden states (B, L, D)."""
    told = (ahead != IGNORED).any(-1)
    logits = head(hidden[told].float()).unflatten(-1, (STEPS, -1))
    return F.cross_entropy(logits.flatten(0, 1), ahead[told].flatten(), ignore_index=IGNORED)


def slot_losses(network, ids: torch.Tensor, labels: torch.Tensor, layout: Layout, whole: bool):
    """Nats of each spoken token and its slot: (N,), (N,). Slot 0 also holds speech end, slot 7 AI end."""
    hidden = network.model(input_ids=ids, use_cache=False).last_hidden_state
    return losses_of(network, hidden, labels, layout, whole)


def losses_of(network, hidden: torch.Tensor, labels: torch.Tensor, layout: Layout, whole: bool):
    """The same from the last hidden states (B, L, D)."""
    hidden = hidden[:, :-1]
    targets = labels[:, 1:]
    kept = targets != IGNORED
    hidden, targets = hidden[kept], targets[kept]
    slots = (targets - layout.first_audio) // layout.codebook_size
    slots[targets == layout.speech_end] = 0
    slots[targets == layout.ai_end] = SLOTS
    weight = network.get_input_embeddings().weight
    if whole:
        return F.cross_entropy((hidden @ weight.T).float(), targets, reduction="none"), slots
    losses, order = [], []
    for slot in range(SLOTS):
        low, high = layout.slot_ids(slot)
        rows = weight[low:high]
        at = targets[slots == slot] - low
        if slot == 0:
            rows = torch.cat([rows, weight[layout.speech_end, None]])
            at[at == layout.speech_end - low] = layout.codebook_size
        losses.append(F.cross_entropy((hidden[slots == slot] @ rows.T).float(), at, reduction="none"))
        order.append(torch.full_like(at, slot))
    return torch.cat(losses), torch.cat(order)


@torch.no_grad()
def validate(network, items: list, layout: Layout) -> dict[str, float]:
    """Mean nats of held-out items, and the reading gap: with another clip's text minus with the right one."""
    network.eval()
    ordered = sorted(items, key=lambda item: len(item.sequence))
    swapped = []
    for item, other in zip(ordered, ordered[1:] + ordered[:1], strict=True):
        prompt = item.prompt[:SPEAKER_TOKENS] + other.prompt[SPEAKER_TOKENS:]
        sequence = np.concatenate([prompt, item.sequence[len(item.prompt) :]]).astype(np.int32)
        swapped.append(Item(prompt, sequence, item.phonemes, item.shares))
    means = []
    for version in (ordered, swapped):
        parts = [
            slot_losses(network, *collate(version[start : start + 32], layout), layout, False)
            for start in range(0, len(version), 32)
        ]
        losses, slots = (torch.cat(column) for column in zip(*parts, strict=True))
        means.append((losses.mean().item(), losses[slots == 0].mean().item()))
    network.train()
    (nats, coarse), (nats_swapped, coarse_swapped) = means
    return {"validation_nats": nats, "reading_gap_nats": nats_swapped - nats,
            "reading_gap_coarse_nats": coarse_swapped - coarse}  # fmt: skip


def optimizers(network, head: torch.nn.Linear, settings: BaseSettings) -> list[torch.optim.Optimizer]:
    matrices = [p for n, p in network.named_parameters() if p.ndim == 2 and "layers" in n]
    rest = [p for n, p in network.named_parameters() if not (p.ndim == 2 and "layers" in n)]
    rest += head.parameters()
    adam = torch.optim.AdamW(rest, lr=settings.lr, betas=(0.9, 0.95), weight_decay=0.0)
    return [Muon(matrices, lr=settings.muon_lr), adam]


def train(
    corpus_folder: Path,
    held_out: list[spoken.Spoken],
    codebook_size: int,
    settings: BaseSettings,
    folder: Path,
):
    """Checkpoints, resumable, in `folder`/base.pt."""
    torch.manual_seed(settings.seed)
    place = progress.device()
    tokenizer = vocabulary.build(codebook_size)
    layout = vocabulary.layout(tokenizer)
    names = sorted({name for one in held_out for name in one.phonemes})
    corpus = Corpus(corpus_folder, tokenizer, layout, names, settings.short_frames)
    held_out = [corpus.item(one) for one in held_out[:VALIDATED]]
    network = build(settings.model, layout).to(place)
    network.model.compile(dynamic=True)
    head = torch.nn.Linear(network.config.hidden_size, STEPS * len(names)).to(place)
    both = optimizers(network, head, settings)
    state, start, tokens = progress.load(folder / "base.pt"), 0, 0
    if state:
        network.load_state_dict(state["model"])
        head.load_state_dict(state["head"])
        start, tokens = state["step"], state["tokens"]
        for optimizer, saved in zip(both, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
    weights = torch.tensor([*settings.slot_weights, 1.0], device=place)
    log = progress.Log(folder / "base-curve.jsonl")
    running = None
    for step in range(start, settings.steps):
        share = settings.sentence_share if step >= settings.sentences_from * settings.steps else 0.0
        rng = np.random.default_rng((settings.seed, step))
        short = step < settings.short_until * settings.steps
        items = corpus.batch(rng, settings.batch, share, short)
        ids, labels = (tensor.to(place) for tensor in collate(items, layout))
        with torch.autocast(place.type, torch.bfloat16):
            whole = step >= settings.whole_from * settings.steps
            output = network.model(input_ids=ids, use_cache=False, output_hidden_states=True)
            losses, slots = losses_of(network, output.last_hidden_state, labels, layout, whole)
        guided = told = losses.new_zeros(())
        if step < settings.guide_until * settings.steps:
            shares = shares_ahead(items, ids.shape[1]).to(place)
            places = guide.expected_places(ids, shares, SPEAKER_TOKENS, layout.text_end)
            entering = output.hidden_states[guide.LAYER].float()
            guided = guide.attention_loss(network, entering, places, GUIDE_SPREAD)
            told = phoneme_loss(head, output.last_hidden_state, phonemes_ahead(items, ids.shape[1]).to(place))
        for optimizer, peak in zip(both, (settings.muon_lr, settings.lr), strict=True):
            rate = progress.learning_rate(step, settings.steps, peak, 50, settings.decay_share)
            progress.set_learning_rate(optimizer, rate)
            optimizer.zero_grad(set_to_none=True)
        helped = settings.guide_weight * guided + settings.phoneme_weight * told
        ((losses * weights[slots]).sum() / weights[slots].sum() + helped).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        for optimizer in both:
            optimizer.step()
        tokens += len(losses)
        mean = losses.mean().item()
        running = mean if running is None else 0.95 * running + 0.05 * mean
        if step % 25 == 0:
            log(step=step, tokens=tokens, train_nats=running, guide_nats=guided.item(),
                phoneme_nats=told.item())  # fmt: skip
        if (step + 1) % 250 == 0 or step + 1 == settings.steps:
            log(step=step + 1, tokens=tokens, **validate(network, held_out, layout))
            corpus.refresh()
            progress.save_atomically(
                {"model": network.state_dict(), "head": head.state_dict(), "step": step + 1, "tokens": tokens,
                 "optimizers": [o.state_dict() for o in both]}, folder / "base.pt")  # fmt: skip
    return network


def export(network: LlamaForCausalLM, codebook_size: int, folder: Path) -> None:
    """Hugging Face's layout: config, safetensors in bf16, tokenizer."""
    network.to(torch.bfloat16).save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)
    vocabulary.save(codebook_size, folder)
