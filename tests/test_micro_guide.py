"""Guided attention: the place in the text goes from its first letter to its last as the speech goes on."""

import numpy as np
import torch

from sotaque.micro import base, codec, guide, vocabulary


def item(text: str, frames: int):
    """Ten frames; the four phonemes of each are new ones, but for two of silence at either end."""
    tokenizer = vocabulary.build(16)
    layout = vocabulary.layout(tokenizer)
    text_ids = tokenizer.encode(text, add_special_tokens=False)
    codes = np.zeros((frames, 7), np.int64)
    sequence = np.array(layout.sequence(text_ids, codes), np.int32)
    phonemes = ["_", "_", *(f"p{n}" for n in range(4 * frames - 4)), "_", "_"]
    unknown = np.full((frames, 4), base.IGNORED)
    return layout, base.Item(layout.prompt(text_ids), sequence, unknown, guide.spoken_shares(phonemes))


def places_of(layout, one) -> tuple[torch.Tensor, torch.Tensor]:
    ids, _ = base.collate([one], layout)
    shares = base.shares_ahead([one], ids.shape[1])
    return ids, guide.expected_places(ids, shares, base.SPEAKER_TOKENS, layout.text_end)


def test_pauses_and_long_phonemes_do_not_move_the_place():
    even = guide.spoken_shares(["a", "b", "c", "d"] * 2)
    paused = guide.spoken_shares(
        ["a", "b", "c", "d", "_", "_", "_", "_", "a", "a", "b", "c", "c", "d", "d", "d"]
    )
    assert even.tolist() == [2.5 / 8, 6.5 / 8]
    assert paused.tolist() == [2.5 / 8, 3.5 / 8, 5.5 / 8, 7.5 / 8]


def test_places_run_through_the_text_while_it_is_spoken():
    layout, one = item("rui: bom dia", frames=10)
    ids, places = places_of(layout, one)
    spoken = places[0][places[0] >= 0]
    assert len(spoken) == 70  # one for each audio token, at the position before it
    assert places[0, len(one.prompt) - 1] >= 0 > places[0, len(one.prompt) - 2]
    assert ids[0, int(spoken[0])] == ord("b")
    assert ids[0, round(spoken[-1].item())] == ord("a")
    assert (spoken.diff() >= 0).all()


def test_attention_at_the_place_costs_less_than_elsewhere():
    layout, one = item("rui: bom dia", frames=10)
    ids, places = places_of(layout, one)
    model = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2,
             "num_key_value_heads": 1, "tie_word_embeddings": True}  # fmt: skip
    torch.manual_seed(0)
    network = base.build(model, layout)
    entering = network.model(input_ids=ids, output_hidden_states=True).hidden_states[guide.LAYER].detach()
    optimizer = torch.optim.Adam(network.model.layers[guide.LAYER].self_attn.parameters(), 0.05)
    losses = []
    for _ in range(30):
        loss = guide.attention_loss(network, entering, places, 2.5)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]


def test_a_shifted_clip_is_the_same_clip_a_little_earlier_or_later():
    audio = torch.randn(2, 1, 4096)
    later = codec.shifted(audio, seed=1, step=2)
    assert torch.equal(later, codec.shifted(audio, seed=1, step=2))
    for one, other in zip(audio, later, strict=True):
        shifts = [one.roll(n, -1) for n in range(-codec.HOP // 4, codec.HOP // 4)]
        best = max(torch.nn.functional.cosine_similarity(s, other, dim=-1).item() for s in shifts)
        assert best > 0.999
