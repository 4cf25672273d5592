"""Where work is done: by processes of this machine, or by actors of a Ray cluster."""

from dataclasses import dataclass

from labelgen.errors import ConfigError

__all__ = ["ENGINES", "LOCAL", "Engine"]

ENGINES = ("local", "ray")


@dataclass(frozen=True)
class Engine:
    """Where work is done. No byte of any result depends on it.

    Parameters
    ----------
    name
        `local` or `ray`.
    address
        Of the cluster: `host:port`, `auto` for the one that this machine is part of, `local` for one that is started
        here and shut down at the end. Empty: `$RAY_ADDRESS`, else `local`.
    gpus
        GPUs of each worker, such as 0.5. None: those of the cluster shared evenly where networks compute on CUDA,
        else none.

    Raises
    ------
    ConfigError
        When the name is unknown, the share is negative, or something about Ray is said without Ray.

    Examples
    --------
    >>> Engine("ray", "10.0.0.1:6379").is_ray
    True
    """

    name: str = "local"
    address: str = ""
    gpus: float | None = None

    def __post_init__(self) -> None:
        if self.name not in ENGINES:
            raise ConfigError(f"engine must be {' or '.join(ENGINES)}, got {self.name!r}")
        if not self.is_ray and (self.address or self.gpus is not None):
            which = "ray-address" if self.address else "ray-gpus"
            raise ConfigError(f"--{which} needs --engine ray, got --engine {self.name}")
        if self.gpus is not None and not 0 <= self.gpus < float("inf"):
            raise ConfigError(f"--ray-gpus must be finite and >= 0, got {self.gpus}")

    @property
    def is_ray(self) -> bool:
        """Whether a Ray cluster does the work."""
        return self.name == "ray"


LOCAL = Engine()
