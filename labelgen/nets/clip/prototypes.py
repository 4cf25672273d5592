"""One unit vector a prompt, averaged over templates, and a cache of them on disk.

A prompt w and templates T give e = normalise(encode_text(T(w))) and the prototype t = normalise(mean of e over T) [1]_.

References
----------
.. [1] A. Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", ICML 2021,
   arXiv 2103.00020, section 3.1.4.
"""

import hashlib
import io
import json
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float32, Float64

from labelgen.errors import ConfigError
from labelgen.masks import write_atomic
from labelgen.nets.clip.open_clip_import import import_open_clip
from labelgen.nets.clip.text_embeddings import read_text_embeddings, write_text_embeddings
from labelgen.nets.user_cache import user_cache
from labelgen.untrusted import parse_json, read_bounded, read_npz_arrays
from labelgen.untrusted.limits import LARGEST_ARRAYS

__all__ = [
    "read_text_embeddings",
    "similar_prompts",
    "text_prototypes",
    "write_text_embeddings",
]

LOG = logging.getLogger(__name__)
NOTICE = logging.getLogger("labelgen.notice")  # what a person who waits wants to read; the command line shows it
TEXTS_AT_ONCE = 512
SILENCE = 10.0  # seconds of work without a word to the person who waits

SCHEMA = 1
"""Raised when the code below changes the value of a prototype."""

UNIT = 1e-4
"""How far the norm of a cached prototype may be from 1."""


@runtime_checkable
class TextEncoder(Protocol):
    """What prototypes need of a model; `ClipModel` has it."""

    @property
    def weights_sha256(self) -> str: ...

    @property
    def text_activation(self) -> str: ...

    @property
    def embed_dim(self) -> int: ...

    @property
    def tokenizer(self) -> Any: ...

    def encode_text(self, texts: Sequence[str]) -> torch.Tensor:
        """Unit vectors `(N, D)` of texts in float32."""
        ...


def text_prototypes(
    clip: TextEncoder, prompts: Sequence[str], templates: Sequence[str], *, cache_dir: Path | str | None = None
) -> Float32[np.ndarray, "P D"]:
    """Unit vectors of prompts, from the cache or from the text tower.

    A damaged cache entry is computed again; a cache that cannot be written is a warning in the log.

    Parameters
    ----------
    prompts
        Words, such as "potted plant".
    templates
        Sentences with one `{}` each; their order does not matter but for rounding.
    cache_dir
        Folder of the cache; None for `text-prototypes` in labelgen's cache folder (see `user_cache`).

    Raises
    ------
    ConfigError
        When there are no prompts or templates, or a sentence is longer than the text tower reads.
    WeightsError
        When the tokenizer is not at hand.
    """
    if not prompts or not templates:
        raise ConfigError(f"there must be prompts and templates, got {len(prompts)} and {len(templates)}")
    if empty := [prompt for prompt in prompts if not prompt.strip()]:
        raise ConfigError(f"a prompt must not be empty, got {empty[0]!r}", hint="check the vocabulary's prompts")
    about = _about(clip, prompts, templates)
    folder = Path(cache_dir) if cache_dir is not None else user_cache("text-prototypes")
    stem = folder / hashlib.sha256(_json(about)).hexdigest()
    found = _read(stem, about, shape=(len(prompts), clip.embed_dim))
    if found is not None:
        return found
    prototypes = torch.nn.functional.normalize(_mean_vectors(clip, prompts, templates), dim=-1).float().numpy()
    _write(stem, about, prototypes)
    return prototypes


