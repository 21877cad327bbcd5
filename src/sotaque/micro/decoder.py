"""The waveform decoder of the small SNAC, trained on the final codes of codec.py.

Spectral distances at four resolutions, and the distance of the voices (likeness.py); then a light
discriminator of spectrograms may join, because distances alone leave speech buzzy.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from snac import SNAC
from torch import nn
from torch.nn import functional as F

from sotaque.micro import codec as codec_module
from sotaque.micro import progress
from sotaque.micro.likeness import VoiceDistance
from sotaque.micro.pool import Pool
from sotaque.micro.spectra import log_mel, magnitude

MEL_RESOLUTIONS = ((512, 40), (1024, 80), (2048, 120))  # n_fft, mels
STFT_RESOLUTIONS = (256, 512, 1024, 2048)
DISCRIMINATED = (512, 1024, 2048)  # n_fft


@dataclass(frozen=True)
class DecoderSettings:
    """segment: samples; adversary_from: the step at which the discriminator joins, over steps for never.

    voices: weight of the distance of voices (likeness.py). start: a codec's folder, whose decoder is trained
    further; none: from nothing.
    """

    steps: int
    batch: int
    segment: int
    lr: float
    adversary_from: int
    adversary_weight: float
    feature_weight: float
    decay_share: float
    voices: float
    start: str | None
    seed: int


def distance(spoken: torch.Tensor, audio: torch.Tensor) -> torch.Tensor:
    """L1 of log-mels and of compressed magnitudes, each a mean over resolutions. Both (B, 1, T)."""
    mel = sum(
        F.l1_loss(log_mel(spoken, n_fft, n_fft // 4, mels), log_mel(audio, n_fft, n_fft // 4, mels))
        for n_fft, mels in MEL_RESOLUTIONS
    ) / len(MEL_RESOLUTIONS)
    linear = sum(
        F.l1_loss(magnitude(spoken, n_fft, n_fft // 4).pow(0.5), magnitude(audio, n_fft, n_fft // 4).pow(0.5))
        for n_fft in STFT_RESOLUTIONS
    ) / len(STFT_RESOLUTIONS)
    return mel + linear


class SpectrogramCritic(nn.Module):
    """Real and imaginary spectrum (B, 2, bins, F) to a map of judgements, and the features before it."""

    def __init__(self, n_fft: int, width: int = 16):
        super().__init__()
        self.n_fft = n_fft
        sizes = [(2, width), (width, width), (width, 2 * width), (2 * width, 2 * width)]
        self.layers = nn.ModuleList(
            nn.utils.parametrizations.weight_norm(nn.Conv2d(i, o, (7, 3), stride=(3, 1), padding=(3, 1)))
            for i, o in sizes
        )
        self.judge = nn.utils.parametrizations.weight_norm(nn.Conv2d(2 * width, 1, 3, padding=1))

    def forward(self, audio: torch.Tensor) -> list[torch.Tensor]:
        window = torch.hann_window(self.n_fft, device=audio.device)
        spectrum = torch.stft(
            audio.squeeze(1), self.n_fft, self.n_fft // 2, window=window, return_complex=True
        )
        x = torch.stack([spectrum.real, spectrum.imag], 1)
        x = x / (x.square().sum(1, keepdim=True) + 1e-6).pow(0.35)  # speech's range is too wide as it is
        features = []
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.1)
            features.append(x)
        return [*features, self.judge(x)]


class Critics(nn.Module):
    def __init__(self):
        super().__init__()
        self.each = nn.ModuleList(SpectrogramCritic(n_fft) for n_fft in DISCRIMINATED)

    def forward(self, audio: torch.Tensor) -> list[list[torch.Tensor]]:
        return [critic(audio) for critic in self.each]


def critic_loss(real: list, spoken: list) -> torch.Tensor:
    """Hinge loss."""
    pairs = zip(real, spoken, strict=True)
    return sum(F.relu(1 - r[-1]).mean() + F.relu(1 + s[-1]).mean() for r, s in pairs) / len(real)


def persuasion(spoken: list) -> torch.Tensor:
    return sum(-s[-1].mean() for s in spoken) / len(spoken)


def feature_distance(real: list, spoken: list) -> torch.Tensor:
    """L1 between the critics' features, relative to the real ones' size."""
    terms = [
        F.l1_loss(s, r.detach()) / r.detach().abs().mean()
        for rs, ss in zip(real, spoken, strict=True)
        for r, s in zip(rs[:-1], ss[:-1], strict=True)
    ]
    return sum(terms) / len(terms)


class Training:
    """The decoder, its critics and their optimisers: everything that a checkpoint holds."""

    def __init__(self, codec: SNAC, settings: DecoderSettings, place: torch.device):
        self.codec, self.settings = codec, settings
        self.critics = Critics().to(place)
        self.likeness = VoiceDistance().to(place)
        betas = (0.8, 0.99)
        self.speaker = torch.optim.AdamW(codec.decoder.parameters(), settings.lr, betas, weight_decay=0.0)
        self.judge = torch.optim.AdamW(self.critics.parameters(), settings.lr, betas, weight_decay=0.0)
        self.average = {name: value.clone() for name, value in codec.decoder.state_dict().items()}
        self.step = 0

    def state(self) -> dict:
        return {"decoder": self.codec.decoder.state_dict(), "critics": self.critics.state_dict(),
                "speaker": self.speaker.state_dict(), "judge": self.judge.state_dict(),
                "average": self.average, "step": self.step}  # fmt: skip

    def restore(self, state: dict) -> None:
        self.codec.decoder.load_state_dict(state["decoder"])
        self.critics.load_state_dict(state["critics"])
        self.speaker.load_state_dict(state["speaker"])
        self.judge.load_state_dict(state["judge"])
        self.average, self.step = state["average"], state["step"]

    @torch.no_grad()
    def follow(self) -> None:
        """A moving average of the decoder is what is shipped."""
        keep = min(0.995, self.step / (self.step + 10))
        for name, value in self.codec.decoder.state_dict().items():
            self.average[name].lerp_(value, 1 - keep)


def train(codec: SNAC, pool: Pool, settings: DecoderSettings, folder: Path) -> None:
    """Checkpoints, resumable, in `folder`/decoder.pt; its "average" is the decoder to ship."""
    torch.manual_seed(settings.seed)
    place = progress.device()
    codec = codec.to(place).requires_grad_(False)
    codec.decoder.requires_grad_(True)
    state = progress.load(folder / "decoder.pt")
    if settings.start and not state:
        codec.decoder.load_state_dict(SNAC.from_pretrained(settings.start).decoder.state_dict())
    elif not state:
        example = codec_module.batches(pool, settings, 0).to(place)
        codec_module.unit_variance(codec.decoder, codec.quantizer(codec.encoder(example))[0])
        last = codec.decoder.model[-2]
        last.parametrizations.weight.original0.data.mul_(0.1)
    training = Training(codec, settings, place)
    if state:
        training.restore(state)
    encode, decode = torch.compile(codec.encoder), torch.compile(codec.decoder)
    log = progress.Log(folder / "decoder-curve.jsonl")
    for step in range(training.step, settings.steps):
        audio = codec_module.batches(pool, settings, step).to(place)
        with torch.no_grad():
            latents = codec.quantizer(encode(audio))[0]
        for optimizer in (training.speaker, training.judge):
            rate = progress.learning_rate(step, settings.steps, settings.lr, 50, settings.decay_share)
            progress.set_learning_rate(optimizer, rate)
        figures = _step(training, decode(latents), audio, step >= settings.adversary_from)
        training.step = step + 1
        training.follow()
        if step % 50 == 0:
            log(step=step, **figures)
        if (step + 1) % 250 == 0 or step + 1 == settings.steps:
            progress.save_atomically(training.state(), folder / "decoder.pt")


def _step(training: Training, spoken: torch.Tensor, audio: torch.Tensor, judged: bool) -> dict[str, float]:
    far, unlike = distance(spoken, audio), training.likeness(spoken, audio)
    total = far + training.settings.voices * unlike
    figures = {"distance": far.item(), "voice_distance": unlike.item()}
    if judged:
        real = training.critics(audio)
        loss = critic_loss(real, training.critics(spoken.detach()))
        training.judge.zero_grad(set_to_none=True)
        loss.backward()
        training.judge.step()
        training.critics.requires_grad_(False)
        heard = training.critics(spoken)
        fooled, features = persuasion(heard), feature_distance(real, heard)
        training.critics.requires_grad_(True)
        settings = training.settings
        total = total + settings.adversary_weight * fooled + settings.feature_weight * features
        figures |= {"critic": loss.item(), "persuasion": fooled.item(), "features": features.item()}
    training.speaker.zero_grad(set_to_none=True)
    total.backward()
    torch.nn.utils.clip_grad_norm_(training.codec.decoder.parameters(), 1.0)
    training.speaker.step()
    return figures


def export(codec: SNAC, decoder_state: dict, model: dict, folder: Path) -> None:
    """The folder that SNAC.from_pretrained reads: config.json and pytorch_model.bin, in fp16."""
    import json

    folder.mkdir(parents=True, exist_ok=True)
    codec.decoder.load_state_dict(decoder_state)
    weights = {name: value.detach().cpu().half().contiguous() for name, value in codec.state_dict().items()}
    progress.save_atomically(weights, folder / "pytorch_model.bin")
    (folder / "config.json").write_text(json.dumps(model, indent=2) + "\n", encoding="utf-8")
