"""What the network reads of its own speech in training, in place of what was recorded."""

import pytest
import torch

import small_base
from sotaque.backends.families import OrpheusLearning
from sotaque.backends.orpheus.rehearsal import rehearsed
from sotaque.backends.protocol import IGNORED


@pytest.fixture
def made():
    return small_base.make()


def rehearse(made, share: float, seed: int = 0) -> torch.Tensor:
    network, layout, ids, labels = made
    batch = {"input_ids": ids, "labels": labels, "attention_mask": ids != layout.pad}
    return rehearsed(network, batch, layout, share, torch.Generator().manual_seed(seed))


def is_code(layout, ids: torch.Tensor) -> torch.Tensor:
    return (ids >= layout.first_audio) & (ids < layout.end_audio)


def test_only_codes_are_replaced_and_by_codes_of_their_slot(made):
    _, layout, ids, labels = made
    heard = rehearse(made, 1.0)
    changed = heard != ids
    assert changed.any()
    assert is_code(layout, ids[changed]).all()
    assert (labels[changed] != IGNORED).all()
    slots = [(one[changed] - layout.first_audio) // layout.codebook_size for one in (heard, ids)]
    assert slots[0].tolist() == slots[1].tolist()


def test_the_same_seed_rehearses_the_same(made):
    assert torch.equal(rehearse(made, 0.8, 3), rehearse(made, 0.8, 3))
    assert not torch.equal(rehearse(made, 0.8, 3), rehearse(made, 0.8, 4))
    assert torch.equal(rehearse(made, 0.0), made[2])


def test_in_every_other_clip_frames_are_replaced_whole(made):
    """A network whose guess is certain and never the recording: what is replaced is then seen."""
    network, layout, ids, labels = made
    start = int((labels[1] != IGNORED).int().argmax())
    ids = torch.where(is_code(layout, ids), layout.first_audio + 16 * ((ids - layout.first_audio) // 16), ids)
    with torch.no_grad():
        network.model.embed_tokens.weight.fill_(0.01)
        network.model.embed_tokens.weight[layout.first_audio + 5 :: 16] = 3.0
        network.model.norm.weight.fill_(30.0)
    frames = set()
    for seed in range(20):
        changed = rehearse((network, layout, ids, labels), 1.0, seed)[1] != ids[1]
        frames |= {tuple(frame) for frame in changed[start : start + 21].view(3, 7).tolist()}
    assert frames == {(True,) * 7, (False,) * 7}


rehearsing = pytest.mark.parametrize("subject", ["orpheus-micro", "orpheus-real"], indirect=True)


@rehearsing
def test_guesses_are_read_in_training_alone(subject, backend, network, monkeypatch):
    batch = backend.collate(subject.examples())
    with torch.no_grad():
        recorded = backend.loss(network.train(), batch)[0].item()
        monkeypatch.setattr(backend, "learning", OrpheusLearning(rehearsed_share=0.9))
        torch.manual_seed(1)
        read = backend.loss(network, batch)[0].item()
        torch.manual_seed(1)
        again = backend.loss(network, batch)[0].item()
        validated = backend.loss(network.eval(), batch)[0].item()
    assert read == again != recorded
    assert validated == pytest.approx(recorded, rel=1e-5)


@rehearsing
def test_a_packed_row_is_rehearsed_within_its_clips(subject, backend, network):
    """Whole frames of one clip or single codes: never a prompt, nor a code of another slot."""
    examples, layout = subject.examples(), backend.layout
    batch = backend.collate(examples, packed=True)
    ids = batch["input_ids"]
    heard = rehearsed(network, batch, layout, 0.9, torch.Generator().manual_seed(0))
    changed = heard != ids
    assert changed.any()
    assert (batch["labels"][changed] != IGNORED).all()
    slots = [(one[changed] - layout.first_audio) // layout.codebook_size for one in (heard, ids)]
    assert torch.equal(*slots)
