"""Networks and training runs on disk: written whole or not at all, read without running code."""

import io
from pathlib import Path

import torch
from torch import Tensor

from mtl_course.base import atomic, check_writable
from mtl_course.networks import Network

_FORMAT = "mtl_course checkpoint 1"


def save(network: Network, path: str | Path, **state: object) -> None:
    """Write the network's weights and statistics to `path`, whole or not at all.

    state: tensors and plain values to keep beside them.
    Raises: OSError if `path` cannot be written, or its disk is full.
    """
    check_writable(Path(path).parent, "choose another path for the checkpoint")
    weights = {name: value.cpu() for name, value in network.state_dict().items()}
    content = {"format": _FORMAT, "names": list(network.names), "network": weights, **state}
    packed = io.BytesIO()  # on a full disk torch raises an error that does not say so
    torch.save(content, packed)
    with atomic(path) as file:
        file.write_bytes(packed.getbuffer())


def load(network: Network, path: str | Path) -> Network:
    """Read weights written by `save` into a network that was built in the same way.

    Returns: the network. Only tensors and plain values are read (torch's `weights_only`).
    Raises: FileNotFoundError; ValueError if the file is damaged, not a checkpoint of this package,
        or of another network.
    """
    read(path, network)
    return network


def read(path: str | Path, network: Network, about: dict | None = None) -> dict:
    """Read a checkpoint into `network`, once every part of it has been found to fit.

    about: what must agree for it to be the run that resumes; None takes any network.
    Returns: all that the file holds. Raises: as `load` does, and ValueError for another run.
    """
    if not Path(path).exists():
        raise FileNotFoundError(f"there is no checkpoint at {path}.")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises a dozen kinds for a damaged file
        raise ValueError(f"{path} is damaged or is no checkpoint: delete or move it.") from error
    if not isinstance(state, dict) or state.get("format") != _FORMAT:
        raise ValueError(f"{path} was not written by mtl_course: choose another path.")
    here, there = _shapes(network.state_dict()), _shapes(state["network"])
    if here != there or state["names"] != list(network.names):
        odd = {name for name, _ in here ^ there}
        what = f"layer {min(odd)}" if odd else "the names of its outputs"
        raise ValueError(f"{path} is of another network (look at {what}): choose another path.")
    if about is not None:
        if "run" not in state:
            raise ValueError(f"{path} holds a finished network, not a run: choose another path.")
        if odd := [key for key in about if state["run"].get(key) != about[key]]:
            raise ValueError(f"{path} is of another run (look at {', '.join(odd)}): move it away.")
    network.load_state_dict(state["network"])
    return state


def _shapes(weights: dict[str, Tensor]) -> set[tuple[str, tuple[int, ...]]]:
    return {(name, tuple(value.shape)) for name, value in weights.items()}
