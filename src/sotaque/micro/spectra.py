"""Log spectra that the micro trainings compare. B: clips, T: samples, F: frames."""

import functools

import torch

RATE_HZ = 24_000
_FLOOR = 1e-4


@functools.cache
def _mel_filters(n_fft: int, n_mels: int, device: str) -> torch.Tensor:
    import librosa

    return torch.from_numpy(librosa.filters.mel(sr=RATE_HZ, n_fft=n_fft, n_mels=n_mels)).to(device)


def magnitude(audio: torch.Tensor, n_fft: int, hop: int) -> torch.Tensor:
    """(B, 1, T) to (B, n_fft // 2 + 1, F); frames centred on multiples of `hop`."""
    window = torch.hann_window(n_fft, device=audio.device)
    spectrum = torch.stft(audio.squeeze(1), n_fft, hop, window=window, return_complex=True)
    return (spectrum.real.square() + spectrum.imag.square() + 1e-9).sqrt()


def log_mel(audio: torch.Tensor, n_fft: int, hop: int, n_mels: int) -> torch.Tensor:
    """(B, 1, T) to natural log-mel (B, n_mels, F)"""
    filters = _mel_filters(n_fft, n_mels, str(audio.device))
    return (filters @ magnitude(audio, n_fft, hop) + _FLOOR).log()


def harmonic_spectrum(audio: torch.Tensor, hop: int, top_hz: float = 1300.0) -> torch.Tensor:
    """Log magnitudes below `top_hz` fine enough to show each harmonic. (B, bins, F)"""
    n_fft = 2048
    bins = int(top_hz * n_fft / RATE_HZ)
    return (magnitude(audio, n_fft, hop)[:, :bins] + 0.03).log()
