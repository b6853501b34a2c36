"""For tests: networks in one pass, as on a GPU, whatever the device."""

from mtl_course.training import _many


def side_by_side(networks, data, seeds, machine, progress, settings):
    """What `fit_many` does with them on a GPU."""
    parts = _many._groups(networks, data, settings["batch_size"])
    works = list(zip(networks, data, seeds, strict=True))
    return _many._in_parts(parts, works, machine, progress, settings)
