"""The micro pipeline's params.yaml as dataclasses; unknown keys and missing ones stop here, by name."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sotaque import yaml_file
from sotaque.errors import SettingsError

PARAMS = Path(__file__).parent / "params.yaml"


@dataclass(frozen=True)
class Micro:
    """Sections stay mappings until their stage asks for them: importing torch to read a path is too much."""

    seed: int
    work: Path
    assets: Path
    sections: dict[str, dict[str, Any]]

    def section(self, name: str, kind: type):
        """The section as a dataclass of `kind`; the seed is added where `kind` has one."""
        given = dict(self.sections[name])
        fields = {field.name for field in dataclasses.fields(kind)}
        if "seed" in fields:
            given["seed"] = self.seed
        if set(given) != fields:
            raise SettingsError(
                f"{PARAMS}: section {name}: unknown keys {sorted(set(given) - fields)}, "
                f"missing keys {sorted(fields - set(given))}"
            )
        return kind(**given)


def read(path: Path = PARAMS) -> Micro:
    tree = yaml_file.read(path)
    top = {key: tree.pop(key, None) for key in ("seed", "work", "assets")}
    absent = [key for key, value in top.items() if value is None]
    if absent:
        raise SettingsError(f"{path}: the keys {absent} are missing")
    return Micro(top["seed"], Path(top["work"]), Path(top["assets"]), tree)
