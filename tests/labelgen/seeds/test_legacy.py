"""Seed files of published code: every format by hand, class numbers, round trips, refusals, and the two commands."""

import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from labelgen.cli import main
from labelgen.commands.export import export
from labelgen.data.open import open_data
from labelgen.data.pickled import decode_npy
from labelgen.data.sample import Sample
from labelgen.errors import ConfigError, DataError
from labelgen.masks import SoftMask, harden
from labelgen.run import Job, RunOptions, run_job
from labelgen.seeds.import_seeds import ImportConfig, make_import
from labelgen.seeds.legacy import SEED_FORMATS, Seeds, read_seeds, write_seeds
from labelgen.store import RunFolder
from labelgen.vocab import Vocabulary, load_vocabulary

VOC = load_vocabulary("voc")
SIZE = (8, 12)
DOG, PERSON = 12, 15  # in the vocabulary; 11 and 14 when numbered from 0 without background
RNG = np.random.default_rng(0)


def maps():
    rng = np.random.default_rng(1)
    return rng.random((2, *SIZE)).astype(np.float16).astype(np.float32)


def save(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, content, allow_pickle=True)
    return path


def as_published(name, tensor=True):
    """The file that published code writes of `maps`, as its source does it."""
    torch = pytest.importorskip("torch")
    dog, person = maps()
    background = np.full(SIZE, 0.25, np.float32)
    return {
        "psa": {11: dog, 14: person},
        "psa-crf": {0: background, 12: dog, 15: person},
        "irn": {
            "keys": torch.tensor([11, 14]),
            "cam": torch.nn.functional.interpolate(torch.from_numpy(maps())[None], size=(2, 3), mode="bilinear")[0],
            "high_res": maps(),
        },
        "clipes": {"keys": np.array([11, 14]), "attn_highres": maps().astype(np.float16)},
    }[name]


@pytest.mark.parametrize("name", ["psa", "psa-crf", "irn", "clipes"])
def test_all_formats_give_the_same_maps_under_vocabulary_ids(tmp_path, name):
    path = save(tmp_path / "a.npy", as_published(name))
    seeds = read_seeds(path, name, VOC, size=SIZE)
    assert seeds.class_ids == (DOG, PERSON)
    np.testing.assert_array_equal(seeds.maps, maps())
    if name == "psa-crf":
        assert seeds.background is not None and (seeds.background == 0.25).all()
    else:
        assert seeds.background is None


def test_numbers_with_and_without_background_differ_by_one(tmp_path):
    path = save(tmp_path / "a.npy", {0: np.ones(SIZE, np.float32), 14: np.zeros(SIZE, np.float32)})
    assert read_seeds(path, "psa", VOC, size=SIZE).class_ids == (1, PERSON)
    crf = read_seeds(path, "psa-crf", VOC, size=SIZE)
    assert crf.class_ids == (14,) and crf.background is not None and crf.background.min() == 1


def test_background_need_not_be_the_first_class(tmp_path):
    last = Vocabulary("last", ("cat", "dog", "ground"), background=2)
    path = save(tmp_path / "a.npy", {0: np.full(SIZE, 0.5, np.float32), 1: np.ones(SIZE, np.float32)})
    assert read_seeds(path, "psa", last, size=SIZE).class_ids == (0, 1)
    crf = read_seeds(path, "psa-crf", last, size=SIZE)
    assert crf.class_ids == (0,) and crf.maps.min() == 1 and crf.background is not None and crf.background.max() == 0.5


def test_cam_of_irn_is_enlarged_as_irn_does_it(tmp_path):
    torch = pytest.importorskip("torch")
    size = (7, 10)  # cam is 2 x 3
    small = torch.rand(1, 2, 3, generator=torch.Generator().manual_seed(0))
    path = save(tmp_path / "a.npy", {"keys": torch.tensor([14]), "cam": small})
    seeds = read_seeds(path, "irn-cam", VOC, size=size)
    whole = torch.nn.functional.interpolate(small[None], scale_factor=4, mode="bilinear", align_corners=False)
    np.testing.assert_allclose(seeds.maps, whole[0, :, : size[0], : size[1]].numpy(), atol=1e-6)
    with pytest.raises(DataError, match="a quarter of the size"):
        read_seeds(path, "irn-cam", VOC, size=(12, 12))


