"""The stages of listening: what is spoken, measured and shown."""

from sotaque.stages.shared import BASE, MODEL, SPEECH, SPLITS
from sotaque.stages.stage import Stage

SYNTHESIZE = Stage(
    "synthesize",
    "speak the test texts with one system",
    module="sotaque.evaluation.synthesize",
    params=("seed", "synthesize"),
    spec=("backend", "generation"),
    code=("evaluation/synthesize.py", "metrics/failures.py", "loudness.py", *SPEECH),
    reads={"model": MODEL, "splits": SPLITS, "base": BASE, "network": "models/{model}/{network}"},
    after=("split", "fetch", "network"),
    out="results/{model}/wav/{system}",
    fan=("system",),
)

EVALUATE = Stage(
    "evaluate",
    "measure one system by one metric",
    module="sotaque.evaluation.evaluate",
    params=("seed", "evaluate"),
    spec=("backend", "generation"),
    code=(
        "evaluation/evaluate.py",
        "evaluation/recognizer.py",
        "evaluation/synthesize.py",
        "metrics",
        "text.py",
        "languages.py",
        "normalizers",
        "loudness.py",
        "processor.py",
        *SPEECH,
    ),
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
)

REPORT = Stage(
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
        "evaluation/recognizer.py",
        "metrics",
        "rejects.py",
        "text.py",
        "languages.py",
        "normalizers",
        "audio.py",
        "containers.py",
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
)
