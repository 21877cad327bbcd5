"""The chunked cross-entropy against torch's own over all logits: value and every gradient."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from sotaque.backends import cross_entropy
from sotaque.backends.protocol import IGNORED

POSITIONS, WIDTH, VOCABULARY = 23, 8, 50


def drawn(ignored=0):
    """Hidden states, weight and labels, of which the first `ignored` do not count."""
    torch.manual_seed(0)
    labels = torch.randint(VOCABULARY, (POSITIONS,))
    labels[:ignored] = IGNORED
    hidden = torch.randn(POSITIONS, WIDTH).requires_grad_()
    return hidden, torch.randn(VOCABULARY, WIDTH), labels


def head_of(weight, learns=True):
    head = nn.Linear(WIDTH, VOCABULARY, bias=False)
    head.weight = nn.Parameter(weight.clone(), requires_grad=learns)
    return head


def whole(head, hidden, labels):
    return F.cross_entropy(head(hidden).float(), labels, ignore_index=IGNORED, reduction="sum")


def gradients(loss, *tensors):
    return torch.autograd.grad(loss * 0.3, tensors)


@pytest.mark.parametrize("ignored", [0, 7, POSITIONS])
@pytest.mark.parametrize("rows", [1, 5, POSITIONS, 100])
def test_value_and_gradients_are_torchs(rows, ignored):
    hidden, weight, labels = drawn(ignored)
    head = head_of(weight)
    ours = cross_entropy.summed(head, hidden, labels, rows * VOCABULARY)
    theirs = whole(head, hidden, labels)
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-6)
    for mine, right in zip(gradients(ours, hidden, head.weight), gradients(theirs, hidden, head.weight),
                           strict=True):  # fmt: skip
        assert torch.allclose(mine, right, atol=1e-6)
        assert ignored == POSITIONS or mine.abs().max() > 0.01


class Wearing(nn.Module):
    """A head beside whose weight an adapter stands."""

    def __init__(self, weight):
        super().__init__()
        self.base, self.change = head_of(weight, learns=False), nn.Parameter(torch.ones(WIDTH))

    def forward(self, x):
        return self.base(x) + self.base(x * self.change)


def test_a_head_with_an_adapter_learns_the_same():
    hidden, weight, labels = drawn()
    head = Wearing(weight)
    ours = cross_entropy.summed(head, hidden, labels, 5 * VOCABULARY)
    theirs = whole(head, hidden, labels)
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-6)
    for mine, right in zip(gradients(ours, hidden, head.change), gradients(theirs, hidden, head.change),
                           strict=True):  # fmt: skip
        assert torch.allclose(mine, right, atol=1e-5)


def test_a_tied_weight_gets_the_gradient_of_both_its_uses():
    _, weight, labels = drawn()
    ids = torch.randint(VOCABULARY, (POSITIONS,))
    found = []
    for loss in (whole, lambda *batch: cross_entropy.summed(*batch, 5 * VOCABULARY)):
        head = head_of(weight)
        loss(head, F.embedding(ids, head.weight).tanh(), labels).backward()
        found.append(head.weight.grad)
    assert torch.allclose(*found, atol=1e-5)


def test_bfloat16_is_as_near_to_the_truth_as_torchs_own():
    """Logits are rounded to 8 bits in both; softmax, sums and the weight's gradient are float32 in ours."""
    hidden, weight, labels = drawn()
    truth = gradients(whole(head := head_of(weight), hidden, labels), hidden, head.weight)
    errors = []
    for loss in (whole, lambda *batch: cross_entropy.summed(*batch, 5 * VOCABULARY)):
        head = head_of(weight)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            total = loss(head, hidden, labels)
        assert total.dtype == torch.float32
        found = gradients(total, hidden, head.weight)
        assert all(gradient.dtype == torch.float32 for gradient in found)
        errors.append([(mine - right).abs().max() for mine, right in zip(found, truth, strict=True)])
    for theirs, ours in zip(*errors, strict=True):
        assert ours < 1.5 * theirs


def test_weights_in_bfloat16_have_gradients_in_bfloat16():
    hidden, weight, labels = drawn()
    head = head_of(weight.bfloat16())
    states = hidden.detach().bfloat16().requires_grad_()
    total = cross_entropy.summed(head, states, labels, 5 * VOCABULARY)
    right = gradients(whole(head_of(weight), hidden, labels), hidden)[0]
    mine = gradients(total, states, head.weight)
    assert [gradient.dtype for gradient in mine] == [torch.bfloat16] * 2
    assert torch.allclose(mine[0].float(), right, atol=0.05 * right.abs().max())


def test_never_more_logits_than_allowed():
    """The largest tensor made anywhere on the way, forward and backward, is one chunk of logits."""
    hidden, weight, labels = drawn()
    largest = 0

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            nonlocal largest
            made = function(*args, **(kwargs or {}))
            if isinstance(made, torch.Tensor):
                largest = max(largest, made.numel())
            return made

    with Watch():
        head = head_of(weight, learns=False)
        cross_entropy.summed(head, hidden, labels, 9 * VOCABULARY).backward()
    assert largest == 9 * VOCABULARY


def test_nothing_is_kept_where_nothing_learns():
    hidden, weight, labels = drawn()
    with torch.no_grad():
        total = cross_entropy.summed(head_of(weight), hidden, labels, 5 * VOCABULARY)
    assert not total.requires_grad
    assert total.item() == pytest.approx(whole(head_of(weight), hidden, labels).item(), rel=1e-6)
