"""Feature caches hold what the backbone computes, resume with the same bytes, and refuse to be misread."""

import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch

from labelgen.data.dataset import DataSpec
from labelgen.errors import ConfigError, DataError, RunFolderError
from labelgen.locks import try_lock
from labelgen.nets.backbones import BackboneConfig, load_backbone
from segprobe.features import FeatureCache, View, build_cache, build_shards, cache_fingerprint, cache_name
from segprobe.features.layout import ALIGNMENT, SCHEMA, read_json, shard_path, write_json
from segprobe.features.shard import ShardJob

VIEWS = (View(), View(1.5, flip=True))
SIZES = ((40, 50), (50, 40), (40, 50), (33, 70))


@dataclass
class Pictures:
    """Random pictures of a few sizes; `fails` is the id that cannot be read."""

    count: int = 9
    fails: str = ""
    error: BaseException = field(default_factory=KeyboardInterrupt)
    spec: DataSpec = field(default_factory=lambda: DataSpec("folder", root="/pictures", split="train"))

    @property
    def ids(self):
        return tuple(f"{number:02}" for number in range(self.count))

    def image(self, sample_id):
        if sample_id == self.fails:
            raise self.error
        number = int(sample_id)
        return np.random.default_rng(number).integers(0, 256, (*SIZES[number % len(SIZES)], 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def backbone():
    return load_backbone(BackboneConfig("test_vit", size=48, layers=(2, -1)), pretrained=False)


@pytest.fixture
def three_shards(monkeypatch):
    monkeypatch.setattr("segprobe.features.layout.SHARD_IMAGES", 4)


def content(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def build(folder, backbone, pictures=None, **options):
    pictures = pictures or Pictures()
    return build_cache(pictures, pictures.ids, backbone, folder, **{"views": VIEWS, "batch_size": 3, **options})


def test_cached_equals_uncached(tmp_path, backbone, three_shards):
    cache = build(tmp_path / "cache", backbone)
    assert cache.ids == Pictures().ids
    assert cache.views == VIEWS
    for sample_id in cache.ids:
        for number, view in enumerate(VIEWS):
            picture, geometry = backbone.prepare(Pictures().image(sample_id), scale=view.scale, flip=view.flip)
            tokens = backbone.tokens(picture[None])[0]
            got = cache.features(sample_id, number)
            assert got.geometry == geometry
            assert got.tokens.dtype == torch.float16
            torch.testing.assert_close(got.tokens.float(), tokens.clone(), rtol=1e-3, atol=1e-3)


def test_mean_and_std_are_of_all_tokens_of_the_first_view(tmp_path, backbone, three_shards):
    cache = build(tmp_path / "cache", backbone)
    rows = np.concatenate([cache.features(i, 0).tokens.numpy().reshape(-1, cache.dim) for i in cache.ids])
    np.testing.assert_allclose(cache.mean, rows.astype(np.float64).mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(cache.std, rows.astype(np.float64).std(axis=0), rtol=1e-5)


def test_a_channel_that_never_varies_has_std_one(tmp_path, backbone):
    cache = build(tmp_path / "cache", Constant(backbone, 0.7), views=(View(),))
    assert np.all(cache.std == 1)
    np.testing.assert_allclose(cache.mean, 0.7, atol=1e-3)


def test_matrices_start_on_pages_and_do_not_overlap(tmp_path, backbone):
    folder = tmp_path / "cache"
    build(folder, backbone)
    end = 0
    for entry in sorted(read_json(folder / "shard-00000.json")["entries"], key=lambda e: e["offset"]):
        assert entry["offset"] % ALIGNMENT == 0
        assert entry["offset"] >= end
        end = entry["offset"] + int(np.prod(entry["geometry"]["grid"])) * backbone.spec.dim * 2
    assert (folder / "shard-00000.bin").stat().st_size % ALIGNMENT == 0


def test_interrupted_and_finished_gives_the_same_bytes(tmp_path, backbone, three_shards):
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    build(whole, backbone)
    with pytest.raises(KeyboardInterrupt):
        build(resumed, backbone, Pictures(fails="06"))
    assert (resumed / "shard-00000.done").is_file()
    assert not (resumed / "shard-00001.done").exists()
    with pytest.raises(RunFolderError, match="are not complete"):
        FeatureCache.open(resumed)
    before = (resumed / "shard-00000.bin").stat().st_mtime_ns
    build(resumed, backbone)
    assert (resumed / "shard-00000.bin").stat().st_mtime_ns == before
    assert content(resumed) == content(whole)


def test_a_lost_mark_redoes_that_shard_alone(tmp_path, backbone, three_shards):
    folder = tmp_path / "cache"
    build(folder, backbone)
    before = content(folder)
    (folder / "shard-00001.done").unlink()
    counted = Counting(backbone)
    build(folder, counted)
    assert counted.pictures == 4 * len(VIEWS)
    assert content(folder) == before


def test_a_complete_cache_needs_no_backbone(tmp_path, backbone):
    build(tmp_path / "cache", backbone)
    counted = Counting(backbone)
    seen = []
    build(tmp_path / "cache", counted, progress=lambda done, total, note: seen.append((done, total)))
    assert counted.pictures == 0
    assert seen == [(9, 9)]


def test_several_processes_make_what_one_makes(tmp_path, backbone, three_shards):
    one, many = tmp_path / "one", tmp_path / "many"
    build(one, backbone)
    pictures = Pictures()
    options = {"views": VIEWS, "batch_size": 3}
    assert not build_shards(pictures, pictures.ids, backbone, many, shard=(2, 2), **options)
    assert build_shards(pictures, pictures.ids, backbone, many, shard=(1, 2), **options)
    assert content(one) == content(many)


def test_a_shard_is_written_under_its_lock_and_by_one_process(tmp_path, backbone, monkeypatch):
    """As actors of a cluster do, which share nothing with this process but the folder."""
    job, seen = ShardJob(tmp_path, [["00"]], Pictures(), VIEWS, "float16", 2), []
    lock, done = shard_path(tmp_path, 0, "lock"), shard_path(tmp_path, 0, "done")

    def write(self, number, backbone, *, on_image):
        seen.append(try_lock(lock))
        done.touch()

    monkeypatch.setattr(ShardJob, "write", write)
    monkeypatch.setattr("segprobe.features.shard.is_done", lambda folder, number: done.is_file())
    job.write_unless_done(0, backbone)
    assert seen == [None] and not lock.exists()
    job.write_unless_done(0, backbone)
    assert len(seen) == 1
    done.unlink()
    with try_lock(lock), ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(job.write_unless_done, 0, backbone)
        done.touch()
        waiting.result(timeout=30)
    assert len(seen) == 1


def test_order_of_ids_does_not_matter(tmp_path, backbone):
    build(tmp_path / "a", backbone)
    pictures = Pictures()
    build_cache(pictures, pictures.ids[::-1], backbone, tmp_path / "b", views=VIEWS, batch_size=3)
    assert content(tmp_path / "a") == content(tmp_path / "b")


def test_a_begun_cache_keeps_its_batch_size(tmp_path, backbone, three_shards):
    with pytest.raises(KeyboardInterrupt):
        build(tmp_path / "a", backbone, Pictures(fails="06"))
    build(tmp_path / "a", backbone, batch_size=1)
    build(tmp_path / "b", backbone, batch_size=3)
    assert content(tmp_path / "a") == content(tmp_path / "b")


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"norm": False}, "backbone.norm is true there, false now"),
        ({"size": 64}, "backbone.size is 48 there, 64 now"),
        ({"layers": (-1,)}, "backbone.layers"),
        ({"name": "test_efficientnet"}, 'backbone.name is "test_vit" there, "test_efficientnet" now'),
    ],
)
def test_other_features_are_refused(tmp_path, backbone, change, key):
    build(tmp_path / "cache", backbone)
    other = load_backbone(
        BackboneConfig(**{"name": "test_vit", "size": 48, "layers": (2, -1), **change}), pretrained=False
    )
    with pytest.raises(RunFolderError, match="holds other features") as caught:
        build(tmp_path / "cache", other)
    assert key in str(caught.value)
    with pytest.raises(RunFolderError, match="holds other features"):
        FeatureCache.open(tmp_path / "cache", expect={"backbone": other.fingerprint()})


