"""The stages of the model: the base, its adapters, the one that is chosen, merged."""

from sotaque.stages.shared import BASE, HEARING, MODEL, SPEECH, SPLITS
from sotaque.stages.stage import Stage

FETCH = Stage(
    "fetch",
    "bring the base model, codec and ASR here and check them",
    module="sotaque.fetch",
    params=("fetch",),
    spec=("backend", "network", "codec", "asr"),
    code=("fetch.py", "model_spec.py", "backends/families.py"),
    reads={"model": MODEL},
    after=(),
    out=BASE,
)

TRAIN = Stage(
    "train",
    "adapt the base model to the training clips",
    module="sotaque.training.train",
    params=("seed", "lr", "epochs", "shards", "lora", "train"),
    spec=("backend", "lora_targets", "learning"),
    code=(
        *(
            f"training/{name}.py"
            for name in (
                *("train", "trainer", "step", "schedule", "losses", "inputs", "batching"),
                *("checkpoint", "stopping", "memory", "method", "bits", "lora", "record", "feasibility"),
                *("processes", "group", "sharding", "torchrun"),
            )
        ),
        "data/tokenize.py",
        *SPEECH,
    ),
    reads={"model": MODEL, "splits": SPLITS, "tokens": "data/tokens/{model}", "base": BASE},
    after=("split", "tokenize", "fetch"),
    out="models/{model}/lora",
    clips=(f"{SPLITS}/train.jsonl",),
)

SELECT = Stage(
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
    clips=(f"{SPLITS}/train.jsonl", f"{SPLITS}/val.jsonl"),
)

MERGE = Stage(
    "merge",
    "merge the selected adapter into a model that loads like the base",
    module="sotaque.training.merge",
    params=("merge",),
    spec=("backend", "about", "weights_licence", "network", "generation"),
    code=(
        *(f"training/{name}.py" for name in ("merge", "card", "record", "result", "lora")),
        *SPEECH,
    ),
    reads={
        "model": MODEL,
        "base": BASE,
        "lora": "models/{model}/lora",
        "selected": "models/{model}/selected.json",
    },
    after=("fetch", "train", "select"),
    out="models/{model}/merged",
)
