"""Every error that a person using sotaque can cause.

SotaqueError                 what `sotaque WORD` prints as one message, without a traceback
├── SettingsError            params.yaml, a model's YAML or the command line (exit status 2)
├── InputError               a corpus, a manifest or an audio file that cannot be used
│   └── ClipError            one clip; carries a stable code and becomes a row of rejects.jsonl
├── ModelError               a model folder, a checkpoint or a tokenizer that cannot be used
├── IntegrityError           files on disk are not those that were sealed
└── StoppedError             asked to stop, and stopped where the same command goes on (exit status 75)

A message names the file, the line or id, what was found, what was expected and the way out.
"""

from collections.abc import Sequence

# Every code of a rejected clip or of a warning, and the way out; docs/rejects.md says what each means.
REMEDIES = {
    "anti-phase": "keep one of its channels: ffmpeg -i OLD -af 'pan=mono|c0=c0' NEW.wav",
    "channels": "mix them down: ffmpeg -i OLD -ac 1 NEW.wav",
    "clipped": "record it again with less gain, or take it out; nothing brings the tops back",
    "codec-loss": "listen to it: noise, music or another voice behind the speaker; take it out if so",
    "columns": "give the line the columns of the others, or quote the text that holds the delimiter",
    "command": "run the command, and list the file that it makes",
    "control-characters": "remove them; if there are many, the file may be UTF-16: save it as UTF-8",
    "dc-offset": "nothing need be done to the clip; see to the recorder",
    "decode-crash": "convert it with another program: ffmpeg -i OLD NEW.wav",
    "decode-memory": "cut it up, or raise normalize.max_decode_mb if the file is as it should be",
    "decode-timeout": "convert it: ffmpeg -i OLD NEW.wav, or raise normalize.max_decode_s if it is only long",
    "duplicate-audio": "remove one of the two, or put the right recording in the place of the copy",
    "duplicate-id": "give every clip an id of its own",
    "duplicate-text": "nothing need be done, if the speaker said it twice",
    "empty": "copy the file again from where it came from",
    "encoding": "save the file as UTF-8: iconv -f cp1252 -t utf-8 OLD > NEW; or name it in ingest.encoding",
    "foreign-characters": "spell the text in its language's letters where the speaker does; else leave it",
    "format": "convert it: ffmpeg -i OLD NEW.wav",
    "held-back": "limit the one peak, a click or a plosive, in an audio editor",
    "json": "make the line one JSON object, as json.dumps writes it",
    "leak": "nothing need be done; to train on it, name no part for the other clip, or take that one out",
    "line-too-long": "put one clip on each line; if the line is one, give it its transcript only",
    "long": "cut it into utterances",
    "markup": "nothing need be done; check that the remaining text is what is said",
    "missing": "put the file where the listing says, or correct the listing",
    "mistranscribed": "listen to it, and write down what is said",
    "narrow-band": "find the recording at its own rate; take it out if there is none",
    "no-reference": "add a clip of this speaker to the training part, or take the speaker's clips out",
    "no-speaker": "name the speaker of the clip in the listing, or take the clip out of the listing",
    "no-speech": "see whether this is the right recording; with normalize.trim: level it is kept",
    "no-transcript": "write down what is said in the clip, or take it out of the listing",
    "noisy": "find a cleaner take, or take it out",
    "not-a-transcript": "write down what is said in the clip, as plain text or with the times of utterances",
    "not-finite": "make the file anew from its source",
    "outside-root": "put the file itself into the corpus folder, and list its path from there",
    "quiet": "record it again nearer to the microphone; see whether it is noisy",
    "quotes": "close the quotation marks, and double those inside a text",
    "rate": "copy the file again from where it came from; its header is damaged or forged",
    "segment": "give start and end in seconds, both inside the recording",
    "short": "nothing need be done, if there are not many",
    "silence": "cut out the pauses, or see whether this is the right recording",
    "silent": "see whether this is the right recording",
    "speaking-rate": "see whether text and recording belong together, to their ends",
    "speech-too-fast": "see whether text and recording belong together",
    "speech-too-slow": "see whether text and recording belong together",
    "text-too-long": "cut the recording into utterances, each with its own text",
    "too-large": "cut it into utterances",
    "too-long": "cut it up, list its utterances' start and end times, or raise normalize.max_s (up to 600)",
    "too-short": "join it with the clip that follows, or take it out of the listing",
    "truncated": "copy the file again from where it came from",
    "unknown-characters": "write them otherwise, as the tokenizer can",
    "unknown-language": "name the language in the listing, or take the clip out",
    "unknown-part": "name one of these parts, or none",
    "unreadable": "copy the file again from where it came from, or convert it: ffmpeg -i OLD NEW.wav",
    "unsafe-name": "rename the file: letters, digits, '.', '_' and '-' are safe",
    "wrong-script": "name the language of the text in the listing or in ingest.language",
    "wrong-suffix": "nothing need be done; rename the file for other programs' sake",
}


class SotaqueError(Exception):
    exit_status = 1


class SettingsError(SotaqueError):
    exit_status = 2


class InputError(SotaqueError):
    pass


class ClipError(InputError):
    """One clip that cannot be used, or a warning about one.

    code: a key of REMEDIES, a stable word for rejects.jsonl. reason: what was found, what was expected.
    duration_s: of the recording, 0.0 where it is not known.
    """

    def __init__(self, code: str, reason: str, duration_s: float = 0.0):
        self.code = code
        self.reason = reason
        self.duration_s = duration_s
        self.advice = f"{reason}; {REMEDIES[code]}"
        super().__init__(f"{code}: {self.advice}")


class ModelError(SotaqueError):
    pass


class IntegrityError(SotaqueError):
    pass


class StoppedError(SotaqueError):
    exit_status = 75  # EX_TEMPFAIL of sysexits.h: try again


def join_first(items: Sequence[str], most: int = 5, separator: str = "; ") -> str:
    """The first few of many names or lines, and how many more there are."""
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return separator.join(items[:most]) + more
