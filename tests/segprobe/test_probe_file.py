import json
import os

import numpy as np
import pytest
import torch

from labelgen.data.dataset import DataSpec
from labelgen.errors import RunFolderError, WeightsError
from labelgen.nets.backbone_config import BackboneConfig
from segprobe.head_settings import parse_head
from segprobe.heads import make_head
from segprobe.probe_file import Probe, check_backbone, newest_probe, open_probe, save_probe
from tests.segprobe.toy import VOCABULARY

FINGERPRINT = {"weights_sha256": "a" * 64, "norm": True, "dtype": "float32", "layers": [11]}


def probe(kind="linear", dim=16):
    generator = torch.Generator().manual_seed(0)
    mean, std = torch.randn(dim, generator=generator), torch.rand(dim, generator=generator) + 0.1
    choice = parse_head(kind)
    head = make_head(choice, mean, std, num_classes=3)
    if choice.name == "knn":
        head.remember(torch.randn(7, dim, generator=generator), torch.rand(7, 3, generator=generator), gain=4.0)
    torch.nn.init.normal_(head.classify.weight, generator=generator)
    return Probe(
        head=head.eval(),
        kind=choice.name,
        settings=choice.to_json(),
        class_ids=(0, 2, 5),
        vocabulary=VOCABULARY,
        backbone=BackboneConfig("vit_tiny_patch16_224", layers=(3, 11)),
        fingerprint=FINGERPRINT,
        labels={"name": "scribble", "background": "none"},
        data=DataSpec("voc", root="/data/voc", split="train"),
        config={"lr": 0.001},
        figures={"steps": 100},
    )


KINDS = ("linear", "ridge", "multi", "mlp,hidden=24", "conv,width=8", "projection,dim=4", "prototype", "knn,bank=9")


@pytest.mark.parametrize("kind", KINDS)
def test_comes_back_as_it_was(tmp_path, kind):
    saved = probe(kind)
    save_probe(tmp_path / "p", saved)
    for path in (tmp_path / "p", tmp_path / "p" / "probe.safetensors", tmp_path / "p" / "probe.json"):
        found = open_probe(path)
        assert found.name == "p"
        for name in ("kind", "settings", "class_ids", "backbone", "fingerprint", "labels", "data", "config", "figures"):
            assert getattr(found, name) == getattr(saved, name)
        assert found.vocabulary.classes == VOCABULARY.classes
        tokens = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 5, 16)).astype(np.float32))
        assert torch.equal(found.head(tokens), saved.head(tokens))


def test_weighs_less_than_a_megabyte_for_a_large_backbone(tmp_path):
    save_probe(tmp_path, probe("mlp,hidden=128", dim=1024))
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 2**20


def test_names_the_weights_it_needs_and_the_versions_it_was_made_with(tmp_path):
    save_probe(tmp_path, probe())
    values = json.loads((tmp_path / "probe.json").read_text(encoding="utf-8"))
    assert values["fingerprint"]["weights_sha256"] == "a" * 64
    assert values["backbone"]["name"] == "vit_tiny_patch16_224"
    assert {"torch", "timm", "labelgen"} <= set(values["versions"])


def test_other_weights_are_refused():
    with pytest.raises(WeightsError, match="needs vit_tiny_patch16_224 with weights of sha256 aaaaaaaaaaaa, got bbbb"):
        check_backbone(probe(), {**FINGERPRINT, "weights_sha256": "b" * 64, "norm": False})


def test_other_features_of_the_same_weights_are_refused():
    with pytest.raises(WeightsError, match=r"trained on other features: layers, norm differ, first \[11\] there"):
        check_backbone(probe(), {**FINGERPRINT, "norm": False, "layers": [10]})


def test_other_arithmetic_is_let_through_with_a_warning(caplog):
    check_backbone(probe(), {**FINGERPRINT, "dtype": "bfloat16"})
    assert "trained on float32 features and now sees bfloat16" in caplog.text


def spoil(folder, **changes):
    path = folder / "probe.json"
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **changes}), encoding="utf-8")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"schema": 2}, "must have schema 1, got 2"),
        ({"format": "other"}, "must have the format 'segprobe-probe'"),
        ({"class_ids": [0, 2]}, r"classify.weight must have shape \(2, 16\), got \(3, 16\)"),
        ({"head": {"kind": "mlp", "settings": {"hidden": 4}, "dim": 16}}, "hidden.weight is missing"),
        ({"head": {"kind": "tree", "settings": {}, "dim": 16}}, "unknown head 'tree'"),
        ({"head": {"kind": "mlp", "settings": {"depth": 4}, "dim": 16}}, "probe is malformed"),
        ({"head": {"kind": "linear"}}, "probe is malformed"),
        ({"config": None}, "config is None"),
        ({"tensors_sha256": "0" * 64}, "must be the file that probe.json describes"),
        ({"data": {"kind": "voc", "colour": "red"}}, "probe is malformed"),
    ],
)
def test_a_spoilt_description_is_refused(tmp_path, changes, sentence):
    save_probe(tmp_path, probe())
    spoil(tmp_path, **changes)
    with pytest.raises(RunFolderError, match=sentence):
        open_probe(tmp_path)


def test_missing_unfinished_and_damaged_probes_are_told_apart(tmp_path):
    with pytest.raises(RunFolderError, match=r"no probe \(no probe.json\)"):
        open_probe(tmp_path)
    (tmp_path / "fit.json").write_text("{}", encoding="utf-8")
    with pytest.raises(RunFolderError, match="is not finished"):
        open_probe(tmp_path)
    save_probe(tmp_path, probe())
    content = (tmp_path / "probe.safetensors").read_bytes()
    (tmp_path / "probe.safetensors").write_bytes(content[: len(content) // 2])
    with pytest.raises(RunFolderError, match=r"probe cannot be read: .*probe\.safetensors"):
        open_probe(tmp_path)
    (tmp_path / "probe.json").write_text("{", encoding="utf-8")
    with pytest.raises(RunFolderError, match=r"probe cannot be read: .*probe\.json"):
        open_probe(tmp_path)


def test_newest_probe_is_the_youngest(tmp_path):
    with pytest.raises(RunFolderError, match="no probe below"):
        newest_probe(tmp_path)
    for age, name in ((5, "b"), (50, "a"), (500, "c")):
        save_probe(tmp_path / name, probe())
        os.utime(tmp_path / name / "probe.json", (10**9 - age, 10**9 - age))
    assert newest_probe(tmp_path).name == "b"


def test_a_probe_of_before_heads_had_settings_is_read(tmp_path):
    saved = probe("mlp,hidden=24")
    save_probe(tmp_path, saved)
    path = tmp_path / "probe.json"
    values = json.loads(path.read_text(encoding="utf-8"))
    values["head"] = {"kind": "mlp", "hidden": 24, "dim": 16}
    path.write_text(json.dumps(values), encoding="utf-8")
    found = open_probe(tmp_path)
    assert found.settings == {"hidden": 24}
    assert torch.equal(found.head.hidden.weight, saved.head.hidden.weight)


def test_the_bank_of_tokens_stays_in_half_precision_and_within_its_limit(tmp_path):
    save_probe(tmp_path, probe("knn,bank=9"))
    assert open_probe(tmp_path).head.bank.dtype == torch.float16
    path = tmp_path / "probe.json"
    values = json.loads(path.read_text(encoding="utf-8"))
    values["head"]["settings"]["bank"] = 5
    path.write_text(json.dumps(values), encoding="utf-8")
    with pytest.raises(RunFolderError, match="at most 5 tokens, got 7"):
        open_probe(tmp_path)
