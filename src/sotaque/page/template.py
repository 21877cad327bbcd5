"""A page from its template: style and script inside, every value escaped, nothing fetched from anywhere."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def fill(template: Path, values: dict[str, Any]) -> str:
    """The page of a template beside its caller; head.html and macros.html are at its hand.

    Every value is escaped by the template engine, so a transcript is only ever text.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([template.parent, HERE]), autoescape=True,
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    return environment.get_template(template.name).render(values | _assets())


def _assets() -> dict[str, Any]:
    """The style sheet and script, and the checksum by which the page allows this one script to run."""
    from markupsafe import Markup

    style, script = ((HERE / name).read_text(encoding="utf-8") for name in ("style.css", "page.js"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    return {"style": Markup(style), "script": Markup(script), "script_sha256": digest}  # noqa: S704 - our own files
