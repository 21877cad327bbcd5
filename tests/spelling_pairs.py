"""Pairs of texts, checked by hand, that are read alike or not: for the tests and for docs/text.md.

`python tests/spelling_pairs.py` writes the tables of docs/text.md anew.
"""

import csv
import re
from pathlib import Path

from sotaque.languages import LANGUAGES

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs/text.md"
NAMES = {"pt": "Portuguese", "es": "Spanish", "en": "English", "ar": "Arabic"}


def read() -> list[tuple[str, bool, str, str]]:
    """(language, whether both are read alike, one text, the other)"""
    with (HERE / "spelling_pairs.tsv").open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        return [(row["language"], row["alike"] == "yes", row["one"], row["other"]) for row in rows]


def render_pairs() -> str:
    lines = []
    for code, name in NAMES.items():
        for alike, title in ((True, "One form"), (False, "Kept apart")):
            lines += ["", f"**{name}: {title.lower()}**", "", "| text | text |", "|---|---|"]
            lines += [f"| {one} | {other} |" for c, a, one, other in read() if (c, a) == (code, alike)]
    return "\n".join([*lines, ""])


def render_languages() -> str:
    lines = [
        "",
        "| code | other names | script checked | letters checked | normaliser |",
        "|---|---|---|---|---|",
    ]
    for row in LANGUAGES.values():
        script, letters = row.script.capitalize() or "-", "yes" if row.letters else "-"
        lines.append(
            f"| `{row.code}` | {', '.join(row.names)} | {script} | {letters} | {row.normalizer.name} |"
        )
    return "\n".join([*lines, ""])


def rendered(page: str) -> str:
    """The page with both tables as they should be."""
    for name, table in (("pairs", render_pairs()), ("languages", render_languages())):
        page = re.sub(
            rf"(?s)(<!-- {name} -->\n).*?(<!-- end {name} -->)",
            lambda m, t=table: m[1] + t + "\n" + m[2],
            page,
        )
    return page


if __name__ == "__main__":
    PAGE.write_text(rendered(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
