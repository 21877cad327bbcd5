"""params.yaml as frozen dataclasses: one per section, one field per key.

An unknown key, a wrong type or a bad range stops here, by name, before anything is touched.
Reasons for the defaults stand in params.yaml, beside the values.
"""

from sotaque.settings.data import (
    Code,
    Corpus,
    Ingest,
    Layout,
    Measure,
    Normalize,
    Quality,
    Split,
    Survey,
    Tokenize,
)
from sotaque.settings.evaluation import Compare, Evaluate, Report, Synthesize, Targets, Tracking
from sotaque.settings.mapping import abbreviate, build, lookup, number
from sotaque.settings.model import Fetch, Gate, Lora, Merge, Select, Train
from sotaque.settings.params import MODELS, Settings, check, of, read

__all__ = [
    "MODELS",
    "Code",
    "Compare",
    "Corpus",
    "Evaluate",
    "Fetch",
    "Gate",
    "Ingest",
    "Layout",
    "Lora",
    "Measure",
    "Merge",
    "Normalize",
    "Quality",
    "Report",
    "Select",
    "Settings",
    "Split",
    "Survey",
    "Synthesize",
    "Targets",
    "Tokenize",
    "Tracking",
    "Train",
    "abbreviate",
    "build",
    "check",
    "lookup",
    "number",
    "of",
    "read",
]
