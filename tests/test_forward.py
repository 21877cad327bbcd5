"""The forward pass for a CPU against transformers' and peft's own modules: loss and every gradient."""

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model

import tiny
from sotaque import device
from sotaque.backends.orpheus import Backend, forward
from sotaque.backends.protocol import Prompt
from sotaque.training import lora

TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
FRAMES = (3, 9, 1)


@pytest.fixture(scope="module")
def backend(tmp_path_factory):
    return Backend(tiny.base(tmp_path_factory.mktemp("base"), tiny.SMALL), torch.device("cpu"))


def batch(backend, packed=False, frames=FRAMES):
    rng = np.random.default_rng(0)
    items = [
        backend.example(Prompt("ó" * (4 * count), "ana"), rng.integers(0, 32, (count, 7)), True)
        for count in frames
    ]
    return backend.collate(items, packed)


def adapted(backend, dtype=torch.float64, **values):
    """A network in training whose adapter has learnt something."""
    torch.manual_seed(0)
    config = LoraConfig(**{"r": 4, "lora_alpha": 8, "target_modules": TARGETS} | values)
    network = get_peft_model(backend.load_network(dtype=dtype), config).train()
    for parameter in lora.trainable(network).values():
        parameter.data.add_(0.05 * torch.randn(parameter.shape, dtype=torch.float64))
    return network


def learnt(backend, network, dtype=torch.float64, packed=False):
    """(loss, gradient of each tensor of the adapter)."""
    network.zero_grad()
    with device.autocast(torch.device("cpu"), dtype if dtype == torch.bfloat16 else torch.float32):
        loss, _ = backend.loss(network, batch(backend, packed))
    loss.backward()
    return loss.item(), {name: p.grad.double() for name, p in lora.trainable(network).items()}


def by_the_libraries(monkeypatch, backend, network, *args, **kwargs):
    with monkeypatch.context() as patch:
        patch.setattr(forward, "fits", lambda llama, lengths: False)
        return learnt(backend, network, *args, **kwargs)


def distance(mine, right):
    """The largest relative distance of a tensor's gradient."""
    return max(float((mine[name] - right[name]).norm() / right[name].norm()) for name in right)


def test_float32_is_the_libraries_too(monkeypatch, backend):
    network = adapted(backend, torch.float32)
    assert forward.fits(network.get_base_model(), FRAMES)
    loss, gradients = learnt(backend, network, torch.float32)
    expected, right = by_the_libraries(monkeypatch, backend, network, torch.float32)
    assert loss == pytest.approx(expected, rel=1e-5)
    assert distance(gradients, right) < 1e-4


FRESH = {
    "all layers": {},
    "rank-stabilised": {"use_rslora": True},
    "some layers": {"target_modules": ["k_proj", "up_proj"]},
    "ranks of their own": {"rank_pattern": {"q_proj": 2}},
    "a high rank": {"r": 64},
    "the second layer alone": {"layers_to_transform": [1]},
    "dropout, which evaluation leaves out": {"lora_dropout": 0.5},
}


