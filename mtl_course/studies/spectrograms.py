"""Sounds, drawn as pictures: a task whose x has nothing to do with roads or digits (T1).

Each sound is half a second of one or two voices that glide up or down, steady or pulsed, with or
without noise. Its spectrogram has the size of a scene, so that the same trunk can learn from it.
"""

import math

import torch
from torch import Tensor

from mtl_course.base import check_count, derive_seed
from mtl_course.datasets import Dataset

TASKS = ("rising", "two voices", "pulsed", "noisy")  # yes or no
RATE = 4_000  # samples a second
_SAMPLES = 2_048
_CHUNK = 1_024  # sounds made together
_WINDOW = 254  # samples of one spectrum, which has 128 frequencies
_QUIET = 50.0  # decibels below the loudest point: black
_HERE = {"device": "cpu", "dtype": torch.float32}  # whatever the defaults are


def draw(count: int, seed: int, *, size: int = 32, channels: int = 3) -> Dataset:
    """Draw spectrograms, time from left to right, pitch from bottom to top, louder is brighter.

    The first of a longer draw are those of a shorter one.
    size: the side of the picture in pixels. channels: all of them show the same.
    Returns: images uint8 (count, channels, size, size), labels int8 (count, 4) for `TASKS`.
    Raises: ValueError if `count`, `size` or `channels` is not a whole number in its range.
    """
    count, size = check_count("count", count, least=1), check_count("size", size, least=8)
    channels = check_count("channels", channels, least=1)
    images, labels = [], []
    for first in range(0, count, _CHUNK):
        generator = torch.Generator().manual_seed(derive_seed(seed, f"sounds from {first}"))
        answers = torch.rand(_CHUNK, len(TASKS), generator=generator, **_HERE) < 0.5
        images.append(_spectrogram(_sound(answers, generator), size)[: count - first])
        labels.append(answers[: count - first].to(torch.int8))
    gray = torch.cat(images)[:, None]  # (count, 1, size, size)
    return Dataset(gray.repeat(1, channels, 1, 1), torch.cat(labels), tasks=TASKS)


def _sound(answers: Tensor, generator: torch.Generator) -> Tensor:
    """Return sounds, float32 (m, samples), that deserve these answers, bool (m, 4)."""
    m = len(answers)
    rising, both, pulsed, noisy = answers.float().T[..., None]  # (m, 1) each

    def between(low: float, high: float, columns: int = 1) -> Tensor:
        return low + (high - low) * torch.rand(m, columns, generator=generator, **_HERE)

    time = torch.linspace(0, 1, _SAMPLES, **_HERE)  # of the half second
    octaves = between(0.3, 1.0) * (2 * rising - 1)  # the same for both voices
    sound = torch.zeros(m, _SAMPLES, **_HERE)
    for loudness in (1.0, both * between(0.5, 1.0)):
        middle = 2 ** between(math.log2(180), math.log2(450))  # hertz: no overtone beyond RATE / 2
        pitch = middle * 2 ** (octaves * (time - 0.5))  # (m, samples)
        phase = (2 * math.pi / RATE) * pitch.cumsum(dim=1)
        for overtone in (1, 2, 3):
            sound += loudness * between(0.2, 1.0) / overtone * (overtone * phase).sin()
    beat = (2 * math.pi * (between(4, 9) * time + between(0, 1))).sin() > 0  # beats a half second
    sound *= 1 - pulsed * 0.9 * beat
    noise = torch.randn(m, _SAMPLES, generator=generator, **_HERE)
    return sound + noise * torch.where(noisy > 0, between(0.15, 0.5), between(0.005, 0.02))


def _spectrogram(sound: Tensor, size: int) -> Tensor:
    """Return the spectrograms, uint8 (m, size, size), of sounds, float32 (m, samples)."""
    window = torch.hann_window(_WINDOW, **_HERE)
    spectrum = torch.stft(sound, _WINDOW, hop_length=32, window=window, return_complex=True)
    power = torch.nn.functional.adaptive_avg_pool2d(spectrum.abs().square(), size)
    decibel = 10 * (power / power.amax(dim=(1, 2), keepdim=True)).clamp(min=1e-9).log10()
    gray = (1 + decibel / _QUIET).clamp(0, 1) * 255
    return gray.round().to(torch.uint8).flip(1)  # low notes at the bottom
