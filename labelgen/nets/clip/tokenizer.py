"""Words into token numbers, refusing what the text tower would cut off or was not trained on."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int64

from labelgen.errors import ConfigError, WeightsError
from labelgen.nets.clip.config import DEMO_CLIP, LOCAL_DIR
from labelgen.nets.clip.open_clip_import import import_open_clip

__all__ = ["ClipTokenizer"]

LOG = logging.getLogger(__name__)

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.txt")
"""Any of them in a folder of the cache shows that a tokenizer was downloaded there."""

TOKENIZER_PATTERNS = ("*.json", "*.txt", "*.model")
"""Files of a repository that a tokenizer may consist of, weights left out."""

CLIPS_SPECIAL = 3  # begin, end and class token, which open_clip's mode `clips` adds itself


class ClipTokenizer:
    """The tokenizer that belongs to a model; built at the first use, because some need files from the hub.

    Parameters
    ----------
    model
        Name of the model, for messages and for the demo model.
    source
        `local-dir:` with the folder of model and tokenizer; for other models their name.
    text_config
        open_clip's `text_cfg` of the model.
    context_length
        Tokens that the text tower reads, start and end included.
    vocabulary
        Rows of the text tower's embedding; 0 where that cannot be known.
    cache_dir
        Folder of downloads; empty for that of the hub.
    """

    def __init__(
        self,
        *,
        model: str,
        source: str,
        text_config: Mapping[str, Any],
        context_length: int,
        vocabulary: int,
        cache_dir: str = "",
    ) -> None:
        self.model = model
        self.source = source
        self.context_length = context_length
        self.vocabulary = vocabulary
        self._text_config = text_config
        self._cache_dir = cache_dir
        self._tokenizer: Any = None

    @property
    def identity(self) -> str:
        """What decides the token numbers of a text, known without building the tokenizer."""
        cfg = self._text_config
        kind = cfg.get("hf_tokenizer_name") or "open_clip"
        if self.source.startswith(LOCAL_DIR) and kind != "open_clip":
            kind = self.source
        mode, options = cfg.get("tokenizer_mode") or "", cfg.get("tokenizer_kwargs") or {}
        shown = ",".join(f"{key}={options[key]}" for key in sorted(options))
        return f"{kind}:{mode}:{shown}:{self.vocabulary}:{self.context_length}"

    def __call__(self, texts: Sequence[str]) -> Int64[torch.Tensor, "N context"]:
        """Token numbers of texts.

        Raises
        ------
        ConfigError
            When a text is longer than the text tower reads: open_clip itself would cut it off silently.
        WeightsError
            When the tokenizer is not at hand, or is not the one that the text tower was trained with.
        """
        tokenizer = self._built()
        for text in texts:
            count = _count(tokenizer, text)
            if count > self.context_length:
                raise ConfigError(
                    f"a prompt must fit the {self.context_length} tokens that {self.model} reads, "
                    f"got {count} with start and end in {text!r}",
                    hint="shorten the prompt or the template",
                )
        tokens = tokenizer(list(texts))
        if self.vocabulary and int(tokens.max()) >= self.vocabulary:
            raise self._foreign(int(tokens.max()) + 1)
        return tokens

    def _built(self) -> Any:
        if self._tokenizer is None:
            self._tokenizer = self._build()
            size = _vocabulary_of(self._tokenizer)
            is_ours = hasattr(self._tokenizer, "encode")  # published towers may have spare rows for other tokenizers
            if self.vocabulary and size and (size > self.vocabulary or (is_ours and size != self.vocabulary)):
                raise self._foreign(size)
        return self._tokenizer

    def _foreign(self, size: int) -> WeightsError:
        return WeightsError(
            f"the tokenizer of {self.model} has {size} tokens, but its text tower was trained on {self.vocabulary}",
            hint="name the model that the weights belong to (--model), or give vectors: --text-embeddings FILE",
        )

    def _build(self) -> Any:
        if self.model == DEMO_CLIP:
            from labelgen.nets.demo_clip import demo_clip_tokenizer

            return demo_clip_tokenizer()
        import_open_clip()
        from open_clip.tokenizer import HFTokenizer, SimpleTokenizer

        options = {"context_length": self.context_length, **(self._text_config.get("tokenizer_kwargs") or {})}
        repository = self._text_config.get("hf_tokenizer_name") or ""
        if not repository:
            return SimpleTokenizer(**options)
        if mode := self._text_config.get("tokenizer_mode"):
            options["tokenizer_mode"] = mode
        folder = self._folder(repository)
        try:
            return HFTokenizer(str(folder), **options)  # a folder, because a name would be asked for on the hub
        except ImportError as error:
            raise WeightsError(
                f"the tokenizer of {self.model} needs the package transformers ({error})",
                hint="pip install transformers sentencepiece, or give vectors: --text-embeddings FILE",
            ) from error
        except Exception as error:  # transformers raises a different type for each way to fail
            raise self._missing(repository, f"in {folder}", type(error).__name__) from error

    def _folder(self, repository: str) -> Path:
        """Where the tokenizer's files are, brought into the cache if need be."""
        from huggingface_hub import snapshot_download, try_to_load_from_cache
        from huggingface_hub.constants import ENDPOINT

        from labelgen.nets.published import need_network

        if self.source.startswith(LOCAL_DIR):
            return Path(self.source.removeprefix(LOCAL_DIR))
        cache = self._cache_dir or None
        for file in TOKENIZER_FILES:
            found = try_to_load_from_cache(repository, file, cache_dir=cache)
            if isinstance(found, str):
                return Path(found).parent
        try:
            need_network(ENDPOINT)
            LOG.info("downloading the tokenizer %s", repository)
            return Path(snapshot_download(repository, cache_dir=cache, allow_patterns=list(TOKENIZER_PATTERNS)))
        except Exception as error:  # the hub's client raises a different type for each way to fail
            raise self._missing(repository, "on this machine", type(error).__name__) from error

    def _missing(self, repository: str, where: str, why: str) -> WeightsError:
        from huggingface_hub.constants import HF_HUB_CACHE

        folder = f"models--{repository.replace('/', '--')}"
        bring = f"on a machine with a network: hf download {repository} {' '.join(TOKENIZER_FILES[:2])}, then copy "
        return WeightsError(
            f"the tokenizer of {self.model} ({repository}) is not {where} and could not be fetched ({why})",
            hint=f"{bring}{folder} into {self._cache_dir or HF_HUB_CACHE}; or give vectors: --text-embeddings FILE",
        )


def _count(tokenizer: Any, text: str) -> int:
    """Tokens of a text with its start and end, without open_clip's silent cut."""
    if hasattr(tokenizer, "encode"):
        return len(tokenizer.encode(text)) + 2
    own_marks = getattr(tokenizer, "tokenizer_mode", "") == "clips"
    ids = tokenizer.tokenizer(tokenizer.clean_fn(text), add_special_tokens=not own_marks).input_ids
    return len(ids) + (CLIPS_SPECIAL if own_marks else 0)


def _vocabulary_of(tokenizer: Any) -> int:
    inner = tokenizer if hasattr(tokenizer, "encode") else getattr(tokenizer, "tokenizer", None)
    return int(getattr(inner, "vocab_size", 0) or 0)
