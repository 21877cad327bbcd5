"""The codebooks of the small SNAC while they are trained: losses, start, and codes that fell out of use."""

import torch
from snac import SNAC
from torch.nn import functional as F


def quantize(
    codec: SNAC, latents: torch.Tensor, plain: bool, depth: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, list, list]:
    """As ResidualVectorQuantize.forward, and also its losses: (quantised, loss, codes, projected latents).

    plain: skip the codebooks, so that the latents spread before they are clustered. depth (B,): of how many
    codebooks the sum is made.
    """
    quantized, residual, loss, codes, projected = 0.0, latents, latents.new_zeros(()), [], []
    for number, level in enumerate(codec.quantizer.quantizers):
        pooled = F.avg_pool1d(residual, level.stride, level.stride) if level.stride > 1 else residual
        z_e = level.in_proj(pooled)
        z_q, indices = level.decode_latents(z_e)
        if plain:
            z_q = z_e
        loss = loss + F.mse_loss(z_q, z_e.detach()) + 0.25 * F.mse_loss(z_e, z_q.detach())
        out = level.out_proj(z_e + (z_q - z_e).detach()).repeat_interleave(level.stride, dim=-1)
        quantized = quantized + out * (depth > number)[:, None, None]
        residual = residual - out
        codes.append(indices)
        projected.append(z_e.detach().transpose(1, 2).flatten(0, 1))
    return quantized, loss, codes, projected


@torch.no_grad()
def cluster(vectors: torch.Tensor, codebook: torch.Tensor, rounds: int = 20) -> None:
    """k-means by direction, as the codebook is searched; writes the means into `codebook` (N, D)."""
    centres = vectors[torch.randperm(len(vectors))[: len(codebook)]].clone()
    for _ in range(rounds):
        nearest = (F.normalize(vectors) @ F.normalize(centres).T).argmax(1)
        counts = torch.bincount(nearest, minlength=len(centres))
        sums = torch.zeros_like(centres).index_add_(0, nearest, vectors)
        centres = sums / counts.clamp_min(1)[:, None]
        empty = counts == 0
        centres[empty] = vectors[torch.randint(len(vectors), (int(empty.sum()),))]
    codebook.copy_(centres)


class Usage:
    """How often each code was used lately; codes unused for long are moved onto current latents."""

    def __init__(self, levels: int, size: int):
        self.share = torch.full((levels, size), 1.0 / size)

    @torch.no_grad()
    def update(self, codes: list[torch.Tensor]) -> None:
        for level, indices in enumerate(codes):
            counts = torch.bincount(indices.flatten().cpu(), minlength=self.share.shape[1]).float()
            self.share[level].lerp_(counts / counts.sum(), 0.02)

    @torch.no_grad()
    def restart(self, codec: SNAC, projected: list[torch.Tensor]) -> None:
        for level, vectors in enumerate(projected):
            dead = torch.nonzero(self.share[level] < 0.03 / self.share.shape[1]).flatten()
            chosen = vectors[torch.randint(len(vectors), (len(dead),))]
            codec.quantizer.quantizers[level].codebook.weight[dead] = chosen
            self.share[level, dead] = 1.0 / self.share.shape[1]

    def perplexity(self) -> list[int]:
        return [
            round(float((-(p * (p + 1e-9).log()).sum()).exp())) for p in self.share / self.share.sum(1, True)
        ]


@torch.no_grad()
def cluster_all(codec: SNAC, latents: torch.Tensor) -> None:
    """k-means of each level on what its predecessors leave of the latents (B, C, T)."""
    residual = latents
    for level in codec.quantizer.quantizers:
        pooled = F.avg_pool1d(residual, level.stride, level.stride) if level.stride > 1 else residual
        cluster(level.in_proj(pooled).transpose(1, 2).flatten(0, 1), level.codebook.weight)
        residual = residual - level(residual)[0]
