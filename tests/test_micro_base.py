"""The small base's training: what it hears of itself, and attention that stays soft."""

import numpy as np
import pytest
import torch

from sotaque.micro import base, vocabulary
from sotaque.micro.base import rehearsal, sharpness

SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
         "num_key_value_heads": 2, "tie_word_embeddings": True}  # fmt: skip


@pytest.fixture
def made():
    """A random network, its layout, and ids and labels of two clips of five and three frames."""
    torch.manual_seed(0)
    tokenizer = vocabulary.build(16)
    layout = vocabulary.layout(tokenizer)
    rng = np.random.default_rng(0)
    items = []
    for text, frames in (("rui: bom dia", 5), ("ana: oi", 3)):
        codes = rng.integers(0, 16, (frames, 7))
        text_ids = tokenizer.encode(text, add_special_tokens=False)
        sequence = np.array(layout.sequence(text_ids, codes), np.int32)
        unknown = np.full((frames, 4), base.IGNORED)
        items.append(base.Item(layout.prompt(text_ids), sequence, unknown, np.zeros(frames, np.float32)))
    return base.build(SMALL, layout), layout, *base.collate(items, layout)


def rehearse(made, share: float, seed: int = 0) -> torch.Tensor:
    network, layout, ids, labels = made
    return rehearsal.rehearsed(network, ids, labels, layout, share, torch.Generator().manual_seed(seed))


def is_code(layout, ids: torch.Tensor) -> torch.Tensor:
    return (ids >= layout.first_audio) & (ids < layout.end_audio)


def test_only_codes_are_replaced_and_by_codes_of_their_slot(made):
    _, layout, ids, labels = made
    heard = rehearse(made, 1.0)
    changed = heard != ids
    assert changed.any()
    assert is_code(layout, ids[changed]).all()
    assert (labels[changed] != base.IGNORED).all()
    slots = [(one[changed] - layout.first_audio) // layout.codebook_size for one in (heard, ids)]
    assert slots[0].tolist() == slots[1].tolist()


def test_the_same_seed_rehearses_the_same(made):
    assert torch.equal(rehearse(made, 0.8, 3), rehearse(made, 0.8, 3))
    assert not torch.equal(rehearse(made, 0.8, 3), rehearse(made, 0.8, 4))
    assert torch.equal(rehearse(made, 0.0), made[2])


def test_in_every_other_clip_frames_are_replaced_whole(made):
    """A network whose guess is certain and never the recording: what is replaced is then seen."""
    network, layout, ids, labels = made
    start = int((labels[1] != base.IGNORED).int().argmax())
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


def attention_of(network, ids: torch.Tensor) -> torch.Tensor:
    """Probabilities of the first layer, as transformers computes them."""
    network.set_attn_implementation("eager")
    return network.model(input_ids=ids, output_attentions=True, use_cache=False).attentions[0]


def test_scores_are_those_of_transformers(made):
    """A head whose scores are all but zero attends evenly; the highest score says how far it is from that."""
    network, _, ids, _ = made
    scores = sharpness.highest_scores(network, ids)
    assert scores.shape == (2, 4)
    probabilities = attention_of(network, ids)
    length = ids.shape[1]
    past = torch.arange(1, length + 1)
    spread = (probabilities.clamp_min(1e-30).log() + past.log()[:, None]).masked_fill(
        ~torch.ones(length, length, dtype=torch.bool).tril(), 0
    )
    highest = spread.abs().amax((0, 2, 3))
    assert (highest <= 2 * scores[0] + 1e-4).all()
    assert (highest >= 0.25 * scores[0]).all()


def test_only_heads_beyond_the_bound_are_scaled_and_down_to_it(made):
    network, _, ids, _ = made
    with torch.no_grad():
        network.model.layers[1].self_attn.q_proj.weight[8:16] *= 1e4
    before = sharpness.highest_scores(network, ids)
    assert before[1, 1] > 100 > before[1, 0]
    assert sharpness.bound(network, ids, 100.0) == pytest.approx(before.max().item())
    after = sharpness.highest_scores(network, ids)
    assert after[1, 1].item() == pytest.approx(100.0, rel=1e-3)
    assert torch.equal(after[0], before[0])
    assert torch.allclose(after[1, [0, 2, 3]], before[1, [0, 2, 3]], rtol=1e-3)
