"""Every error that a person using sotaque can cause.

SotaqueError                 what `sotaque WORD` prints as one message, without a traceback
├── SettingsError            params.yaml, a model's YAML or the command line (exit status 2)
├── InputError               a corpus, a manifest or an audio file that cannot be used
│   └── ClipError            one clip; carries a stable code and becomes a row of rejects.jsonl
├── ModelError               a model folder, a checkpoint or a tokenizer that cannot be used
└── IntegrityError           files on disk are not those that were sealed

A message names the file, the line or id, what was found, what was expected and the way out.
"""


class SotaqueError(Exception):
    exit_status = 1


class SettingsError(SotaqueError):
    exit_status = 2


class InputError(SotaqueError):
    pass


class ClipError(InputError):
    """One clip that cannot be used.

    code: a stable word for rejects.jsonl, such as "unreadable" or "too-short".
    """

    def __init__(self, code: str, reason: str):
        super().__init__(f"{code}: {reason}")
        self.code = code
        self.reason = reason


class ModelError(SotaqueError):
    pass


class IntegrityError(SotaqueError):
    pass
