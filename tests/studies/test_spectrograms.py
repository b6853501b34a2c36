"""Guards mtl_course.studies.spectrograms: the spectrogram shows each answer about the sound."""

import pytest
import torch

from mtl_course.studies import spectrograms


@pytest.fixture(scope="module")
def many():
    return spectrograms.draw(1_000, seed=0)


def column(data, task):
    return data.labels[:, data.tasks.index(task)] == 1


def test_sounds_are_pictures_with_four_answers(many):
    assert many.images.shape == (1_000, 3, 32, 32)
    assert many.tasks == spectrograms.TASKS
    assert (many.images[:, :1] == many.images).all(), "the channels differ"
    assert torch.allclose(many.labels.double().mean(dim=0), torch.tensor(0.5).double(), atol=0.06)


def test_a_sound_is_a_function_of_seed_and_place(many):
    assert torch.equal(spectrograms.draw(20, seed=0).images, many.images[:20])
    longer = spectrograms.draw(1_030, seed=0)
    assert torch.equal(longer.images[:1_000], many.images)
    assert longer.images[1_024:].float().std() > 0
    assert not torch.equal(spectrograms.draw(20, seed=1).images, many.images[:20])


def test_rising_sounds_end_higher_than_they_start(many):
    """The middle of the energy, in rows from the bottom, in the last quarter and in the first."""
    quiet = ~column(many, "noisy")
    energy = 10 ** (many.images[quiet, 0].double() / 255 * 5)  # (m, 32, 32)
    height = torch.arange(31, -1, -1)[:, None]
    middle = (energy * height).sum(dim=1) / energy.sum(dim=1)  # (m, 32)
    rises = middle[:, -8:].mean(dim=1) > middle[:, :8].mean(dim=1)
    right = rises == column(many, "rising")[quiet]
    assert right.double().mean() > 0.9


def test_noise_fills_the_picture_and_pulses_change_along_it(many):
    level = many.images[:, 0].double().mean(dim=(1, 2))
    noisy = column(many, "noisy")
    assert level[noisy].mean() > level[~noisy].mean() + 30
    loudness = many.images[~noisy, 0].double().amax(dim=1).std(dim=1)
    pulsed = column(many, "pulsed")[~noisy]
    assert loudness[pulsed].mean() > 2 * loudness[~pulsed].mean()


def test_two_voices_have_more_lines_than_one(many):
    clean = ~column(many, "noisy") & ~column(many, "pulsed")
    bright = (many.images[clean, 0] > 150).double().mean(dim=(1, 2))
    both = column(many, "two voices")[clean]
    assert bright[both].mean() > 1.2 * bright[~both].mean()


def test_other_sizes_and_bad_ones():
    assert spectrograms.draw(3, seed=0, size=8, channels=1).images.shape == (3, 1, 8, 8)
    for wrong in ({"count": 0}, {"size": 4}, {"channels": 0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            spectrograms.draw(**{"count": 3, "seed": 0} | wrong)
