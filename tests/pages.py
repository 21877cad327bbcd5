"""What a browser would make of a page, and what must be true of every page."""

from __future__ import annotations

import base64
import hashlib
import html.parser
import io
import re

import soundfile

EVIL = '<script>document.title="pwned"</script><img src=x onerror=alert(1)> "&\''


class Reader(html.parser.HTMLParser):
    """The elements of a page with their attributes, and the text outside scripts."""

    def __init__(self, page: str):
        super().__init__()
        self.elements, self.text, self._inside = [], [], ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self._inside = tag if tag in ("script", "style") else ""

    def handle_endtag(self, tag):
        self._inside = ""

    def handle_data(self, data):
        if not self._inside:
            self.text.append(data)

    def of(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]

    def words(self):
        return " ".join(" ".join(self.text).split())


def assert_text_of_others_is_inert(page: str) -> None:
    """EVIL stands on the page as text; one script, known by its checksum; no handlers."""
    reader = Reader(page)
    assert EVIL in "".join(reader.text), "the text is shown as it is"
    assert len(reader.of("script")) == 1
    assert not any(name.startswith("on") for _, attributes in reader.elements for name in attributes)
    assert all(image["src"].startswith("data:image/png;base64,") for image in reader.of("img"))
    policy = next(m["content"] for m in reader.of("meta") if m.get("http-equiv"))
    assert "default-src 'none'" in policy
    script = re.search(r"<script>(.*?)</script>", page, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy


def assert_needs_nothing_from_outside(page: str) -> None:
    for _, attributes in Reader(page).elements:
        for name in ("src", "href", "action", "data", "srcset", "poster"):
            assert attributes.get(name, "#").startswith(("#", "data:"))
    assert "url(" not in page
    assert "@import" not in page


def samples_of(player: str) -> tuple[bytes, int]:
    """The 16-bit samples of a player's data URI, little endian, and their rate in Hz."""
    encoded = player.removeprefix("data:audio/flac;base64,")
    samples, rate_hz = soundfile.read(io.BytesIO(base64.b64decode(encoded)), dtype="int16")
    return samples.astype("<i2").tobytes(), rate_hz
