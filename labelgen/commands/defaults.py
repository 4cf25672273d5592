"""Defaults for flags from a TOML file and from the environment, and all of them printed as such a file again."""

import difflib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from cyclopts import App
from cyclopts.argument import Argument, ArgumentCollection, Token

from labelgen.errors import ConfigError

__all__ = ["EnvironmentDefaults", "FileDefaults", "flags_of", "parsed_as_toml", "toml_value"]

OWN_VARIABLES = ("CACHE", "SHARED_DATA")
"""What other parts of the package read behind LABELGEN_, so that it is nobody's flag."""


class FileDefaults:
    """Defaults from a TOML file: keys at its top are for every command, those of table `[command]` for that command.

    Parameters
    ----------
    root
        The app whose commands they are.
    path
        The file.

    Raises
    ------
    ConfigError
        When the file cannot be read; when a key is of no flag and a table of no command; when a value cannot be one.
    """

    def __init__(self, root: App, path: str) -> None:
        from labelgen.untrusted import parse_toml, read_bounded  # brings numpy, which the list of commands can spare
        from labelgen.untrusted.limits import LARGEST_TOML

        self.root = root
        self.path = path
        try:
            self.content = parse_toml(read_bounded(Path(path), LARGEST_TOML).decode("utf-8"))
        except OSError as error:
            raise ConfigError(
                f"config file cannot be read: {path} ({error.strerror or error})", hint="check its path"
            ) from error
        except ValueError as error:
            raise ConfigError(f"config file cannot be read: {path} ({error})", hint="it must be TOML") from error

    def __call__(self, _: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
        root, flags = self.root, flags_of(arguments)
        tables = {key: value for key, value in self.content.items() if isinstance(value, dict)}
        for name in tables:
            if name not in _commands(root):
                raise ConfigError(f"{self.path} has a table [{name}], which is no command", hint=_nearest(name, root))
        for key, value in tables.get(commands[0], {}).items() if commands else ():
            self._fill(key, value, flags, arguments, command=commands[0])
        for key, value in self.content.items():
            if key in tables:
                continue
            if _plain(key) in flags:
                self._fill(key, value, flags, arguments, command="")
            else:
                _refuse_unknown(root, _plain(key), f"{self.path} has a key {key!r}")

    def _fill(
        self, key: str, value: Any, flags: Mapping[str, Argument], arguments: ArgumentCollection, *, command: str
    ) -> None:
        where = f"{self.path}, {f'[{command}] ' if command else ''}{key}"
        argument, keys = flags.get(_plain(key)), ()
        if argument is None:
            argument, keys = _catch_all(arguments), (_plain(key),)
        if argument is None:
            near = difflib.get_close_matches(_plain(key), list(flags), n=1)
            advice = f"did you mean {near[0]}? " if near else ""
            raise ConfigError(f"unknown key: {where}", hint=f"{advice}its flags without -- are the keys")
        if isinstance(value, dict):
            raise ConfigError(f"{where} must be a value, got a table", hint="tables are named after commands")
        if isinstance(value, list) and not _takes_several(argument):
            raise ConfigError(f"{where} must be a single value, got {value}")
        if isinstance(value, bool) and bool not in (argument.hint, *get_args(argument.hint)) and not keys:
            raise ConfigError(f"{where} must not be true or false, got {str(value).lower()}")
        texts = [str(item) for item in value] if isinstance(value, list) else [str(value)]
        if not (argument.tokens and not keys) and not any(token.keys == keys for token in argument.tokens):
            _give(argument, texts, keyword=key, source=self.path, keys=keys)


class EnvironmentDefaults:
    """Defaults from variables such as LABELGEN_SEED, for every command, and LABELGEN_POINT_RADIUS, for one.

    Parameters
    ----------
    root
        The app whose commands they are; its name in capitals is what the variables begin with.
    environ
        The variables.
    warn
        Called with a sentence about each variable that is nobody's flag.
    """

    def __init__(self, root: App, environ: Mapping[str, str], warn: Callable[[str], None]) -> None:
        self.root = root
        self.prefix = f"{_shouted(root.name[0])}_"
        self.found = {
            name.removeprefix(self.prefix): value
            for name, value in sorted(environ.items())
            if name.startswith(self.prefix) and name.removeprefix(self.prefix) not in OWN_VARIABLES
        }
        self.warn = warn

    def __call__(self, _: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
        if not self.found or not commands:
            return
        flags = {_shouted(key): argument for key, argument in flags_of(arguments).items()}
        root, own = self.root, f"{_shouted(commands[0])}_"
        of_others = tuple(f"{_shouted(name)}_" for name in _commands(root) if f"{_shouted(name)}_" != own)
        later: dict[str, str] = {}
        for name, value in self.found.items():
            rest = name.removeprefix(own)
            if name.startswith(own) and rest in flags:
                self._give(flags[rest], name, value)
            elif name in flags:
                later[name] = value
            elif name.startswith(own) and not name.startswith(tuple(o for o in of_others if o.startswith(own))):
                near = difflib.get_close_matches(rest, list(flags), n=1)
                raise ConfigError(
                    f"the environment variable {self.prefix}{name} is no flag of {commands[0]}",
                    hint=f"did you mean {self.prefix}{own}{near[0]}?" if near else f"{commands[0]} --help lists them",
                )
            elif not name.startswith(of_others) and not _known_anywhere(root, name):
                self.warn(f"the environment variable {self.prefix}{name} is a flag of no command")
        for name, value in later.items():  # what is said of one command wins over what is said of all
            self._give(flags[name], name, value)

    def _give(self, argument: Argument, name: str, value: str) -> None:
        if not argument.tokens:
            variable = f"{self.prefix}{name}"
            _give(argument, argument.env_var_split(value), keyword=variable, source="environment", keys=())


def flags_of(arguments: Iterable[Argument]) -> dict[str, Argument]:
    """The flags and positional arguments of a command by their key: the name of the flag without its dashes."""
    found: dict[str, Argument] = {}
    for argument in arguments:
        if argument.children or argument.field_info.kind is argument.field_info.VAR_KEYWORD or not argument.parse:
            continue
        unnamed = argument.is_positional_only() or argument.is_var_positional()
        name = argument.field_info.name if unnamed else argument.name
        found[_plain(name.strip("-_"))] = argument
    return found


def parsed_as_toml(app: App, tokens: Sequence[str]) -> str:
    """Parse a command line without running it, and write every setting as a file that `--config` reads.

    Raises
    ------
    ConfigError
        When the line names no command.
    """
    captured: dict[str, Any] = {}

    def capture(_: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
        captured.update(commands=commands, arguments=arguments)

    before = app.config
    app.config = (*(before or ()), capture)
    try:
        app.parse_args(list(tokens), print_error=False, exit_on_error=False)
    finally:
        app.config = before
    if not captured.get("commands"):
        raise ConfigError("--show-config needs a command", hint=f"{app.name[0]} COMMAND --show-config")
    command, arguments = captured["commands"][0], captured["arguments"]
    head = f"# {app.name[0]} {command}: command line > {app.name[0].upper()}_* > --config > default"
    return "\n".join([head, f"[{command}]", *_lines(arguments), ""])


def _lines(arguments: ArgumentCollection) -> Iterator[str]:
    for key, argument in flags_of(arguments).items():
        value = argument.value if argument.has_tokens else argument.field_info.default
        if value is argument.field_info.empty:
            value = ()
        yield f"# {key} is not set" if value is None else f"{key} = {toml_value(value)}"
    catch_all = _catch_all(arguments)
    if catch_all is not None and catch_all.has_tokens:
        yield from (f"{key} = {toml_value(value)}" for key, value in catch_all.value.items())


def toml_value(value: Any) -> str:
    r"""Write a value as TOML.

    Examples
    --------
    >>> toml_value((1, 2.0)), toml_value(True), toml_value('a "b"\n'), toml_value(float("inf"))
    ('[1, 2.0]', 'true', '"a \\"b\\"\\n"', 'inf')
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(toml_value, value))}]"
    if isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
        return repr(value)
    if isinstance(value, float):
        return str(value)
    import json

    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")


def _give(argument: Argument, texts: Sequence[str], *, keyword: str, source: str, keys: tuple[str, ...]) -> None:
    """Hand a value to an argument; none at all is the empty list."""
    for index, text in enumerate(texts):
        argument.append(Token(keyword=keyword, value=text, source=source, index=index, keys=keys))
    if not texts:
        argument.append(Token(keyword=keyword, implicit_value=(), source=source, keys=keys))


def _catch_all(arguments: Iterable[Argument]) -> Argument | None:
    """The argument that takes flags of any name, as in `labelgen sweep`."""
    return next((a for a in arguments if a.field_info.kind is a.field_info.VAR_KEYWORD), None)


def _takes_several(argument: Argument) -> bool:
    count, rest = argument.token_count()
    return rest or count > 1 or argument.is_var_positional()


def _refuse_unknown(root: App, key: str, what: str) -> None:
    """Pass over a key of another command; refuse one that is of none."""
    if not _known_anywhere(root, key):
        every = sorted({flag for name in _commands(root) for flag in _flags_of_command(root, name)})
        near = difflib.get_close_matches(key, every, n=1)
        advice = f"did you mean {near[0]}?" if near else "flags without their dashes are the keys"
        raise ConfigError(f"{what}, which is a flag of no command", hint=advice)


def _known_anywhere(root: App, key: str) -> bool:
    wanted = _shouted(key)
    return any(wanted in map(_shouted, _flags_of_command(root, name)) for name in _commands(root))


def _flags_of_command(root: App, name: str) -> dict[str, Argument]:
    return flags_of(root[name].assemble_argument_collection())


def _commands(root: App) -> list[str]:
    return [name for name in root if not name.startswith("-")]


def _nearest(name: str, root: App) -> str:
    near = difflib.get_close_matches(name, _commands(root), n=1)
    return f"did you mean [{near[0]}]?" if near else f"commands: {', '.join(_commands(root))}"


def _plain(key: str) -> str:
    return key.replace("_", "-")


def _shouted(key: str) -> str:
    return key.replace("-", "_").upper()
