"""transformers' Trainer with peft over our network and clips, set up as public notebooks do it.

A collator that pads to a multiple of 8 with label -100, batches in random order, all logits.
"""

from __future__ import annotations

import math
import tempfile


def theirs(trainer, steps: int) -> tuple[int, int]:
    """(useful tokens, positions computed) of transformers' Trainer over the same network."""
    import torch
    from transformers import Trainer, TrainingArguments

    how, counted = trainer.settings.train, [0, 0]

    def collate(items: list[dict]) -> dict[str, torch.Tensor]:
        width = -(-max(len(item["input_ids"]) for item in items) // 8) * 8
        fills = {"input_ids": trainer.backend.layout.pad, "labels": -100, "attention_mask": 0}
        rows = {
            name: torch.tensor([[*item[name], *[fill] * (width - len(item[name]))] for item in items])
            for name, fill in fills.items()
        }
        counted[0] += int((rows["labels"][:, 1:] != -100).sum())
        counted[1] += rows["labels"].numel()
        return rows

    examples = [trainer.train[i] for i in range(len(trainer.train))]
    clips = [
        {"input_ids": e.input_ids, "labels": e.labels, "attention_mask": [1] * len(e.labels)}
        for e in examples
    ]
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=how.batch_clips,
            max_steps=steps,
            learning_rate=trainer.settings.lr,
            lr_scheduler_type="linear",
            warmup_steps=math.ceil(how.warmup_share * steps),
            weight_decay=how.weight_decay,
            max_grad_norm=how.clip_norm,
            optim="adamw_torch",
            bf16=trainer.dtype == torch.bfloat16,
            use_cpu=not torch.cuda.is_available(),
            seed=trainer.settings.seed,
            logging_strategy="no",
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            remove_unused_columns=False,
        )
        Trainer(trainer.network, arguments, train_dataset=clips, data_collator=collate).train()
    return counted[0], counted[1]
