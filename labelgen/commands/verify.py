"""`labelgen verify RUN`: is a run folder still what was written, and does it come out the same again?"""

from pathlib import Path
from typing import Any

from labelgen.commands.common import EXIT_DONE, EXIT_ERROR, JsonFlag, print_json, progress_bar, say, say_error
from labelgen.errors import ConfigError, LabelgenError

__all__ = ["verify"]


def verify(
    run: str = "",
    /,
    *,
    regenerate: int = 0,
    seed: int = 0,
    as_json: JsonFlag = False,
) -> int:
    """Read a run folder whole and list what is missing, changed or extra; make some of its images again.

    Every file is hashed and compared with the manifest. With --regenerate, images are also made again from what
    run.json says of data, method, settings, seed and models, and compared byte for byte; the run is not touched. Where
    that is not possible here (another version, data or weights that are missing), it says so. The exit code is 1 where
    anything is not as it was, or could not be made again.

    Parameters
    ----------
    run
        Run folder. Default: the newest one below runs/.
    regenerate
        How many images to make again; 0 for none.
    seed
        Says which images are made again.

    Examples
    --------
    labelgen verify runs/scribble
    labelgen verify runs/scribble --regenerate 5
    """
    if regenerate < 0 or seed < 0:
        raise ConfigError(f"--regenerate and --seed must be >= 0, got {regenerate} and {seed}")

    from labelgen.store import newest_run, verify_run

    path = Path(run) if run else newest_run()
    with progress_bar("verify") as progress:
        problems = verify_run(path, progress=progress)
    facts: dict[str, Any] = {"run": str(path), "sound": not problems, "problems": problems}
    again = _again(path, regenerate, seed) if regenerate else {}
    if again:
        facts["regenerated"] = again
    if as_json:
        print_json(facts)
    else:
        _print_problems(path, problems)
        if again:
            _print_again(again)
    same = not again or not (again["cannot"] or again["different"])
    return EXIT_DONE if same and not problems else EXIT_ERROR


def _again(path: Path, count: int, seed: int) -> dict[str, Any]:
    """What came out, or why nothing could."""
    from labelgen.regenerate import regenerate
    from labelgen.store import RunFolder

    try:
        with progress_bar("regenerate") as progress:
            made = regenerate(RunFolder.open(path), count, seed=seed, progress=progress)
    except LabelgenError as error:
        return {"images": [], "different": [], "doubts": [], "cannot": error.message, "hint": error.hint}
    return {**made.to_json(), "cannot": "", "hint": ""}


def _print_problems(path: Path, problems: list[str]) -> None:
    if not problems:
        print(f"{path} is sound")  # noqa: T201
        return
    print("\n".join(problems))  # noqa: T201
    say(f"error: {len(problems)} {'problem' if len(problems) == 1 else 'problems'} in {path}")
    say("hint: files that are missing are made again by the command that made the run; for the rest --overwrite")


def _print_again(again: dict[str, Any]) -> None:
    if again["cannot"]:
        say_error(f"no image can be made again: {again['cannot']}", again["hint"] or "run.json says how it was made")
        return
    images, different = again["images"], again["different"]
    if not different:
        print(f"made again with the same bytes: {', '.join(images)}")  # noqa: T201
        return
    print("\n".join(different))  # noqa: T201
    doubts = f"not as in the run: {'; '.join(again['doubts'])}" if again["doubts"] else "nothing that run.json keeps"
    say_error(
        f"{len(different)} files of {len(images)} images that were made again are not the same",
        f"{doubts}; networks promise the same bytes on the same device, dtype and threads",
    )
