"""The merged folder in upstream's hands: transformers' loader and loop, and snac, in a process of their own.

Its loop is given the grammar of the slots, without which random weights say no audio at all, and the random
numbers that ours draws from the same seed; temperature, top-p and penalty are its own.
"""

import subprocess
import sys

import numpy as np
import pytest
import torch

UPSTREAM = """
import sys
import numpy as np
import torch
from snac import SNAC
from transformers import LlamaForCausalLM

folder, codec, given, out = sys.argv[1:]
llama = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float64).eval()
assert "sotaque" not in sys.modules
with np.load(given) as values:
    prompt, dice, (temperature, top_p, penalty), decoder_seed = (
        torch.from_numpy(values[name]) for name in ("prompt", "dice", "how", "seed")
    )
first, end, drawn = 128266, 128258, iter(dice.tolist())

def possible(batch, ids):
    slot = (len(ids) - len(prompt)) % 7
    return [*range(first + slot * 4096, first + (slot + 1) * 4096), *([end] if slot == 0 else [])]

def multinomial(probabilities, num_samples):
    likely, order = probabilities.double().sort(dim=1, descending=True, stable=True)
    reached = likely.cumsum(1)
    return order[:, int((reached[0] <= next(drawn) * reached[0, -1]).sum()), None]

torch.multinomial = multinomial
with torch.inference_mode():
    said = llama.generate(
        prompt[None], attention_mask=torch.ones(1, len(prompt), dtype=torch.long), do_sample=True, top_k=0,
        temperature=float(temperature), top_p=float(top_p), repetition_penalty=float(penalty),
        max_new_tokens=len(dice), eos_token_id=end, pad_token_id=128263, prefix_allowed_tokens_fn=possible,
    )[0, len(prompt):]
said = said[said != end]
frames = said.reshape(-1, 7) - first - 4096 * torch.arange(7)
books = [frames[:, [0]], frames[:, [1, 4]], frames[:, [2, 3, 5, 6]]]
snac = SNAC.from_pretrained(codec).eval()
torch.manual_seed(int(decoder_seed))
with torch.inference_mode():
    wave = snac.decode([book.reshape(1, -1) for book in books])
np.savez(out, codes=frames.numpy(), wave=wave.flatten().numpy())
"""
FRAMES, SEED = 4, 11


@pytest.fixture(scope="module")
def subject(subjects):
    return subjects("orpheus-real")


def test_upstream_reads_it_and_says_the_same_with_the_same_seed(subject, backend, network, tmp_path):
    merged = tmp_path / "merged"
    backend.save_merged(subject.shaken(network).merge_and_unload(), merged)
    prompt, how = subject.prompts[0], {"temperature": 0.9, "top_p": 0.95, "repetition_penalty": 1.3}
    dice = torch.rand(7 * FRAMES, generator=torch.Generator().manual_seed(SEED), dtype=torch.float64)
    np.savez(
        tmp_path / "given.npz", prompt=backend.layout.prompt(backend._text_ids(prompt)), dice=dice.numpy(),
        how=np.array(list(how.values())), seed=np.array(SEED),
    )  # fmt: skip
    command = [sys.executable, "-c", UPSTREAM, merged, backend.base / "codec", tmp_path / "given.npz"]
    done = subprocess.run([*command, tmp_path / "out.npz"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    speaking = subject.lasting(FRAMES, **how)
    exact = backend.load_network(merged, dtype=torch.float64)
    [ours] = backend.generate(exact, [prompt], speaking, [SEED])
    with np.load(tmp_path / "out.npz") as theirs:
        assert np.array_equal(theirs["codes"], ours.codes)
        assert len(ours.codes) == FRAMES or ours.stopped
        assert np.array_equal(theirs["wave"], backend.decode(ours.codes, SEED))
    [of_the_base] = backend.generate(backend.load_network(dtype=torch.float64), [prompt], speaking, [SEED])
    assert not np.array_equal(of_the_base.codes, ours.codes)