def test_other_weights_views_and_images_are_refused(tmp_path, backbone):
    build(tmp_path / "cache", backbone)
    reseeded = load_backbone(BackboneConfig("test_vit", size=48, layers=(2, -1)), pretrained=False, seed=1)
    with pytest.raises(RunFolderError, match=r"backbone\.weights_sha256"):
        build(tmp_path / "cache", reseeded)
    with pytest.raises(RunFolderError, match="views"):
        build(tmp_path / "cache", backbone, views=(View(),))
    with pytest.raises(RunFolderError, match=r"ids\.count is 9 there, 5 now"):
        build(tmp_path / "cache", backbone, Pictures(count=5))
    moved = Pictures(spec=DataSpec("folder", root="/elsewhere", split="train"))
    with pytest.raises(RunFolderError, match=r"data\.root"):
        build(tmp_path / "cache", backbone, moved)


def test_the_name_follows_the_fingerprint(backbone):
    pictures = Pictures()
    one, two = (cache_fingerprint(pictures, pictures.ids, backbone, views=v) for v in (VIEWS, VIEWS[:1]))
    assert cache_name(one).startswith("test_vit-folder-train-")
    assert cache_name(one) != cache_name(two)
    tags = Pictures(spec=DataSpec("folder", root="/pictures", split="train", tags="tags.json"))
    assert cache_fingerprint(tags, tags.ids, backbone, views=VIEWS) == one


