"""From checkpoints to the files that are shipped, each by the loader of its own library."""

from snac import SNAC
from whisper.model import ModelDimensions

from sotaque.errors import ModelError
from sotaque.micro import base as base_module
from sotaque.micro import decoder as decoder_module
from sotaque.micro import progress, vocabulary
from sotaque.micro.asr import training as asr_module
from sotaque.micro.asr.network import Trainee
from sotaque.micro.asr.spelling import Alphabet
from sotaque.micro.settings import Micro

ASR_NAME = "micro.pt"


def _state(path) -> dict:
    state = progress.load(path)
    if state is None:
        raise ModelError(f"{path}: there is no checkpoint; run the stage that makes it")
    return state


def ship(micro: Micro) -> None:
    ship_codec(micro)
    ship_asr(micro)
    ship_base(micro)


def ship_codec(micro: Micro) -> None:
    codec = SNAC.from_pretrained(str(micro.work / "codes"))
    state = _state(micro.work / "codec" / "decoder.pt")
    decoder_module.export(codec, state["average"], micro.sections["codec"]["model"], micro.assets / "codec")


def ship_asr(micro: Micro) -> None:
    settings = micro.section("asr", asr_module.AsrSettings)
    trainee = Trainee(ModelDimensions(**settings.dims), Alphabet())
    trainee.load_state_dict(_state(micro.work / "asr" / "asr.pt")["model"])
    asr_module.export(trainee, settings, micro.assets / "asr" / ASR_NAME)


def ship_base(micro: Micro) -> None:
    settings = micro.section("base", base_module.BaseSettings)
    size = micro.sections["codec"]["model"]["codebook_size"]
    network = base_module.build(settings.model, vocabulary.layout(vocabulary.build(size)))
    network.load_state_dict(_state(micro.work / "base" / "base.pt")["model"])
    base_module.export(network, size, micro.assets / "base")
