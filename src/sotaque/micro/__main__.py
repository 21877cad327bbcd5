"""`python -m sotaque.micro WORD`: one stage of the making of the micro models. Each resumes where it was."""

import argparse
import os
import sys
from pathlib import Path

from sotaque.errors import SotaqueError
from sotaque.micro import settings as settings_module
from sotaque.micro.settings import Micro


def corpus(micro: Micro) -> None:
    from sotaque.micro import pool

    pool.make(micro.work / "pool", micro.section("corpus", pool.PoolSettings), micro.seed, _cores())


def codec(micro: Micro) -> None:
    from sotaque.micro import codec as codec_module
    from sotaque.micro import decoder
    from sotaque.micro.pool import Pool

    settings = micro.section("codec", codec_module.CodecSettings)
    made = codec_module.train(Pool(micro.work / "pool"), settings, micro.work / "codec")
    decoder.export(made, made.decoder.state_dict(), settings.model, micro.work / "codes")


def decoder(micro: Micro) -> None:
    from snac import SNAC

    from sotaque.micro import decoder as decoder_module
    from sotaque.micro.pool import Pool

    settings = micro.section("decoder", decoder_module.DecoderSettings)
    codec = SNAC.from_pretrained(str(micro.work / "codes"))
    decoder_module.train(codec, Pool(micro.work / "pool"), settings, micro.work / "codec")


def decoded(micro: Micro) -> None:
    from sotaque.backends.orpheus.codec import Codec
    from sotaque.micro import pool, progress, shipping

    shipping.ship_codec(micro)
    codec = Codec(micro.assets / "codec", progress.device())
    heard, count = pool.Pool(micro.work / "pool"), micro.sections["decoded"]["clips"]
    pool.decode(micro.work / "decoded", heard, codec, count)


def asr(micro: Micro) -> None:
    from sotaque.micro.asr import training as asr_module
    from sotaque.micro.pool import Pool

    settings = micro.section("asr", asr_module.AsrSettings)
    pools = [
        Pool(path)
        for path in (micro.work / "pool", micro.work / "decoded")
        if (path / "index.jsonl").exists()
    ]
    asr_module.train(pools, settings, micro.work / "asr")


def spoken(micro: Micro) -> None:
    from multiprocessing import get_context

    from sotaque.micro import spoken as spoken_module

    section = micro.sections["spoken"]
    parts = [(part, block) for part, count in section["blocks"].items() for block in range(count)]
    parts = [("held-out", 0), *parts]
    jobs = [
        (micro.work / "spoken", micro.work / "codes", micro.seed, part, range(block, block + 1),
         section["language_shares"]) for part, block in parts
    ]  # fmt: skip
    with get_context("spawn").Pool(_cores()) as processes:
        processes.starmap(spoken_module.make, jobs, chunksize=1)


def base(micro: Micro) -> None:
    from sotaque.micro import base as base_module
    from sotaque.micro import spoken as spoken_module

    settings = micro.section("base", base_module.BaseSettings)
    held_out = spoken_module.read(micro.work / "spoken" / "held-out-0000.npz")
    size = micro.sections["codec"]["model"]["codebook_size"]
    base_module.train(micro.work / "spoken", held_out, size, settings, micro.work / "base")


def assets(micro: Micro) -> None:
    from sotaque.micro import shipping

    shipping.ship(micro)


def checks(micro: Micro) -> None:
    from sotaque.micro import checks as checks_module

    checks_module.run(micro)


def cards(micro: Micro) -> None:
    from sotaque.micro import card

    card.write_all(micro)


STAGES = (corpus, codec, decoder, decoded, asr, spoken, base, assets, checks, cards)
WORDS = {function.__name__: function for function in STAGES}


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m sotaque.micro", description=__doc__)
    parser.add_argument("word", choices=WORDS)
    parser.add_argument("--params", type=Path, default=settings_module.PARAMS)
    options = parser.parse_args(arguments)
    import torch

    torch.set_num_threads(1)  # two stages run side by side; threads of one stage would wait for each other
    try:
        WORDS[options.word](settings_module.read(options.params))
    except SotaqueError as error:
        print(f"micro {options.word}: {error}", file=sys.stderr)
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main())
