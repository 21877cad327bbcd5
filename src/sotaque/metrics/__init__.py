"""The metrics: one file each, and one line here. They know nothing of reports or of provenance."""

METRICS = [
    "wer",
    "mos",
    "similarity",
    "speed",
]
# The metric whose rows hold what was recognised in each clip, and how the clip failed.
TRANSCRIPTS = "wer"
