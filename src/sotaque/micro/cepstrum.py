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


class Voices:
    """Voices by name, each by the statistics of its clips.

    A number is measured in standard deviations within the voices, all taken together.
    """

    def __init__(self, clips: dict[str, list[np.ndarray]]):
        self._means = {name: np.mean(own, axis=0) for name, own in clips.items()}
        apart = [clip - self._means[name] for name, own in clips.items() for clip in own]
        self._spread = np.std(apart, axis=0) + 1e-6

    def nearest(self, clip: np.ndarray) -> str:
        """The voice whose mean is nearest to the statistics of a clip."""

        def distance(name: str) -> float:
            return float(np.linalg.norm((clip - self._means[name]) / self._spread))

        return min(self._means, key=distance)
