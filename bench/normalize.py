"""Normalize: our job against `fap loudness-norm` and ffmpeg's two-pass loudnorm, same clips, one core each.

All three bring clips to -23 LUFS and write 16-bit WAV. Ours also decodes them where a hang can be killed,
resamples to the model's rate, trims silence and seals what it wrote; fap keeps the rate of the recording.
Whole commands are measured, with their start, by turns and bound to one core; what is compared is processor
time, which other work on the machine hardly changes. A clip in a hundred gets a click, whose peak keeps it
under the target. Loudness is measured afterwards by pyloudnorm.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator
from importlib.metadata import distributions
from pathlib import Path

import numpy as np
import soundfile

from bench import place, spoken
from bench.place import Cost
from sotaque import files, manifest
from sotaque.errors import InputError
from sotaque.settings import Normalize

CLIPS = 500
WORDS = (5, 12)
RATES_HZ = (22_050, 48_000)  # LJSpeech's, and what recorders write
TURNS = {"sotaque": 3, "fap": 3, "ffmpeg": 1}
NAMES = {"fap": "fap loudness-norm", "ffmpeg": "ffmpeg loudnorm, two passes"}
CLICK_EVERY, CLICK_ABOVE = 100, 20.0  # of all clips; of the loudest sample, as amplitude
FAP = place.SCRATCH / "fap"
FAP_REQUIREMENTS = Path("bench/fap-requirements.txt")
WANTED = Normalize()
WITHIN_LU = 0.1
WITHIN_DB = 0.02  # of the limit: a peak that holds its clip down


def run() -> dict:
    peers = {"fap": fap(), "ffmpeg": ffmpeg()}
    found = {str(rate_hz): at_rate(rate_hz, peers) for rate_hz in RATES_HZ}
    ratios = {
        f"{name}, {int(rate) / 1000:g} kHz": round(figures["cpu_s"][peer] / figures["cpu_s"]["sotaque"], 2)
        for peer, name in NAMES.items()
        for rate, figures in found.items()
    }
    return {"clips": place.size(CLIPS), "rates_hz": found, "ratio": ratios, "versions": versions(peers)}


def at_rate(rate_hz: int, peers: dict[str, str]) -> dict:
    """Seconds of each system for recordings of one rate, and the loudness of what ours wrote."""
    with place.cloned("spoken", 1) as clone:
        raw = clone / "data/raw/spoken"
        hours = spoken.write(raw, place.size(CLIPS), WORDS, rate_hz)
        click(sorted((raw / "wavs").iterdir())[::CLICK_EVERY])
        place.cost(place.commands(clone, "ingest"), clone)
        sounds, out = (raw / "wavs").resolve(), (clone / "made").resolve()
        ours = place.commands(clone, "normalize")
        systems = {
            "sotaque": lambda: fresh(clone, "data/wav", "scratch/seals") or ours,
            "fap": lambda: [[peers["fap"], *fap_arguments(sounds, out)]],
            "ffmpeg": lambda: [[sys.executable, "-m", "bench.normalize", peers["ffmpeg"], sounds, out]],
        }
        with one_core():
            costs = by_turns(clone, systems)
        return {
            "hours": round(hours, 3),
            "wall_s": {name: statistics.median(c.wall_s for c in mine) for name, mine in costs.items()},
            "cpu_s": {name: statistics.median(c.cpu_s for c in mine) for name, mine in costs.items()},
            **loudness(clone),
        }


def by_turns(clone: Path, systems: dict[str, Callable[[], list]]) -> dict[str, list[Cost]]:
    costs: dict[str, list[Cost]] = {name: [] for name in systems}
    for turn in range(max(TURNS.values())):
        for name, commands in systems.items():
            if turn < TURNS[name]:
                costs[name].append(place.cost(commands(), clone))
                fresh(clone, "made")
    return costs


def fresh(clone: Path, *folders: str) -> None:
    for folder in folders:
        files.remove(clone / folder)


@contextlib.contextmanager
def one_core() -> Iterator[None]:
    """What starts now stays on the last core that this process may use."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def click(paths: list[Path]) -> None:
    """One sample at full scale, over speech that is turned down."""
    for path in paths:
        samples, rate_hz = soundfile.read(path, dtype="float32")
        samples *= 1 / (CLICK_ABOVE * np.abs(samples).max())
        samples[len(samples) // 2] = 0.99
        soundfile.write(path, samples, rate_hz, subtype="PCM_16")


def loudness(clone: Path) -> dict:
    """Of the clips kept: within_lu of the target are all but those in held_by_peak and off (id -> LUFS)."""
    import pyloudnorm

    rows = [row for path in sorted(clone.glob("data/wav/*/manifest.jsonl")) for row in manifest.read(path)]
    found: dict[str, dict[str, float]] = {"held_by_peak": {}, "off": {}}
    furthest_lu = 0.0
    for row in rows:
        samples, rate_hz = soundfile.read(clone / row.audio)
        lufs = pyloudnorm.Meter(rate_hz).integrated_loudness(samples)
        distance_lu = abs(lufs - WANTED.loudness_lufs)
        peak_dbfs = 20 * np.log10(np.abs(samples).max())
        if distance_lu <= WITHIN_LU:
            furthest_lu = max(furthest_lu, distance_lu)
        else:
            held = lufs < WANTED.loudness_lufs and abs(peak_dbfs - WANTED.peak_dbfs) < WITHIN_DB
            found["held_by_peak" if held else "off"][row.id] = round(lufs, 2)
    return {"kept": len(rows), "within_lu": round(furthest_lu, 4), **found}


def fap() -> str:
    """The command of fish-audio-preprocess in an environment of its own, made now if it is not there.

    Raises InputError when it cannot be installed.
    """
    command = FAP.resolve() / "bin/fap"
    if not command.exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", "--without-pip", FAP], check=True)
        packages = next((FAP / "lib").glob("python*/site-packages"))
        (packages / "sotaque.pth").write_text(sysconfig.get_path("purelib") + "\n")
        pip = [sys.executable, "-m", "pip", "--python", str(FAP / "bin/python"), "install", "--quiet"]
        done = subprocess.run([*pip, "--no-deps", "--requirement", str(FAP_REQUIREMENTS)])
        if done.returncode or not command.exists():
            raise InputError(f"{FAP}: pip could not install {FAP_REQUIREMENTS}; it needs a package index")
    return str(command)


def fap_arguments(sounds: Path, out: Path) -> list[str]:
    levels = ["--peak", str(WANTED.peak_dbfs), "--loudness", str(WANTED.loudness_lufs)]
    return ["loudness-norm", "--num-workers", "1", *levels, str(sounds), str(out)]


def ffmpeg() -> str:
    """Raises InputError where there is no ffmpeg."""
    found = shutil.which("ffmpeg")
    if not found:
        raise InputError("ffmpeg is not on the PATH; on Debian: apt-get install ffmpeg")
    return found


def twice(program: str, sounds: Path, out: Path) -> None:
    """loudnorm as its author advises: measure a clip, then apply one gain to it where that will do."""
    out.mkdir()
    wanted = f"loudnorm=I={WANTED.loudness_lufs}:TP={WANTED.peak_dbfs}:LRA=11"
    quiet = [program, "-hide_banner", "-nostdin", "-threads", "1", "-filter_threads", "1", "-y"]
    for path in sorted(sounds.iterdir()):
        first = [*quiet, "-i", path, "-af", f"{wanted}:print_format=json", "-f", "null", "-"]
        said = subprocess.run(first, check=True, stderr=subprocess.PIPE, text=True).stderr
        seen = json.loads(said[said.rindex("{") : said.rindex("}") + 1])
        known = ":".join(f"measured_{key}={seen[f'input_{key.lower()}']}" for key in ("I", "TP", "LRA"))
        known += f":measured_thresh={seen['input_thresh']}:offset={seen['target_offset']}:linear=true"
        second = [*quiet, "-loglevel", "error", "-i", path, "-af", f"{wanted}:{known}"]
        subprocess.run([*second, "-ar", "24000", "-ac", "1", out / path.name], check=True)


def versions(peers: dict[str, str]) -> dict[str, str]:
    there = distributions(path=[str(path) for path in (FAP / "lib").glob("python*/site-packages")])
    found = {d.name: d.version for d in there if d.name in FAP_REQUIREMENTS.read_text()}
    said = subprocess.run([peers["ffmpeg"], "-version"], check=True, capture_output=True, text=True).stdout
    return found | {"ffmpeg": said.split()[2]}


def table(figures: dict) -> str:
    lines = [
        "| recordings at | sotaque normalize | " + " | ".join(NAMES.values()) + " |",
        "|---|---|---|---|",
    ]
    for rate, found in figures["rates_hz"].items():
        ours = found["cpu_s"]["sotaque"]
        times = [f"{found['cpu_s'][peer]:.1f} s, {found['cpu_s'][peer] / ours:.1f} times" for peer in NAMES]
        lines.append(f"| {int(rate) / 1000:g} kHz | {ours:.1f} s | {' | '.join(times)} |")
    first = next(iter(figures["rates_hz"].values()))
    average_s = first["hours"] * 3600 / figures["clips"]
    said = f"{figures['clips']} clips of {average_s:.1f} s on average; processor time of whole commands."
    return "\n".join([*lines, "", f"{said} {_levels(figures)}"])


def _levels(figures: dict) -> str:
    found = figures["rates_hz"].values()
    held = [f"{name} at {lufs:.1f}" for f in found for name, lufs in f["held_by_peak"].items()]
    off = sum(len(f["off"]) for f in found)
    near = sum(f["kept"] for f in found) - len(held) - off
    return (
        f"Measured afterwards, {near} lie within {max(f['within_lu'] for f in found):.3f} LU of "
        f"{WANTED.loudness_lufs:g} LUFS, {off} elsewhere though their peaks would permit it, and {len(held)} "
        f"below it with their peaks at {WANTED.peak_dbfs:g} dBFS: {', '.join(held)}."
    )


if __name__ == "__main__":
    twice(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
