"""The making of the micro models: what is drawn, how ids are laid out, and that nothing leaks."""

import dataclasses

import numpy as np
import pytest
import torch
from whisper.model import ModelDimensions

from sotaque.data.sentences import demonstration, is_reserved, novel_words
from sotaque.data.words import bare
from sotaque.errors import SettingsError
from sotaque.micro import base, codebooks, pool, progress, settings, speech, spoken, vocabulary
from sotaque.micro.asr import batches, network, spelling, training
from sotaque.micro.muon import orthogonalize
from sotaque.micro.voices import BASE, HEARD_ACCENTS, HEARD_VARIANTS, TARGETS


def variant(espeak: str) -> str:
    return espeak.partition("+")[2]


def test_the_voices_of_the_targets_are_new():
    target_variants = {variant(voice.espeak) for voice in TARGETS.values()}
    assert not target_variants & {*HEARD_VARIANTS, *(variant(voice.espeak) for voice in BASE)}
    assert len({voice.speaker for voice in (*BASE, *TARGETS.values())}) == len(BASE) + len(TARGETS)
    assert all(set(accents) for accents in HEARD_ACCENTS.values())


def test_tags_of_base_voices_are_of_the_length_that_items_count_on():
    tokenizer = vocabulary.build(16)
    layout = vocabulary.layout(tokenizer)
    for voice in BASE:
        ids = layout.prompt(tokenizer.encode(f"{voice.speaker}: oi", add_special_tokens=False))
        assert tokenizer.decode(ids[base.SPEAKER_TOKENS]) == "o"


def drawn_texts(micro: settings.Micro, count: int) -> list[tuple[str, str]]:
    """(text, language) of what codec, recogniser and base are trained on."""
    pool_settings = micro.section("corpus", pool.PoolSettings)
    shares = micro.sections["spoken"]["language_shares"]
    drawn = [pool.draw(pool_settings, micro.seed, i) for i in range(count)]
    drawn += [
        spoken.draw(micro.seed, part, i, shares) for part in ("words", "sentences") for i in range(count)
    ]
    return [(text, voice.language) for voice, text in drawn]


def test_no_training_text_of_the_micro_models_is_in_any_demonstration():
    demonstrated = {
        bare(s.text) for voice in TARGETS.values() for s in demonstration(voice.language, 400, 40, 20, 1)
    }
    for text, language in drawn_texts(settings.read(), 1500):
        assert bare(text) not in demonstrated
        assert not is_reserved(text)
        assert not novel_words(text, language)


def test_held_out_clips_are_reserved():
    for index in range(200):
        _, text = spoken.draw(1, "held-out", index, {"pt": 0.5, "es": 0.25, "en": 0.25})
        assert is_reserved(text)


def test_a_clip_is_a_function_of_seed_and_number():
    pool_settings = settings.read().section("corpus", pool.PoolSettings)
    assert pool.draw(pool_settings, 1, 7) == pool.draw(pool_settings, 1, 7)
    assert pool.draw(pool_settings, 1, 7) != pool.draw(pool_settings, 2, 7)


def test_phonemes_lie_where_they_are_heard():
    samples, phonemes = speech.render_phonemes(BASE[0], "casa")
    said = speech.phonemes_at(phonemes, len(samples), np.arange(0, len(samples), 240))
    power = np.array([np.mean(samples[at : at + 240] ** 2) for at in range(0, len(samples), 240)])
    vowel = [name.lower().startswith("a") for name in said]
    stop = [name == "k" for name in said]
    assert [name for _, name in phonemes if name != speech.SILENCE][:3] == ["k", "a", "z"]
    assert power[vowel].mean() > 10 * power[stop].mean()
    assert speech.phonemes_at(phonemes, len(samples), np.array([len(samples)])) == [speech.SILENCE]


def test_rendered_speech_has_the_main_pipelines_loudness():
    import pyloudnorm

    samples = speech.render(BASE[0], "O cachorro correu atrás do gato.")
    loudness = pyloudnorm.Meter(speech.RATE_HZ).integrated_loudness(samples.astype(np.float64))
    assert loudness == pytest.approx(speech.LOUDNESS_LUFS, abs=0.5)
    assert np.abs(samples).max() <= speech.PEAK + 1e-6


