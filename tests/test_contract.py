"""What every backend must keep: on tiny random weights in the real layout, and on the shipped micro model.

Both are loaded by the real loader. The field's common failure is a loss that looks fine over gibberish:
each of these contracts has been broken by some published fine-tuning script.
"""

import numpy as np
import pytest
import torch

import tiny
from conftest import ROOT
from sotaque import backends
from sotaque.backends.families import OrpheusGeneration as Generation
from sotaque.backends.protocol import IGNORED, Prompt
from sotaque.settings import Lora
from sotaque.training import lora, merge

TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
PROMPTS = [Prompt("olá, mundo", "ana"), Prompt("um", "zé"), Prompt("uma frase bem mais comprida", "ana")]
FRAMES = (3, 7, 5)


def shipped(folder):
    """The micro model as `fetch` lays it out."""
    for part, name in (("network", "base"), ("codec", "codec")):
        (folder / part).symlink_to(ROOT / "assets/micro" / name)
    return folder


MAKERS = {"orpheus-real": ("orpheus", tiny.base), "orpheus-micro": ("orpheus", shipped)}


@pytest.fixture(scope="module", params=sorted(MAKERS))
def backend(request, tmp_path_factory):
    torch.set_num_threads(1)  # for networks this small a second one only waits
    name, make = MAKERS[request.param]
    return backends.load(name, make(tmp_path_factory.mktemp(request.param)), torch.device("cpu"))


@pytest.fixture
def network(backend):
    return backend.load_network()


def codes(backend, frames, seed=0):
    return backend.encode([tiny.wave(frames / backend.frame_rate_hz, seed)])[0]


def examples(backend, mask_prompt=True):
    return [
        backend.example(prompt, codes(backend, frames, frames), mask_prompt)
        for prompt, frames in zip(PROMPTS, FRAMES, strict=True)
    ]


def lasting(backend, frames, **values):
    """Generation of at most so many frames."""
    return Generation(max_s=(frames + 0.5) / backend.frame_rate_hz, **values)


def logits(backend, network, *items):
    with torch.inference_mode():
        return backend.logits(network, backend.collate(items))


def adapter(backend, network, seed=0):
    return lora.attach(backend, network, TARGETS, Lora(rank=4, alpha=8, dropout=0.0), seed)


def shaken(adapted):
    """An adapter that has learnt something: no tensor of it is zero."""
    torch.manual_seed(1)
    for parameter in lora.trainable(adapted).values():
        parameter.data.add_(0.05 * torch.randn_like(parameter))
    return adapted


def test_a_fresh_adapter_changes_nothing(backend, network):
    before = logits(backend, network, *examples(backend))
    assert torch.equal(logits(backend, adapter(backend, network), *examples(backend)), before)


def test_every_tensor_of_the_adapter_gets_a_gradient(backend, network):
    adapted = shaken(adapter(backend, network))
    total, count = backend.loss(adapted, backend.collate(examples(backend)))
    (total / count).backward()
    parameters = lora.trainable(adapted)
    adapted_layers = sum(
        name.rpartition(".")[2] in TARGETS for name, _ in backend.load_network().named_modules()
    )
    assert len(parameters) == 2 * adapted_layers > 0
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in parameters.values())


def test_nothing_but_the_adapter_learns(backend, network):
    adapted = adapter(backend, network)
    assert all("lora_" in name for name in lora.trainable(adapted))


def test_training_prompt_is_inference_prompt(backend, network, monkeypatch):
    """The ids that generation starts from are those that stand before the first code in training."""
    seen = []
    monkeypatch.setattr(type(network.model), "forward", spy(type(network.model).forward, seen))
    backend.generate(network, PROMPTS[:1], lasting(backend, 1), [0])
    item = examples(backend)[0]
    prompt = seen[0]["input_ids"][0].tolist()
    assert prompt == list(item.input_ids[: len(prompt)])
    assert item.labels[len(prompt)] != IGNORED
    assert item.labels[len(prompt) - 1] == IGNORED


