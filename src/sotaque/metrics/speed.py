"""Real-time factor: seconds of computing per second of audio, one clip at a time, codec included."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from sotaque import processor
from sotaque.manifest import Utterance
from sotaque.metrics.context import Context, Scores
from sotaque.metrics.registry import Column, Metric, Ratio
from sotaque.metrics.similarity import hash_order

if TYPE_CHECKING:
    import torch

    from sotaque.backends.protocol import Backend

Item = TypeVar("Item")


def score(context: Context) -> Scores:
    """Time the system on a few test texts, after one that is not counted. Recordings have no speed."""
    import torch

    from sotaque import backends, device

    method = {
        "batch_clips": 1,
        "threads": torch.get_num_threads(),
        "hardware": hardware(context.device),
        "precision": str(device.speaking_dtype(context.device)).removeprefix("torch."),
    }
    chosen = hash_order(u for u in context.utterances if not u.group)[: context.settings.evaluate.speed_clips]
    if context.system == "reference" or not chosen:
        return Scores([], method)
    backend = backends.load(context.spec.backend, context.base, context.device)
    method["precision"] = str(backend.speaking_dtype).removeprefix("torch.")
    say, network = _speaker_of(context, backend)
    if network is not None:
        method["parameters"] = sum(parameter.numel() for parameter in network.parameters())
    times = timed(say, chosen)
    return Scores(
        [context.row(u, failed=not row["audio_s"]) | row for u, row in zip(chosen, times, strict=True)],
        method,
    )


def _speaker_of(
    context: Context, backend: Backend
) -> tuple[Callable[[Utterance], float], torch.nn.Module | None]:
    """A function that says one utterance and returns the seconds of audio it made; the network it uses."""
    from sotaque.backends.references import References
    from sotaque.evaluation.synthesize import decoded, round_trip, seed_of

    references, chosen_seed = References(backend, context.train), context.settings.seed
    if context.system == "codec":

        def repeat(utterance: Utterance) -> float:
            take = round_trip(backend, utterance, chosen_seed, references.of(utterance.speaker))
            return len(take.samples) / backend.codec_rate_hz

        return repeat, None
    folder = None if context.system == "base" else context.network
    network = backend.load_network(folder, backend.speaking_dtype)

    def say(utterance: Utterance) -> float:
        prompt, seed = references.prompt(utterance), seed_of(chosen_seed, utterance.id)
        [spoken] = backend.generate(network, [prompt], context.spec.generation, [seed])
        wave = decoded(backend, spoken.codes, seed, prompt.reference, context.spec.generation)
        return len(wave) / backend.codec_rate_hz

    return say, network


def timed(say: Callable[[Item], float], items: Sequence[Item]) -> list[dict[str, float]]:
    """Seconds that `say` takes for each item and seconds of audio it returns; the first one warms up."""
    rows = []
    for number, item in enumerate([*items[:1], *items]):
        started = time.perf_counter()
        audio_s = say(item)
        if number:
            rows.append({"compute_s": time.perf_counter() - started, "audio_s": audio_s})
    return rows


def hardware(device: torch.device) -> str:
    """The processor or card that the figures were taken on."""
    if device.type == "cuda":
        import torch

        return torch.cuda.get_device_name(device)
    return processor.describe()


def describe(method: dict[str, Any]) -> list[tuple[str, str]]:
    return [
        ("RTF", "seconds of computing per second of speech, codec included, one clip at a time"),
        ("Timed on", timed_on(method)),
    ]


def timed_on(method: dict[str, Any]) -> str:
    """Hardware, threads, and the precision of the network."""
    threads = "1 thread" if method["threads"] == 1 else f"{method['threads']} threads"
    return f"{method['hardware']}, {threads}, the network in {method['precision']}"


METRIC = Metric(
    columns=(
        Column("rtf", "RTF", Ratio("compute_s", "audio_s"), "lower", target="rtf", headline=True),
    ),
    score=score,
    describe=describe,
)  # fmt: skip
