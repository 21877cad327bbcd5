"""Bring a model's network, codec and ASR into models/<model>/base, checked by sha256.

A part comes from a local folder, from a hub repository at a pinned revision, or it is a checkpoint
that openai-whisper knows by name. Nothing is loaded here, only names and bytes are looked at.

A base never shares a file with a folder of a person's, so that a change of one leaves the other alone; of
the hub client's cache it holds read-only links. `models/<model>/base.record.json` keeps the checksums of
the first fetch. While the model's file names the same source, another content is refused.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
from pathlib import Path
from typing import Any

from sotaque import files, model_spec
from sotaque.backends.families import FAMILIES, Files
from sotaque.errors import ModelError, join_first
from sotaque.model_spec import Source
from sotaque.settings import Settings

ASR: Files = (("*.pt",),)


def run(settings: Settings, *, model: Path, out: Path) -> dict[str, float]:
    """Fill `out` with network/, codec/ and asr/.

    Raises ModelError naming the part, the file and what to put where when something is missing.
    """
    spec = model_spec.read(settings.model)
    family = FAMILIES[spec.backend]
    record = out.with_name(f"{out.name}.record.json")
    recorded, parts = files.read_record(record), {}
    copies: dict[Path, Path] = {}
    with files.atomic_folder(out) as folder:
        for part, needed in {"network": family.network, "codec": family.codec, "asr": ASR}.items():
            source = getattr(spec, part)
            root = locate(source, part, needed, model, offline=settings.fetch.offline)
            check_names(root, part, needed, source, model)  # before anything is copied
            for path in wanted_files(root, source):
                place_file(path, folder / part / path.relative_to(root), source, copies)
            check(folder / part, part, needed, source, model)
            parts[part] = {"source": _to_json(source), "files": _checksums(folder / part)}
            check_record(parts[part], recorded.get(part), part, root, record)
        size = sum(p.stat().st_size for p in files.walk(folder))
    files.write_record(record, parts)
    return {"base_megabytes": size / 1e6}


def place_file(path: Path, target: Path, source: Source, copies: dict[Path, Path]) -> None:
    """Put one file of a source into the base.

    copies: source file -> copy, so that two parts of one folder share one copy.
    """
    if source.hub is not None:
        files.link_read_only(path, target)
    elif path in copies:
        target.parent.mkdir(parents=True, exist_ok=True)
        os.link(copies[path], target)
    else:
        files.copy(path, target)
        copies[path] = target


def _to_json(source: Source) -> dict[str, Any]:
    return json.loads(json.dumps(dataclasses.asdict(source)))


def _checksums(folder: Path) -> dict[str, str]:
    return {p.relative_to(folder).as_posix(): files.sha256(p) for p in files.walk(folder)}


def check_record(found: dict[str, Any], recorded: Any, part: str, root: Path, record: Path) -> None:
    """Raises ModelError when a part of the same source is not what it was when it was first fetched.

    A folder that is just as git has it is not damaged: a newer commit brought newer files.
    """
    if not isinstance(recorded, dict) or recorded.get("source") != found["source"]:
        return
    before, now = recorded.get("files"), found["files"]
    if not isinstance(before, dict) or before == now or _is_committed(root):
        return
    names = [name for name in sorted(before.keys() | now.keys()) if before.get(name) != now.get(name)]
    lines = [
        f"{root / name}: sha256 was {str(before.get(name, 'none'))[:12]} and is {now.get(name, 'none')[:12]}"
        for name in names
    ]
    raise ModelError(
        f"{part} is not what it was when it was first fetched: {join_first(lines)}. If the file is damaged, "
        f"{_describe_fix(found['source'], root)}. If you changed it on purpose, delete {record} and fetch "
        "again"
    )


def _is_committed(folder: Path) -> bool:
    """Whether git tracks all files of a folder and finds none changed."""
    words = [["ls-files"], ["status", "--porcelain", "--ignored", "--untracked-files=all"]]
    try:
        tracked, changed = (
            subprocess.run(["git", *w, "--", "."], cwd=folder, capture_output=True, check=True).stdout
            for w in words
        )
    except (OSError, subprocess.CalledProcessError):
        return False
    return bool(tracked) and not changed


def _describe_fix(source: dict[str, Any], root: Path) -> str:
    if source["folder"] is not None:
        return f"copy it again from where it came from, or `git checkout -- {root}` if git has it"
    return f"delete it in the cache ({root}), and it is downloaded again"


def locate(source: Source, part: str, needed: Files, model: Path, offline: bool) -> Path:
    """The folder of one source on this machine, fetched first where need be."""
    if source.hub is not None:
        return _snapshot(source, part, needed, model, offline)
    if source.whisper is not None:
        return _whisper(source, part, model, offline)
    folder = Path(source.folder)
    if not folder.is_dir():
        raise ModelError(
            f"{model}: {part}.folder is {folder}, and there is no such folder; put {_listed(needed)} there"
        )
    return folder


def wanted_files(root: Path, source: Source) -> list[Path]:
    """What is taken of a folder: `files` of the source where it names any, else all but cards."""
    found = [path for path in files.walk(root) if path.suffix != ".md" and not path.name.startswith(".")]
    if source.whisper is not None:
        return [path for path in found if path.name == _whisper_url(source.whisper).rsplit("/", 1)[-1]]
    if source.files:
        return [p for p in found if any(p.relative_to(root).match(pattern) for pattern in source.files)]
    return found


def _listed(needed: Files) -> str:
    return ", ".join(" or ".join(names) for names in needed)


def check(folder: Path, part: str, needed: Files, source: Source, model: Path) -> None:
    """Every needed file is there and every pinned checksum agrees."""
    check_names(folder, part, needed, source, model)
    for name, expected in source.sha256.items():
        path = folder / name
        if not path.is_file():
            raise ModelError(f"{model}: {part}.sha256 names {name}, and {part} has no such file")
        found = files.sha256(path)
        if found != expected:
            raise ModelError(
                f"{model}: {part}/{name} has sha256 {found}, expected {expected}; "
                "the file is damaged or of another revision: fetch it again, or correct the pin"
            )


def check_names(folder: Path, part: str, needed: Files, source: Source, model: Path) -> None:
    for names in needed:
        if not any(list(folder.glob(name)) for name in names):
            there = ", ".join(p.relative_to(folder).as_posix() for p in files.walk(folder)[:12]) or "nothing"
            taken = f", where {part}.files takes only {', '.join(source.files)}" if source.files else ""
            raise ModelError(
                f"{model}: {part} lacks {' or '.join(names)}; found: {there}{taken}; "
                f"expected: {_listed(needed)}; bring it to {source.folder or source.hub or source.whisper}, "
                f"or correct {part} in {model}"
            )


def _snapshot(source: Source, part: str, needed: Files, model: Path, offline: bool) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(
            snapshot_download(
                source.hub,
                revision=source.revision,
                local_files_only=offline,
                allow_patterns=list(source.files) or None,
            )
        )
    except Exception as error:  # the hub client raises a dozen unrelated kinds
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(
            f"{model}: {part} could not be fetched from the hub repository {source.hub} at revision "
            f"{source.revision}: {reason}. Without the network, bring its files {_listed(needed)} to a "
            f"folder of this machine and write `{part}: {{folder: PATH}}` in {model}"
        ) from None


def _whisper_url(name: str) -> str | None:
    import whisper

    return whisper._MODELS.get(name)


def _whisper(source: Source, part: str, model: Path, offline: bool) -> Path:
    """The folder that holds the checkpoint, whose sha256 is part of the address that whisper knows."""
    import whisper

    url = _whisper_url(source.whisper)
    if url is None:
        known = ", ".join(whisper.available_models())
        raise ModelError(f"{model}: {part}.whisper is {source.whisper!r}, allowed: {known}")
    cache = Path.home() / ".cache" / "whisper"
    name = url.rsplit("/", 1)[-1]
    try:
        if offline and not (cache / name).is_file():
            raise OSError("fetch.offline is true and it is not in the cache")
        return Path(whisper._download(url, str(cache), in_memory=False)).parent
    except (OSError, RuntimeError) as error:
        raise ModelError(
            f"{model}: the Whisper checkpoint {source.whisper} could not be fetched: {error}. "
            f"Without the network, put {name} into a folder of this machine and write "
            f"`{part}: {{folder: PATH}}` in {model}"
        ) from None