@pytest.mark.parametrize("name", SEED_FORMATS)
def test_written_files_come_back(tmp_path, name):
    seeds = Seeds((DOG, PERSON), maps(), np.full(SIZE, 0.25, np.float32))
    (tmp_path / "a.npy").write_bytes(write_seeds(seeds, name, VOC))
    found = read_seeds(tmp_path / "a.npy", name, VOC, size=SIZE)
    assert found.class_ids == seeds.class_ids
    if name == "irn-cam":
        smaller = np.stack([cv2.resize(plane, (3, 2), interpolation=cv2.INTER_LINEAR) for plane in maps()])
        assert np.abs(found.maps.mean() - smaller.mean()) < 0.02
    else:
        np.testing.assert_array_equal(found.maps, maps())
    nothing = Seeds((), np.zeros((0, *SIZE), np.float32), np.ones(SIZE, np.float32))
    (tmp_path / "b.npy").write_bytes(write_seeds(nothing, name, VOC))
    assert read_seeds(tmp_path / "b.npy", name, VOC, size=SIZE).class_ids == ()


def test_written_files_are_what_published_code_expects():
    torch = pytest.importorskip("torch")
    seeds = Seeds((DOG, PERSON), maps())
    psa = decode_npy(write_seeds(seeds, "psa", VOC), where="psa")
    assert list(psa) == [11, 14] and psa[11].dtype == np.float32
    irn = np.load(_stream(write_seeds(seeds, "irn", VOC)), allow_pickle=True).item()
    assert (
        isinstance(irn["keys"], torch.Tensor) and irn["cam"].shape == (2, 2, 3) and irn["high_res"].shape == (2, *SIZE)
    )
    clipes = decode_npy(write_seeds(seeds, "clipes", VOC), where="clipes")
    assert clipes["keys"].tolist() == [11, 14] and clipes["attn_highres"].dtype == np.float16
    with pytest.raises(DataError, match="psa-crf needs a plane of background"):
        write_seeds(seeds, "psa-crf", VOC)


def _stream(content):
    import io

    return io.BytesIO(content)


ONE = np.ones(SIZE, np.float32)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("psa", [1], "must hold a dictionary, got ndarray"),
        ("psa", {"keys": [1], "high_res": ONE[None]}, "not a seed file of the format psa: .* holds 'keys', 'high_res'"),
        ("irn", {11: ONE}, "not a seed file of the format irn: .* holds 11"),
        ("psa", {20: ONE}, r"class numbers must lie in \[0, 20\) for 'voc', got 20"),
        ("psa", {-1: ONE}, "got -1"),
        ("psa", {0: ONE[1:]}, r"must have the size \(8, 12\) of the image, got \(7, 12\) for class 0"),
        ("psa", {0: ONE * np.nan}, "must be finite"),
        ("psa", {0: ONE.astype(int)}, "decimal numbers"),
        ("psa", {True: ONE}, "whole numbers"),
        ("psa-crf", {1: ONE}, "no background, number 0"),
        ("irn", {"keys": [1, 2], "high_res": ONE[None]}, "2 keys"),
        ("clipes", {"keys": [1, 1], "attn_highres": np.stack([ONE, ONE])}, "twice"),
    ],
)
def test_other_content_is_refused(tmp_path, name, content, message):
    path = save(tmp_path / "a.npy", content)
    with pytest.raises(DataError, match=message) as caught:
        read_seeds(path, name, VOC, size=SIZE)
    assert str(path) in caught.value.message and caught.value.hint


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def test_malicious_seeds_are_refused(tmp_path):
    path = save(tmp_path / "a.npy", {0: ONE, 1: Evil(tmp_path / "executed")})
    with pytest.raises(DataError, match=r"must hold arrays and plain containers alone, got .*system"):
        read_seeds(path, "psa", VOC, size=SIZE)
    assert not (tmp_path / "executed").exists()


def sample(name="a"):
    return Sample(name, SIZE)


