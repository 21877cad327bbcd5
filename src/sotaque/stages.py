"""The one table of the pipeline: each stage's parameters, code, inputs and outputs.

It feeds the command line, the jobs (jobs.py) and the test that holds the Snakefile and dvc.yaml to it.
Paths are templates over {model}, {corpus} and the stage's own fan.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

SYSTEMS = ("reference", "codec", "base", "tuned")
METRICS = ("wer", "mos", "similarity", "speed")
DEMO = "demo"


@dataclass(frozen=True)
class Stage:
    """One word of the pipeline.

    params: dotted keys of params.yaml that its result depends on.
    spec: keys of workflow/models/<model>.yaml that its result depends on.
    code: modules and folders under src/sotaque whose bytes its result depends on.
    reads: flag -> template of the path that its command takes.
    after: the stages whose seals are its inputs; "network" stands for whoever made {network}.
    takes: of a stage before it, the template of the one file that it reads; what else that seal says is no
        matter to it.
    out: template; a folder, or with `parts` the prefix of the files out + part.
    fan: the wildcards it runs once per value of; flags of its command too.
    """

    word: str
    summary: str
    module: str
    params: tuple[str, ...]
    code: tuple[str, ...]
    reads: dict[str, str]
    after: tuple[str, ...]
    out: str
    parts: tuple[str, ...] = ()
    fan: tuple[str, ...] = ()
    spec: tuple[str, ...] = ()
    takes: dict[str, str] = field(default_factory=dict)

    def seal_of(self, out: str | Path) -> Path:
        """Where the seal of an output lies: in the folder, or beside the files."""
        if not self.parts:
            return Path(out) / "seal.json"
        return Path(f"{out}{self.parts[0]}").with_suffix(".seal.json")


SPEECH = ("backends", "device.py", "model_spec.py", "audio.py", "manifest.py")
HEARING = (
    *(
        f"evaluation/{name}.py"
        for name in ("context", "recognizer", "wer", "similarity", "synthesize", "bootstrap")
    ),
    "text.py",
    "loudness.py",
)
MODEL = "workflow/models/{model}.yaml"
BASE = "models/{model}/base"
SPLITS = "data/splits"
CLIPS = tuple(f"data/measures/{name}.py" for name in ("row", "table", "relative", "limits"))

STAGES = {
    stage.word: stage
    for stage in (
        Stage(
            "corpus",
            "speak the built-in demonstration corpus with espeak-ng",
            module="sotaque.data.corpus",
            params=("seed", "corpus"),
            code=(
                "data/corpus.py",
                "data/sentences.py",
                "data/words.py",
                "data/lexicon",
                "micro/voices.py",
                "espeak.py",
                "audio.py",
            ),
            reads={},
            after=(),
            out="data/raw/demo",
        ),
        Stage(
            "ingest",
            "read a corpus of any known layout into manifests, with rejects and reasons",
            module="sotaque.data.ingest",
            params=("shards", "ingest"),
            code=(
                "data/ingest.py",
                "data/layouts",
                "data/ids.py",
                "data/transcripts.py",
                "text.py",
                "audio.py",
                "sandbox.py",
                "rejects.py",
                "manifest.py",
            ),
            reads={"corpus": "data/raw/{corpus}"},
            after=("corpus",),
            out="data/manifest",
        ),
        Stage(
            "normalize",
            "bring the clips of one shard to the model's rate and a common loudness",
            module="sotaque.data.normalize",
            params=("normalize",),
            spec=("sample_rate_hz",),
            code=(
                "data/normalize.py",
                "data/pauses.py",
                "vad.py",
                "audio.py",
                "loudness.py",
                "sandbox.py",
                "rejects.py",
                "manifest.py",
                "model_spec.py",
                "backends/families.py",
            ),
            reads={"model": MODEL, "manifest": "data/manifest"},
            after=("ingest",),
            takes={"ingest": "data/manifest/{shard}.jsonl"},
            out="data/wav/{shard}",
            fan=("shard",),
        ),
        Stage(
            "fetch",
            "bring the base model, codec and ASR here and check them",
            module="sotaque.fetch",
            params=("fetch",),
            spec=("backend", "network", "codec", "asr"),
            code=("fetch.py", "model_spec.py", "backends/families.py"),
            reads={"model": MODEL},
            after=(),
            out=BASE,
        ),
        Stage(
            "measure",
            "measure the clips of one shard: level, clipping, band, noise, silence, rate of speech",
            module="sotaque.data.measure",
            params=("measure",),
            spec=("backend",),
            code=(
                "data/measure.py",
                "data/transcripts.py",
                *(f"data/measures/{name}.py" for name in ("row", "signal", "characters", "codec")),
                *(f"evaluation/{name}.py" for name in ("context", "recognizer", "wer", "bootstrap")),
                "vad.py",
                "text.py",
                "loudness.py",
                *SPEECH,
            ),
            reads={"model": MODEL, "manifest": "data/manifest", "wav": "data/wav/{shard}", "base": BASE},
            after=("normalize", "fetch"),
            out="data/measures/{shard}",
            parts=(".jsonl",),
            fan=("shard",),
        ),
        Stage(
            "quality",
            "drop the clips that quality.drop asks for, each with its reason",
            module="sotaque.data.quality",
            params=("shards", "quality.drop", "quality.max_dropped_share"),
            code=("data/quality.py", *CLIPS, "rejects.py", "manifest.py"),
            reads={"measures": "data/measures", "wav": "data/wav"},
            after=("measure",),
            out="data/quality",
        ),
        Stage(
            "survey",
            "show the corpus on one page: totals, measures, flags, rejects, the worst clips",
            module="sotaque.data.survey",
            params=("shards", "ingest", "quality", "survey"),
            code=(
                "data/survey.py",
                "data/page",
                "page",
                *CLIPS,
                "data/measures/characters.py",
                "rejects.py",
                "audio.py",
                "manifest.py",
            ),
            reads={
                "manifest": "data/manifest",
                "wav": "data/wav",
                "measures": "data/measures",
                "quality": "data/quality",
                "base": BASE,
            },
            after=("ingest", "fetch", "measure", "quality"),  # the seals of measure hold those of normalize
            takes={"fetch": "models/{model}/base/network/tokenizer.json"},
            out="results/corpus",
            parts=(".html", ".jsonl"),
        ),
        Stage(
            "split",
            "divide the utterances into train, val and test without leaks",
            module="sotaque.data.split",
            params=("seed", "shards", "split", "ingest.max_rejected_share"),
            code=("data/split.py", "rejects.py", "manifest.py", "text.py"),
            reads={"wav": "data/wav", "quality": "data/quality"},
            after=("normalize", "quality"),
            takes={"quality": "data/quality/rejects.jsonl"},
            out=SPLITS,
        ),
        Stage(
            "tokenize",
            "turn the WAVs of one shard into codec tokens",
            module="sotaque.data.tokenize",
            params=("tokenize",),
            spec=("backend",),
            code=("data/tokenize.py", *SPEECH),
            reads={"model": MODEL, "wav": "data/wav/{shard}", "base": BASE},
            after=("normalize", "fetch"),
            out="data/tokens/{model}/{shard}",
            parts=(".npy", ".jsonl"),
            fan=("shard",),
        ),
        Stage(
            "train",
            "adapt the base model to the training clips",
            module="sotaque.training.train",
            params=("seed", "lr", "epochs", "shards", "lora", "train"),
            spec=("backend", "lora_targets"),
            code=(
                *(
                    f"training/{name}.py"
                    for name in (
                        *("train", "trainer", "step", "schedule", "losses", "inputs", "batching"),
                        *("checkpoint", "stopping", "memory", "method", "bits", "lora"),
                        *("processes", "group", "sharding", "torchrun"),
                    )
                ),
                "data/tokenize.py",
                *SPEECH,
            ),
            reads={"model": MODEL, "splits": SPLITS, "tokens": "data/tokens/{model}", "base": BASE},
            after=("split", "tokenize", "fetch"),
            out="models/{model}/lora",
        ),
        Stage(
            "select",
            "choose the checkpoint by listening to each",
            module="sotaque.training.select",
            params=("seed", "select", "targets", "synthesize", "evaluate"),
            spec=("backend", "generation"),
            code=(
                "training/select.py",
                "training/result.py",
                "training/lora.py",
                "evaluation/curves.py",
                *HEARING,
                *SPEECH,
            ),
            reads={"model": MODEL, "splits": SPLITS, "base": BASE, "lora": "models/{model}/lora"},
            after=("split", "fetch", "train"),
            out="models/{model}/selected",
            parts=(".json",),
        ),
        Stage(
            "merge",
            "merge the selected adapter into a model that loads like the base",
            module="sotaque.training.merge",
            params=("merge",),
            spec=("backend", "about", "weights_licence", "network"),
            code=("training/merge.py", "training/card.py", "training/result.py", "training/lora.py", *SPEECH),
            reads={
                "model": MODEL,
                "base": BASE,
                "lora": "models/{model}/lora",
                "selected": "models/{model}/selected.json",
            },
            after=("fetch", "train", "select"),
            out="models/{model}/merged",
        ),
        Stage(
            "synthesize",
            "speak the test texts with one system",
            module="sotaque.evaluation.synthesize",
            params=("seed", "synthesize"),
            spec=("backend", "generation"),
            code=("evaluation/synthesize.py", "loudness.py", *SPEECH),
            reads={"model": MODEL, "splits": SPLITS, "base": BASE, "network": "models/{model}/{network}"},
            after=("split", "fetch", "network"),
            out="results/{model}/wav/{system}",
            fan=("system",),
        ),
        Stage(
            "evaluate",
            "measure one system by one metric",
            module="sotaque.evaluation.evaluate",
            params=("seed", "evaluate"),
            spec=("backend", "generation"),
            code=("evaluation/evaluate.py", "evaluation/mos.py", "evaluation/speed.py", *HEARING, *SPEECH),
            reads={
                "model": MODEL,
                "splits": SPLITS,
                "base": BASE,
                "network": "models/{model}/{network}",
                "wav": "results/{model}/wav/{system}",
            },
            after=("split", "fetch", "network", "synthesize"),
            out="results/{model}/{system}/{metric}",
            parts=(".json",),
            fan=("system", "metric"),
        ),
        Stage(
            "report",
            "gather everything into one page and metrics.json",
            module="sotaque.evaluation.report",
            params=("model", "seed", "lr", "epochs", "lora", "targets", "report", "ingest"),
            spec=("about", "weights_licence"),
            code=(
                "evaluation/report.py",
                "evaluation/page",
                "page",
                "evaluation/parts.py",
                "evaluation/curves.py",
                "evaluation/context.py",
                "evaluation/recognizer.py",
                "evaluation/wer.py",
                "evaluation/bootstrap.py",
                "rejects.py",
                "text.py",
                "audio.py",
                "manifest.py",
                "model_spec.py",
                "backends/families.py",
            ),
            reads={
                "model": MODEL,
                "manifest": "data/manifest",
                "quality": "data/quality",
                "splits": SPLITS,
                "base": BASE,
                "lora": "models/{model}/lora",
                "selected": "models/{model}/selected.json",
                "results": "results/{model}",
            },
            after=("ingest", "quality", "split", "fetch", "train", "select", "synthesize", "evaluate"),
            takes={"quality": "data/quality/rejects.jsonl"},
            out="results/{model}",
            parts=(
                "/report.html",
                "/metrics.json",
                "/headline.json",
                "/plots/loss.csv",
                "/plots/selection.csv",
            ),
        ),
    )
}
