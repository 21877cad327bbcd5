"""The stages of the corpus: from a folder of recordings to the codec's tokens."""

from sotaque.stages.shared import BASE, CLIPS, MODEL, SPEECH, SPLITS
from sotaque.stages.stage import Stage

CORPUS = Stage(
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
        "containers.py",
        "ffmpeg.py",
    ),
    reads={},
    after=(),
    out="data/raw/demo",
)

INGEST = Stage(
    "ingest",
    "read a corpus of any known layout into manifests, with rejects and reasons",
    module="sotaque.data.ingest",
    params=("shards", "ingest"),
    code=(
        "data/ingest.py",
        "data/layouts",
        "data/listings.py",
        "data/ids.py",
        "data/transcripts.py",
        "text.py",
        "languages.py",
        "normalizers",
        "audio.py",
        "containers.py",
        "ffmpeg.py",
        "sandbox.py",
        "rejects.py",
        "manifest.py",
    ),
    reads={"corpus": "data/raw/{corpus}"},
    after=("corpus",),
    out="data/manifest",
)

NORMALIZE = Stage(
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
        "containers.py",
        "ffmpeg.py",
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
    clips=("data/manifest/{shard}.jsonl",),
)

MEASURE = Stage(
    "measure",
    "measure the clips of one shard: level, clipping, band, noise, silence, rate of speech",
    module="sotaque.data.measure",
    params=("measure",),
    spec=("backend",),
    code=(
        "data/measure.py",
        "data/transcripts.py",
        *(f"data/measures/{name}.py" for name in ("row", "signal", "characters", "codec")),
        "evaluation/recognizer.py",
        *(f"metrics/{name}.py" for name in ("context", "failures", "intervals", "registry", "wer")),
        "vad.py",
        "text.py",
        "languages.py",
        "normalizers",
        "loudness.py",
        *SPEECH,
    ),
    reads={"model": MODEL, "manifest": "data/manifest", "wav": "data/wav/{shard}", "base": BASE},
    after=("normalize", "fetch"),
    out="data/measures/{shard}",
    parts=(".jsonl",),
    fan=("shard",),
    inputs={"ingest": ("manifest/{shard}.jsonl",)},
    clips=("data/manifest/{shard}.jsonl",),
)

QUALITY = Stage(
    "quality",
    "drop the clips that quality.drop asks for, each with its reason",
    module="sotaque.data.quality",
    params=("shards", "ingest.max_rejected_share", "quality.drop", "quality.max_dropped_share"),
    code=("data/quality.py", *CLIPS, "rejects.py", "manifest.py"),
    reads={"manifest": "data/manifest", "measures": "data/measures", "wav": "data/wav"},
    after=("ingest", "measure"),
    out="data/quality",
)

SURVEY = Stage(
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
        "containers.py",
        "ffmpeg.py",
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
    inputs={"normalize": ("*",)},
)

SPLIT = Stage(
    "split",
    "divide the utterances into train, val and test without leaks",
    module="sotaque.data.split",
    params=("seed", "shards", "split"),
    code=("data/split.py", "rejects.py", "manifest.py", "text.py", "languages.py", "normalizers"),
    reads={"wav": "data/wav", "quality": "data/quality"},
    after=("normalize", "quality"),
    takes={"quality": "data/quality/rejects.jsonl"},
    out=SPLITS,
    inputs={"ingest": ("*.jsonl",), "normalize": ("*.jsonl",)},  # an edited transcript is told here
)

TOKENIZE = Stage(
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
)
