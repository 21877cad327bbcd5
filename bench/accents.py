"""The demonstration's three voices, a control, and an independent recogniser's word on the English one.

Control: each training clip bears another clip's text, so the voice is learnt and reading is not. Its WER says
that the tuned WER comes from the texts.
"""

import subprocess
import tempfile
from pathlib import Path

from bench import demo
from sotaque import manifest
from sotaque.metrics import wer
from sotaque.metrics.context import RATE_HZ, read_wave
from sotaque.stages import SYSTEMS

RUNS = {
    "pt-br": "corpus={accent: pt-br}",
    "es-mx": "corpus={accent: es-mx}",
    "en-gb": "corpus={accent: en-gb}",
    "pt-br, wrong texts": "corpus={accent: pt-br, wrong_texts: true}",
}
ENGLISH = "en-gb"


def run() -> dict:
    """One clone for all: what does not depend on the corpus is kept from run to run."""
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "sotaque"
        subprocess.run(["git", "clone", "--quiet", ".", str(clone)], check=True)
        runs, second = {}, {}
        for name, config in RUNS.items():
            metrics = demo.chain(clone, config)
            runs[name] = {
                "systems": metrics["systems"],
                "novel_words": metrics["groups"]["novel-words"]["tuned"]["wer"],
            }
            if name == ENGLISH:
                second = {system: second_opinion(clone, system) for system in ("reference", "tuned")}
    return {"runs": runs, "pocketsphinx_wer": second}


def second_opinion(clone: Path, system: str) -> float:
    """WER by pocketsphinx with the US English model of its wheel, over all test clips of one system."""
    import pocketsphinx

    decoder = pocketsphinx.Decoder(samprate=RATE_HZ, loglevel="ERROR")
    clips = manifest.read(clone / "data/splits/test.jsonl")
    heard = [hear(decoder, clone / f"results/micro/wav/{system}/{clip.id}.wav") for clip in clips]
    return wer.error_rates([c.text for c in clips], heard, ["en"] * len(clips)).wer


def hear(decoder, path: Path) -> str:
    import numpy as np

    samples = read_wave(path)
    if samples is None:
        return ""
    decoder.start_utt()
    decoder.process_raw(np.round(np.clip(samples, -1, 1) * 32767).astype(np.int16).tobytes(), full_utt=True)
    decoder.end_utt()
    found = decoder.hyp()
    return found.hypstr if found else ""


def table(figures: dict) -> str:
    head = ["target", *(f"WER {system}" for system in SYSTEMS), "WER tuned, novel words"]
    head += [f"similarity {system}" for system in SYSTEMS[1:]]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for name, found in figures["runs"].items():
        systems = found["systems"]
        errors = [f"{systems[system]['wer']:.3f}" for system in SYSTEMS] + [f"{found['novel_words']:.3f}"]
        likeness = [f"{systems[system]['similarity']:.3f}" for system in SYSTEMS[1:]]
        lines.append(f"| {' | '.join([name, *errors, *likeness])} |")
    second = figures["pocketsphinx_wer"]
    said = (
        f"By pocketsphinx, which knows nothing of this project, {ENGLISH} has a WER of "
        f"{second['reference']:.3f} as the reference and {second['tuned']:.3f} as tuned."
    )
    return "\n".join([*lines, "", said])
