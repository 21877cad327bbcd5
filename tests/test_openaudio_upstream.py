"""The merged folder in upstream's own hands: its loader and its loop, in a process of its own."""

import subprocess
import sys

import numpy as np
import pytest

import tiny_openaudio

# generate() is upstream's whole loop; it draws main tokens from text and control tokens too, which no trained
# network says, so here they are struck out of its logits
UPSTREAM = """
import sys
import numpy as np
import torch
from fish_speech.models.text2semantic.inference import generate
from fish_speech.models.text2semantic.llama import DualARTransformer

folder, prompt, out, frames, *takes = sys.argv[1:]
network = DualARTransformer.from_pretrained(folder, load_weights=True).float().eval()
assert type(network) is DualARTransformer and "sotaque" not in sys.modules
possible = torch.zeros(network.config.vocab_size, dtype=torch.bool)
possible[network.tokenizer.semantic_begin_id : network.tokenizer.semantic_end_id + 1] = True
possible[network.tokenizer.get_token_id("<|im_end|>")] = True
speak = network.forward_generate

def struck_out(*args, **kwargs):
    result = speak(*args, **kwargs)
    result.logits[..., ~possible] = -torch.inf
    return result

network.forward_generate = struck_out
columns = torch.from_numpy(np.load(prompt))
for take in takes:
    seed, temperature, top_p = take.split()
    torch.manual_seed(int(seed))
    said = generate(
        model=network, prompt=columns, max_new_tokens=int(frames), audio_masks=None, audio_parts=None,
        temperature=float(temperature), top_p=float(top_p), repetition_penalty=1.0,
    )
    np.save(f"{out}/{seed}.npy", said[:, columns.shape[1] :].numpy())
"""
FRAMES, TAKES = 6, [(3, 0.75, 0.75), (4, 1.0, 1.0)]


@pytest.fixture(scope="module")
def subject(subjects):
    return subjects("openaudio")


@pytest.fixture(scope="module")
def merged(subject):
    folder = subject.folder / "merged"
    subject.backend.save_merged(subject.shaken(subject.backend.load_network()).merge_and_unload(), folder)
    return folder


def test_upstream_reads_it_and_says_the_same_with_the_same_seed(subject, merged, tmp_path):
    """Numbers that bfloat16 holds, for upstream rounds them to that; a penalty of 1, see generate.py."""
    backend, prompt = subject.backend, subject.prompts[0]
    np.save(tmp_path / "prompt.npy", backend._prompt(prompt))
    takes = [" ".join(map(str, take)) for take in TAKES]
    command = [sys.executable, "-c", UPSTREAM, merged, tmp_path / "prompt.npy", tmp_path, str(FRAMES), *takes]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "All keys matched" in done.stderr
    assert "No weight for" not in done.stderr
    network, base = backend.load_network(merged), backend.load_network()
    for seed, temperature, top_p in TAKES:
        how = subject.lasting(FRAMES, temperature=temperature, top_p=top_p, repetition_penalty=1.0)
        [ours] = backend.generate(network, [prompt], how, [seed])
        theirs = np.load(tmp_path / f"{seed}.npy")[:, : len(ours.codes)]
        assert np.array_equal(backend.layout.codes_of(theirs), ours.codes)
        assert len(ours.codes) == FRAMES or ours.stopped
        [of_the_base] = backend.generate(base, [prompt], how, [seed])
        assert not np.array_equal(of_the_base.codes, ours.codes)


def test_without_the_list_of_tokens_upstream_would_read_another_vocabulary(subject, merged, tmp_path):
    """The trap that shipping special_tokens.json guards: no error, other ids."""
    fish = subject.backend.tokenizer.fish
    copy = tiny_openaudio.copy(merged, tmp_path / "copy")
    (copy / "special_tokens.json").unlink()
    naive = type(fish).from_pretrained(str(copy))
    assert len(naive.semantic_id_to_token_id) == 1024 < len(fish.semantic_id_to_token_id)
    assert naive.semantic_begin_id != fish.semantic_begin_id
