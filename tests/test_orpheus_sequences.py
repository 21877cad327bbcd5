"""What only Orpheus can be asked: its ids and labels, packed rows, and SNAC through the layout.

On tiny random weights with the real ids, and on the shipped micro model.
"""

import numpy as np
import pytest
import torch

import tiny
from families import FRAMES, PROMPTS
from sotaque.backends.orpheus.decoder import Decoder
from sotaque.backends.protocol import IGNORED

pytestmark = pytest.mark.parametrize("subject", ["orpheus-micro", "orpheus-real"], indirect=True)


def test_training_prompt_is_inference_prompt(subject, backend, network, monkeypatch):
    """The ids that generation starts from are those that stand before the first code in training."""
    seen = []
    monkeypatch.setattr(Decoder, "__init__", spy(Decoder.__init__, seen))
    backend.generate(network, PROMPTS[:1], subject.lasting(1), [0])
    item = subject.examples()[0]
    [[prompt]] = seen
    assert list(prompt) == list(item.input_ids[: len(prompt)])
    assert item.labels[len(prompt)] != IGNORED
    assert item.labels[len(prompt) - 1] == IGNORED


def spy(begin, seen):
    def watched(self, llama, prompts, steps):
        seen.append(prompts)
        begin(self, llama, prompts, steps)

    return watched


def test_the_end_is_learnt(subject, backend):
    item = subject.examples()[0]
    ends = [backend.layout.speech_end, backend.layout.ai_end]
    assert list(item.labels[-len(ends) :]) == ends


def test_no_label_on_prompt_or_padding(subject, backend):
    items = subject.examples()
    batch = backend.collate(items)
    for row, item in enumerate(items):
        length = len(item)
        labelled = batch["labels"][row] != IGNORED
        spoken = subject.codes(FRAMES[row], FRAMES[row]).size
        assert int(labelled.sum()) == spoken + 2
        assert not labelled[length:].any()
        assert not labelled[: length - spoken - 2].any()
        assert batch["attention_mask"][row].tolist() == [1] * length + [0] * (len(labelled) - length)


def test_labels_are_the_inputs_themselves(subject):
    for item in subject.examples() + subject.examples(mask_prompt=False):
        assert all(y in (IGNORED, x) for x, y in zip(item.input_ids, item.labels, strict=True))
    assert IGNORED not in subject.examples(mask_prompt=False)[0].labels


@pytest.mark.parametrize("mask_prompt", [True, False])
def test_a_packed_row_is_its_singles(subject, backend, mask_prompt):
    """No utterance hears another one, and none predicts how the next begins."""
    network = backend.load_network(dtype=torch.float64)
    items = subject.examples(mask_prompt)
    batch = backend.collate(items, packed=True)
    assert len(batch["input_ids"]) == 1
    with torch.inference_mode():
        together = backend.logits(network, batch)
        total, count = backend.loss(network, batch)
        apart = [backend.loss(network, backend.collate([item])) for item in items]
    assert torch.allclose(together, torch.cat([subject.logits(network, i) for i in items]), atol=1e-5)
    assert total.item() == pytest.approx(sum(one.item() for one, _ in apart), rel=1e-6)
    assert count == sum(n for _, n in apart)


def test_the_loss_is_torchs_own(subject, backend, network):
    """Against the plain way: all logits, shifted labels, cross-entropy in float32."""
    batch = backend.collate(subject.examples())
    with torch.inference_mode():
        whole = network(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits.float()
        plain = torch.nn.functional.cross_entropy(
            whole[:, :-1].flatten(0, 1), batch["labels"][:, 1:].flatten(), reduction="sum"
        )
        total, _ = backend.loss(network, batch)
    assert total.item() == pytest.approx(plain.item(), rel=1e-5)


def test_codes_survive_the_sequence(subject, backend):
    """The codec's codes, and the first and the last of the codebook in every slot."""
    last = backend.layout.codebook_size - 1
    ends = np.repeat(np.array([[0], [last]], np.int16), backend.codes_per_frame, axis=1)
    for made in (subject.codes(6), ends):
        item = backend.example(PROMPTS[0], made, mask_prompt=True)
        audio = [i for i in item.labels if i != IGNORED][:-2]
        assert np.array_equal(backend.layout.codes_of(audio), made)


def test_what_is_decoded_is_what_the_codec_itself_decodes(subject, backend):
    """unpack(pack(codes)) == codes, through the codec: a slot out of its place gives another wave."""
    from snac import SNAC

    made = subject.codes(6)
    snac = SNAC.from_pretrained(str(backend.base / "codec"))
    with torch.inference_mode():
        books = snac.encode(torch.from_numpy(tiny.wave(6 / backend.frame_rate_hz, 0))[None, None])
        torch.manual_seed(3)
        expected = snac.decode(books).reshape(-1).numpy()
    assert np.allclose(backend.decode(made, seed=3), expected, atol=1e-5)