def test_rules_make_labels(tmp_path):
    plane = np.linspace(-1, 1, SIZE[0] * SIZE[1], dtype=np.float32).reshape(SIZE)  # PSA keeps negative values
    save(tmp_path / "a.npy", {14: plane})
    for rule, threshold in (("fixed:0.5", 0.5), ("", 0.2), ("power:1", 0.5)):
        mask = make_import(ImportConfig("psa", str(tmp_path), rule), VOC)(sample(), RNG)
        np.testing.assert_array_equal(harden(mask) == PERSON, plane > np.float32(threshold))
        assert mask.scores.min() >= 0
    assert len(mask.details["inputs"]) == 1
    band = harden(make_import(ImportConfig("psa", str(tmp_path), "dual:fixed:0.3/fixed:0.6"), VOC)(sample(), RNG))
    assert set(np.unique(band)) == {0, PERSON, 255}
    save(tmp_path / "b.npy", {14: plane * 9})
    with pytest.raises(DataError, match=r"must be scaled to \[0, 1\], got values up to 9"):
        make_import(ImportConfig("psa", str(tmp_path)), VOC)(sample("b"), RNG)
    scaled = make_import(ImportConfig("psa", str(tmp_path), "fixed:0.5", "max"), VOC)(sample("b"), RNG)
    np.testing.assert_array_equal(harden(scaled) == PERSON, plane / (1 + 1e-5 / 9) > 0.5)


def test_settings_that_contradict_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="unknown format of seeds 'npz'") as caught:
        ImportConfig("npz", "x")
    assert "clipes" in caught.value.hint
    with pytest.raises(ConfigError, match="so background has no say"):
        ImportConfig("psa-crf", "x", "fixed:0.2")
    with pytest.raises(ConfigError, match="no plane for the background rule saliency"):
        ImportConfig("psa", "x", "saliency")
    with pytest.raises(ConfigError, match="normalise must be"):
        ImportConfig("psa", "x", normalise="softmax")
    with pytest.raises(ConfigError, match="has no such class"):
        make_import(ImportConfig("psa", "x"), load_vocabulary("voc20"))
    with pytest.raises(ConfigError, match="the format has a background"):
        read_seeds(save(tmp_path / "a.npy", {0: ONE}), "psa-crf", load_vocabulary("voc20"), size=SIZE)


@pytest.fixture
def seed_folder(tmp_path, monkeypatch):
    """PSA files of two demo scenes, and one of an image that is not there."""
    monkeypatch.chdir(tmp_path)
    data = open_data("demo", limit=2)
    for sample_id in data.ids:
        truth = data.truth(sample_id)
        content = {int(i) - 1: (truth == i) * np.float32(0.875) for i in np.unique(truth) if 0 < i < 255}
        save(tmp_path / f"psa/{sample_id}.npy", content)
    save(tmp_path / "psa/elsewhere/x.npy", {0: ONE})
    return data