@pytest.mark.parametrize("text", ["Água, não! Você aí?", "¿Qué? El niño pingüino", "five o'clock", "日本"])
def test_tokenizer_round_trip(text):
    tokenizer = vocabulary.build(512)
    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text


def test_each_letter_is_one_token():
    tokenizer = vocabulary.build(512)
    for letter in "aZáàâãéêíóôõúçñü¿ ":
        assert len(tokenizer.encode(letter, add_special_tokens=False)) == 1, letter


def test_special_tokens_have_orpheus_arithmetic():
    tokenizer = vocabulary.build(512)
    layout = vocabulary.layout(tokenizer)
    custom = tokenizer.convert_tokens_to_ids("<custom_token_0>")
    names = {1: layout.speech_start, 2: layout.speech_end, 3: layout.human_start, 4: layout.human_end,
             5: layout.ai_start, 6: layout.ai_end, 7: layout.pad, 10: layout.first_audio}  # fmt: skip
    for number, token_id in names.items():
        assert tokenizer.convert_tokens_to_ids(f"<custom_token_{number}>") == token_id == custom + number
    assert layout.end_audio == len(tokenizer)
    assert tokenizer.encode("a")[0] == layout.text_start


def test_batches_mask_prompts_and_padding():
    tokenizer = vocabulary.build(16)
    layout = vocabulary.layout(tokenizer)
    text_ids = tokenizer.encode("rui: oi", add_special_tokens=False)
    codes = np.arange(14).reshape(2, 7) % 16
    item = item_of(layout, text_ids, codes)
    ids, labels = base.collate([item], layout)
    kept = labels[0] != base.IGNORED
    assert labels[0][kept].tolist() == [*layout.ids_of(codes), layout.speech_end, layout.ai_end]
    assert ids[0][: len(item.sequence)].tolist() == item.sequence.tolist()


def test_phonemes_are_asked_for_just_before_their_frame():
    tokenizer = vocabulary.build(16)
    layout = vocabulary.layout(tokenizer)
    codes = np.arange(21).reshape(3, 7) % 16
    item = item_of(layout, tokenizer.encode("rui: oi", add_special_tokens=False), codes)
    ahead = base.phonemes_ahead([item], len(item.sequence))[0]
    asked = torch.nonzero(ahead[:, 0] != base.IGNORED).flatten()
    assert item.sequence[asked + 1].tolist() == [layout.ids_of(row[None])[0] for row in codes]
    assert ahead[asked].flatten().tolist() == list(range(12))


def item_of(layout, text_ids: list[int], codes: np.ndarray) -> base.Item:
    phonemes = np.arange(4 * len(codes), dtype=np.int16).reshape(-1, 4)
    sequence = np.array(layout.sequence(text_ids, codes), np.int32)
    return base.Item(layout.prompt(text_ids), sequence, phonemes, np.zeros(len(codes), np.float32))


def test_slot_loss_is_the_whole_loss_among_the_slots_ids():
    tokenizer = vocabulary.build(16)
    layout = vocabulary.layout(tokenizer)
    model = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
             "num_key_value_heads": 1, "tie_word_embeddings": True}  # fmt: skip
    torch.manual_seed(0)
    network = base.build(model, layout)
    text_ids = tokenizer.encode("a", add_special_tokens=False)
    codes = np.random.default_rng(0).integers(0, 16, (3, 7))
    item = item_of(layout, text_ids, codes)
    by_slot, slots = base.slot_losses(network, *base.collate([item], layout), layout, whole=False)
    whole, _ = base.slot_losses(network, *base.collate([item], layout), layout, whole=True)
    assert len(by_slot) == 3 * 7 + 1
    assert len(whole) == 3 * 7 + 2
    assert torch.bincount(slots).tolist() == [4, 3, 3, 3, 3, 3, 3]
    assert by_slot.sum() < whole.sum()


