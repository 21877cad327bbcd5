"""Train, validation and test, as the names of listings and folders say it."""

from __future__ import annotations

import re
from pathlib import Path

from sotaque.data.layouts import sources

PARTS = ("train", "training", "val", "valid", "validation", "dev", "test", "eval")
_SAYS_NOTHING = ("manifest", "metadata", "of")


def part_of(name: str) -> str:
    """`train`, `dev_manifest` and `test-00000-of-00004` name a part; any other word makes it none: ""."""
    words = [w for w in re.split("[-_.]", name.lower()) if not w.isdigit() and w not in _SAYS_NOTHING]
    return words[0] if len(words) == 1 and words[0] in PARTS else ""


def folders(corpus: Path) -> dict[str, str]:
    """What leads to each place where listings may lie, and its part: {"": "", "train/": "train", ...}.

    Links are not followed.
    """
    named = [path.name for path in sources.folders(corpus) if part_of(path.name)]
    return {"": "", **{f"{name}/": part_of(name) for name in named}}
