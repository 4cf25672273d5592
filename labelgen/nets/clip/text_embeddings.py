"""Files of text vectors made elsewhere, with which labels need neither a text tower nor a tokenizer."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from labelgen.errors import ConfigError, DataError
from labelgen.masks import write_atomic
from labelgen.untrusted import is_zip, read_bounded, read_npz_arrays
from labelgen.untrusted.limits import LARGEST_ARRAYS

__all__ = ["read_text_embeddings", "write_text_embeddings"]

HINT = "it must be an .npz with embeddings (P, D) and prompts (P names), as write_text_embeddings makes it"


def write_text_embeddings(path: Path | str, prompts: Sequence[str], embeddings: Float32[np.ndarray, "P D"]) -> None:
    """Write vectors of prompts as an `.npz` without pickle: `embeddings` `(P, D)` and `prompts` `(P,)`.

    Raises
    ------
    ConfigError
        When names and vectors do not go together, or a name is there twice.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "words.npz"
    >>> write_text_embeddings(path, ("cat", "dog"), np.array([[1, 0], [0, 2]], np.float32))
    >>> read_text_embeddings(path, ("dog",), dim=2)
    array([[0., 1.]], dtype=float32)
    """
    if embeddings.ndim != 2 or len(prompts) != len(embeddings):
        raise ConfigError(f"there must be one vector a prompt, got {len(prompts)} prompts and {embeddings.shape}")
    _check_names(prompts, where=str(path))
    stream = io.BytesIO()
    np.savez(stream, embeddings=embeddings.astype(np.float32), prompts=np.array(list(prompts), np.str_))
    write_atomic(Path(path), stream.getvalue())


def read_text_embeddings(path: Path | str, prompts: Sequence[str], *, dim: int) -> Float32[np.ndarray, "P D"]:
    """Read the vectors of prompts, found by name, scaled to unit length.

    Parameters
    ----------
    prompts
        Which are wanted, in which order; others in the file are left out.
    dim
        Length of the image tower's vectors.

    Raises
    ------
    DataError
        When the file is missing, damaged, or in another form.
    ConfigError
        When prompts are missing in it, or its vectors have another length than the image tower's.
    """
    embeddings, names = _read(Path(path))
    if embeddings.ndim != 2 or names.ndim != 1 or len(embeddings) != len(names):
        raise DataError(f"{path} holds embeddings {embeddings.shape} and prompts {names.shape}", hint=HINT)
    if embeddings.shape[1] != dim:
        raise ConfigError(
            f"text vectors must have the {dim} numbers of the image tower's, got {embeddings.shape[1]} in {path}",
            hint="make them with the text tower of the same model",
        )
    known = [str(name) for name in names]
    _check_names(known, where=str(path))
    places = {name: index for index, name in enumerate(known)}
    if missing := [prompt for prompt in prompts if prompt not in places]:
        shown = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
        raise ConfigError(
            f"{path} lacks {len(missing)} of {len(prompts)} prompts: {shown}",
            hint=f"it has {', '.join(known[:5])}{', ...' if len(known) > 5 else ''}",
        )
    chosen = embeddings[[places[prompt] for prompt in prompts]].astype(np.float32)
    norms = np.linalg.norm(chosen, axis=1)
    if not np.isfinite(norms).all() or not norms.all():
        bad = prompts[int(np.flatnonzero(~np.isfinite(norms) | (norms == 0))[0])]
        raise DataError(f"the vector of {bad!r} in {path} must be finite and not zero")
    return chosen / norms[:, None]


def _read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    if not path.is_file():
        raise DataError(f"there is no file of text vectors at {path}", hint=HINT)
    if not is_zip(path):
        raise DataError(f"{path} holds no text vectors", hint=HINT)
    try:
        arrays = read_npz_arrays(read_bounded(path, LARGEST_ARRAYS), ("embeddings", "prompts"))
    except (OSError, ValueError) as error:
        raise DataError(f"the text vectors in {path} cannot be read: {error}", hint=HINT) from error
    if len(arrays) < 2:
        raise DataError(f"{path} holds no text vectors", hint=HINT)
    embeddings, names = arrays["embeddings"], arrays["prompts"]
    if names.dtype.kind != "U" or embeddings.dtype.kind != "f":
        raise DataError(f"{path} holds embeddings of {embeddings.dtype} and prompts of {names.dtype}", hint=HINT)
    return embeddings, names


def _check_names(names: Sequence[str], *, where: str) -> None:
    seen: set[str] = set()
    twice = [name for name in names if name in seen or seen.add(name)]
    if twice:
        raise ConfigError(f"a prompt must be there once, got {twice[0]!r} twice in {where}")