def test_a_flipped_byte_is_found(tmp_path, backbone, three_shards):
    cache = build(tmp_path / "cache", backbone)
    cache.verify(Pictures())
    path = tmp_path / "cache" / "shard-00002.bin"
    damaged = bytearray(path.read_bytes())
    damaged[100] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(RunFolderError, match=r"shard-00002\.bin in .* is damaged"):
        FeatureCache.open(tmp_path / "cache").verify()


def test_a_changed_index_or_a_short_file_is_refused(tmp_path, backbone, three_shards):
    build(tmp_path / "cache", backbone)
    index, matrix = tmp_path / "cache" / "shard-00001.json", tmp_path / "cache" / "shard-00000.bin"
    matrix.write_bytes(matrix.read_bytes()[:5000])
    with pytest.raises(RunFolderError, match="the tokens of 03, view 1"):
        FeatureCache.open(tmp_path / "cache").features("03", 1)
    matrix.unlink()
    with pytest.raises(RunFolderError, match=r"shard-00000\.bin"):
        FeatureCache.open(tmp_path / "cache").features("00")
    index.write_text(index.read_text(encoding="utf-8").replace('"04"', '"40"'), encoding="utf-8")
    with pytest.raises(RunFolderError, match=r"shard-00001\.json in .* is damaged"):
        FeatureCache.open(tmp_path / "cache")


def test_a_changed_image_is_found(tmp_path, backbone):
    cache = build(tmp_path / "cache", backbone)
    pictures = Pictures()
    original = pictures.image
    pictures.image = lambda sample_id: original(sample_id) ^ (sample_id == "07")
    with pytest.raises(RunFolderError, match="the image 07 is no longer"):
        cache.verify(pictures)


@pytest.mark.parametrize("value", [7e4, float("inf"), float("nan")])
def test_tokens_that_do_not_fit_are_refused(tmp_path, backbone, value):
    with pytest.raises(ConfigError, match="must be finite and below 60000 to be kept as float16"):
        build(tmp_path / "cache", Constant(backbone, value))


