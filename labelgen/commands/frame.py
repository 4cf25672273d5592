"""What surrounds every command: error sentences, exit codes, `--config`, `--show-config`, `--debug`, interruptions."""

import contextlib
import errno
import inspect
import logging
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from cyclopts import App, CycloptsError, Parameter, UnusedCliTokensError

from labelgen.errors import ConfigError, LabelgenError

__all__ = [
    "EVERYWHERE",
    "EXIT_DONE",
    "EXIT_ERROR",
    "EXIT_GATE",
    "EXIT_INTERRUPTED",
    "EXIT_SOME_FAILED",
    "EXIT_TERMINATED",
    "EXIT_USAGE",
    "examples_in",
    "new_app",
    "run_cli",
    "say_error",
]

EXIT_DONE = 0
EXIT_ERROR = 1
EXIT_USAGE = 2
EXIT_SOME_FAILED = 3
EXIT_GATE = 4
EXIT_INTERRUPTED = 130  # 128 and the number of SIGINT, as shells report it
EXIT_TERMINATED = 143  # the same of SIGTERM
DISK = {  # what the file system may refuse to any command that writes: what to do about it
    errno.ENOSPC: "free some space, or name another place; what is done is kept, and the same command goes on",
    errno.EDQUOT: "your quota is used up: free some space; what is done is kept, and the same command goes on",
    errno.EROFS: "the file system is read-only: name another place",
    errno.EACCES: "you may not read or write there: change its permissions, or name another place",
    errno.EPERM: "you may not read or write there: change its permissions, or name another place",
    errno.EIO: "the disk reports a fault; see the log of the system",
}

EVERYWHERE = (
    "Everywhere: `--config FILE.toml` gives defaults for the flags, `--show-config` prints all settings as such a "
    "file, `--debug` shows tracebacks. A flag can also be set as a variable of the environment, {0}_FLAG for all "
    "commands or {0}_COMMAND_FLAG for one. What is typed wins over the environment, which wins over the file."
)
COMPLETE = "__complete"  # what completion scripts call

Completer = Callable[[str], Iterable[str]]


def new_app(
    name: str,
    *,
    help: str,
    version: str,
    examples: Sequence[str] = (),
    completers: Mapping[str, Completer] | None = None,
) -> App:
    """A cyclopts app with the manners of this project; add commands to it and hand it to `run_cli`.

    Parameters
    ----------
    examples
        Command lines to begin with.
    completers
        Name of a parameter to a function that gives candidates for what is typed of its value, beside those that
        `labelgen.commands.completion` knows.
    """

    def complete(context: object) -> object:
        from labelgen.commands.completion import candidates

        return candidates(context, completers or {})  # type: ignore[arg-type]

    def install(
        *, shell: Literal["bash", "zsh", "fish", "powershell"] | None = None, output: Annotated[str, Parameter()] = ""
    ) -> None:
        """Write a completion script for the shell and have the shell load it when it starts.

        Parameters
        ----------
        shell
            Default: the one that this was typed in.
        output
            File to write. Default: where the shell looks for such scripts.
        """
        from labelgen.commands.completion import install_completion

        install_completion(app, shell=shell, output=output)

    app = App(
        name=name,
        help=help,
        version=version,
        help_format="markdown",
        help_epilogue=_epilogue(name, examples),
        suppress_keyboard_interrupt=False,
        default_parameter=Parameter(negative_iterable=(), completer=complete),
    )
    app.command(install, name="--install-completion", help="Complete words in the shell by Tab.")
    return app


def examples_in(function: Callable, program: str) -> tuple[str, ...]:
    """Command lines in the section Examples of a docstring."""
    section = (inspect.getdoc(function) or "").partition("\nExamples\n--------\n")[2]
    return tuple(line.strip() for line in section.splitlines() if line.strip().startswith(f"{program} "))


