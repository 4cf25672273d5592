"""`labelgen refiners`: the list, and the settings of one."""

import dataclasses
import json

from labelgen.cli import main
from labelgen.refine import REFINERS


def test_all_are_listed_with_what_they_do(capsys):
    assert main(["refiners", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["refiner"] for row in rows] == sorted(REFINERS) and all("[" not in row["about"] for row in rows)
    assert main(["refiners"]) == 0
    assert "Let scores follow the edges of the image." in capsys.readouterr().out


def test_every_setting_of_every_refiner_is_explained(capsys):
    for name, row in REFINERS.items():
        assert main(["refiners", name, "--json"]) == 0
        document = json.loads(capsys.readouterr().out)
        assert [s["name"] for s in document["settings"]] == [f.name for f in dataclasses.fields(row.config)]
        assert all(setting["help"] for setting in document["settings"]), name
    assert main(["refiners", "walk"]) == 0
    out = capsys.readouterr().out
    assert "features, colour, boundary" in out and "walk:VALUE is walk,affinity=VALUE" in " ".join(out.split())


def test_an_unknown_one_is_refused(capsys):
    assert main(["refiners", "blur"]) == 2
    assert "unknown refiner 'blur'" in capsys.readouterr().err
