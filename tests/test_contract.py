"""What every backend must keep: on tiny random weights in the real layout, and on the shipped micro model.

All are loaded by the real loader. The field's common failure is a loss that looks fine over gibberish:
each of these contracts has been broken by some published fine-tuning script. What only one family can be
asked is in tests/test_<family>.py.
"""

import dataclasses
import re

import numpy as np
import pytest
import torch

from families import FAMILIES
from sotaque.backends import durations
from sotaque.backends import families as backends_families
from sotaque.training import lora, merge

pytestmark = pytest.mark.parametrize("subject", sorted(FAMILIES), indirect=True)


def test_the_codecs_codes_have_the_shape_that_is_stated(subject, backend):
    made = subject.codes(6)
    assert made.shape == (6, backend.codes_per_frame)
    assert made.dtype == np.int16
    wave = backend.decode(made, 0, subject.prompts[0].reference)
    assert wave.dtype == np.float32
    assert len(wave) == pytest.approx(6 / backend.frame_rate_hz * backend.codec_rate_hz, rel=0.02)


def test_a_wave_has_the_codes_that_it_has_alone(subject, backend):
    waves = [subject.wave(n / backend.frame_rate_hz, n) for n in (5, 3, 8, 3)]
    together = backend.encode(waves)
    assert all(np.array_equal(one, backend.encode([w])[0]) for one, w in zip(together, waves, strict=True))


def test_a_fresh_adapter_changes_nothing(subject, backend, network):
    """Bit for bit, on every processor: logits, speech and the merged weights."""
    lively = subject.lasting(4, **subject.family.lively)
    logits = subject.logits(network, *subject.examples())
    speech = backend.generate(network, subject.prompts, lively, [1, 2, 3])
    weights = {name: weight.clone() for name, weight in network.state_dict().items()}
    adapted = subject.adapter(network)
    assert torch.equal(subject.logits(adapted, *subject.examples()), logits)
    for with_adapter, without in zip(
        backend.generate(adapted, subject.prompts, lively, [1, 2, 3]), speech, strict=True
    ):
        assert np.array_equal(with_adapter.codes, without.codes)
    merged = adapted.merge_and_unload().state_dict()
    assert merged.keys() == weights.keys()
    assert all(torch.equal(merged[name], weight) for name, weight in weights.items())


@pytest.mark.parametrize("checkpointing", [False, True])
def test_every_tensor_of_the_adapter_gets_a_gradient(subject, backend, network, checkpointing):
    """Re-entrant checkpointing under frozen embeddings gives none, silently."""
    layers = dict(network.named_modules())
    adapted = subject.shaken(network)
    backend.checkpoint_gradients(adapted, checkpointing)
    total, count = backend.loss(adapted.train(), backend.collate(subject.examples()))
    (total / count).backward()
    parameters = lora.trainable(adapted)
    assert len(parameters) == 2 * len([name for name in layers if targeted(subject, name)]) > 0
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in parameters.values())


def targeted(subject, name):
    targets = subject.family.targets
    return re.fullmatch(targets, name) if isinstance(targets, str) else name.rpartition(".")[2] in targets


@pytest.mark.parametrize(("other", "language", "alike"), [
    ("Av\u00f3, a\u00e7\u00e3o", "pt", lambda form: True),
    ("av\u00f3, a\u00e7\u00e3o", "pt", lambda form: form.lower_case),
    ("Avo\u0302, ac\u0327a\u0303o", "pt", lambda form: False),
    ("Avo\u0301, ac\u0327a\u0303o", "es", lambda form: not form.prefix),
])  # fmt: skip
def test_text_is_read_as_the_report_says(subject, backend, other, language, alike):
    """The same training item is made of a text whose accents stand apart, and of another, or not."""
    codes, form = subject.codes(3), backends_families.FAMILIES[subject.family.backend].text_form("pt")
    [first, second] = (
        backend.collate(
            [backend.example(dataclasses.replace(subject.prompts[0], text=t, language=of), codes, True)]
        )
        for t, of in (("Avo\u0301, ac\u0327a\u0303o", "pt"), (other, language))
    )
    same = all(first[k].shape == second[k].shape and torch.equal(first[k], second[k]) for k in first)
    assert same == alike(form)


def test_nothing_but_the_adapter_learns(subject, network):
    assert all("lora_" in name for name in lora.trainable(subject.adapter(network)))


def test_an_example_costs_what_it_says(subject, backend):
    """Longer texts and more frames cost more, in positions."""
    prompt = subject.prompts[0]
    lengths = [len(backend.example(prompt, subject.codes(n), True)) for n in (2, 3, 4)]
    assert lengths[1] - lengths[0] == lengths[2] - lengths[1] > 0
    assert len(backend.example(subject.prompts[2], subject.codes(2), True)) > lengths[0]


def test_a_padded_batch_is_its_singles(subject, backend):
    network = backend.load_network(dtype=torch.float64)
    items = subject.examples()
    together = subject.logits(network, *items)
    apart = torch.cat([subject.logits(network, item) for item in items])
    assert torch.allclose(together, apart, atol=1e-5)
    sums = [backend.loss(network, backend.collate([item])) for item in items]
    total, count = backend.loss(network, backend.collate(items))
    assert count == sum(n for _, n in sums)
    assert total.item() == pytest.approx(sum(s.item() for s, _ in sums), rel=1e-6)