def test_commands_import_and_export(seed_folder, tmp_path, capsys):
    assert main(["import", "psa", "--from", "psa", "--limit", "2", "--background", "power:6"]) == 0
    out, err = capsys.readouterr()
    assert "1 files of psa belong to no image" in err and "labelgen quality runs/psa --curve" in out
    run = RunFolder.open("runs/psa")
    assert run.header["supervision"] == ["tags"] and run.header["config"]["background"] == "power:6"
    for sample_id in run.ids:
        np.testing.assert_array_equal(run.labels(sample_id), seed_folder.truth(sample_id))
    assert main(["quality", "runs/psa", "--curve", "--bins", "20", "--json", "--workers", "1"]) == 0
    (document,) = json.loads(capsys.readouterr().out)
    assert document["fixed"]["miou"] == 1 and document["fixed"]["alpha"] == pytest.approx(6)
    assert [p["miou"] == 1 for p in document["curve"]] == [k < 18 for k in range(21)]
    assert main(["export", "runs/psa", "--to", "clipes", "--dry-run", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert not Path(plan["out"]).exists()
    assert main(["export", "runs/psa", "--to", "clipes", "--json"]) == 0
    made = sum(path.stat().st_size for path in Path(plan["out"]).rglob("*.npy"))
    assert plan["images"] == plan["estimate"]["timed"] and plan["estimate"]["bytes"] == made
    assert 0 <= plan["estimate"]["seconds"] < 60  # of two small files, rounded to hundredths
    assert json.loads(capsys.readouterr().out)["files"] == 2
    assert main(["import", "seeds/psa-clipes", "--from", "clipes", "--limit", "2", "--out", "runs/back"]) == 0
    back = RunFolder.open("runs/back")
    for sample_id in run.ids:
        one, two = run.scores(sample_id), back.scores(sample_id)
        assert one is not None and two is not None and one.class_ids == two.class_ids
        np.testing.assert_array_equal(one.scores[1:], two.scores[1:])
    assert main(["verify", "runs/back"]) == 0


def test_commands_refuse(seed_folder, capsys):
    for arguments, code, message in (
        (["import", "nowhere", "--from", "psa"], 1, "no such folder of seeds: nowhere"),
        (["import", "psa", "--from", "psa", "--split", "val"], 1, "belongs to an image of the data"),
        (["import", "psa", "--from", "npz"], 2, "unknown format"),
        (["export", "--to", "psa"], 1, "no run below runs"),
    ):
        assert main(arguments) == code
        assert message in capsys.readouterr().err
    assert main(["import", "psa", "--from", "irn", "--limit", "2", "--strict"]) == 1
    assert "not a seed file of the format irn" in capsys.readouterr().err
    assert main(["import", "psa", "--from", "psa", "--limit", "3", "--out", "a"]) == 3
    capsys.readouterr()
    assert main(["export", "a", "--to", "psa", "--out", "exported", "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["failed"] == 1 and "1 images of a failed and have no file" in err
    assert main(["import", "psa", "--from", "psa", "--limit", "2", "--background", "dual:psa", "--out", "b"]) == 0
    assert main(["import", "psa", "--from", "psa", "--limit", "2", "--no-save-scores", "--out", "c"]) == 0
    capsys.readouterr()
    assert main(["export", "b", "--to", "psa"]) == 2
    assert "has an ignore band" in capsys.readouterr().err
    assert main(["export", "c", "--to", "psa"]) == 2
    assert "keeps no scores" in capsys.readouterr().err
    assert main(["export", "a", "--to", "psa", "--out", "psa"]) == 1
    assert "psa is not empty" in capsys.readouterr().err
    (file := Path("afile")).write_text("no folder")
    assert main(["export", "a", "--to", "psa", "--out", str(file)]) == 1
    assert "seed files need a folder, but afile is a file" in capsys.readouterr().err
    assert file.read_text() == "no folder"


def test_pixels_without_scores_are_not_exported_as_maps_of_zero(seed_folder, capsys):
    assert main(["import", "psa", "--from", "psa", "--limit", "2", "--out", "whole"]) == 0
    assert main(["refine", "whole", "--with", "band:fixed:0.95/fixed:0.05", "--save-scores", "--out", "b"]) == 0
    assert (RunFolder.open("b").labels(seed_folder.ids[0]) == 255).any()
    capsys.readouterr()
    assert main(["export", "b", "--to", "psa", "--out", "seeds"]) == 2
    error = capsys.readouterr().err
    assert "b has pixels without any score" in error and "export the run before the refiner" in error
    assert not Path("seeds").exists()
    assert main(["refine", "whole", "--with", "band:fixed:0.5/fixed:0.05", "--save-scores", "--out", "c"]) == 0
    assert main(["export", "c", "--to", "psa", "--out", "seeds"]) == 0  # a band without a pixel in it


def test_an_unfinished_run_is_not_exported(seed_folder, capsys):
    arguments = ["import", "psa", "--from", "psa", "--limit", "2", "--out", "half"]
    assert main([*arguments, "--shard", "1/2"]) == 0
    capsys.readouterr()
    assert main(["export", "half", "--to", "psa"]) == 1
    assert "only a complete run is exported, but half is unfinished (1 images so far)" in capsys.readouterr().err
    assert not Path("seeds").exists()
    assert main([*arguments, "--shard", "2/2"]) == 0
    assert main(["export", "half", "--to", "psa"]) == 0


def untagged(sample, rng):
    """A map of one class for the first image; the second has no class and stays unlabelled."""
    if sample.id == "train_0000":
        return SoftMask(np.full((2, *sample.size), np.float32([0.25, 0.5])[:, None, None]), (0, PERSON))
    return SoftMask(np.zeros((1, *sample.size), np.float32), (0,))


def test_an_image_without_any_class_has_no_map_to_lose(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    job = Job("toy", {}, lambda: untagged, needs=frozenset(), reads_image=False, vocabulary=VOC)
    run_job(open_data("demo", limit=2), job, Path("run"), RunOptions(save_scores=True))
    assert main(["export", "run", "--to", "psa", "--out", "psa"]) == 0
    one, none = (decode_npy(Path(f"psa/train_000{n}.npy").read_bytes(), where="here") for n in (0, 1))
    assert list(one) == [PERSON - 1] and none == {}
    assert main(["export", "run", "--to", "psa-crf", "--out", "crf"]) == 2
    assert "100 % of 'train_0001'" in capsys.readouterr().err


def test_the_help_of_export_names_all_formats():
    (sentence,) = [line for line in export.__doc__.splitlines() if "Seeds:" in line]
    assert all(name in sentence.replace(",", " ").replace(".", " ").split() for name in SEED_FORMATS)


def warnings_of(path):
    return {sample_id: record["warnings"] for sample_id, record in RunFolder.open(path).records().items()}


def test_files_without_any_seed_are_warned_about(seed_folder, capsys):
    first, second = seed_folder.ids
    save(Path(f"psa/{first}.npy"), {})
    nothing = min(set(np.unique(seed_folder.truth(second)).tolist()) - {0, 255})
    save(Path(f"psa/{second}.npy"), {nothing - 1: np.full((128, 160), -0.5, np.float32)})
    assert main(["import", "psa", "--from", "psa", "--limit", "2", "--out", "run"]) == 0
    assert warnings_of("run") == {
        first: ["the file holds no map of a class: all background"],
        second: [f"the map of {VOC.classes[nothing]} is nowhere above 0"],
    }
    assert "none of their tags" not in capsys.readouterr().err


def test_classes_that_are_no_tag_are_warned_about(seed_folder, capsys):
    for sample_id in seed_folder.ids:  # as psa-crf numbers them, one more than psa does
        truth = seed_folder.truth(sample_id)
        planes = {int(i): (truth == i).astype(np.float32) for i in np.unique(truth) if i < 255}
        save(Path(f"crf/{sample_id}.npy"), planes)
    shifted = ["import", "crf", "--from", "psa", "--limit", "2", "--out", "shifted"]
    assert main([*shifted, "--json"]) == 0
    out, err = capsys.readouterr()
    assert "warning: 2 of 2 images have maps of classes that are none of their tags" in err
    assert "hint: is --from psa right?" in err and "\x1b" not in out
    assert json.loads(out)["images_with_classes_without_tag"] == 2
    for sample_id, (warning,) in warnings_of("shifted").items():
        wrong = {int(i) + 1 for i in np.unique(seed_folder.truth(sample_id)) if i < 255}
        wrong -= set(np.unique(seed_folder.truth(sample_id)).tolist())
        names = ", ".join(VOC.classes[i] for i in sorted(wrong))
        assert warning == f"the file has a map of {names}, which the tags do not name"
    assert main(["import", "crf", "--from", "psa-crf", "--limit", "2", "--out", "right"]) == 0
    assert set(map(tuple, warnings_of("right").values())) == {()} and "warning" not in capsys.readouterr().err


def test_tags_of_a_file_are_compared_and_change_no_label(seed_folder, tmp_path, capsys):
    first, second = seed_folder.ids
    arguments = ["import", "psa", "--from", "psa", "--limit", "2"]
    assert main([*arguments, "--out", "by-truth"]) == 0
    Path("tags.json").write_text(json.dumps({first: [], second: list(VOC.classes[1:])}))
    capsys.readouterr()
    assert main([*arguments, "--tags", "tags.json", "--out", "by-file"]) == 0
    assert "warning: " not in capsys.readouterr().err  # one of two images is not more than half
    assert [bool(warnings) for warnings in warnings_of("by-file").values()] == [True, False]
    for sample_id in seed_folder.ids:
        np.testing.assert_array_equal(
            RunFolder.open("by-file").labels(sample_id), RunFolder.open("by-truth").labels(sample_id)
        )
    Path("tags.json").write_text(json.dumps({first: []}))
    assert main([*arguments, "--tags", "tags.json", "--out", "partial"]) == 3
    assert f"no tags for '{second}'" in capsys.readouterr().err


def test_seeds_of_pictures_without_truth_are_compared_with_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    cv2.imwrite("photos/a.png", np.zeros((*SIZE, 3), np.uint8))
    save(Path("seeds/a.npy"), {11: ONE})
    command = ["import", "seeds", "--from", "psa", "--data", "photos", "--vocab", "voc", "--out", "run", "--json"]
    assert main(command) == 0
    assert json.loads(capsys.readouterr().out)["images_with_tags"] == 0
    assert warnings_of("run") == {"a": []}


def test_supervision_is_one_of_the_known_kinds(seed_folder, capsys):
    arguments = ["import", "psa", "--from", "psa", "--limit", "2", "--out", "run"]
    assert main([*arguments, "--supervision", "tagz"]) == 2
    assert "must be out of saliency, strokes, tags, truth, unknown, got 'tagz'" in capsys.readouterr().err
    assert not Path("run").exists()
    assert main([*arguments, "--supervision", "tags", "--supervision", "saliency"]) == 0
    assert RunFolder.open("run").header["supervision"] == ["saliency", "tags"]
