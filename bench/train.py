"""Training: our loop against transformers' Trainer with peft, on the same clips, network, adapter and steps.

The Trainer stands in peer.py. Both learn from one epoch of the demonstration's tokens, each in a
process of its own, by turns; the Trainer in our precision and, a single time, in float32, which it takes
unless told otherwise. Neither rehearses its own speech. Networks: the micro base; a Llama of 60 M random
weights with the vocabulary of Orpheus; and where there is a card, one of Orpheus' size. Useful tokens are
labels: audio and the two ends.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench import peer

SYSTEMS = {"ours": "auto", "trainer": "auto", "trainer-float32": "float32"}  # and their train.precision
ONCE = ("trainer-float32",)  # too slow for several turns
MODEL = "micro"  # whose tokens, adapter and settings all networks take
NAMES = {
    "ours": "sotaque",
    "trainer": "transformers Trainer + peft, same precision",
    "trainer-float32": "transformers Trainer + peft, float32, its default",
}
TURNS = {"micro": 3, "llama-60m": 1, "llama-3b": 1}
STEPS = {"micro": None, "llama-60m": 8, "llama-3b": 60}  # None: the whole epoch
CARD_CLIPS = 16
VOCABULARY = 156_940
SHAPES = {
    "llama-60m": {
        "hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 20, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 64,
    },
    "llama-3b": {
        "hidden_size": 3072, "intermediate_size": 8192, "num_hidden_layers": 28, "num_attention_heads": 24,
        "num_key_value_heads": 8, "head_dim": 128,
    },
}  # fmt: skip
NO_CARD = "none here, so nothing was measured on one"
PEAK_FLOPS = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "4090": 165e12}  # dense, bfloat16


def run() -> dict:
    """Figures of each network and system, and how many times the Trainer's useful tokens a second we have."""
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "sotaque"
        prepare(clone)
        figures = {network: by_turns(clone, network) for network in networks()}
    return {
        "networks": figures,
        "ratio": ratios(figures["micro"]),
        "ratio_of_networks": {network: ratios(found) for network, found in figures.items()},
        "val_nats_above_ours": {network: losses(found) for network, found in figures.items()},
        "gpu": card(),
    }


def networks() -> list[str]:
    """The one of Orpheus' size needs a card."""
    return [name for name in TURNS if name != "llama-3b" or card() != NO_CARD]


def card() -> str:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else NO_CARD


def prepare(clone: Path) -> None:
    """A clean clone in which everything before training is done."""
    subprocess.run(["git", "clone", "--quiet", ".", str(clone)], check=True)
    command = [sys.executable, "-m", "snakemake", "--cores", "all", "--quiet", "rules", "reason", "host"]
    subprocess.run([*command, "--until", "tokenize", "split"], cwd=clone, env=here(clone), check=True)


