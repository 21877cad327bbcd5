"""Voices told apart without any network: mean and spread of each cepstral coefficient of a clip.

What the codec is trained with also judges its similarity (likeness.py); this is a second opinion.
"""

import numpy as np

COEFFICIENTS = 20


def statistics(samples: np.ndarray, rate_hz: int) -> np.ndarray:
    """Mean and deviation of mel cepstral coefficients 1 to 20, (T,) to (40,). Loudness is left out."""
    import librosa

    found = librosa.feature.mfcc(y=samples, sr=rate_hz, n_mfcc=COEFFICIENTS + 1, n_mels=80)[1:]
    return np.concatenate([found.mean(1), found.std(1)])


def nearest(clip: np.ndarray, voices: dict[str, list[np.ndarray]]) -> str:
    """The voice whose mean is nearest to the statistics of a clip.

    Each number is measured in standard deviations within the voices, all taken together.
    """
    means = {name: np.mean(clips, axis=0) for name, clips in voices.items()}
    apart = [clip - means[name] for name, clips in voices.items() for clip in clips]
    spread = np.std(apart, axis=0) + 1e-6
    return min(means, key=lambda name: float(np.linalg.norm((clip - means[name]) / spread)))
