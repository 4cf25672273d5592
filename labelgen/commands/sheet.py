"""The contact sheet that a command leaves in a run folder when the run is complete."""

from typing import TYPE_CHECKING

from labelgen.commands.common import say
from labelgen.data.dataset import Dataset
from labelgen.errors import LabelgenError

if TYPE_CHECKING:
    from labelgen.run import RunReport

__all__ = ["leave_sheet"]


def leave_sheet(report: "RunReport", dataset: Dataset, *, wanted: bool) -> list[tuple[str, str]]:
    """Draw `contact_sheet.jpg` of a complete run, unless it is there and nothing was labelled since.

    A few images are read once more for it. Labels are only read, and what goes wrong is said and fails nothing.

    Parameters
    ----------
    wanted
        False draws none; one of an earlier command is removed when it no longer shows the labels.

    Returns
    -------
    list of (str, str)
        A row for the report of the command, or nothing.
    """
    from labelgen.store import RunFolder
    from labelgen.store.layout import SHEET

    path = report.out / SHEET
    if not report.complete or (path.is_file() and not report.done):
        return []
    if not wanted:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:  # such as on Windows, while somebody looks at it
            say(f"warning: {path.as_posix()} shows labels that are gone ({error.strerror or error})")
        return []
    from labelgen.quality.match import why_unscored
    from labelgen.report.run_sheet import write_run_sheet
    from labelgen.report.views import Shown

    run = RunFolder.open(report.out)
    spec = dataset.spec
    place = spec.root.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]
    data = " ".join(part for part in (spec.kind, place, spec.split) if part)
    try:
        shown = Shown(run, dataset, has_truth=not why_unscored(run.vocabulary, dataset))
        write_run_sheet(path, shown, title=f"{run.header['method']}, {data}: {len(run.ids)} images")
    except LabelgenError as error:  # the run itself is sound
        say(f"warning: no contact sheet: {error.message}")
        return []
    return [("pictures", path.as_posix())]
