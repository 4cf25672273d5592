"""Zero-shot labels with demo-clip: every setting has an effect, every image comes out at its size."""

import dataclasses
import hashlib
import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from labelgen.cli import main
from labelgen.data.open import open_data
from labelgen.data.sample import Sample
from labelgen.errors import ConfigError, DataError
from labelgen.masks import harden, read_image, read_mask
from labelgen.methods import clip_build
from labelgen.methods.clip import CLIP, ClipConfig
from labelgen.nets.clip import model as clip_model
from labelgen.nets.clip.config import ClipModelConfig
from labelgen.nets.clip.text_embeddings import write_text_embeddings
from labelgen.nets.zeroshot.looks import tile_vectors
from labelgen.run import RunOptions, config_to_json, method_job, rng_for, run_job
from labelgen.store import read_header
from labelgen.vocab import Vocabulary, load_vocabulary
from tests.labelgen.nets.dense_clip.towers import tiny_resnet

CLASSES = Vocabulary(
    "toy",
    ("background", "cat", "sheep", "bus", "car", "person", "boat"),
    0,
    {"car": ("car", "automobile"), "person": ("person", "man", "woman")},
    background_words=("sky", "grass", "road", "water", "wall", "building"),
)
SMALL = {"model": "demo-clip", "templates": "simple", "short_side": 64, "crop": 0, "device": "cpu"}


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """The model is so small that threads cost more than they give."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def data():
    return open_data("demo", limit=6)


@pytest.fixture(scope="module")
def label():
    """Label one image: settings in, mask out."""

    def label(image, vocabulary=CLASSES, *, tags=None, sample_id="a", **settings):
        config = ClipConfig(**{**SMALL, **settings})
        generate = CLIP.make(CLIP.prepare(config, vocabulary, None).config, vocabulary)
        return generate(Sample(sample_id, image.shape[:2], image=image, tags=tags), rng_for(0, sample_id))

    return label


@pytest.fixture(scope="module")
def image():
    return two_things()


@pytest.fixture(scope="module")
def labelled(label, image):
    """The mask of `image` with no setting changed."""
    return label(image)


@pytest.fixture(scope="module")
def by_kernel(label, image):
    """The mask of `image` by every kernel."""
    return {method: label(image, method=method) for method in KERNELS}


@pytest.fixture(scope="module")
def by_proxy(label, image):
    """The mask of `image` by the kernel that takes affinities from another backbone."""
    return label(image, method="proxy", proxy_backbone="demo-ssvt")


def two_things():
    """A car above and a person below, side by side, cut out of two scenes."""
    data = open_data("demo", split="val", limit=5)
    return np.concatenate([data.image("val_0000"), data.image("val_0004")[:, :160]])[::2, ::2].copy()


def plain(config, dataset, vocabulary=CLASSES):
    return CLIP.prepare(config, vocabulary, dataset)


KERNELS = ["clip", "maskclip", "maskclip-v", "sclip", "clearclip", "naclip", "gem", "surgery"]


def assert_labelled(mask, image):
    assert mask.size == image.shape[:2] and mask.scores.max() > 0
    assert len(mask.class_ids) > 1, "the labels vary over the image"
    assert set(mask.class_ids) <= set(range(7))


@pytest.mark.parametrize("method", KERNELS)
def test_every_kernel_labels(by_kernel, image, method):
    assert_labelled(by_kernel[method], image)


@pytest.mark.slow
def test_tiles_label(label, image):
    square = image[24:104]
    assert_labelled(label(square, method="tiles", short_side=32), square)


def test_a_kernel_with_another_backbone_labels(by_proxy, image):
    assert by_proxy.size == image.shape[:2] and by_proxy.scores.max() > 0


def test_kernels_differ(by_kernel):
    found = {method: mask.scores.tobytes() for method, mask in by_kernel.items()}
    assert len(set(found.values())) == len(found)


CHANGES = [
    {"short_side": 96},
    {"crop": 48},
    {"crop": 48, "stride": 16},
    {"crop": 48, "fuse": "prob"},
    {"crop": 48, "fuse": "feature"},
    {"flip": True},
    {"scale": 10.0},
    {"synonyms": "compat"},
    {"synonyms": "mean-embedding"},
    {"synonyms": "logsumexp"},
    {"templates": "none"},
    {"background": "none"},
    {"background": "word"},
    {"background": "words", "background_words": "sky; mud"},
    {"background_threshold": 0.6},
    {"ignore_threshold": 0.6},
    {"ignore_thresholds": ("cat=0.9", "bus=0.9", "car=0.9", "background=0.9")},
    {"negative": "shadow; reflection", "negative_to": "unlabelled"},
    {"negative": "shadow; reflection"},
    {"area": 0.4},
    {"min_component": 500},
    {"gate": "top-k", "top_k": 1},
    {"gate": "similarity", "image_similarity": 0.9},
    {"std": 1.0},
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: ",".join(map(str, change)))
def test_every_setting_does_something(label, labelled, image, change):
    before, after = labelled, label(image, **change)
    assert (before.class_ids, before.scores.tobytes()) != (after.class_ids, after.scores.tobytes())


@pytest.mark.parametrize(
    ("method", "one", "other"),
    [("gem", {"depth": 1}, {"depth": 2}), ("surgery", {"depth": 1}, {"depth": 2})],
)
def test_settings_of_methods(label, image, method, one, other):
    first, second = label(image, method=method, **one), label(image, method=method, **other)
    assert first.scores.tobytes() != second.scores.tobytes()


@pytest.mark.parametrize("change", [{"beta": 0.2}, {"gamma": 30.0}])
def test_settings_of_proxy(label, by_proxy, image, change):
    after = label(image, method="proxy", proxy_backbone="demo-ssvt", **change)
    assert by_proxy.scores.tobytes() != after.scores.tobytes()


@pytest.mark.parametrize("size", [(37, 53), (1, 1), (16, 300), (3, 2)])
def test_masks_have_the_size_of_their_image(label, size):
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    for settings in ({"short_side": 24}, {"short_side": 24, "crop": 16, "flip": True}):
        assert label(pixels, **settings).size == size


@pytest.mark.slow
@pytest.mark.parametrize(("size", "short_side"), [((1, 1), 4), ((3, 2), 2)])
def test_tiles_of_tiny_images(label, size, short_side):
    """Whether the image is magnified first, or cut into tiles of less than a pixel if a tile could be that."""
    pixels = np.zeros((*size, 3), np.uint8)
    assert label(pixels, method="tiles", short_side=short_side).size == size


def test_pictures_of_every_kind_are_read(label, tmp_path):
    rgb = np.random.default_rng(0).integers(0, 256, (24, 40, 3), np.uint8)
    pictures = {
        "grey": Image.fromarray(rgb[..., 0]),
        "alpha": Image.fromarray(np.dstack([rgb, rgb[..., 0]])),
        "palette": Image.fromarray(rgb).convert("P"),
    }
    for name, picture in pictures.items():
        picture.save(tmp_path / f"{name}.png")
        assert label(read_image(tmp_path / f"{name}.png")).size == (24, 40)
    turned = Image.fromarray(rgb)
    exif = turned.getexif()
    exif[0x0112] = 6  # lies on its side
    turned.save(tmp_path / "turned.png", exif=exif)
    assert label(read_image(tmp_path / "turned.png")).size == (40, 24)


def test_mirrored_images_get_mirrored_labels_with_flip(label, image):
    one = label(image, flip=True)
    other = label(np.ascontiguousarray(image[:, ::-1]), flip=True)
    assert one.class_ids == other.class_ids
    np.testing.assert_allclose(other.scores, one.scores[:, :, ::-1], atol=1e-4)


def test_batches_change_nothing(label, image):
    one, other = label(image, crop=48, batch=1), label(image, crop=48, batch=64)
    assert one.class_ids == other.class_ids
    np.testing.assert_allclose(one.scores, other.scores, atol=1e-4)


def test_tiles_of_zeroseg_lite_go_through_the_network_in_batches(monkeypatch):
    clip = clip_build.loaded_clip(ClipModelConfig("demo-clip", device="cpu"))
    crops = np.random.default_rng(0).integers(0, 256, (5, 20, 24, 3), np.uint8)
    every, sizes = tile_vectors(clip, crops), []
    encode = type(clip).encode_images
    monkeypatch.setattr(type(clip), "encode_images", lambda self, part: sizes.append(len(part)) or encode(self, part))
    np.testing.assert_allclose(tile_vectors(clip, crops, batch=2), every, atol=1e-5)
    assert sizes == [2, 2, 1]


@pytest.mark.slow
def test_segments_batch_and_gate_of_zeroseg_lite(label, image, monkeypatch):
    lite = {"method": "zeroseg-lite", "proxy_backbone": "demo-ssvt"}
    few, many = label(image, **lite, gate="none", segments=2), label(image, **lite, gate="none", segments=16)
    assert "classes_allowed" not in few.details and "classes_allowed" not in many.details
    assert few.scores.tobytes() != many.scores.tobytes()
    clip, sizes = clip_build.loaded_clip(clip_build.model_of(ClipConfig(**SMALL), demo=False)), []
    encode = type(clip).encode_images
    monkeypatch.setattr(type(clip), "encode_images", lambda self, part: sizes.append(len(part)) or encode(self, part))
    mask = label(image, **lite, batch=10)
    assert sizes == [1, 10, 10, 9], "the whole image for the gate, then 4 + 9 + 16 tiles"
    assert len(mask.details["classes_allowed"]) == 5, "the gate of ZeroSeg's public rule"
    assert mask.size == image.shape[:2] and mask.scores.max() > 0


def test_methods_are_refused_by_a_tower_before_the_first_image():
    demo, resnet = clip_build.loaded_clip(ClipModelConfig("demo-clip", device="cpu")).model, tiny_resnet()
    assert (clip_build._blocks("gem", demo), clip_build._blocks("tiles", demo)) == (6, 0)
    assert clip_build._blocks("zeroseg-lite", resnet) == 1
    with pytest.raises(ConfigError, match=r"kind resnet takes the methods clip, .*, got surgery"):
        clip_build._blocks("surgery", resnet)


def test_a_class_that_is_not_tagged_never_appears(label, labelled, image):
    free, tagged = labelled, label(image, gate="tags", tags=frozenset({2}))
    assert set(free.class_ids) - {0, 2}
    assert set(tagged.class_ids) <= {0, 2} and tagged.details["classes_allowed"] == [2]
    none = label(image, gate="tags", tags=frozenset())
    assert none.class_ids == (0,)
    nothing = label(image, Vocabulary("toy", ("cat", "dog")), gate="tags", tags=frozenset())
    assert nothing.class_ids == ()
    with pytest.raises(DataError, match="needs image-level tags"):
        label(image, gate="tags")


def test_the_gate_lets_the_best_classes_pass(label, image):
    for count in (1, 2, 3):
        mask = label(image, gate="top-k", top_k=count)
        assert len(mask.details["classes_allowed"]) == count
        assert set(mask.class_ids) <= {0, *mask.details["classes_allowed"]}


@pytest.mark.parametrize("change", [{}, {"fuse": "prob"}, {"flip": True}, {"synonyms": "compat"}])
def test_likely_classes_are_told_before_any_rule(label, image, change):
    config = CLIP.prepare(ClipConfig(**{**SMALL, **change}), CLASSES, None).config
    likely = CLIP.likely(config, CLASSES)(Sample("a", image.shape[:2], image=image), np.random.default_rng(0), 4)
    assert len(likely.class_ids) == 4 and likely.size == image.shape[:2]
    winners = label(image, **change, background_threshold=0.0)
    for class_id in set(winners.class_ids) & set(likely.class_ids):
        one, other = (m.scores[m.class_ids.index(class_id)] for m in (likely, winners))
        np.testing.assert_allclose(one, other, atol=1e-5)
    everything = CLIP.likely(config, CLASSES)(Sample("a", image.shape[:2], image=image), np.random.default_rng(0), 99)
    assert everything.class_ids == tuple(range(7))
    peaks = dict(zip(everything.class_ids, everything.scores.max(axis=(1, 2)), strict=True))
    others = [peak for class_id, peak in peaks.items() if class_id not in likely.class_ids]
    assert min(peaks[class_id] for class_id in likely.class_ids) >= max(others) - 0.05  # patches are not pixels


def test_one_class_of_surgery(label, image):
    lonely = Vocabulary("lonely", ("cat",))
    mask = label(image, lonely, method="surgery")
    assert mask.class_ids == (0,)


def test_saliency_maps_make_background(label, image, tmp_path):
    saliency = np.zeros(image.shape[:2], np.uint8)
    saliency[:, 48:] = 255
    Image.fromarray(saliency).save(tmp_path / "a.png")
    mask = label(image, background="saliency", saliency=str(tmp_path), certainty=1.0)
    sha256 = hashlib.sha256((tmp_path / "a.png").read_bytes()).hexdigest()
    assert mask.details["inputs"] == {(tmp_path / "a.png").as_posix(): sha256}
    labels = harden(mask)
    assert (labels[:, :48] == 0).all() and (labels[:, 48:] != 0).all()
    with pytest.raises(DataError, match="no saliency map for 'b'"):
        label(image, background="saliency", saliency=str(tmp_path), sample_id="b")
    with pytest.raises(DataError, match=r"must be in a folder, which .*nosuch is not"):
        label(image, background="saliency", saliency=str(tmp_path / "nosuch"))


def test_vectors_from_a_file_are_those_of_the_text_tower(label, image, tmp_path):
    clip = clip_build.loaded_clip(clip_build.model_of(ClipConfig(model="demo-clip", device="cpu"), demo=False))
    table = clip_build.prompt_table(CLASSES, background="none")
    vectors = clip.encode_text([f"a photo of a {prompt}." for prompt in table.prompts]).numpy()
    write_text_embeddings(tmp_path / "words.npz", table.prompts, vectors)
    from_file = label(image, background="none", templates="", text_embeddings=str(tmp_path / "words.npz"))
    np.testing.assert_allclose(from_file.scores, label(image, background="none").scores, atol=1e-4)


def test_what_is_settled_is_recorded(data):
    config = ClipConfig(**SMALL)
    prepared = plain(config, data)
    assert prepared.models["clip"]["sha256"] and prepared.models["clip"]["weights_from"].startswith("shipped")
    facts = prepared.facts
    assert facts["prompts"]["car"] == ["car", "automobile"] and "sky" in facts["prompts"]["background"]
    assert facts["templates"] == ["a photo of a {}."] and facts["vocabulary_sha256"] == CLASSES.digest()
    assert facts["learned_scale"] > 0 and facts["activation"] == "gelu"
    json.dumps({"facts": facts, "models": prepared.models, "config": config_to_json(prepared.config)}, allow_nan=False)
    assert prepared.config.device == "cpu" and prepared.config.background_threshold == 0.1
    assert plain(prepared.config, data).config == prepared.config


def test_the_model_is_loaded_once_in_a_process(data, monkeypatch):
    monkeypatch.setattr(clip_model, "_last_clip", None)
    calls = []
    load = clip_model.load_clip
    monkeypatch.setattr(clip_model, "load_clip", lambda config: calls.append(config) or load(config))
    prepared = plain(ClipConfig(**SMALL), data)
    CLIP.make(prepared.config, CLASSES)
    assert len(calls) == 1


def test_words_that_the_model_takes_for_the_same_are_reported(data, caplog):
    twins = Vocabulary("twins", ("cat", "dog"), prompts={"cat": ("a",), "dog": ("A .",)})
    monotone = ClipConfig(**{**SMALL, "templates": "none"})
    facts = plain(monotone, data, twins).facts
    random_model_pairs = facts["alike"]
    assert all(cosine > 0.95 for _, _, cosine in random_model_pairs)
    assert bool(random_model_pairs) == any("hardly tells" in sentence for sentence in facts["warnings"])
    clash = Vocabulary("clash", ("background", "sky", "cat"), 0)
    plain(ClipConfig(**SMALL), data, clash)
    assert "background words that are classes were left out: sky" in caplog.text


def test_quantiles_are_found_once_for_all_shards(data):
    config = ClipConfig(**SMALL, ignore_quantile=0.3, calibration_images=4)
    prepared = plain(config, data)
    assert prepared.config.ignore_thresholds and prepared.config.ignore_quantile == 0
    assert prepared.facts["calibration"]["images"] == 4 and prepared.facts["calibration"]["ignore_quantile"] == 0.3
    assert plain(config, data).config == prepared.config
    every = plain(dataclasses.replace(config, calibration_images=0), data)
    free, cut = (
        CLIP.make(dataclasses.replace(every.config, ignore_thresholds=limits), CLASSES)
        for limits in ((), every.config.ignore_thresholds)
    )
    before = after = 0
    for sample_id in data.ids:
        sample = data.load(sample_id, {"image"})
        one, other = harden(free(sample, rng_for(0, "a"))), harden(cut(sample, rng_for(0, "a")))
        assert (other[other != 255] == one[other != 255]).all()
        before, after = before + (one != 255).sum(), after + (other != 255).sum()
    assert 0.69 < after / before < 0.8  # each class keeps at least 70 %, and little more


def test_a_background_threshold_is_found_without_truth(data):
    config = ClipConfig(**SMALL, background="threshold", background_threshold="auto")
    prepared = plain(config, data)
    assert 0 < prepared.config.background_threshold < 1
    assert prepared.facts["calibration"]["background_threshold"] == prepared.config.background_threshold
    with pytest.raises(ConfigError, match="only be found on a data set"):
        plain(config, None)


@pytest.mark.parametrize(
    ("settings", "warns"),
    [
        ({"background_threshold": 0.1}, True),
        ({"background_threshold": 0.2}, False),
        ({"background_threshold": 0.12, "synonyms": "compat"}, False),  # 9 prompts of 6 classes
        ({"background_threshold": 0.1, "background": "words+threshold"}, False),
    ],
)
def test_a_threshold_that_no_best_class_falls_below_is_reported(caplog, settings, warns):
    facts = plain(ClipConfig(**{**SMALL, "background": "threshold", **settings}), None).facts
    assert any("makes no pixel background: the best of 6 has" in text for text in facts["warnings"]) == warns
    assert ("makes no pixel background" in caplog.text) == warns


def test_sigmoid_needs_a_model_for_it(data):
    with pytest.raises(ConfigError, match="needs a model trained with it"):
        plain(ClipConfig(**SMALL, activation="sigmoid"), data)


@pytest.mark.parametrize("entry", ["cat", "unicorn=0.3", "cat=high"])
def test_thresholds_by_class_are_checked(entry):
    config = ClipConfig(**SMALL, ignore_thresholds=(entry,))
    with pytest.raises(ConfigError, match="must be CLASS=PROBABILITY"):
        CLIP.make(plain(config, None).config, CLASSES)


@pytest.mark.parametrize(
    ("flags", "error"),
    [
        (["--classes", "cat, dog", "--vocab", "voc"], "--vocab and --classes both say what the classes are"),
        (["--tags", "tags.json"], "clip with these settings looks at no image-level tags, got --tags tags.json"),
    ],
)
def test_flags_about_the_data_that_have_no_say_are_refused(capsys, tmp_path, flags, error):
    assert main(["clip", "demo", "--limit", "1", "--out", str(tmp_path / "run"), *flags]) == 2
    assert error in capsys.readouterr().err and not (tmp_path / "run").exists()


def test_own_classes(data):
    config = ClipConfig(**SMALL, classes="background=sky; grass, animal=cow; cat; sheep")
    job = method_job("clip", config, load_vocabulary("voc"), dataset=data)
    assert job.vocabulary.classes == ("background", "animal") and job.needs == frozenset()
    assert job.facts["prompts"] == {"background": ["sky", "grass"], "animal": ["cow", "cat", "sheep"]}
    mask = job.make()(data.load("train_0000", {"image"}), rng_for(0, "a"))
    assert set(mask.class_ids) <= {0, 1}


@pytest.fixture(scope="module")
def demo_run(tmp_path_factory):
    """Six scenes labelled by the command, with the settings of the demo."""
    out = tmp_path_factory.mktemp("clip") / "run"
    assert main(["clip", "--split", "val", "--limit", "6", "--templates", "simple", "--out", str(out), "--json"]) == 0
    return out


@pytest.mark.slow
def test_the_same_run_again_has_the_same_bytes(demo_run, tmp_path):
    """Once by the command, once by the library."""
    data = open_data("demo", split="val", limit=6)
    job = method_job("clip", ClipConfig(templates="simple"), data.vocabulary, dataset=data)
    assert run_job(data, job, tmp_path / "again").complete
    for name in ("run.json", "manifest.jsonl", *(f"labels/{sample_id}.png" for sample_id in data.ids)):
        assert (tmp_path / "again" / name).read_bytes() == (demo_run / name).read_bytes(), name
    assert read_header(demo_run)["supervision"] == []


@pytest.mark.slow
def test_an_interrupted_run_is_finished_to_the_same_bytes(tmp_path):
    data = open_data("demo", split="val", limit=4)
    job = method_job("clip", ClipConfig(**SMALL, ignore_quantile=0.2), data.vocabulary, dataset=data)
    run_job(data, job, tmp_path / "whole")

    def killed(done, total, note):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_job(data, job, tmp_path / "parts", progress=killed)
    report = run_job(data, job, tmp_path / "parts")
    assert report.complete and report.skipped >= 2
    for sample_id in data.ids:
        name = f"labels/{sample_id}.png"
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes()
    assert (tmp_path / "whole" / "run.json").read_bytes() == (tmp_path / "parts" / "run.json").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize(("preset", "words"), [("naclip-voc20", "voc20-ovss"), ("naclip-voc21", "voc-ovss")])
def test_labels_of_a_preset_can_be_scored(tmp_path, capsys, preset, words):
    out = str(tmp_path / "run")
    flags = ["--preset", preset, "--model", "demo-clip", "--templates", "simple", "--short-side", "64", "--crop", "0"]
    assert main(["clip", "demo", "--split", "val", "--limit", "2", "--out", out, *flags]) == 0
    header = read_header(tmp_path / "run")
    assert header["data"]["vocabulary"] == header["vocabulary"]["name"] == words
    capsys.readouterr()
    assert main(["quality", out, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["num_images"] == 2


@pytest.mark.slow
def test_quality_of_a_run_is_that_of_an_independent_count(demo_run, tmp_path, capsys):
    out = shutil.copytree(demo_run, tmp_path / "run")
    assert main(["quality", str(out), "--json"]) == 0
    reported = json.loads(capsys.readouterr().out)[0]
    data = open_data("demo", split="val", limit=6)
    hits, unions = np.zeros(21), np.zeros(21)
    for sample_id in data.ids:
        truth, found = data.truth(sample_id), read_mask(out / "labels" / f"{sample_id}.png")
        for class_id in range(21):
            one, other = truth == class_id, found == class_id
            hits[class_id] += (one & other).sum()
            unions[class_id] += (one | other).sum()
    seen = unions > 0
    assert reported["miou"] == pytest.approx((hits[seen] / unions[seen]).mean(), abs=1e-9)
    assert reported["num_classes"] == seen.sum()


@pytest.mark.slow
def test_two_workers_make_the_same_labels(tmp_path):
    data = open_data("demo", split="val", limit=4)
    job = method_job("clip", ClipConfig(templates="simple"), data.vocabulary, dataset=data)
    run_job(data, job, tmp_path / "one")
    run_job(data, job, tmp_path / "two", RunOptions(workers=2))
    for sample_id in data.ids:
        one, two = (read_mask(tmp_path / run / "labels" / f"{sample_id}.png") for run in ("one", "two"))
        assert (one == two).mean() > 0.999  # the last bits depend on the threads per process