def here(clone: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": f"{clone / 'src'}:{Path.cwd()}"}


def by_turns(clone: Path, network: str) -> dict[str, dict]:
    """The median turn of each system, by useful tokens a second, and the speed of every turn."""
    if network in SHAPES:
        alone(clone, "bench.train", "make", network)
    turns: dict[str, list[dict]] = {system: [] for system in SYSTEMS}
    for turn in range(TURNS[network]):
        for system in SYSTEMS:
            if turn == 0 or system not in ONCE:
                turns[system].append(alone(clone, "bench.train", system, network))
    return {system: median(found) for system, found in turns.items()}


def median(found: list[dict]) -> dict:
    ordered = sorted(found, key=lambda figures: figures["tokens_per_s"])
    speeds = [figures["tokens_per_s"] for figures in found]
    return ordered[len(ordered) // 2] | {"tokens_per_s_of_turns": speeds}


def alone(clone: Path, *arguments: str) -> dict:
    """What `python -m MODULE ARGUMENTS` says last, in the clone and in a process of its own."""
    command = [sys.executable, "-W", "ignore", "-m", *arguments]
    said = subprocess.run(command, cwd=clone, env=here(clone), check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(said.stdout.splitlines()[-1])


def ratios(found: dict[str, dict]) -> dict[str, float]:
    """Our useful tokens a second over each peer's."""
    ours = found["ours"]["tokens_per_s"]
    return {
        NAMES[peer]: round(ours / figures["tokens_per_s"], 2)
        for peer, figures in found.items()
        if peer != "ours"
    }


def losses(found: dict[str, dict]) -> dict[str, float]:
    """How much more validation loss than ours each peer ends with after as many steps."""
    ours = found["ours"]["val_nats_after"]
    return {
        NAMES[peer]: round(figures["val_nats_after"] - ours, 4)
        for peer, figures in found.items()
        if peer != "ours"
    }


def make(network: str) -> None:
    """models/<network>/base with random weights, the micro base's tokenizer and codec."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    base, micro = Path("models") / network / "base", Path("models", MODEL, "base").resolve()
    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=VOCABULARY, tie_word_embeddings=True, **SHAPES[network])
    torch.set_default_dtype(torch.bfloat16)
    LlamaForCausalLM(config).save_pretrained(base / "network")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (base / "network" / name).symlink_to(micro / "network" / name)
    (base / "codec").symlink_to(micro / "codec")


def measure(system: str, network: str) -> dict:
    """Train in this process: validation loss before and after, useful tokens, seconds, memory."""
    import torch

    from sotaque.training import train as loop

    trainer = build(network, SYSTEMS[system])
    steps = STEPS[network] or trainer.plan.steps
    trainer.plan.steps = steps
    before, memory = loop.validate(trainer), peak_bytes()
    started = time.perf_counter()
    tokens, positions = (ours if system == "ours" else peer.theirs)(trainer, steps)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    seconds = time.perf_counter() - started
    found = {
        "tokens_per_s": round(tokens / seconds, 1),
        "seconds": round(seconds, 2),
        "steps": steps,
        "val_nats_before": round(before, 4),
        "val_nats_after": round(after := loop.validate(trainer), 4),
        "nats_per_s": round((before - after) / seconds, 5),
        "peak_mb": round(peak_bytes() / 1e6),
        "peak_mb_of_training": round((peak_bytes() - memory) / 1e6),
        "precision": str(trainer.dtype).removeprefix("torch."),
        "positions_per_useful_token": round(positions / tokens, 3),
        "threads": torch.get_num_threads(),
    }
    if torch.cuda.is_available():
        found["positions_per_s"] = round(positions / seconds)
        found["mfu"] = mfu(torch.cuda.get_device_name(), trainer.network, positions, tokens, seconds)
    return found


def build(network: str, precision: str):
    """Our Trainer over the demonstration's clips, one epoch; the peer takes its network and its clips."""
    import torch

    from sotaque import backends, device, model_spec, settings
    from sotaque.training import inputs
    from sotaque.training.trainer import Trainer

    chosen = dataclasses.replace(settings.read(Path("params.yaml")), epochs=1)
    how = dataclasses.replace(chosen.train, precision=precision)
    if torch.cuda.is_available():
        how = dataclasses.replace(how, batch_clips=CARD_CLIPS, packing=True)
    chosen = dataclasses.replace(chosen, train=how)
    base = Path("models") / network / "base"
    backend = backends.load("orpheus", base, device.prepare(how.threads))
    parts = inputs.samples(chosen, backend, Path("data/splits"), Path("data/tokens", MODEL), base)
    return Trainer.build(chosen, model_spec.read(MODEL), backend, *parts)


def ours(trainer, steps: int) -> tuple[int, int]:
    """(useful tokens, positions computed)."""
    import torch

    from sotaque.backends.orpheus import forward
    from sotaque.training import train as loop

    how, on_card = trainer.settings.train, torch.cuda.is_available()
    tokens = positions = 0
    for step in range(1, steps + 1):
        batches = trainer.plan.batches(step)
        rate = loop.learning_rate(step, steps, trainer.settings.lr, how.warmup_share)
        tokens += loop.take_step(trainer, batches, step, rate)[1]
        for batch in batches:
            lengths = trainer.train.lengths[batch].tolist()
            if on_card:
                padded = math.ceil(max(lengths) / 8) * 8 * len(lengths)
                positions += sum(lengths) if how.packing else padded
            else:
                positions += forward.positions(lengths)
    return tokens, positions


def peak_bytes() -> int:
    import torch

    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def mfu(name: str, network, positions: int, tokens: int, seconds: float) -> float | None:
    """Share of the card's peak: 4 operations a frozen weight and position (forward, and the gradient of the
    input), 6 a learnt one; of the output layer at labels only."""
    peak = next((flops for card, flops in PEAK_FLOPS.items() if card in name), None)
    learnt = sum(p.numel() for p in network.parameters() if p.requires_grad)
    head = network.get_base_model().lm_head.weight.numel()
    frozen = sum(p.numel() for p in network.parameters() if not p.requires_grad) - head
    done = positions * (4 * frozen + 6 * learnt) + tokens * 4 * head
    return round(done / seconds / peak, 3) if peak else None


def table(figures: dict) -> str:
    head = ["network", "system", "useful tokens/s", "peak memory, MB", "nats a second", "nats after"]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for network, systems in figures["networks"].items():
        for system, found in systems.items():
            numbers = f"{found['tokens_per_s']:.0f} | {found['peak_mb']} | {found['nats_per_s']:.4f}"
            lines.append(f"| {network} | {NAMES[system]} | {numbers} | {found['val_nats_after']:.3f} |")
    return "\n".join([*lines, "", f"GPU: {figures['gpu']}.", *on_the_card(figures["networks"])])


def on_the_card(networks: dict[str, dict]) -> list[str]:
    """A sentence for each network and system that a card ran."""
    return [
        f"{network}, {NAMES[system]}: {found['positions_per_s']:,} positions/s, "
        + (
            f"{100 * found['mfu']:.0f} % of the card's peak."
            if found["mfu"]
            else "the card's peak is not known."
        )
        for network, systems in networks.items()
        for system, found in systems.items()
        if "positions_per_s" in found
    ]


if __name__ == "__main__":
    if sys.argv[1] == "make":
        make(sys.argv[2])
        print("{}")
    else:
        print(json.dumps(measure(*sys.argv[1:3])))
