"""The small base's training: attention that stays soft."""

import pytest
import torch

import small_base
from sotaque.micro.base import sharpness


@pytest.fixture
def made():
    return small_base.make()


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