def spy(forward, seen):
    def watched(self, *args, **kwargs):
        seen.append(kwargs)
        return forward(self, *args, **kwargs)

    return watched


def test_the_end_is_learnt(backend):
    item = examples(backend)[0]
    ends = [backend.layout.speech_end, backend.layout.ai_end]
    assert list(item.labels[-len(ends) :]) == ends


def test_no_label_on_prompt_or_padding(backend):
    items = examples(backend)
    batch = backend.collate(items)
    for row, item in enumerate(items):
        length = len(item.input_ids)
        labelled = batch["labels"][row] != IGNORED
        spoken = codes(backend, FRAMES[row], FRAMES[row]).size
        assert int(labelled.sum()) == spoken + 2
        assert not labelled[length:].any()
        assert not labelled[: length - spoken - 2].any()
        assert batch["attention_mask"][row].tolist() == [1] * length + [0] * (len(labelled) - length)


def test_labels_are_the_inputs_themselves(backend):
    for item in examples(backend) + examples(backend, mask_prompt=False):
        assert all(y in (IGNORED, x) for x, y in zip(item.input_ids, item.labels, strict=True))
    assert IGNORED not in examples(backend, mask_prompt=False)[0].labels


def test_a_padded_batch_is_its_singles(backend):
    network = backend.load_network(dtype=torch.float64)
    items = examples(backend)
    together = logits(backend, network, *items)
    apart = torch.cat([logits(backend, network, item) for item in items])
    assert torch.allclose(together, apart, atol=1e-5)
    sums = [backend.loss(network, backend.collate([item])) for item in items]
    total, count = backend.loss(network, backend.collate(items))
    assert count == sum(n for _, n in sums)
    assert total.item() == pytest.approx(sum(s.item() for s, _ in sums), rel=1e-6)


@pytest.mark.parametrize("mask_prompt", [True, False])
def test_a_packed_row_is_its_singles(backend, mask_prompt):
    """No utterance hears another one, and none predicts how the next begins."""
    network = backend.load_network(dtype=torch.float64)
    items = examples(backend, mask_prompt)
    batch = backend.collate(items, packed=True)
    assert len(batch["input_ids"]) == 1
    with torch.inference_mode():
        together = backend.logits(network, batch)
        total, count = backend.loss(network, batch)
        apart = [backend.loss(network, backend.collate([item])) for item in items]
    assert torch.allclose(together, torch.cat([logits(backend, network, i) for i in items]), atol=1e-5)
    assert total.item() == pytest.approx(sum(one.item() for one, _ in apart), rel=1e-6)
    assert count == sum(n for _, n in apart)


