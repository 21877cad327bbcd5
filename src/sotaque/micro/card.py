"""Model cards, rendered from measured figures, curves and params: no number in them is typed."""

import json
from pathlib import Path

from sotaque.micro import progress
from sotaque.micro.settings import Micro
from sotaque.micro.voices import BASE, HEARD_VARIANTS, TARGETS, Voice

TRAININGS = {  # label -> checkpoint; its curve lies beside it
    "codec": {"encoder and codebooks": "codec/encoder.pt", "decoder": "codec/decoder.pt"},
    "asr": {"recogniser": "asr/asr.pt"},
    "base": {"base": "base/base.pt"},
}
TITLES = {
    "codec": (
        "A small SNAC codec",
        "`SNAC.from_pretrained(folder)` of the package `snac` loads this folder.",
    ),
    "asr": (
        "A small Whisper that spells",
        "`whisper.load_model(path)` of openai-whisper loads `micro.pt`. It writes letter by letter, in lower "
        "case without punctuation, so it can also write words that it never heard, wrongly or rightly.",
    ),
    "base": (
        "A small base model in Orpheus's layout",
        "`LlamaForCausalLM.from_pretrained(folder)` of transformers loads it; the tokenizer is beside.",
    ),
}
_CURVE_ROWS = 12
ADAPTED = Path("bench/results/accents.json")  # by `make bench NAME=accents`
# What each model is asked for: figure, "<=" or ">=", limit. The card says which are met.
GOALS = {
    "asr": (("wer_pt-br", "<=", 0.03), ("wer_es-mx", "<=", 0.03), ("wer_en-gb", "<=", 0.03)),
    "codec": (
        ("wer_pt-br", "<=", 0.06),
        ("similarity_lowest", ">=", 0.85),
        ("voices_nearest_own_share", ">=", 1.0),
    ),
    "base": (("wer", "<=", 0.15), ("rtf_batch_1", "<=", 0.5)),
}


def write_all(micro: Micro) -> None:
    for name in TITLES:
        (micro.assets / name / "README.md").write_text(render(micro, name), encoding="utf-8")


def render(micro: Micro, name: str) -> str:
    title, use = TITLES[name]
    figures = json.loads((micro.assets / name / "figures.json").read_text(encoding="utf-8"))
    parts = [
        f"# {title}",
        "Made by `make micro` (src/sotaque/micro/) from espeak-ng's synthetic speech alone. A demonstration: "
        "it knows the small domain of data/lexicon/ and nothing else. Licence: Apache-2.0.",
        use,
        "## Measured",
        _table(("figure", "value"), [(key, _value(value)) for key, value in figures["measured"].items()]),
        *micro.sections.get("notes", {}).get(name, []),
        "## Goals",
        _table(("figure", "goal", "measured", "met"), list(goal_rows(name, figures["measured"]))),
        "Voices and texts of these figures were in no training: the targets' voices, and texts that are "
        "reserved by their hash. `novel_words`: sentences with words that no training text holds. WER is "
        "that of the micro recogniser; DNSMOS is the predicted opinion (`mos`).",
        *(adapted_lines() if name == "base" and ADAPTED.exists() else []),
        "## Data",
        data_lines(micro, name),
        "## Training",
        training_lines(micro, name),
        f"Measured on: {_value(figures['hardware'])}. Settings: figures.json beside.",
    ]
    return "\n\n".join(parts) + "\n"


def goal_rows(name: str, measured: dict):
    for figure, sense, limit in GOALS[name]:
        value = measured[figure]
        met = value <= limit if sense == "<=" else value >= limit
        yield figure, f"{sense} {limit}", _value(value), "yes" if met else "**no**"


def adapted_lines() -> list[str]:
    """What the demonstration makes of the base: three unseen voices, a control, a recogniser of others."""
    found = json.loads(ADAPTED.read_text(encoding="utf-8"))
    rows = [
        (name, system, _value(figures["wer"]), _value(figures["similarity"]))
        for name, run in found["runs"].items()
        for system, figures in run["systems"].items()
    ]
    novel = {name: run["novel_words"] for name, run in found["runs"].items()}
    return [
        "## Adapted to voices that it never heard",
        _table(("target", "system", "WER", "similarity"), rows),
        "`wrong texts` is a control: each training clip bore another clip's text. Its WER shows what the "
        "tuned WER would be if it did not come from reading.",
        f"WER of tuned on sentences with words that no training text holds: {_value(novel)}.",
        f"WER of the English target by pocketsphinx with its own US English model, a recogniser that knows "
        f"nothing of this project: {_value(found['pocketsphinx_wer'])}.",
    ]


def data_lines(micro: Micro, name: str) -> str:
    lines = [f"- Targets, heard in no training: {', '.join(map(_voice, TARGETS.values()))}."]
    if name == "base":
        spoken = micro.sections["spoken"]
        counts = ", ".join(f"{512 * blocks} clips of {part}" for part, blocks in spoken["blocks"].items())
        lines.append(f"- Voices: {', '.join(map(_voice, BASE))}.")
        return "\n".join(
            [*lines, f"- {counts}; languages in the shares {_value(spoken['language_shares'])}."]
        )
    section = micro.sections["corpus"]
    index = micro.work / "pool" / "index.jsonl"
    hours = sum(json.loads(line)["length"] for line in index.open(encoding="utf-8")) / 24_000 / 3600
    lines.append(
        f"- {section['clips']} clips, {hours:.1f} h; languages {_value(section['language_shares'])}."
    )
    lines.append(
        f"- {section['base_share']:.0%} by the base's voices, the rest by {len(HEARD_VARIANTS)} other "
        "variants of European and Brazilian Portuguese, Spanish of Spain and Latin America, American and "
        "British English, at random pitch and speed."
    )
    return "\n".join(lines)


def training_lines(micro: Micro, name: str) -> str:
    parts = []
    for label, relative in TRAININGS[name].items():
        checkpoint = micro.work / relative
        state, path = progress.load(checkpoint), checkpoint.with_name(f"{checkpoint.stem}-curve.jsonl")
        if state is None:
            continue
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        minutes = progress.elapsed_s(path) / 60
        parts.append(f"**{label}**: {state['step']} steps in {minutes:.0f} min of wall clock on one core.")
        parts.append(_curve(rows))
    return "\n\n".join(parts)


def _curve(rows: list[dict]) -> str:
    """Some rows of a curve, of validation where there is one, evenly spaced, the last one included."""
    validated = [row for row in rows if "validation_nats" in row]
    keys = tuple(key for key in (validated or rows)[-1] if key != "running_s")
    full = [row for row in rows if all(key in row for key in keys)]
    count = min(_CURVE_ROWS, len(full))
    chosen = [full[round(i * (len(full) - 1) / max(1, count - 1))] for i in range(count)]
    return _table(keys, [[_value(row[key]) for key in keys] for row in chosen])


def _voice(voice: Voice) -> str:
    return f"{voice.speaker} (`{voice.espeak}`)"


def _value(value) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, dict):
        return ", ".join(f"{key} {_value(inner)}" for key, inner in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(map(_value, value)) or "none"
    return str(value)


def _table(head, rows) -> str:
    lines = [" | ".join(head), " | ".join("---" for _ in head), *(" | ".join(row) for row in rows)]
    return "\n".join(f"| {line} |" for line in lines)
