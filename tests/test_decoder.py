"""One token at a time against the library's own forward over the whole sequence."""

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from sotaque.backends.orpheus import decoder as decoders
from sotaque.backends.orpheus.decoder import Decoder
from sotaque.training import lora

PROMPTS = ([5, 6, 7, 8, 9], [11, 12], [21, 22, 23, 24, 25, 26, 27])
ATOL = 2e-5  # the library computes RMSNorm in float32 whatever the weights are
FOLLOWING = torch.tensor([[31, 32, 33, 34], [41, 42, 43, 44], [51, 52, 53, 54]])


def network(**values):
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=2, initializer_range=0.3, pad_token_id=0, **values,
    )  # fmt: skip
    return LlamaForCausalLM(config).double().eval()


def adapted(**values):
    """Weights that stand beside the base's own, not merged, on some of the projections."""
    from peft import LoraConfig, get_peft_model

    targets = ["q_proj", "up_proj", "o_proj"]
    network_ = get_peft_model(network(**values), LoraConfig(r=2, target_modules=targets))
    for parameter in lora.trainable(network_).values():
        torch.nn.init.normal_(parameter.data, std=0.3)
    return network_.get_base_model().eval()


MAKERS = {
    "plain": network,
    "biases": lambda: with_biases(network(attention_bias=True, mlp_bias=True)),
    "head size of its own": lambda: network(head_dim=10),
    "stretched positions": lambda: network(
        rope_parameters={
            "rope_type": "llama3",
            "rope_theta": 500000.0,
            "factor": 32.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        }
    ),
    "adapted": adapted,
}


def with_biases(made):
    for name, parameter in made.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter.data)
    return made


def started(llama, steps=4):
    return Decoder(llama, PROMPTS, steps)


def whole(llama, row, steps):
    ids = torch.tensor([[*PROMPTS[row], *FOLLOWING[row, :steps].tolist()]])
    return llama.model(input_ids=ids, use_cache=False).last_hidden_state[0, -1]


@pytest.mark.parametrize("maker", MAKERS)
@torch.inference_mode()
def test_each_step_is_the_whole_forward(maker):
    llama = MAKERS[maker]()
    decoder = started(llama)
    for step in range(4):
        expected = torch.stack([whole(llama, row, step) for row in range(3)])
        assert torch.allclose(decoder.hidden, expected, atol=ATOL)
        decoder.step(FOLLOWING[:, step])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@torch.inference_mode()
def test_a_fresh_adapter_changes_no_bit(dtype):
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=2, lora_dropout=0.5, target_modules=["q_proj", "up_proj", "o_proj", "down_proj"])
    fresh = get_peft_model(network().to(dtype), config).eval().get_base_model()
    plain, adapted_ = started(network().to(dtype)), started(fresh)
    for step in range(4):
        assert torch.equal(adapted_.hidden, plain.hidden)
        assert torch.equal(adapted_.step(FOLLOWING[:, step]), plain.step(FOLLOWING[:, step]))


@torch.inference_mode()
def test_layer_by_layer_in_bfloat16_too(monkeypatch):
    monkeypatch.setattr(decoders, "_at_once", lambda *_: None)
    rounded, exact = network().to(torch.bfloat16), network()
    exact.load_state_dict(rounded.state_dict())
    decoder = started(rounded)
    decoder.step(FOLLOWING[:, 0])
    decoder.keep(torch.tensor([0, 2]))
    decoder.step(FOLLOWING[[0, 2], 1])
    assert decoder.hidden.dtype == torch.bfloat16
    expected = torch.stack([whole(exact, row, 2) for row in (0, 2)])
    assert torch.allclose(decoder.hidden.double(), expected, atol=0.15)


@pytest.mark.parametrize("rows", [[0, 2], [1], [2, 0], [0]])
@torch.inference_mode()
def test_rows_that_are_kept_go_on_as_before(rows):
    llama = network()
    decoder = started(llama)
    decoder.step(FOLLOWING[:, 0])
    decoder.keep(torch.tensor(rows))
    for step in (1, 2):
        made = decoder.step(FOLLOWING[rows, step])
        expected = torch.stack([whole(llama, row, step + 1) for row in rows])
        assert torch.allclose(made, expected, atol=ATOL)


@torch.inference_mode()
def test_a_batch_without_padding_needs_no_mask():
    llama = network()
    decoder = Decoder(llama, PROMPTS[:1], 2)
    assert torch.allclose(decoder.step(FOLLOWING[0, :1])[0], whole(llama, 0, 1), atol=ATOL)
