"""For tests: networks in one pass, as on a GPU, whatever the device."""

from mtl_course.training import _many


def side_by_side(networks, data, seeds, machine, progress, settings):
    """What `fit_many` does with them on a GPU."""
    works = list(zip(networks, data, seeds, strict=True))
    return _many._in_groups(works, machine, settings, progress, together=True)
