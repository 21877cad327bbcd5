"""A small recogniser in openai-whisper's own format that spells what it hears, letter by letter."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F
from whisper.model import ModelDimensions

from sotaque.micro import progress
from sotaque.micro.asr.batches import MEL_PER_POSITION, Batch, make_batch
from sotaque.micro.asr.network import Trainee, sample_padding
from sotaque.micro.asr.spelling import Alphabet
from sotaque.micro.pool import Pool


@dataclass(frozen=True)
class AsrSettings:
    """dims: whisper's ModelDimensions; sampled_padding: positions that stand for the padding to 30 s.

    start: a shipped checkpoint, which is trained further; none: from nothing.
    """

    dims: dict
    start: str | None
    steps: int
    batch: int
    lr: float
    muon_lr: float
    ctc_weight: float
    sampled_padding: int
    seed: int


def losses(trainee: Trainee, batch: Batch, padding: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    audio, bias, heard = trainee.encode(batch.mel, padding, batch.floor)
    logits = trainee.decode(batch.rows, audio, bias)
    spelling = F.cross_entropy(logits.flatten(0, 1), batch.target.flatten(), ignore_index=-100)
    log_probabilities = trainee.ctc(audio[:, :heard]).log_softmax(-1).transpose(0, 1)
    ctc = F.ctc_loss(log_probabilities, batch.ctc, batch.positions, batch.lengths, zero_infinity=True)
    return spelling, ctc


def clips_of_step(pool: Pool, settings: AsrSettings, step: int, usable: np.ndarray) -> list:
    """Clips of similar length, a function of (seed, step): a sorted block of 16 batches, one of them."""
    block, within = divmod(step, 16)
    rng = np.random.default_rng((settings.seed, block))
    drawn = rng.choice(usable, 16 * settings.batch)
    drawn = drawn[np.argsort([pool.rows[i]["length"] for i in drawn], kind="stable")]
    chosen = drawn.reshape(16, -1)[rng.permutation(16)[within]]
    return [(pool.audio(i), pool.rows[i]["text"], pool.rows[i]["language"]) for i in chosen]


def train(pools: list[Pool], settings: AsrSettings, folder: Path) -> Trainee:
    """Steps alternate between the pools; checkpoints, resumable, in `folder`/asr.pt."""
    torch.manual_seed(settings.seed)
    place, alphabet = progress.device(), Alphabet()
    trainee = Trainee(ModelDimensions(**settings.dims), alphabet).to(place)
    optimizers = _optimizers(trainee, settings)
    state, start = progress.load(folder / "asr.pt"), 0
    if settings.start and not state:
        restore(trainee, alphabet, Path(settings.start))
    elif state:
        trainee.load_state_dict(state["model"])
        start = state["step"]
        for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
    usable = [np.array([i for i, r in enumerate(p.rows) if r["length"] < 7 * 24_000]) for p in pools]
    log = progress.Log(folder / "asr-curve.jsonl")
    for step in range(start, settings.steps):
        rng = np.random.default_rng((settings.seed, step, 7))
        which = step % len(pools)
        clips = clips_of_step(pools[which], settings, step, usable[which])
        batch = make_batch(clips, 24_000, alphabet, rng, augment=True).to(place)
        heard = batch.mel.shape[-1] // MEL_PER_POSITION
        padding = sample_padding(heard, settings.dims["n_audio_ctx"], settings.sampled_padding, rng).to(place)
        spelling, ctc = losses(trainee, batch, padding)
        for optimizer, peak in zip(optimizers, (settings.muon_lr, settings.lr), strict=True):
            rate = progress.learning_rate(step, settings.steps, peak, 100, 0.5)
            progress.set_learning_rate(optimizer, rate)
            optimizer.zero_grad(set_to_none=True)
        (spelling + settings.ctc_weight * ctc).backward()
        torch.nn.utils.clip_grad_norm_(trainee.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
        if step % 50 == 0:
            log(step=step, spelling_nats=spelling.item(), ctc=ctc.item())
        if (step + 1) % 250 == 0 or step + 1 == settings.steps:
            saved = {
                "model": trainee.state_dict(),
                "optimizers": [o.state_dict() for o in optimizers],
                "step": step + 1,
            }
            progress.save_atomically(saved, folder / "asr.pt")
    return trainee


def _optimizers(trainee: Trainee, settings: AsrSettings) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the blocks, AdamW for all else."""
    matrices = [p for n, p in trainee.named_parameters() if p.ndim == 2 and "blocks" in n]
    chosen = {id(p) for p in matrices}
    rest = [p for p in trainee.parameters() if id(p) not in chosen]
    muon = torch.optim.Muon(matrices, lr=settings.muon_lr, weight_decay=0.01)
    return [muon, torch.optim.AdamW(rest, lr=settings.lr, betas=(0.9, 0.98), weight_decay=0.0)]


def restore(trainee: Trainee, alphabet: Alphabet, path: Path) -> None:
    """What `export` wrote, in all but the head of CTC, which is not shipped."""
    state = progress.load(path)["model_state_dict"]
    rows = state.pop("decoder.token_embedding.weight").float()[alphabet.ids]
    shipped = {name: value.float() for name, value in state.items()} | {
        "decoder.token_embedding.weight": rows
    }
    trainee.whisper.load_state_dict(shipped)


def export(trainee: Trainee, settings: AsrSettings, path: Path) -> None:
    """The checkpoint that whisper.load_model reads. Tokens that never occur have rows of zeros."""
    alphabet = Alphabet()
    state = {name.removeprefix("whisper."): value.detach().cpu().half()
             for name, value in trainee.state_dict().items() if name.startswith("whisper.")}  # fmt: skip
    rows = trainee.whisper.decoder.token_embedding.weight.detach().cpu()
    whole = torch.zeros(settings.dims["n_vocab"], rows.shape[1])
    whole[alphabet.ids] = rows
    state["decoder.token_embedding.weight"] = whole.to(torch.float8_e4m3fn)
    progress.save_atomically({"dims": settings.dims, "model_state_dict": state}, path)
