"""What a training is made from: its samples, and the checksums that name its checkpoints."""

from __future__ import annotations

from pathlib import Path

from sotaque import files, manifest, model_spec, seal
from sotaque import settings as settings_module
from sotaque.backends.families import Generation
from sotaque.backends.protocol import Backend, Reference
from sotaque.backends.references import nearest_to_best
from sotaque.data.tokenize import Tokens
from sotaque.manifest import Utterance
from sotaque.settings import Settings
from sotaque.stages import STAGES
from sotaque.training import feasibility
from sotaque.training.batching import Samples, Voices


def samples(
    settings: Settings, backend: Backend, splits: Path, tokens: Path, base: Path
) -> tuple[Samples, Samples]:
    """The train and the val part.

    Raises InputError when one has no clip that can be used, or most of its minutes cannot.
    """
    made = []
    stored = Tokens(tokens, manifest.shard_names(settings.shards), base)
    voices = Voices(backend, stored, manifest.read(splits / "train.jsonl"), settings.seed)
    for part in ("train", "val"):
        path = splits / f"{part}.jsonl"
        found = Samples(
            backend, stored, manifest.read(path), part, settings.train.max_tokens,
            settings.train.mask_prompt, voices,
        )  # fmt: skip
        feasibility.check_skipped(found, path, settings.train.max_tokens)
        made.append(found)
    return made[0], made[1]


def check_texts(
    settings: Settings, backend: Backend, generation: Generation, splits: Path, tokens: Path, base: Path
) -> None:
    """What select and synthesize would meet; see feasibility.check_texts."""
    stored = Tokens(tokens, manifest.shard_names(settings.shards), base)
    recordings = manifest.read(splits / "train.jsonl")

    def reference_of(utterance: Utterance) -> Reference | None:
        if not backend.wants_reference:
            return None
        clip = nearest_to_best(recordings, utterance.speaker, backend.shortest_reference_s)
        return Reference(clip.text, Path(clip.audio), stored.codes(clip.id))

    feasibility.check_texts(backend, generation, splits, reference_of, model_spec.path_of(settings.model))


def origin(settings: Settings, *, model: Path, splits: Path, tokens: Path, base: Path) -> dict[str, dict]:
    """Parameters, and the checksums of files and code, that the result depends on."""
    stage, spec = STAGES["train"], model_spec.read(model.stem)
    inputs = [splits / "train.jsonl", splits / "val.jsonl"]
    for shard in manifest.shard_names(settings.shards):
        inputs += [tokens / f"{shard}.npy", tokens / f"{shard}.jsonl"]
    seal_of_base = base / "seal.json"
    inputs += [seal_of_base] if seal_of_base.exists() else files.walk(base / "network")
    return {
        "params.yaml": {key: settings_module.lookup(settings, key) for key in stage.params},
        model.as_posix(): {key: settings_module.lookup(spec, key) for key in stage.spec},
        "files": {path.as_posix(): files.sha256(path) for path in inputs},
        "code": seal.code_sha256(seal.code_of(stage.code, settings)),
    }
