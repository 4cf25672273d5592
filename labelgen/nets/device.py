"""The torch device that a name stands for."""

import torch

from labelgen.errors import ConfigError

__all__ = ["resolve_device"]


def resolve_device(name: str) -> torch.device:
    """The torch device of a name; `auto` takes CUDA where there is one.

    Raises
    ------
    ConfigError
        When torch knows no such device, or this machine has none.

    Examples
    --------
    >>> resolve_device("cpu")
    device(type='cpu')
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"torch knows no device called {name!r}", hint="auto, cpu, cuda, cuda:1 or mps") from error
    found = {"cuda": torch.cuda.is_available, "mps": torch.backends.mps.is_available}
    if device.type in found and not found[device.type]():
        raise ConfigError(
            f"device {name!r} was asked for, but torch finds no {device.type.upper()} device here", hint="--device cpu"
        )
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(f"device {name!r} was asked for, but there are {torch.cuda.device_count()} CUDA devices")
    return device
