"""Generation: ours against transformers' `model.generate`, same network, prompts and sampling settings.

By turns in one process. Tokens are those before speech end. model.generate samples over the whole vocabulary
and goes on until every row has ended; ours samples over the slot that is due, and rows that have ended leave
the batch. Networks as in bench/train.py; on a card model.generate gets a static cache, whose steps
transformers compiles into CUDA graphs.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from bench import train
from sotaque.manifest import Utterance

BATCHES = (1, 16)
PEER = "model.generate"
FRAMES = {"micro": 93, "llama-60m": 10, "llama-3b": 60}  # the most; 93 are the demonstration's 8 s
TURNS = {"micro": 3, "llama-60m": 2, "llama-3b": 3}
BYTES_PER_S = {"H200": 4.8e12, "H100": 3.35e12, "A100": 2.0e12, "4090": 1.0e12}  # of the card's memory


def run() -> dict:
    """Figures of each network and batch size, and our tokens a second over model.generate's."""
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "sotaque"
        train.prepare(clone)
        figures = {}
        for network in train.networks():
            if network in train.SHAPES:
                train.alone(clone, "bench.train", "make", network)
            figures[network] = train.alone(clone, "bench.generate", network)
    ratios = {
        f"{PEER}, batch {size}": figures[train.MODEL]["batches"][str(size)]["ratio"] for size in BATCHES
    }
    return {"networks": figures, "ratio": ratios, "gpu": train.card()}


def measure(network: str) -> dict:
    """All batch sizes in this process; the first turn warms up."""
    import torch

    from sotaque import backends, device, manifest, model_spec
    from sotaque.backends.protocol import Prompt

    spec = model_spec.read(train.MODEL)
    backend = backends.load("orpheus", Path("models") / network / "base", device.prepare(1))
    llama = backend.load_network(dtype=device.speaking_dtype(backend.device))
    clips = manifest.read(Path("data/splits/test.jsonl"))
    max_s = (FRAMES[network] + 0.5) / backend.frame_rate_hz
    generation = dataclasses.replace(spec.generation, max_s=max_s)

    def chosen(size: int, seed: int) -> list[Utterance]:
        return [clips[(seed * size + i) % len(clips)] for i in range(size)]

    def ours(size: int, seed: int) -> int:
        prompts = [Prompt(clip.text, clip.speaker) for clip in chosen(size, seed)]
        seeds = range(seed * size, (seed + 1) * size)
        return sum(one.codes.size for one in backend.generate(llama, prompts, generation, seeds))

    def theirs(size: int, seed: int) -> int:
        texts = [backend.tokenizer.text_ids(f"{clip.speaker}: {clip.text}") for clip in chosen(size, seed)]
        torch.manual_seed(seed)
        limit = FRAMES[network] * backend.codes_per_frame
        return library(
            llama, backend.layout, [backend.layout.prompt(ids) for ids in texts], generation, limit
        )

    tokens_per_s_of_speech = backend.frame_rate_hz * backend.codes_per_frame
    card = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    batches = {
        str(size): by_turns(ours, theirs, size, TURNS[network], tokens_per_s_of_speech) for size in BATCHES
    }
    return {
        "batches": batches,
        "max_frames": FRAMES[network],
        "precision": str(llama.dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "peak_mb_of_both": round(train.peak_bytes() / 1e6),
        "share_of_bandwidth": bandwidth(card, llama, batches["1"]["ours"]["tokens_per_s"]) if card else None,
    }


def by_turns(
    ours: Callable[[int, int], int], theirs: Callable[[int, int], int], size: int, turns: int, realtime: float
) -> dict:
    """Tokens a second and RTF of both over all turns but the first."""
    import torch

    systems = {"ours": ours, "theirs": theirs}
    made: dict[str, list[tuple[int, float]]] = {name: [] for name in systems}
    for turn in range(turns + 1):
        for name, speak in systems.items():
            started = time.perf_counter()
            tokens = speak(size, turn)
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if turn:
                made[name].append((tokens, time.perf_counter() - started))
    tokens = {name: sum(count for count, _ in found) for name, found in made.items()}
    speeds = {name: tokens[name] / sum(seconds for _, seconds in found) for name, found in made.items()}
    figures = {
        name: {
            "tokens_per_s": round(speed, 1),
            "tokens_per_s_of_turns": [round(count / seconds, 1) for count, seconds in made[name]],
            "tokens": tokens[name],
            "rtf": round(realtime / speed, 4),
        }
        for name, speed in speeds.items()
    }
    return figures | {"ratio": round(speeds["ours"] / speeds["theirs"], 2)}


def library(llama, layout, prompts: Sequence[list[int]], generation, limit: int) -> int:
    """Tokens that model.generate makes before speech end."""
    import torch

    width = max(map(len, prompts))
    ids = torch.tensor([[layout.pad] * (width - len(p)) + p for p in prompts], device=llama.device)
    with torch.inference_mode():
        made = llama.generate(
            input_ids=ids,
            attention_mask=(ids != layout.pad).long(),
            do_sample=True,
            temperature=generation.temperature,
            top_p=generation.top_p,
            top_k=0,
            repetition_penalty=generation.repetition_penalty,
            max_new_tokens=limit,
            eos_token_id=layout.speech_end,
            pad_token_id=layout.pad,
            cache_implementation="static" if torch.cuda.is_available() else None,
        )[:, width:]
    ended = (made == layout.speech_end).int().cumsum(1) > 0
    return int((~ended).sum())


def bandwidth(name: str, llama, tokens_per_s: float) -> float | None:
    """Share of the card's bandwidth at batch 1: every token reads every weight once."""
    peak = next((rate for card, rate in BYTES_PER_S.items() if card in name), None)
    size = sum(p.numel() * p.element_size() for p in llama.parameters())
    return round(tokens_per_s * size / peak, 3) if peak else None


def table(figures: dict) -> str:
    head = ["network", "batch", "sotaque, tokens/s", "RTF", f"{PEER}, tokens/s", "RTF", "times as fast"]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for network, found in figures["networks"].items():
        for size, pair in found["batches"].items():
            both = [
                f"{pair[name]['tokens_per_s']:.0f} | {pair[name]['rtf']:.3f}" for name in ("ours", "theirs")
            ]
            lines.append(f"| {network} | {size} | {' | '.join(both)} | {pair['ratio']:.1f} |")
    floors = [
        f"{network} at batch 1: {100 * found['share_of_bandwidth']:.0f} % of what the card's memory permits."
        for network, found in figures["networks"].items()
        if found.get("share_of_bandwidth")
    ]
    return "\n".join([*lines, "", f"GPU: {figures['gpu']}.", *floors])


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1])))
