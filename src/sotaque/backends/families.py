"""The model families in one table: what each needs, how it reads text, and the settings of its voice.

`max_s` of every family is an upper bound that the user may set, in seconds of one clip. Without it the limit
follows from the text, and ends where the model's context ends (durations.py).

Nothing heavy is imported here: the Snakefile reads a model's file through it. The code of a family is the
room `backends/<name>/`, imported by `backends.load` alone.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import Literal

from sotaque.settings import number


@dataclass(frozen=True)
class OrpheusGeneration:
    temperature: float = number(0.6, 0.0, 5.0)
    top_p: float = number(0.9, 0.01, 1.0)
    repetition_penalty: float = number(1.1, 0.5, 5.0)
    max_s: float | None = number(None, 0.1, 600.0)


@dataclass(frozen=True)
class OpenAudioGeneration:
    temperature: float = number(0.8, 0.0, 5.0)
    top_p: float = number(0.8, 0.01, 1.0)
    repetition_penalty: float = number(1.1, 0.5, 5.0)
    max_s: float | None = number(None, 0.1, 600.0)


@dataclass(frozen=True)
class ChatterboxGeneration:
    """version: of the T3 weights, which decides how upstream samples them and when it stops.

    v2: upstream's AlignmentStreamAnalyzer ends the speech, repetition penalty 2.0 (chatterbox-tts 0.1.7).
    v3, the regional models too: no analyser, penalty 1.2, the last code's 40 ms are cut (upstream since
    2026-05). repetition_penalty: None for that of the version. cfg: weight of the guidance by the text, 0
    for none; exaggeration: of the emotion.
    """

    version: Literal["v2", "v3"] = "v2"
    temperature: float = number(0.8, 0.0, 5.0)
    top_p: float = number(1.0, 0.01, 1.0)
    min_p: float = number(0.05, 0.0, 1.0)
    repetition_penalty: float | None = number(None, 0.5, 5.0)
    cfg: float = number(0.5, 0.0, 10.0)
    exaggeration: float = number(0.5, 0.0, 1.0)
    max_s: float | None = number(None, 0.1, 40.0)


@dataclass(frozen=True)
class CsmGeneration:
    """top_k: the codes to draw from in each codebook, 0 for all."""

    temperature: float = number(0.9, 0.0, 5.0)
    top_k: int = number(50, 0, 2051)
    max_s: float | None = number(None, 0.1, 160.0)


@dataclass(frozen=True)
class Learning:
    """What the training of a family can be told of its own; most have nothing."""


@dataclass(frozen=True)
class OrpheusLearning(Learning):
    """rehearsed_share: the largest share of a clip's codes that are read as the network would say them."""

    rehearsed_share: float = number(0.0, 0.0, 0.9)


@dataclass(frozen=True)
class ChatterboxLearning(Learning):
    """text_drop: the share of clips that lose their text, which keeps the guidance's branch in the model."""

    text_drop: float = number(0.15, 0.0, 1.0)


@dataclass(frozen=True)
class CsmLearning(Learning):
    """depth_share: the share of frames whose codes after the first are learnt."""

    depth_share: float = number(1.0, 0.0, 1.0)


Generation = OrpheusGeneration | OpenAudioGeneration | ChatterboxGeneration | CsmGeneration


@dataclass(frozen=True)
class TextForm:
    """How a family reads text: its Unicode form, whether in lower case, what stands before it.

    prefix: `{language}` stands for the two letters of the language.
    """

    unicode_form: Literal["NFC", "NFKD"] = "NFC"
    lower_case: bool = False
    prefix: str = ""

    def apply(self, text: str, language: str) -> str:
        text = unicodedata.normalize(self.unicode_form, text.lower() if self.lower_case else text)
        return (self.prefix.format(language=language) if language else "") + text

    def describe(self, language: str) -> str:
        """A sentence for the report."""
        case = "lower case" if self.lower_case else "case kept"
        prefix = self.prefix.format(language=language)
        tag = f"{prefix} before it" if prefix else "no language tag"
        return f"{self.unicode_form}, {case}, diacritics kept, {tag}"


Files = tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Family:
    """One model family.

    generation, learning: the dataclasses of the sections of a model's file. network, codec: what `fetch` must
    find in each part; of the names in a group, any one. packages: what must be importable; install: the
    command that makes it so. text: by language, "" for all others. shortest_reference_s: of the clip of the
    same speaker that every prompt needs, 0 for a family that needs none. reads_codes: a reference is read as
    its codes, in training those of the corpus. usage: how to choose the voice of a merged model.
    """

    generation: type
    network: Files
    codec: Files
    packages: tuple[str, ...]
    install: str
    text: dict[str, TextForm]
    learning: type = Learning
    shortest_reference_s: float = 0.0
    reads_codes: bool = False
    usage: str = "Give it a reference clip of the speaker, best 10 s."

    def text_form(self, language: str) -> TextForm:
        return self.text.get(language, self.text[""])


FAMILIES = {
    "orpheus": Family(
        generation=OrpheusGeneration,
        network=(("config.json",), ("tokenizer.json",), ("*.safetensors",)),
        codec=(("config.json",), ("pytorch_model.bin", "model.safetensors")),
        packages=("transformers", "snac"),
        install="make install",
        text={"": TextForm()},
        usage="The speaker's name stands before the text: `{speaker}: text`.",
        learning=OrpheusLearning,
    ),
    "csm": Family(
        generation=CsmGeneration,
        network=(("config.json",), ("tokenizer.json",), ("*.safetensors",)),
        codec=(("config.json",), ("*.safetensors",)),
        packages=("transformers",),
        install="make install",
        text={"": TextForm()},
        learning=CsmLearning,
        shortest_reference_s=1.0,
        reads_codes=True,
    ),
    "chatterbox": Family(
        generation=ChatterboxGeneration,
        network=(
            ("ve.pt",),
            ("t3_mtl23ls_v2.safetensors", "t3_*.safetensors"),  # the regional models have names of their own
            ("s3gen.pt",),
            ("grapheme_mtl_merged_expanded_v1.json",),
        ),
        codec=(("s3gen.pt",),),
        packages=("chatterbox", "perth", "s3tokenizer", "conformer", "diffusers"),
        install="make backends",
        text={"": TextForm("NFKD", lower_case=True, prefix="[{language}]")},
        learning=ChatterboxLearning,
        shortest_reference_s=2.0,  # the window of the voice encoder is 1.6 s
    ),
    "openaudio": Family(
        generation=OpenAudioGeneration,
        network=(("config.json",), ("model.pth",), ("tokenizer.tiktoken",), ("special_tokens.json",)),
        codec=(("codec.pth",),),
        packages=("fish_speech", "dac", "audiotools"),
        install="make backends",
        text={"": TextForm()},
        shortest_reference_s=1.0,
        reads_codes=True,
    ),
}