def test_float32_keeps_every_bit(tmp_path, backbone):
    cache = build(tmp_path / "cache", Constant(backbone, 1e5 + 1 / 128), dtype="float32", views=(View(),))
    assert cache.features("00").tokens.dtype == torch.float32
    assert float(cache.features("00").tokens[0, 0, 0]) == 1e5 + 1 / 128


def test_an_image_that_cannot_be_read_stops_and_loses_nothing(tmp_path, backbone, three_shards):
    with pytest.raises(DataError, match="truncated"):
        build(tmp_path / "cache", backbone, Pictures(fails="08", error=DataError("08 is truncated")))
    assert len(list((tmp_path / "cache").glob("*.done"))) == 2


def test_pickled_caches_read_the_same(tmp_path, backbone):
    cache = build(tmp_path / "cache", backbone)
    mapped = cache.features("04", 1).tokens.clone()
    assert torch.equal(pickle.loads(pickle.dumps(cache)).features("04", 1).tokens, mapped)


def test_writing_to_tokens_never_reaches_the_file(tmp_path, backbone):
    cache = build(tmp_path / "cache", backbone)
    cache.features("00").tokens.zero_()
    FeatureCache.open(tmp_path / "cache").verify()


def test_what_is_not_there(tmp_path, backbone):
    with pytest.raises(RunFolderError, match=r"manifest\.json is missing"):
        FeatureCache.open(tmp_path)
    cache = build(tmp_path / "cache", backbone)
    with pytest.raises(RunFolderError, match="9 images in 2 views, but not 77 in view 0"):
        cache.features("77")
    manifest = read_json(tmp_path / "cache" / "manifest.json")
    write_json(tmp_path / "cache" / "manifest.json", {**manifest, "schema": SCHEMA + 1})
    with pytest.raises(RunFolderError, match="must have schema 1, got 2"):
        FeatureCache.open(tmp_path / "cache")
    (tmp_path / "cache" / "manifest.json").write_text("{", encoding="utf-8")
    with pytest.raises(RunFolderError, match="cannot be read"):
        FeatureCache.open(tmp_path / "cache")


def test_folders_that_cannot_be_used(tmp_path, backbone):
    (tmp_path / "holiday.jpg").write_bytes(b"")
    with pytest.raises(RunFolderError, match="not empty and not a feature cache"):
        build(tmp_path, backbone)
    with pytest.raises(RunFolderError, match="cannot be written"):
        build(tmp_path / "holiday.jpg" / "cache", backbone)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"dtype": "int8"}, ConfigError, "float16 or float32, got 'int8'"),
        ({"views": ()}, ConfigError, "one or more different views"),
        ({"views": (View(), View())}, ConfigError, "one or more different views"),
        ({"batch_size": 0}, ConfigError, "batch_size must be >= 1"),
    ],
)
def test_settings_out_of_range(tmp_path, backbone, options, error, message):
    with pytest.raises(error, match=message):
        build(tmp_path / "cache", backbone, **options)


def test_ids_and_shards_out_of_range(tmp_path, backbone):
    pictures = Pictures()
    with pytest.raises(DataError, match="at least one image"):
        build_cache(pictures, (), backbone, tmp_path)
    with pytest.raises(DataError, match="must be unique"):
        build_cache(pictures, ("00", "00"), backbone, tmp_path)
    with pytest.raises(ConfigError, match="got 3/2"):
        build_shards(pictures, pictures.ids, backbone, tmp_path, shard=(3, 2))
    with pytest.raises(ConfigError, match="scale of a view"):
        View(scale=0)


class Counting:
    """A backbone that counts the pictures it is shown."""

    def __init__(self, inner):
        self.inner, self.pictures = inner, 0

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def tokens(self, batch):
        self.pictures += len(batch)
        return self.inner.tokens(batch)


class Constant(Counting):
    """A backbone whose tokens are all one value."""

    def __init__(self, inner, value):
        super().__init__(inner)
        self.value = value

    def tokens(self, batch):
        return torch.full_like(super().tokens(batch), self.value)