def _epilogue(program: str, examples: Sequence[str]) -> str:
    """The end of a help page: a list of examples, then what holds for all commands."""
    lines = ["Examples:", *(f"- `{line}`" for line in examples), ""] if examples else []
    return "\n".join([*lines, EVERYWHERE.format(program.upper())])


def run_cli(app: App, argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code; every error becomes two lines on stderr.

    A command returns its exit code, or None for 0. `--debug`, `--show-config` and `--config FILE` are taken out before
    the rest is parsed; they may stand anywhere.
    """
    line = _Line.read(list(sys.argv[1:] if argv is None else argv))
    tokens = line.rest
    logging.basicConfig(level=logging.DEBUG if line.debug else logging.WARNING, stream=sys.stderr, format="%(message)s")
    logging.getLogger("labelgen.notice").setLevel(logging.INFO)  # progress of what has no bar
    try:
        with _sigterm_raises():
            app.config = _providers(app, line)
            if tokens and not tokens[0].startswith("-") and tokens[0] in app:
                _use_docstring(app, tokens[0])
            if line.show:
                _print_settings(app, tokens)
                return EXIT_DONE
            result = app(tokens, print_error=False, exit_on_error=False, result_action="return_value")
            sys.stdout.flush()
        return EXIT_DONE if result is None else int(result)
    except BrokenPipeError:  # the reader of our output, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_DONE
    except (Exception, KeyboardInterrupt) as error:
        if line.debug:
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
    if isinstance(error, OSError) and error.errno in DISK:
        where = f": {error.filename}" if error.filename else ""
        return f"{error.strerror}{where}", DISK[error.errno], EXIT_ERROR
    if isinstance(error, Terminated):
        return "terminated; what is done is kept", "the same command again goes on from there", EXIT_TERMINATED
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


@dataclass(frozen=True)
class _Line:
    """A command line without the flags that all commands have, and these flags."""

    rest: list[str]
    debug: bool = False
    show: bool = False
    config: str = ""

    @classmethod
    def read(cls, tokens: list[str]) -> "_Line":
        rest, debug, show, config = [], False, False, ""
        if tokens[:1] == [COMPLETE]:  # words that somebody is still typing
            return cls(tokens)
        while tokens:
            token = tokens.pop(0)
            if token == "--":
                rest += [token, *tokens]
                break
            if token == "--debug":
                debug = True
            elif token == "--show-config":
                show = True
            elif token == "--config" and tokens:
                config = tokens.pop(0)
            elif token.startswith("--config="):
                config = token.removeprefix("--config=")
            else:
                rest.append(token)
        return cls(rest, debug, show, config)


def _providers(app: App, line: _Line) -> tuple[Callable, ...]:
    """What gives defaults, the strongest first; nothing is loaded where there is nothing to give."""
    prefix = f"{app.name[0].upper()}_"
    if not line.config and not any(name.startswith(prefix) for name in os.environ):
        return ()
    from labelgen.commands.defaults import EnvironmentDefaults, FileDefaults

    environment = EnvironmentDefaults(app, os.environ, lambda text: print(f"warning: {text}", file=sys.stderr))  # noqa: T201
    return (environment, FileDefaults(app, line.config)) if line.config else (environment,)


def _use_docstring(app: App, name: str) -> None:
    """The help of a command is its docstring, not its line in the list of commands, and ends in its examples."""
    command, program = app[name], app.name[0]
    command.help = None
    command.help_epilogue = _epilogue(program, examples_in(command.default_command or command, program))


def _print_settings(app: App, tokens: Sequence[str]) -> None:
    from labelgen.commands.defaults import parsed_as_toml

    print(parsed_as_toml(app, tokens), end="", flush=True)  # noqa: T201


class Terminated(KeyboardInterrupt):
    """SIGTERM, which leaves a command in the same order as Ctrl-C: schedulers end jobs so."""


@contextlib.contextmanager
def _sigterm_raises() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _terminate(*_: object) -> None:
    raise Terminated
