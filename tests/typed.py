"""Command lines as the documentation prints them, and what can be said of them without running any."""

import itertools
import re
import shlex
from pathlib import Path

from labelgen.cli import app as labelgen_app
from labelgen.commands.frame import _Line
from segprobe.cli import app as segprobe_app

APPS = {"labelgen": labelgen_app, "segprobe": segprobe_app}
SHELL = ("|", ">", "&&", "&", ";")  # where the command ends

_BLOCK = re.compile(r"^```console\n(.*?)^```", flags=re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_CALL = re.compile(r"(?:^|[\s;&|(])(?:python -m )?(labelgen|segprobe) (.*)")


def commands_in(text: str) -> list[str]:
    """Command lines of the two programs in blocks marked `console`, without `$ ` and without what another is given."""
    found = []
    for block in _BLOCK.findall(text):
        lines = block.replace("\\\n", " ").splitlines()
        prompted = any(line.startswith("$ ") for line in lines)  # then the other lines are output
        for line in lines:
            call = _CALL.search(line) if not prompted or line.startswith("$ ") else None
            if call:
                found.append(f"{call[1]} {call[2]}")
    return found


def parse(line: str) -> None:
    """Parse one command line as the program would; flags and their values included, nothing is run.

    Raises
    ------
    Exception
        Of cyclopts, or of the check of a setting, when the line cannot be typed.
    """
    program, *tokens = itertools.takewhile(lambda word: word not in SHELL, shlex.split(line, comments=True))
    assert tokens and tokens[0] in APPS[program], f"no such command: {line}"
    if tokens[1:] != ["--help"]:
        APPS[program].parse_args(_Line.read(tokens).rest, print_error=False, exit_on_error=False)


def check_commands(page: Path, *, least: int) -> None:
    """Parse all command lines of a Markdown page, at least so many; the first that cannot be typed fails."""
    lines = commands_in(page.read_text(encoding="utf-8"))
    assert len(lines) >= least
    for line in lines:
        try:
            parse(line)
        except Exception as error:
            raise AssertionError(f"{page.name}: {line}: {error}") from error


def dead_links(page: Path) -> list[str]:
    """Relative links and pictures of a Markdown page that lead nowhere."""
    targets = _LINK.findall(page.read_text(encoding="utf-8"))
    local = [target.partition("#")[0] for target in targets if "://" not in target and not target.startswith("#")]
    return [target for target in local if not (page.parent / target).exists()]
