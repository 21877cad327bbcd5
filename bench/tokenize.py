"""Tokens: `sotaque tokenize` against the plain loop over SNAC.encode, same clips, codec, number of threads.

The loop is that of public notebooks: read a clip, encode it, put its codes in order one by one. It computes
with all threads of the machine; ours has one job for each, as Snakemake would run them. Then both with one
thread, by processor time, which other work on the machine hardly changes. Imports are done before the clock
starts; loading the codec, reading and writing are measured.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from bench import place, spoken
from sotaque import manifest
from sotaque.data.tokenize import TokenRow

CLIPS_PER_CORE = 500
WORDS = (5, 12)
TURNS = 3
PEER = "SNAC.encode, clip by clip"
MODEL, BASE, TOKENS = Path("workflow/models/micro.yaml"), Path("models/micro/base"), Path("data/tokens/micro")
LOOP = Path("loop.npz")
PLACES = ((0, 1, 0), (1, 2, 0), (2, 4, 0), (2, 4, 1), (1, 2, 1), (2, 4, 2), (2, 4, 3))  # book, codes, which


def run() -> dict:
    clips = place.size(CLIPS_PER_CORE * place.CORES)
    with place.cloned("spoken", place.CORES) as clone:
        hours = spoken.write(clone / "data/raw/spoken", clips, WORDS)
        for word in ("fetch", "ingest", "normalize"):
            place.cost(place.commands(clone, word), clone)
        seconds, wrong = {}, 0
        for threads in sorted({1, place.CORES}):
            seconds[str(threads)] = by_turns(clone, threads)
            wrong = max(wrong, different(clone))
    ratios = {f"{PEER}, threads: {n}": round(s["loop"] / s["ours"], 2) for n, s in seconds.items()}
    return {
        "clips": clips,
        "hours": round(hours, 3),
        "seconds": seconds,
        "clips_with_other_codes": wrong,
        "ratio": ratios,
    }


def by_turns(clone: Path, threads: int) -> dict[str, float]:
    """Median seconds of both with so many threads: of the processor with one, of the wall clock with more."""
    shards = manifest.shard_names(place.CORES)
    jobs = {
        "loop": [["loop", str(threads)]],
        "ours": [["ours", *shards[start::threads]] for start in range(threads)],
    }
    turns = [{name: together(clone, mine, threads) for name, mine in jobs.items()} for _ in range(TURNS)]
    return {name: round(statistics.median(turn[name] for turn in turns), 2) for name in jobs}


def together(clone: Path, jobs: list[list[str]], threads: int) -> float:
    """Seconds that these `python -m bench.tokenize ...` compute on one thread, or take on several."""
    command = [sys.executable, "-W", "ignore", "-m", "bench.tokenize"]
    running = [
        subprocess.Popen(
            [*command, *job], cwd=clone, env=place.environment(clone), text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )
        for job in jobs
    ]  # fmt: skip
    for process in running:
        process.stdout.readline()
    started = time.monotonic()
    for process in running:
        process.stdin.write("go\n")
        process.stdin.flush()
    said = [process.communicate()[0] for process in running]
    for process in running:
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, process.args)
    ends, computed_s = zip(*(map(float, line.split()) for line in said), strict=True)
    return computed_s[0] if threads == 1 else max(ends) - started


def different(clone: Path) -> int:
    """How many clips have other codes than in the loop."""
    theirs, wrong, seen = np.load(clone / LOOP), 0, 0
    for shard in manifest.shard_names(place.CORES):
        array = np.load(clone / TOKENS / f"{shard}.npy")
        for row in manifest.read(clone / TOKENS / f"{shard}.jsonl", TokenRow):
            ours = array[row.start : row.start + row.length].reshape(-1)
            wrong += not np.array_equal(ours, theirs[row.id])
            seen += 1
    assert seen == len(theirs.files), f"{seen} clips of ours, {len(theirs.files)} of the loop"
    return wrong


def loop(threads: int) -> float:
    """What notebooks do; leaves id -> codes in the order of speaking. The seconds that it computed."""
    import soundfile
    import torch
    from snac import SNAC

    torch.set_num_threads(threads)
    clips = [c for p in sorted(Path("data/wav").glob("*/manifest.jsonl")) for c in manifest.read(p)]
    started = ready()
    snac, made = SNAC.from_pretrained(str(BASE / "codec")), {}
    for clip in clips:
        wave, _ = soundfile.read(clip.audio, dtype="float32")
        with torch.inference_mode():
            books = snac.encode(torch.from_numpy(wave)[None, None])
        codes = []
        for frame in range(books[0].shape[1]):
            for book, count, which in PLACES:
                codes.append(books[book][0][count * frame + which].item())
        made[clip.id] = codes
    np.savez(LOOP, **{name: np.array(codes, np.int16) for name, codes in made.items()})
    return time.process_time() - started


def ours(shards: list[str]) -> float:
    import sotaque.backends.orpheus.codec  # noqa: F401  the clock starts after imports, as in the loop
    from sotaque import settings
    from sotaque.data import tokenize

    found = settings.read(Path("params.yaml"))
    started = ready()
    for shard in shards:
        wav = Path("data/wav") / shard
        tokenize.run(found, model=MODEL, wav=wav, base=BASE, out=TOKENS / shard, shard=shard)
    return time.process_time() - started


def ready() -> float:
    """The processor time at which the clock starts."""
    print("ready", flush=True)
    sys.stdin.readline()
    return time.process_time()


def table(figures: dict) -> str:
    lines = ["| threads | sotaque tokenize | the loop | times as fast |", "|---|---|---|---|"]
    for threads, pair in figures["seconds"].items():
        times = f"{pair['loop'] / pair['ours']:.1f}"
        lines.append(f"| {threads} | {pair['ours']:.1f} s | {pair['loop']:.1f} s | {times} |")
    average_s = figures["hours"] * 3600 / figures["clips"]
    said = (
        f"{figures['clips']:,} clips of {average_s:.1f} s on average; {figures['clips_with_other_codes']} of "
        f"them have other codes than in the loop, {PEER}."
    )
    return "\n".join([*lines, "", said])


if __name__ == "__main__":
    word, *arguments = sys.argv[1:]
    computed_s = loop(int(arguments[0])) if word == "loop" else ours(arguments)
    print(time.monotonic(), computed_s, flush=True)
