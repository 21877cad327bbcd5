"""The metrics: one file each, and one line here. They know nothing of reports or of provenance."""

METRICS = (
    "wer",
    "mos",
    "similarity",
    "speed",
)
