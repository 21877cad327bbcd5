"""The one table of the pipeline: each stage's parameters, code, inputs and outputs.

It feeds the command line, the jobs (jobs.py) and the test that holds the Snakefile and dvc.yaml to it.
Paths are templates over {model}, {corpus} and the stage's own fan.
"""

from sotaque.metrics import METRICS
from sotaque.stages.data import CORPUS, INGEST, MEASURE, NORMALIZE, QUALITY, SPLIT, SURVEY, TOKENIZE
from sotaque.stages.evaluation import EVALUATE, REPORT, SYNTHESIZE
from sotaque.stages.model import FETCH, MERGE, SELECT, TRAIN
from sotaque.stages.stage import Stage

__all__ = ["DEMO", "METRICS", "STAGES", "SYSTEMS", "Stage"]

SYSTEMS = ("reference", "codec", "base", "tuned")
DEMO = "demo"

UPSTREAM_FIRST = (
    CORPUS,
    INGEST,
    NORMALIZE,
    FETCH,
    MEASURE,
    QUALITY,
    SURVEY,
    SPLIT,
    TOKENIZE,
    TRAIN,
    SELECT,
    MERGE,
    SYNTHESIZE,
    EVALUATE,
    REPORT,
)
STAGES = {stage.word: stage for stage in UPSTREAM_FIRST}