@pytest.fixture
def merged(subject, backend, network, tmp_path):
    """(the logits with the adapter beside the network, the merged network, the folder it was saved in)."""
    adapted = subject.shaken(network)
    expected = subject.logits(adapted, *subject.examples())
    whole = adapted.merge_and_unload()
    backend.save_merged(whole, tmp_path / "merged")
    return expected, whole, tmp_path / "merged"


def test_merged_is_the_adapter(subject, backend, merged):
    expected, whole, _ = merged
    assert torch.allclose(subject.logits(whole, *subject.examples()), expected, atol=1e-3)
    base = subject.logits(backend.load_network(), *subject.examples())
    assert not torch.allclose(expected, base, atol=0.1)


def test_merged_has_the_keys_of_the_base(backend, merged):
    assert backend.weight_keys(merged[2]) == backend.weight_keys()


def test_a_fresh_reload_is_what_is_in_memory(backend, merged):
    """Bit by bit, when memory is rounded to the dtype in which the base stores each tensor."""
    _, whole, folder = merged
    stored = backend.load_network(dtype="auto").state_dict()
    again = backend.load_network(folder).state_dict()
    for name, weight in whole.state_dict().items():
        assert torch.equal(again[name], weight.to(stored[name].dtype).to(again[name].dtype)), name


def test_the_stage_merges_and_measures_the_difference(subject, backend, network, tmp_path):
    lora.save(subject.shaken(network), tmp_path / "adapter")
    figures = merge.merge(backend, tmp_path / "adapter", tmp_path / "merged", tolerance=1e-3)
    assert 0 < figures["merged_logit_difference"] <= 1e-3


def test_a_saved_adapter_comes_back_whole(subject, backend, network, tmp_path):
    adapted = subject.shaken(network)
    expected = subject.logits(adapted, *subject.examples())
    lora.save(adapted, tmp_path)
    again = lora.load(backend.load_network(), tmp_path)
    assert torch.equal(subject.logits(again, *subject.examples()), expected)


@pytest.mark.parametrize("adapt", [False, True], ids=["base", "adapted"])
def test_training_logits_are_generation_logits(subject, backend, adapt):
    """With temperature 0 generation must say what the training logits rank first, frame after frame."""
    network = backend.load_network(dtype=torch.float64)
    if adapt:
        network = subject.shaken(network)
    greedy = subject.lasting(4, **subject.family.greedy)
    said = backend.generate(network, subject.prompts, greedy, [0, 0, 0])
    for prompt, spoken in zip(subject.prompts, said, strict=True):
        assert len(spoken.codes) == 4 or (spoken.stopped and len(spoken.codes))
        main = subject.family.main(spoken.codes)
        rows = subject.logits(network, backend.example(prompt, spoken.codes, mask_prompt=True))
        assert subject.family.ranked(backend, rows[: len(main)]) == main.tolist()


def test_an_item_does_not_depend_on_its_neighbours(subject, backend):
    network = backend.load_network(dtype=torch.float64)
    lively = subject.lasting(6, **subject.family.lively)
    together = backend.generate(network, subject.prompts, lively, [1, 2, 3])
    for prompt, seed, spoken in zip(subject.prompts, (1, 2, 3), together, strict=True):
        [alone] = backend.generate(network, [prompt], lively, [seed])
        assert np.array_equal(alone.codes, spoken.codes)
        assert alone.stopped == spoken.stopped
    [other] = backend.generate(network, subject.prompts[:1], lively, [9])
    assert not np.array_equal(together[0].codes, other.codes)


def test_each_item_has_the_limit_of_its_own_text(subject, backend, monkeypatch):
    """In a batch the shorter text is stopped earlier, where it would be stopped alone; the limit is told."""
    monkeypatch.setattr(durations, "MARGIN", 0.3)
    monkeypatch.setattr(durations, "ALLOWANCE_S", 0.2)
    network = backend.load_network(dtype=torch.float64)
    lively = backend.generation(**subject.family.lively)
    prompts = subject.prompts[1:]
    limits = [backend.limit_frames(prompt, lively) for prompt in prompts]
    assert limits[0] < limits[1]
    together = backend.generate(network, prompts, lively, [4, 5])
    for prompt, seed, limit, spoken in zip(prompts, (4, 5), limits, together, strict=True):
        assert spoken.limit_s == limit / backend.frame_rate_hz
        assert spoken.stopped or len(spoken.codes) == limit
        assert len(spoken.codes) <= limit
        [alone] = backend.generate(network, [prompt], lively, [seed])
        assert np.array_equal(alone.codes, spoken.codes)
        assert (alone.stopped, alone.limit_s) == (spoken.stopped, spoken.limit_s)


def test_max_s_and_the_context_bound_the_limit(subject, backend):
    prompt = dataclasses.replace(subject.prompts[0], text="9" * 20)
    free, bounded = (backend.limit_frames(prompt, backend.generation(max_s=s)) for s in (None, 1.5))
    assert bounded == int(1.5 * backend.frame_rate_hz) < free
    assert free <= durations.limit_s(prompt.text) * backend.frame_rate_hz
    endless = dataclasses.replace(prompt, text="9" * 200)
    most = backend.limit_frames(endless, backend.generation())
    assert most < durations.limit_s(endless.text) * backend.frame_rate_hz