def _mean_vectors(clip: TextEncoder, prompts: Sequence[str], templates: Sequence[str]) -> Float64[torch.Tensor, "P D"]:
    """Mean vector of each prompt over the templates; with a text tower of real size this takes minutes on a CPU."""
    texts = [[template.replace("{}", prompt) for template in templates] for prompt in prompts]
    clip.tokenizer([text for group in texts for text in group])  # what is too long shall be said before the wait
    together = max(1, TEXTS_AT_ONCE // len(templates))
    vectors, spoken = [], time.monotonic()
    for start in range(0, len(prompts), together):
        if time.monotonic() - spoken > SILENCE:
            NOTICE.info("words embedded: %d of %d (once; they are cached)", start, len(prompts))
            spoken = time.monotonic()
        groups = texts[start : start + together]
        found = clip.encode_text([text for group in groups for text in group]).cpu().double()
        vectors.append(found.reshape(len(groups), len(templates), -1).mean(dim=1))
    return torch.cat(vectors)


def similar_prompts(
    prototypes: Float32[np.ndarray, "P D"],
    prompts: Sequence[str],
    *,
    class_of: Sequence[int] | None = None,
    above: float = 0.95,
) -> list[tuple[str, str, float]]:
    """Pairs of prompts whose prototypes are so close that an image cannot tell them apart.

    Parameters
    ----------
    class_of
        Class of each prompt; synonyms within one class are left out. None takes each prompt for a class of its own.
    above
        Cosine from which a pair is listed.

    Returns
    -------
    list of tuple
        First prompt, second prompt, cosine; closest first.

    Examples
    --------
    >>> vectors = np.array([[1, 0], [1, 0], [0, 1]], np.float32)
    >>> similar_prompts(vectors, ("couch", "sofa", "dog"))
    [('couch', 'sofa', 1.0)]
    >>> similar_prompts(vectors, ("couch", "sofa", "dog"), class_of=(0, 0, 1))
    []
    """
    classes = np.arange(len(prompts)) if class_of is None else np.asarray(class_of)
    cosines = prototypes @ prototypes.T
    first, second = np.nonzero(np.triu(cosines > above, k=1) & (classes[:, None] != classes[None, :]))
    order = np.argsort(-cosines[first, second], kind="stable")
    pairs = [(int(i), int(j)) for i, j in zip(first[order], second[order], strict=True)]
    return [(prompts[i], prompts[j], float(cosines[i, j])) for i, j in pairs]


def _about(clip: TextEncoder, prompts: Sequence[str], templates: Sequence[str]) -> dict[str, Any]:
    """Everything that decides the value of prototypes."""
    return {
        "schema": SCHEMA,
        "weights": clip.weights_sha256,
        "activation": clip.text_activation,
        "tokenizer": clip.tokenizer.identity,
        "open_clip": import_open_clip().__version__,
        "dtype": "float32",
        "templates": list(templates),
        "prompts": list(prompts),
    }


def _json(about: dict[str, Any]) -> bytes:
    return json.dumps(about, sort_keys=True, ensure_ascii=False, indent=1).encode()


def _write(stem: Path, about: dict[str, Any], prototypes: np.ndarray) -> None:
    stream = io.BytesIO()
    np.savez(stream, prototypes=prototypes)
    content = stream.getvalue()
    try:
        write_atomic(stem.with_suffix(".npz"), content)
        write_atomic(stem.with_suffix(".json"), _json({**about, "sha256": hashlib.sha256(content).hexdigest()}))
    except OSError as error:
        LOG.warning("text prototypes could not be kept in %s: %s", stem.parent, error)


def _read(stem: Path, about: dict[str, Any], *, shape: tuple[int, int]) -> np.ndarray | None:
    """Return a cache entry; None where there is none, or where it is not what was written."""
    try:
        content = read_bounded(stem.with_suffix(".npz"), LARGEST_ARRAYS)
        kept = parse_json(read_bounded(stem.with_suffix(".json")))
        if kept != {**about, "sha256": hashlib.sha256(content).hexdigest()}:
            raise ValueError("its digest or its settings differ")
        prototypes = read_npz_arrays(content)["prototypes"]
        if prototypes.shape != shape or prototypes.dtype != np.float32:
            raise ValueError(f"its shape is {prototypes.shape}")
        if not np.all(np.abs(np.linalg.norm(prototypes, axis=1) - 1) < UNIT):
            raise ValueError("its vectors are not of unit length")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError) as error:
        LOG.warning("text prototypes in %s.npz are computed again: %s", stem, error)
        return None
    return prototypes