def test_sampled_padding_stands_for_all_of_it():
    alphabet = spelling.Alphabet()
    dims = ModelDimensions(80, 1500, 32, 2, 2, 51865, 448, 32, 2, 1)
    torch.manual_seed(0)
    trainee = network.Trainee(dims, alphabet).eval()
    mel, floor = torch.full((1, 80, 3000), -0.7), torch.tensor([-0.7])
    mel[:, :, :128] = torch.randn(1, 80, 128) * 0.3
    whole = trainee.whisper.encoder(mel)[:, :56]

    def agreement(padding):
        short = trainee.encode(mel[:, :, :128], padding, floor)[0][:, :56]
        return torch.nn.functional.cosine_similarity(whole, short, dim=-1).min().item()

    sampled = agreement(network.sample_padding(64, 1500, 48, np.random.default_rng(0)))
    assert agreement(torch.arange(64, 1500)) > 0.9999
    assert sampled > 0.99
    assert sampled > agreement(torch.arange(64, 112))


def test_every_letter_of_the_domain_can_be_spelt():
    alphabet = spelling.Alphabet()
    for text, language in drawn_texts(settings.read(), 300):
        ids = alphabet.sequence(text, language, 2.0, timestamps=True)
        assert alphabet.tokenizer.decode(ids[4:-2]) == spelling.spoken_letters(text)


def test_k_means_finds_directions():
    torch.manual_seed(0)
    centres = torch.nn.functional.normalize(torch.randn(4, 8))
    vectors = centres.repeat_interleave(50, 0) * 3 + 0.01 * torch.randn(200, 8)
    codebook = torch.zeros(4, 8)
    codebooks.cluster(vectors, codebook)
    nearest = torch.nn.functional.normalize(vectors) @ torch.nn.functional.normalize(codebook).T
    assert nearest.max(1).values.mean() > 0.9


def test_muon_makes_matrices_orthogonal():
    singular = torch.linalg.svdvals(orthogonalize(torch.randn(3, 32, 16)).float())
    assert 0.5 < singular.min() <= singular.max() < 1.4


def test_a_checkpoint_is_whole_or_absent(tmp_path):
    path = tmp_path / "state.pt"
    assert progress.load(path) is None
    progress.save_atomically({"step": 3, "weight": torch.ones(2)}, path)
    assert progress.load(path)["step"] == 3
    assert list(tmp_path.iterdir()) == [path]


def test_elapsed_time_adds_up_over_resumed_runs(tmp_path):
    log = progress.Log(tmp_path / "curve.jsonl")
    log.path.write_text('{"running_s": 10}\n{"running_s": 60}\n{"running_s": 5}\n{"running_s": 30}\n')
    assert progress.elapsed_s(log.path) == 90


def test_an_unknown_key_is_named(tmp_path):
    micro = settings.read()
    sections = micro.sections | {"corpus": micro.sections["corpus"] | {"clps": 1}}
    with pytest.raises(SettingsError, match="clps"):
        dataclasses.replace(micro, sections=sections).section("corpus", pool.PoolSettings)


def test_the_learning_rate_rises_stays_and_falls():
    rates = [progress.learning_rate(step, 100, 1.0, 10, 0.5) for step in (0, 9, 50, 75, 99)]
    assert rates == pytest.approx([0.1, 1.0, 1.0, 0.5, 0.02])


def test_disturbed_clips_stay_finite():
    rng = np.random.default_rng(0)
    for _ in range(10):
        samples = batches.disturb(np.sin(np.arange(24_000) / 20).astype(np.float32), rng)
        assert np.isfinite(samples).all()
        assert samples.dtype == np.float32


def test_a_shipped_recogniser_is_trained_further_from_what_it_was(tmp_path):
    torch.manual_seed(0)
    given = vars(ModelDimensions(80, 1500, 32, 2, 1, 51865, 448, 32, 2, 1))
    alphabet = spelling.Alphabet()
    wanted = dataclasses.replace(settings.read().section("asr", training.AsrSettings), dims=given)
    first, second = (network.Trainee(ModelDimensions(**given), alphabet) for _ in range(2))
    training.export(first, wanted, tmp_path / "micro.pt")
    training.restore(second, alphabet, tmp_path / "micro.pt")
    kept = second.whisper.state_dict()
    for name, value in first.whisper.state_dict().items():
        coarse = torch.float8_e4m3fn if "token_embedding" in name else torch.float16
        assert torch.equal(kept[name], value.to(coarse).float()), name
