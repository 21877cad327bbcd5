"""Merge the selected result into a model that loads like the base, and prove it after a fresh reload.

A network that learnt whole is one already; it goes the same way and is held to the same proof.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import torch

from sotaque import audio, backends, device, files, model_spec
from sotaque.backends import folders
from sotaque.backends.protocol import Backend, Prompt, Reference
from sotaque.errors import ModelError
from sotaque.settings import Settings
from sotaque.training import card, record
from sotaque.training import lora as adapters
from sotaque.training import result as results

STORAGE_ROUNDING = 2**-8
PROBE_FRAMES = 16
PROBE = "one two three four five"


def run(
    settings: Settings, *, model: Path, base: Path, lora: Path, selected: Path, out: Path
) -> dict[str, float]:
    """Write the merged network, its generation_config.json and its card to `out` in the base's layout.

    Returns the largest differences of a logit.

    Raises ModelError when the reloaded network does not answer as the adapter did, or lacks a tensor.
    """
    device.prepare(1)
    memory = torch.device("cpu")  # two float32 copies of a large network do not fit on a card
    spec = model_spec.read(model.stem)
    backend = backends.load(spec.backend, base, memory)
    step = files.read_json(selected)["step"]
    training = record.read(lora)
    figures = merge(backend, _result(lora, step), out, settings.merge.tolerance)
    folders.write_generation_config(out, backend.generation_config(spec.generation))
    card.write(spec, training, step, out)
    return {"step": step, **figures}


def _result(folder: Path, step: int) -> Path | None:
    """The folder of the step; None for step 0, the base as it is."""
    if step and step not in adapters.steps(folder):
        found = adapters.steps(folder)
        raise ModelError(f"{folder} has no result of step {step}, only of {found}; run select again")
    return folder / adapters.step_name(step) if step else None


def merge(backend: Backend, result: Path | None, out: Path, tolerance: float) -> dict[str, float]:
    """Merge, save, load again and compare: the largest absolute differences of a logit from the result's.

    merged: of the merged network in memory. reloaded: of what was read back; a base stored in bfloat16 is
    rounded when it is saved, so there the weights are held to their rounding and the logits only reported.
    """
    adapted = results.load(backend, result) if result else backend.load_network()
    batch = _probe(backend, adapted)
    expected = _logits(backend, adapted, batch)
    merged = results.merged(adapted)
    difference = float((_logits(backend, merged, batch) - expected).abs().max())
    if not difference <= tolerance:
        raise ModelError(
            f"{result}: a logit of the merged network differs by {difference:.2g} from the adapter's; "
            f"allowed is merge.tolerance {tolerance:g}"
        )
    backend.save_merged(merged, out)
    _check_keys(backend, out)
    reloaded = backend.load_network(out)
    _check_weights(merged, reloaded, out)
    again = float((_logits(backend, reloaded, batch) - expected).abs().max())
    return {"merged_logit_difference": difference, "reloaded_logit_difference": again}


def _check_keys(backend: Backend, out: Path) -> None:
    saved, wanted = backend.weight_keys(out), backend.weight_keys()
    if saved != wanted:
        others = sorted(set(saved) ^ set(wanted))[:3]
        raise ModelError(f"{out}: the saved tensors are not those of the base: {others}")


def _check_weights(merged: torch.nn.Module, reloaded: torch.nn.Module, out: Path) -> None:
    """Every weight came back, up to the rounding of the base's own dtype."""
    again = reloaded.state_dict()
    for name, weight in merged.state_dict().items():
        if not torch.allclose(again[name], weight, rtol=STORAGE_ROUNDING, atol=1e-7):
            worst = float((again[name] - weight).abs().max())
            raise ModelError(f"{out}: {name} was read back with a difference of {worst:.2g}; merge again")


def _probe(backend: Backend, network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """A sequence that the adapted network speaks itself, with labels everywhere."""
    with tempfile.TemporaryDirectory() as folder:
        reference = _noise(backend, Path(folder)) if backend.wants_reference else None
        prompt = Prompt(PROBE, "speaker", "en", reference)
        generation = backend.generation(max_s=PROBE_FRAMES / backend.frame_rate_hz)
        [spoken] = backend.generate(network, [prompt], generation, [0])
        return backend.collate([backend.example(prompt, spoken.codes, mask_prompt=False)])


def _noise(backend: Backend, folder: Path) -> Reference:
    """A reference that needs no corpus: noise, always the same."""
    length = int(max(1.0, backend.shortest_reference_s) * backend.sample_rate_hz)
    wave = 0.1 * np.random.default_rng(0).standard_normal(length, np.float32)
    path = folder / "noise.wav"
    audio.write(path, wave, backend.sample_rate_hz)
    return Reference(PROBE, path, backend.encode([wave])[0])


@torch.inference_mode()
def _logits(backend: Backend, network: torch.nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    return backend.logits(network, batch)
