"""`labelgen doctor`: is this machine in order, and what is to be done where it is not?"""

from labelgen.commands.common import EXIT_DONE, EXIT_ERROR, JsonFlag, print_json

__all__ = ["doctor"]

MARKS = {"ok": "ok", "warning": "WARNING", "problem": "PROBLEM"}


def doctor(*, as_json: JsonFlag = False) -> int:
    """Look at packages, torch and torchvision, GPU, CRF backends, caches, write access, disk and threads.

    The heavy packages are imported in a process of their own, so that this also works where torch is broken; it takes
    some seconds. With a problem, some command cannot work, and the exit code is 1; a warning may cost time or results.

    Examples
    --------
    labelgen doctor
    labelgen doctor --json
    """
    import labelgen
    from labelgen.doctor import PROBLEM, look_at_everything, worst

    findings = look_at_everything()
    state = worst(findings)
    if as_json:
        print_json({"labelgen": labelgen.__version__, "state": state, "findings": [f.to_json() for f in findings]})
    else:
        for finding in findings:
            parts = finding.found.split("; ")
            print(f"{MARKS[finding.state]:<8} {finding.name}: {parts[0]}")  # noqa: T201
            for part in parts[1:]:
                print(f"{'':<9}{part}")  # noqa: T201
            if finding.advice:
                print(f"{'':<9}to do: {finding.advice}")  # noqa: T201
    return EXIT_ERROR if state == PROBLEM else EXIT_DONE
