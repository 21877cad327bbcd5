"""How far two clips are apart as voices, as a loss: one minus the cosine of Resemblyzer's embeddings.

The encoder is the one that judges similarity (metrics/similarity.py), so a codec trained with it is judged
by its own teacher: checks.py therefore also tells voices by their mean cepstrum, which no loss knows.
Its spectrogram of 25 ms at 16 kHz is taken here at 24 kHz, with the same filters, so that a gradient reaches
the samples.
"""

import numpy as np
import torch
from torch import nn

RATE_HZ = 24_000
JUDGED_HZ = 16_000
WINDOW, HOP = RATE_HZ * 25 // 1000, RATE_HZ // 100


class VoiceDistance(nn.Module):
    """Frozen. `embed`: (B, 1, T) samples at 24 kHz to unit vectors (B, 256); `forward`: mean distance."""

    def __init__(self):
        super().__init__()
        import librosa

        from sotaque.metrics.similarity import SpeakerEncoder

        self.encoder = SpeakerEncoder().encoder.requires_grad_(False)
        filters = librosa.filters.mel(sr=RATE_HZ, n_fft=WINDOW, n_mels=40, fmax=JUDGED_HZ / 2)
        # as many samples of a window at 16 kHz give magnitudes smaller by the ratio of the rates
        scale = np.float32((JUDGED_HZ / RATE_HZ) ** 2)
        self.register_buffer("filters", torch.from_numpy(filters * scale))
        self.register_buffer("window", torch.hann_window(WINDOW))

    def embed(self, audio: torch.Tensor) -> torch.Tensor:
        spectrum = torch.stft(
            audio.squeeze(1), WINDOW, HOP, window=self.window, pad_mode="constant", return_complex=True
        )
        power = spectrum.real.square() + spectrum.imag.square()
        _, (hidden, _) = self.encoder.lstm((self.filters @ power).transpose(1, 2))
        raw = torch.relu(self.encoder.linear(hidden[-1]))
        return raw / raw.norm(dim=1, keepdim=True).clamp_min(1e-6)

    def forward(self, spoken: torch.Tensor, audio: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            wanted = self.embed(audio)
        return (1 - (self.embed(spoken) * wanted).sum(1)).mean()
