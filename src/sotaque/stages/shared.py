"""What several stages name: paths, and the code of whole rooms."""

SPEECH = ("backends", "device.py", "model_spec.py", "audio.py", "containers.py", "ffmpeg.py", "manifest.py")
HEARING = (
    *(f"evaluation/{name}.py" for name in ("recognizer", "synthesize")),
    *(f"metrics/{name}.py" for name in ("context", "failures", "intervals", "registry")),
    *(f"metrics/{name}.py" for name in ("wer", "similarity")),
    "text.py",
    "languages.py",
    "normalizers",
    "loudness.py",
)
MODEL = "workflow/models/{model}.yaml"
BASE = "models/{model}/base"
SPLITS = "data/splits"
CLIPS = tuple(f"data/measures/{name}.py" for name in ("row", "table", "relative", "limits"))