def test_the_loss_is_torchs_own(backend, network):
    """Against the plain way: all logits, shifted labels, cross-entropy in float32."""
    batch = backend.collate(examples(backend))
    with torch.inference_mode():
        whole = network(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits.float()
        plain = torch.nn.functional.cross_entropy(
            whole[:, :-1].flatten(0, 1), batch["labels"][:, 1:].flatten(), reduction="sum"
        )
        total, _ = backend.loss(network, batch)
    assert total.item() == pytest.approx(plain.item(), rel=1e-5)


@pytest.fixture
def merged(backend, network, tmp_path):
    """(the logits with the adapter beside the network, the merged network, the folder it was saved in)."""
    adapted = shaken(adapter(backend, network))
    expected = logits(backend, adapted, *examples(backend))
    whole = adapted.merge_and_unload()
    backend.save_merged(whole, tmp_path / "merged")
    return expected, whole, tmp_path / "merged"


def test_merged_is_the_adapter(backend, merged):
    expected, whole, _ = merged
    assert torch.allclose(logits(backend, whole, *examples(backend)), expected, atol=1e-3)
    assert not torch.allclose(expected, logits(backend, backend.load_network(), *examples(backend)), atol=0.1)


def test_merged_has_the_keys_of_the_base(backend, merged):
    assert backend.weight_keys(merged[2]) == backend.weight_keys()


def test_a_fresh_reload_is_what_is_in_memory(backend, merged):
    """Bit by bit, when memory is rounded to the dtype in which the base stores each tensor."""
    _, whole, folder = merged
    stored = backend.load_network(dtype="auto").state_dict()
    again = backend.load_network(folder).state_dict()
    for name, weight in whole.state_dict().items():
        assert torch.equal(again[name], weight.to(stored[name].dtype).float()), name


def test_the_stage_merges_and_measures_the_difference(backend, network, tmp_path):
    lora.save(shaken(adapter(backend, network)), tmp_path / "adapter")
    figures = merge.merge(backend, tmp_path / "adapter", tmp_path / "merged", tolerance=1e-3)
    assert 0 < figures["merged_logit_difference"] <= 1e-3


def test_a_saved_adapter_comes_back_whole(backend, network, tmp_path):
    adapted = shaken(adapter(backend, network))
    expected = logits(backend, adapted, *examples(backend))
    lora.save(adapted, tmp_path)
    again = lora.load(backend.load_network(), tmp_path)
    assert torch.equal(logits(backend, again, *examples(backend)), expected)


@pytest.mark.parametrize("adapt", [False, True], ids=["base", "adapted"])
def test_training_logits_are_generation_logits(backend, adapt):
    """With temperature 0 generation must say what the training logits rank first, frame after frame."""
    network = backend.load_network(dtype=torch.float64)
    if adapt:
        network = shaken(adapter(backend, network))
    greedy = lasting(backend, 4, temperature=0.0, repetition_penalty=1.0)
    for prompt, spoken in zip(PROMPTS, backend.generate(network, PROMPTS, greedy, [0, 0, 0]), strict=True):
        rows = logits(backend, network, backend.example(prompt, spoken.codes, mask_prompt=True))
        assert len(spoken.codes) == 4 or (spoken.stopped and len(spoken.codes))
        for position, code in enumerate(spoken.codes.reshape(-1)):
            start, end = backend.layout.slot_ids(position % backend.codes_per_frame)
            assert int(rows[position, start:end].argmax()) == code


def test_an_item_does_not_depend_on_its_neighbours(backend):
    network = backend.load_network(dtype=torch.float64)
    lively = lasting(backend, 10, temperature=0.9, top_p=0.95, repetition_penalty=1.1)
    together = backend.generate(network, PROMPTS, lively, [1, 2, 3])
    for prompt, seed, spoken in zip(PROMPTS, (1, 2, 3), together, strict=True):
        [alone] = backend.generate(network, [prompt], lively, [seed])
        assert np.array_equal(alone.codes, spoken.codes)
        assert alone.stopped == spoken.stopped
    assert not np.array_equal(together[0].codes, backend.generate(network, PROMPTS[:1], lively, [9])[0].codes)


def test_codes_survive_the_sequence(backend):
    """The codec's codes, and the first and the last of the codebook in every slot."""
    last = backend.layout.codebook_size - 1
    ends = np.repeat(np.array([[0], [last]], np.int16), backend.codes_per_frame, axis=1)
    for made in (codes(backend, 6), ends):
        item = backend.example(PROMPTS[0], made, mask_prompt=True)
        audio = [i for i in item.labels if i != IGNORED][:-2]
        assert np.array_equal(backend.layout.codes_of(audio), made)


def test_what_is_decoded_is_what_the_codec_itself_decodes(backend):
    """unpack(pack(codes)) == codes, through the codec: a slot out of its place gives another wave."""
    from snac import SNAC

    made = codes(backend, 6)
    snac = SNAC.from_pretrained(str(backend.base / "codec"))
    with torch.inference_mode():
        books = snac.encode(torch.from_numpy(tiny.wave(6 / backend.frame_rate_hz, 0))[None, None])
        torch.manual_seed(3)
        expected = snac.decode(books).reshape(-1).numpy()
    assert np.allclose(backend.decode(made, seed=3), expected, atol=1e-5)
