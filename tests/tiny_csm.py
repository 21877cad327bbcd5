"""A tiny random CSM in transformers' own layout, with its Mimi and its tokenizer, as `fetch` lays it out."""

from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import CsmConfig, CsmForConditionalGeneration, MimiConfig, PreTrainedTokenizerFast
from transformers.utils import logging

CODEBOOKS = 4
CODEBOOK_SIZE = 2048  # a power of two, as Mimi wants it
TARGETS = r"(backbone_model|depth_decoder\.model)\.layers\.\d+\.self_attn\.[qkvo]_proj"
CONTROLS = {
    "<|begin_of_text|>": 128000,
    "<|end_of_text|>": 128001,
    "<|AUDIO|>": 128002,
    "<|audio_eos|>": 128003,
}

SPEC = f"""
backend: csm
about: random weights
weights_licence: none
sample_rate_hz: 24000
network: {{folder: unused}}
codec: {{folder: unused}}
asr: {{folder: unused}}
lora_targets: '{TARGETS}'
learning: {{depth_share: 0.5}}
generation: {{temperature: 0.9, top_k: 50, max_s: 0.6}}
"""


def base(folder: Path, seed: int = 0) -> Path:
    """network/ and codec/ of 12.5 frames a second, 4 codebooks of 2048, the real vocabulary of text."""
    logging.disable_progress_bar()
    torch.manual_seed(seed)
    mimi = MimiConfig(
        num_quantizers=CODEBOOKS, codebook_size=CODEBOOK_SIZE, hidden_size=16, num_filters=2, codebook_dim=8,
        vector_quantization_hidden_dimension=8, upsample_groups=16, num_hidden_layers=1, intermediate_size=16,
        num_attention_heads=2, num_key_value_heads=2, head_dim=8,
    )  # fmt: skip
    depth = {
        "num_codebooks": CODEBOOKS, "backbone_hidden_size": 16, "hidden_size": 16, "intermediate_size": 32,
        "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1, "initializer_range": 0.3,
    }  # fmt: skip
    config = CsmConfig(
        num_codebooks=CODEBOOKS, hidden_size=16, intermediate_size=32, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=1, initializer_range=0.3, depth_decoder_config=depth,
        codec_config=mimi.to_dict(),
    )  # fmt: skip
    csm = CsmForConditionalGeneration(config)
    for name, value in csm.codec_model.state_dict().items():  # else all codebooks are zeros
        if name.endswith("embed_sum"):
            value.normal_()
    csm.save_pretrained(folder / "network")
    csm.codec_model.save_pretrained(folder / "codec")
    tokenizer().save(str(folder / "network" / "tokenizer.json"))
    return folder


def tokenizer() -> Tokenizer:
    """Bytes as text tokens; the control tokens under their real names and ids."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate(letters)} | CONTROLS, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([AddedToken(name, special=True) for name in CONTROLS])
    return made


def processor():
    """Upstream's own, over the same tokenizer; the real chat template ships with the weights."""
    from transformers import CsmProcessor, EncodecFeatureExtractor

    tokens = PreTrainedTokenizerFast(tokenizer_object=tokenizer(), pad_token="<|AUDIO|>")  # noqa: S106
    return CsmProcessor(EncodecFeatureExtractor(sampling_rate=24_000), tokens, chat_template=TEMPLATE)


TEMPLATE = (
    "{%- for message in messages -%}<|begin_of_text|>[{{ message['role'] }}]"
    "{%- for part in message['content'] -%}{%- if part['type'] == 'text' -%}{{ part['text'] }}<|end_of_text|>"
    "{%- else -%}<|AUDIO|><|audio_eos|>{%- endif -%}{%- endfor -%}{%- endfor -%}"
)
