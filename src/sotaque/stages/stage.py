"""What a stage of the pipeline is."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Stage:
    """One word of the pipeline.

    params: dotted keys of params.yaml that its result depends on.
    spec: keys of workflow/models/<model>.yaml that its result depends on.
    code: modules and folders under src/sotaque whose bytes its result depends on.
    reads: flag -> template of the path that its command takes.
    after: the stages whose seals are its inputs; "network" stands for whoever made {network}.
    takes: of a stage before it, the template of the one file that it reads; what else that seal says is no
        matter to it.
    inputs: stage -> patterns over the names in its seal: the files that are checked before this stage runs.
        Without an entry, all files of a stage in `after`, and of one in `takes` that file alone. It may name
        stages further up whose files this stage reads too.
    clips: templates of manifests; the audio files that they name are checked too.
    out: template; a folder, or with `parts` the prefix of the files out + part.
    fan: the wildcards it runs once per value of; flags of its command too.
    """

    word: str
    summary: str
    module: str
    params: tuple[str, ...]
    code: tuple[str, ...]
    reads: dict[str, str]
    after: tuple[str, ...]
    out: str
    parts: tuple[str, ...] = ()
    fan: tuple[str, ...] = ()
    spec: tuple[str, ...] = ()
    takes: dict[str, str] = field(default_factory=dict)
    inputs: dict[str, tuple[str, ...]] = field(default_factory=dict)
    clips: tuple[str, ...] = ()

    def seal_of(self, out: str | Path) -> Path:
        """Where the seal of an output lies: in the folder, or beside the files."""
        if not self.parts:
            return Path(out) / "seal.json"
        return Path(f"{out}{self.parts[0]}").with_suffix(".seal.json")
