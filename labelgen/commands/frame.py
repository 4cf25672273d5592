"""What surrounds every command: error sentences, exit codes, `--config`, `--debug`, interruptions."""

import contextlib
import logging
import os
import signal
import sys
import threading
import tomllib
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from cyclopts import App, CycloptsError, UnusedCliTokensError
from cyclopts.argument import ArgumentCollection, update_argument_collection

from labelgen.errors import ConfigError, LabelgenError

__all__ = [
    "EVERYWHERE",
    "EXIT_DONE",
    "EXIT_ERROR",
    "EXIT_GATE",
    "EXIT_INTERRUPTED",
    "EXIT_SOME_FAILED",
    "EXIT_USAGE",
    "new_app",
    "run_cli",
    "say_error",
]

EXIT_DONE = 0
EXIT_ERROR = 1
EXIT_USAGE = 2
EXIT_SOME_FAILED = 3
EXIT_GATE = 4
EXIT_INTERRUPTED = 130

EVERYWHERE = "Everywhere: --config FILE.toml gives defaults for the flags (the command line wins), --debug a traceback."


def new_app(name: str, *, help: str, version: str) -> App:
    """A cyclopts app with the manners of this project; add commands to it and hand it to `run_cli`."""
    from cyclopts import Parameter

    return App(
        name=name,
        help=help,
        version=version,
        help_format="markdown",
        help_epilogue=EVERYWHERE,
        suppress_keyboard_interrupt=False,
        default_parameter=Parameter(negative_iterable=()),
    )


def run_cli(app: App, argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code; every error becomes two lines on stderr.

    A command returns its exit code, or None for 0. `--debug` and `--config FILE` are taken out before the rest is
    parsed; they may stand anywhere.
    """
    tokens, debug, config = _split_tokens(list(sys.argv[1:] if argv is None else argv))
    logging.basicConfig(level=logging.DEBUG if debug else logging.WARNING, stream=sys.stderr, format="%(message)s")
    logging.getLogger("labelgen.notice").setLevel(logging.INFO)  # progress of what has no bar
    try:
        with _terminated_as_interrupt():
            app.config = (_FileDefaults(_read_toml(config)),) if config else ()
            if tokens and not tokens[0].startswith("-") and tokens[0] in app:
                app[tokens[0]].help = None  # the line in the list of commands gives way to its own docstring
            result = app(tokens, print_error=False, exit_on_error=False, result_action="return_value")
            sys.stdout.flush()
        return EXIT_DONE if result is None else int(result)
    except BrokenPipeError:  # the reader of our output, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_DONE
    except (Exception, KeyboardInterrupt) as error:
        if debug:
            traceback.print_exc()
        message, hint, code = _verdict(error, app)
        say_error(message, hint or _way_out(app, tokens, code))
        return code


def _verdict(error: BaseException, app: App) -> tuple[str, str, int]:
    """What to say about an error, what to advise, and the exit code."""
    if isinstance(error, CycloptsError):
        return *_usage_sentences(error, app), EXIT_USAGE
    if isinstance(error, LabelgenError):
        return error.message, error.hint, EXIT_USAGE if isinstance(error, ConfigError) else EXIT_ERROR
    if isinstance(error, KeyboardInterrupt):
        return "interrupted; what is done is kept", "the same command again goes on from there", EXIT_INTERRUPTED
    return f"{type(error).__name__}: {error}", "this looks like a bug; --debug shows where it happened", EXIT_ERROR


def say_error(message: str, hint: str) -> None:
    """Print the two lines of an error on stderr."""
    print(f"error: {' '.join(message.split())}", file=sys.stderr)  # noqa: T201
    print(f"hint: {' '.join(hint.split())}", file=sys.stderr)  # noqa: T201


def _way_out(app: App, tokens: Sequence[str], code: int) -> str:
    """The hint of an error that has none of its own."""
    command = tokens[0] if tokens and not tokens[0].startswith("-") else ""
    if code == EXIT_USAGE:
        return " ".join(filter(None, ["see", app.name[0], command, "--help"]))
    return "check what the line above names; --debug shows where it was found"


def _usage_sentences(error: CycloptsError, app: App) -> tuple[str, str]:
    message, _, nearest = str(error).partition("Did you mean")
    if nearest:
        return message.strip(), f"did you mean{nearest}"
    command = error.command_chain[0] if error.command_chain else ""
    if isinstance(error, UnusedCliTokensError):
        message = f"too many arguments: {' '.join(error.unused_tokens or ())}; a flag takes one value each time"
    return message.strip(), " ".join([app.name[0], command, "--help lists the flags"]).replace("  ", " ")


def _split_tokens(tokens: list[str]) -> tuple[list[str], bool, str]:
    """Take `--debug` and `--config FILE` out of a command line."""
    rest, debug, config = [], False, ""
    while tokens:
        token = tokens.pop(0)
        if token == "--":
            rest += [token, *tokens]
            break
        if token == "--debug":
            debug = True
        elif token == "--config" and tokens:
            config = tokens.pop(0)
        elif token.startswith("--config="):
            config = token.removeprefix("--config=")
        else:
            rest.append(token)
    return rest, debug, config


def _read_toml(path: str) -> tuple[dict[str, Any], str]:
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8")), path
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"config file cannot be read: {path} ({error})", hint="it must be TOML") from error


class _FileDefaults:
    """Defaults for flags: keys at the top of the file for every command, keys of table [command] for that command."""

    def __init__(self, content: tuple[dict[str, Any], str]) -> None:
        self.table, self.source = content

    def __call__(self, app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
        values = {key: value for key, value in self.table.items() if not isinstance(value, dict)}
        for command in commands:
            values |= self.table.get(command, {})
        values = {key.replace("_", "-"): value for key, value in values.items()}
        update_argument_collection(
            values, self.source, arguments, app.app_stack.stack[-1], root_keys=(), allow_unknown=False
        )


@contextlib.contextmanager
def _terminated_as_interrupt() -> Iterator[None]:
    """Treat SIGTERM like Ctrl-C, so that schedulers leave a run in order."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt
