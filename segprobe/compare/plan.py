"""What a comparison asks for: label runs, networks, heads, strategies and seeds, multiplied out into cells."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from labelgen.errors import ConfigError
from labelgen.nets.backbone_config import BackboneConfig
from labelgen.settings import settings_from_text, split_setting, values_from_text
from segprobe.config import BASELINES, FitConfig, idle_settings
from segprobe.head_settings import default_layers

__all__ = [
    "STRATEGIES",
    "TRUTH",
    "Cell",
    "NamedBackbone",
    "Plan",
    "parse_backbone",
    "parse_variant",
    "read_settings",
    "split_list",
    "split_settings",
]

STRATEGIES = ("frozen", "tuned")
TRUTH = "truth"
SEED = "{seed}"
LISTS = ("terms",)
"""Settings that are lists of what is typed with settings of its own."""
AXES = {"head": "heads", "baseline": "heads", "tune": "strategies", "seed": "seeds"}
"""Settings that tell cells apart, and what says them; rows are named by what was said there."""


@dataclass(frozen=True)
class NamedBackbone:
    """A backbone and what its rows are called."""

    name: str
    config: BackboneConfig


@dataclass(frozen=True)
class Cell:
    """One fit of the table.

    Parameters
    ----------
    run
        Name of the row's labels; the same for all seeds.
    source
        Folder of the labels of this seed, or `truth`.
    backbone, head, strategy, variant, seed
        What is trained on them, and how.
    config
        All settings of the fit.
    """

    run: str
    source: str
    backbone: NamedBackbone
    head: str
    strategy: str
    seed: int
    config: FitConfig
    variant: str = ""

    @property
    def folder(self) -> str:
        """Name of its folder: readable, and different for different cells.

        Examples
        --------
        >>> backbone = NamedBackbone("demo-ssvt", BackboneConfig())
        >>> Cell("a b", "runs/a", backbone, "linear", "frozen", 2, FitConfig()).folder
        'a_b--demo-ssvt--linear--frozen--2'
        """
        words = (self.run, self.backbone.name, self.head, self.strategy, self.variant, str(self.seed))
        return "--".join(_in_path(word) for word in words if word)


@dataclass(frozen=True)
class Plan:
    """All cells of a comparison.

    Parameters
    ----------
    runs
        Folders of labels; `{seed}` in a path stands for the seed, so that each seed has labels of its own.
    backbones
        Networks.
    heads
        As `segprobe fit --head`; baselines are heads, too.
    strategies
        Of `STRATEGIES`.
    seeds
        Number of seeds, from that of `config` on.
    config
        Settings of every fit.
    frozen, tuned
        What differs from `config` for a strategy.
    variants
        Ways to train that are compared on top: a name, and what differs from `config`.
    truth
        Also train on full truth, which retention refers to.
    """

    runs: tuple[str, ...]
    backbones: tuple[NamedBackbone, ...]
    heads: tuple[str, ...] = ("linear",)
    strategies: tuple[str, ...] = ("frozen",)
    seeds: int = 3
    config: FitConfig = field(default_factory=FitConfig)
    frozen: tuple[tuple[str, str], ...] = ()
    tuned: tuple[tuple[str, str], ...] = ()
    variants: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = (("", ()),)
    truth: bool = True

    def __post_init__(self) -> None:
        for name, values in (("a run", self.runs), ("a backbone", self.backbones), ("a head", self.heads)):
            if not values:
                raise ConfigError(f"a comparison needs {name}, got none")
        for strategy in self.strategies:
            if strategy not in STRATEGIES:
                raise ConfigError(f"a strategy must be {' or '.join(STRATEGIES)}, got {strategy!r}")
        if self.config.tune:
            raise ConfigError("what is tuned is said by strategies", hint="--strategies frozen,tuned")
        if self.config.baseline:
            raise ConfigError("a baseline is one of the heads here", hint=f"--heads {self.config.baseline}")
        if self.seeds < 1:
            raise ConfigError(f"seeds must be >= 1, got {self.seeds}")
        _refuse_axes("the strategy frozen", self.frozen)
        _refuse_axes("the strategy tuned", self.tuned)
        for name, settings in self.variants:
            _refuse_axes(f"the variant {name}", settings)
        _refuse_twice("runs", [name for name, _ in self.rows_of_labels()], hint="rename one of the folders")
        _refuse_twice(
            "backbones", [backbone.name for backbone in self.backbones], hint="give them labels: A:NAME,B:NAME"
        )
        _refuse_twice("heads", self.heads, hint="name each head once")
        _refuse_twice("strategies", self.strategies, hint="name each strategy once")
        _refuse_twice("variants", [name for name, _ in self.variants], hint="--variant 'NAME: setting=value'")

    def rows_of_labels(self) -> tuple[tuple[str, str], ...]:
        """Name and path of each label source, the truth first."""
        given = tuple(run for run in self.runs if run != TRUTH)
        named = tuple((label_name(run), run) for run in given)
        return ((TRUTH, TRUTH), *named) if self.truth or TRUTH in self.runs else named

    def cells(self) -> tuple[Cell, ...]:
        """Every cell, seeds outermost, so that a first seed of everything is there early."""
        return tuple(
            self._cell(label, backbone, head, strategy, variant, seed)
            for seed in range(self.config.seed, self.config.seed + self.seeds)
            for label in self.rows_of_labels()
            for backbone in self.backbones
            for head in self.heads
            for strategy in self.strategies
            for variant in self.variants
        )

    def _cell(
        self,
        label: tuple[str, str],
        backbone: NamedBackbone,
        head: str,
        strategy: str,
        variant: tuple[str, tuple[tuple[str, str], ...]],
        seed: int,
    ) -> Cell:
        tune, (name, path), (title, own) = strategy == "tuned", label, variant
        kind = {"baseline": head} if head in BASELINES else {"head": head}
        values = read_settings(self.tuned if tune else self.frozen, of=f"the strategy {strategy}")
        values |= read_settings(own, of=f"the variant {title}")
        values |= {setting: getattr(FitConfig, setting) for setting in self._read_by_others(head)}
        config = replace(self.config, **{**values, **kind, "tune": tune, "seed": seed})
        network, source = _for_head(backbone, config), path.replace(SEED, str(seed))
        return Cell(name, source, network, head, strategy, seed, config, title)

    def _read_by_others(self, head: str) -> tuple[str, ...]:
        """Settings that this head passes over and another head of the comparison reads, so that they may be given."""
        idle = {other: () if other in BASELINES else idle_settings(other) for other in self.heads}
        return tuple(name for name in idle[head] if any(name not in others for others in idle.values()))


def _in_path(word: str) -> str:
    return re.sub(r"[^\w.+=,-]+", "_", word)


def _refuse_twice(what: str, names: Sequence[str], *, hint: str) -> None:
    """Names of rows must differ, and still do so as names of folders."""
    seen: set[str] = set()
    for name in names:
        if _in_path(name) in seen:
            raise ConfigError(f"{what} need different names, got {name} twice", hint=hint)
        seen.add(_in_path(name))


def _refuse_axes(of: str, settings: Sequence[tuple[str, str]]) -> None:
    """What tells cells apart cannot be a setting of some of them: their rows would be named wrongly."""
    for name, value in settings:
        if name in AXES:
            raise ConfigError(
                f"{of} cannot set {name}={value}, which is said by {AXES[name]}", hint=f"use --{AXES[name]}"
            )


def _for_head(backbone: NamedBackbone, config: FitConfig) -> NamedBackbone:
    """The backbone with as many layers as the head reads, where none were named."""
    if backbone.config.layers != BackboneConfig().layers:
        return backbone
    return replace(backbone, config=replace(backbone.config, layers=default_layers(config.head)))


def label_name(run: str) -> str:
    """Name of a run folder without its seed.

    Examples
    --------
    >>> label_name("runs/sweep/scribble-shrink-0.5-seed{seed}"), label_name("runs/{seed}/cam")
    ('scribble-shrink-0.5', 'cam')
    """
    name = re.sub(r"[-_.]?(seed)?\{seed\}", "", Path(run).name).strip("-_. ")
    return name or Path(run).parent.name


def read_settings(pairs: Sequence[tuple[str, str]], *, of: str) -> dict[str, Any]:
    """Fit settings given as text; whether they go together is seen when the cell is made.

    Raises
    ------
    ConfigError
        When a name is unknown or a value cannot be read.

    Examples
    --------
    >>> read_settings((("lr", "0.1"), ("terms", "tree,weight=0.2,entropy")), of="x")
    {'lr': 0.1, 'terms': ('tree,weight=0.2', 'entropy')}
    """
    values = dict(pairs)
    lists = {name: split_list(values.pop(name)) for name in LISTS if name in values}  # their items hold commas
    return values_from_text(FitConfig, values, of=of) | lists


def parse_variant(text: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    """Read `NAME: setting=value; setting=value`; without settings it is the plain way to train.

    Raises
    ------
    ConfigError
        When the name is missing or a setting is not `name=value`.

    Examples
    --------
    >>> parse_variant("tree: terms=tree,weight=0.4; epochs=20")
    ('tree', (('terms', 'tree,weight=0.4'), ('epochs', '20')))
    >>> parse_variant("plain")
    ('plain', ())
    """
    name, _, settings = text.partition(":")
    if not name.strip():
        raise ConfigError(f"a variant needs a name, got {text!r}", hint="--variant 'gce: loss=gce'")
    return name.strip(), tuple(split_setting(part) for part in settings.split(";") if part.strip())


def split_list(text: str) -> tuple[str, ...]:
    """Split what is typed between commas, settings staying with the name before them.

    Examples
    --------
    >>> split_list("demo-ssvt,resnet50,layers=-2,-1,size=288"), split_list("linear,conv,width=32,mlp")
    (('demo-ssvt', 'resnet50,layers=-2,-1,size=288'), ('linear', 'conv,width=32', 'mlp'))
    """
    found: list[str] = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        belongs = "=" in part or re.fullmatch(r"[-+.\d]+", part)
        if belongs and found:
            found[-1] += f",{part}"
        else:
            found.append(part)
    return tuple(found)


def split_settings(text: str) -> tuple[tuple[str, str], ...]:
    """Settings typed as `name=value,name=value`; a part without `=` belongs to the value before it.

    Raises
    ------
    ConfigError
        When the first part is not `name=value`.

    Examples
    --------
    >>> split_settings("layers=-2,-1,size=288")
    (('layers', '-2,-1'), ('size', '288'))
    """
    found: list[tuple[str, str]] = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        if "=" not in part and found:
            found[-1] = found[-1][0], f"{found[-1][1]},{part}"
        else:
            found.append(split_setting(part))
    return tuple(found)


def parse_backbone(text: str) -> NamedBackbone:
    """Read `[LABEL:]NAME[@CHECKPOINT][,setting=value...]`; settings are those of `segprobe fit --backbone`.

    Raises
    ------
    ConfigError
        When there is no name, or a setting is unknown.

    Examples
    --------
    >>> found = parse_backbone("mobilenetv2_100@mnv2.safetensors,layers=-2,-1,size=288")
    >>> found.name, found.config.weights, found.config.layers, found.config.size
    ('mobilenetv2_100', 'mnv2.safetensors', (-2, -1), 288)
    """
    head, _, rest = text.partition(",")
    label, colon, named = head.strip().partition(":")
    name, _, weights = (named if colon else label).partition("@")
    if not name:
        raise ConfigError(f"a backbone needs a name, got {text!r}", hint="demo-ssvt, for example")
    values = {"name": name, "weights": weights, **dict(split_settings(rest))}
    return NamedBackbone(label if colon else name, settings_from_text(BackboneConfig, values, of=f"backbone {name}"))
