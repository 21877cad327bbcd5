"""The shipped micro models load by their own libraries and do what their cards say, within reason."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from sotaque.backends.families import OrpheusGeneration as Generation
from sotaque.backends.orpheus import generate
from sotaque.backends.orpheus import layout as layout_module
from sotaque.data.sentences import demonstration
from sotaque.micro import checks, settings, speech, vocabulary
from sotaque.micro.asr.spelling import spoken_letters
from sotaque.micro.voices import TARGETS

ASSETS = Path(__file__).parent.parent / "assets" / "micro"
LARGEST_BYTES = 25_000_000


def test_assets_are_small_and_each_has_its_card():
    files = [path for path in ASSETS.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= LARGEST_BYTES
    for name in ("codec", "asr", "base"):
        figures = json.loads((ASSETS / name / "figures.json").read_text(encoding="utf-8"))
        assert figures["measured"]
        assert (ASSETS / name / "README.md").read_text(encoding="utf-8").startswith("# ")


@pytest.fixture(scope="module")
def codec():
    from snac import SNAC

    return SNAC.from_pretrained(str(ASSETS / "codec"))


@pytest.fixture(scope="module")
def reference():
    """(text, samples) of a sentence by the target's voice, which no training heard."""
    voice = TARGETS["pt-br"]
    text = demonstration("pt", 0, 3, 0, 11)[0].text
    return text, speech.render(voice, text)


@torch.no_grad()
def test_codec_speaks_orpheus_frames(codec, reference):
    _, samples = reference
    codes = codec.encode(torch.from_numpy(samples)[None, None])
    frames = -(-len(samples) // 2048)
    assert [c.shape[1] for c in codes] == [frames, 2 * frames, 4 * frames]
    assert codec.sampling_rate == 24_000
    packed = layout_module.pack([c[0].numpy() for c in codes])
    assert packed.shape == (frames, 7)
    again = codec.decode(codes)
    assert torch.equal(again, codec.decode(codes))  # no noise block: the same codes, the same wave
    assert again.shape[-1] == frames * 2048


@torch.no_grad()
def test_codec_keeps_the_spectrum(codec, reference):
    from sotaque.micro.spectra import log_mel

    _, samples = reference
    audio = torch.from_numpy(samples)[None, None]
    heard, _ = codec(audio)
    mels = [log_mel(a, 1024, 256, 80) for a in (audio, heard)]
    assert torch.nn.functional.l1_loss(*mels) < 0.5 * mels[0].std()


def test_recogniser_hears_a_voice_that_it_never_heard():
    import soxr
    import whisper

    model = whisper.load_model(str(ASSETS / "asr" / "micro.pt"), device="cpu")
    wanted, heard = 0, 0
    for sentence in demonstration("pt", 0, 3, 0, 11)[:3]:
        samples = speech.render(TARGETS["pt-br"], sentence.text)
        audio = soxr.resample(samples, speech.RATE_HZ, 16_000).astype(np.float32)
        result = model.transcribe(audio, language="pt", fp16=False, temperature=0.0)
        said = set(spoken_letters(sentence.text).split())
        wanted, heard = wanted + len(said), heard + len(said & set(spoken_letters(result["text"]).split()))
    assert heard >= 0.6 * wanted
    mel = whisper.log_mel_spectrogram(whisper.pad_or_trim(audio))
    _, probabilities = whisper.detect_language(model, mel)
    assert max(probabilities, key=probabilities.get) in ("pt", "es")


@torch.no_grad()
def test_base_loads_and_its_tokenizer_agrees():
    from transformers import AutoTokenizer, LlamaForCausalLM

    network = LlamaForCausalLM.from_pretrained(ASSETS / "base", dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(ASSETS / "base")
    layout = vocabulary.layout(tokenizer)
    config = json.loads((ASSETS / "codec" / "config.json").read_text(encoding="utf-8"))
    assert layout.codebook_size == config["codebook_size"]
    assert network.config.vocab_size == len(tokenizer) == layout.end_audio
    text = "rui: Às três horas, não é?"
    ids = tokenizer.encode(text, add_special_tokens=False)
    assert tokenizer.decode(ids) == text
    generation = Generation(temperature=0.4, top_p=0.9, repetition_penalty=1.0, max_s=8.0)
    [(codes, stopped)] = generate.speak(network, layout, [layout.prompt(ids)], [1], generation, [94])
    assert stopped  # it ends by itself, at about the length that the text has
    said = text.removeprefix("rui: ")
    assert 0.5 < len(codes) * 2048 / 24_000 / (len(said) / 15) < 2


def test_the_base_reads_sentences_that_it_never_read():
    """Ten of its Portuguese voices; heard against one another's texts they must sound wrong."""
    judges = checks.Checks(settings.read())
    texts = [(voice, text) for voice, text in checks.base_texts(60, 5) if voice.language == "pt"][:10]
    said = [judges.speak(voice, text, seed) for seed, (voice, text) in enumerate(texts)]
    exchanged = [dataclasses.replace(a, text=b.text) for a, b in zip(said, [*said[1:], said[0]], strict=True)]
    assert judges.wer(said) < 0.35
    assert judges.wer(exchanged) > 0.7
