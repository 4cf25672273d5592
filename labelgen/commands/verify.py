"""`labelgen verify RUN`: is a run folder still what was written?"""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from labelgen.commands.common import EXIT_DONE, EXIT_ERROR, print_json, progress_bar, say

__all__ = ["verify"]


def verify(run: str = "", /, *, as_json: Annotated[bool, Parameter(name="--json", negative="")] = False) -> int:
    """Read a run folder whole and list what is missing, changed or extra.

    Parameters
    ----------
    run
        Run folder. Default: the newest one below runs/.
    as_json
        Print one JSON document on stdout, nothing else.
    """
    from labelgen.store import newest_run, verify_run

    path = Path(run) if run else newest_run()
    with progress_bar("verify") as progress:
        problems = verify_run(path, progress=progress)
    if as_json:
        print_json({"run": str(path), "sound": not problems, "problems": problems})
    elif problems:
        print("\n".join(problems))  # noqa: T201
        say(f"error: {len(problems)} {'problem' if len(problems) == 1 else 'problems'} in {path}")
        say("hint: files that are missing are made again by the command that made the run; for the rest --overwrite")
    else:
        print(f"{path} is sound")  # noqa: T201
    return EXIT_ERROR if problems else EXIT_DONE
