"""Guided attention: the place in the text goes from its first letter to its last as the speech goes on."""

import numpy as np
import torch

from sotaque.micro import base, codec, guide, vocabulary


def item(text: str, frames: int):
    tokenizer = vocabulary.build(16)
    layout = vocabulary.layout(tokenizer)
    text_ids = tokenizer.encode(text, add_special_tokens=False)
    codes = np.zeros((frames, 7), np.int64)
    return layout, (layout.prompt(text_ids), np.array(layout.sequence(text_ids, codes), np.int32))


def test_places_run_through_the_text_while_it_is_spoken():
    text = "rui: bom dia"
    layout, one = item(text, frames=10)
    ids, labels = base.collate([one], layout)
    ends = (layout.text_end, layout.speech_end)
    places = guide.expected_places(ids, labels, base.SPEAKER_TOKENS, ends)[0]
    spoken = places[places >= 0]
    assert len(spoken) == 70  # one for each audio token, at the position before it
    assert places[len(one[0]) - 1] == base.SPEAKER_TOKENS
    assert ids[0, int(spoken[0])] == ord("b")
    assert ids[0, int(spoken[-1])] == ord("a")
    assert (spoken.diff() >= 0).all()


def test_attention_at_the_place_costs_less_than_elsewhere():
    layout, one = item("rui: bom dia", frames=10)
    ids, labels = base.collate([one], layout)
    model = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2,
             "num_key_value_heads": 1, "tie_word_embeddings": True}  # fmt: skip
    torch.manual_seed(0)
    network = base.build(model, layout)
    entering = network.model(input_ids=ids, output_hidden_states=True).hidden_states[guide.LAYER].detach()
    ends = (layout.text_end, layout.speech_end)
    places = guide.expected_places(ids, labels, base.SPEAKER_TOKENS, ends)
    optimizer = torch.optim.Adam(network.model.layers[guide.LAYER].self_attn.parameters(), 0.05)
    losses = []
    for _ in range(30):
        loss = guide.attention_loss(network, entering, places, 2.5)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]


def test_a_shifted_clip_is_the_same_clip_a_little_later():
    audio = torch.randn(2, 1, 4096)
    later = codec.shifted(audio, seed=1, step=2)
    assert torch.equal(later, codec.shifted(audio, seed=1, step=2))
    for one, other in zip(audio, later, strict=True):
        shifts = [one.roll(n, -1) for n in range(8, codec.HOP // 4)]
        best = max(torch.nn.functional.cosine_similarity(s, other, dim=-1).item() for s in shifts)
        assert best > 0.999