@pytest.fixture(scope="module")
def wide_backend(tmp_path_factory):
    """Wide enough for sums whose order shows in the last bits."""
    folder = tiny.base(tmp_path_factory.mktemp("wide"), tiny.SMALL, hidden=256)
    return Backend(folder, torch.device("cpu"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("values", FRESH.values(), ids=FRESH)
@torch.inference_mode()
def test_a_fresh_adapter_changes_no_bit(wide_backend, values, dtype):
    """Of hidden states, for batches of many sizes, whose products a library may compute in different ways."""
    torch.manual_seed(0)
    plain = wide_backend.load_network(dtype=dtype)
    config = LoraConfig(**{"r": 4, "lora_alpha": 8, "target_modules": TARGETS} | values)
    fresh = get_peft_model(wide_backend.load_network(dtype=dtype), config).eval().get_base_model()
    for lengths in ([1], [3, 9, 1], [17, 64], [61, 62, 63], [250, 13]):
        ids = torch.randint(0, tiny.SMALL.vocabulary, (sum(lengths),))
        assert forward.fits(plain, lengths)
        assert forward.fits(fresh, lengths)
        expected = forward.hidden_states(plain, ids, lengths)
        assert torch.equal(forward.hidden_states(fresh, ids, lengths), expected)


@pytest.mark.parametrize(("each", "all_"), [(1, 1), (5, 7), (64, 1000)])
def test_what_fills_up_changes_nothing(monkeypatch, backend, each, all_):
    network = adapted(backend)
    expected, right = learnt(backend, network)
    monkeypatch.setattr(forward, "UTTERANCE_MULTIPLE", each)
    monkeypatch.setattr(forward, "BATCH_MULTIPLE", all_)
    loss, gradients = learnt(backend, network)
    assert loss == pytest.approx(expected, rel=1e-9)
    assert distance(gradients, right) < 1e-8


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    "values",
    [
        {},
        {"use_rslora": True},
        {"target_modules": ["k_proj", "up_proj"]},
        {"rank_pattern": {"q_proj": 2}},
        {"layers_to_transform": [1]},
    ],
    ids=["all layers", "rank-stabilised", "some layers", "ranks of their own", "the second layer alone"],
)
def test_loss_and_gradients_are_the_libraries(monkeypatch, backend, values, packed):
    network = adapted(backend, **values)
    assert forward.fits(network.get_base_model(), FRAMES)
    loss, gradients = learnt(backend, network, packed=packed)
    expected, right = by_the_libraries(monkeypatch, backend, network, packed=packed)
    assert loss == pytest.approx(expected, rel=1e-6)
    assert distance(gradients, right) < 1e-5  # transformers computes RMSNorm in float32 whatever x is
    assert min(float(one.norm()) for one in right.values()) > 0.1


def test_an_adapter_without_a_scale_learns_nothing(backend):
    network = adapted(backend, lora_alpha=0)
    assert forward.fits(network.get_base_model(), FRAMES)
    loss, gradients = learnt(backend, network)
    with torch.inference_mode():
        expected, _ = backend.loss(backend.load_network(dtype=torch.float64), batch(backend))
    assert loss == pytest.approx(float(expected))
    assert not any(gradient.any() for gradient in gradients.values())


@pytest.mark.parametrize("frames", [FRAMES, (60, 2)], ids=["few labels", "labels for several chunks"])
def test_a_base_is_read_as_the_libraries_do(monkeypatch, backend, frames):
    network, items = backend.load_network(dtype=torch.float64), batch(backend, frames=frames)
    with torch.inference_mode():
        loss, labels = backend.loss(network, items)
        monkeypatch.setattr(forward, "fits", lambda llama, lengths: False)
        expected, right = backend.loss(network, items)
    assert labels == right == 7 * sum(frames) + 2 * len(frames)
    assert float(loss) == pytest.approx(float(expected), rel=1e-6)


def test_products_of_others_stay_as_exact_as_they_were(monkeypatch, backend):
    """Even when one fails."""
    matmul = torch.backends.mkldnn.matmul
    before, network = matmul.fp32_precision, adapted(backend, torch.bfloat16)
    learnt(backend, network, torch.bfloat16)
    assert matmul.fp32_precision == before
    found = []

    def fail(*args, **kwargs):
        found.append(matmul.fp32_precision)
        raise RuntimeError("out of memory")

    monkeypatch.setattr(torch, "bmm", fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        learnt(backend, network, torch.bfloat16)
    assert (found, matmul.fp32_precision) == (["bf16"], before)


def test_bfloat16_is_as_near_to_the_truth_as_the_libraries(monkeypatch, backend):
    networks = {dtype: adapted(backend, dtype) for dtype in (torch.float64, torch.bfloat16)}
    rounded = {name: p.data for name, p in networks[torch.bfloat16].named_parameters()}
    for name, parameter in networks[torch.float64].named_parameters():
        parameter.data.copy_(rounded[name])
    loss, truth = learnt(backend, networks[torch.float64])
    args = backend, networks[torch.bfloat16], torch.bfloat16
    mine, theirs = learnt(*args), by_the_libraries(monkeypatch, *args)
    assert mine[0] == pytest.approx(loss, rel=0.01)
    assert distance(mine[1], truth) < max(0.02, 1.5 * distance(theirs[1], truth))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", ["q_proj.lora_B", "v_proj.lora_A", "gate_proj.lora_B", "down_proj.lora_A"])
def test_a_weight_that_is_no_number_shows_in_the_loss(backend, dtype, name):
    network = adapted(backend, dtype)
    for key, parameter in lora.trainable(network).items():
        if f"layers.0.{'mlp' if 'gate' in name or 'down' in name else 'self_attn'}.{name}" in key:
            parameter.data[0, 0] = torch.nan
    assert np.isnan(learnt(backend, network, dtype)[0])


def test_gradient_checkpointing_changes_nothing(backend):
    network = adapted(backend)
    expected, right = learnt(backend, network)
    network.get_base_model().gradient_checkpointing_enable({"use_reentrant": False})
    loss, gradients = learnt(backend, network)
    assert loss == expected
    assert distance(gradients, right) == 0


@pytest.mark.parametrize(
    "values",
    [{"lora_dropout": 0.1}, {"use_dora": True}, {"lora_bias": True}, {"modules_to_save": ["embed_tokens"]}],
    ids=["dropout", "DoRA", "bias", "a layer that learns"],
)
def test_what_it_cannot_do_is_left_to_the_libraries(backend, values):
    assert not forward.fits(adapted(backend, **values).get_base_model(), FRAMES)


def test_a_base_that_learns_and_a_long_utterance_are_left_to_the_libraries(backend):
    network = backend.load_network(dtype=torch.float64)
    assert not forward.fits(network, FRAMES)
    with torch.inference_mode():
        assert forward.fits(network, FRAMES)
        assert not forward.fits(network, [forward.LONGEST + 1])
        assert not forward.fits(backend.load_network(dtype=torch.float16), FRAMES)
        mixed = backend.load_network(dtype=torch.float32)
        mixed.model.layers[0].mlp.up_proj.to(torch.bfloat16)
        assert not forward.fits(mixed, FRAMES)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert not forward.fits(network, FRAMES)
