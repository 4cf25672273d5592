"""Scribbles on drawn masks of all kinds: exact labels, nested shrink and drop, one stroke per component."""

import json

import numpy as np
import pytest
from scipy import ndimage

from labelgen.data.sample import Sample
from labelgen.errors import ConfigError, DataError
from labelgen.geometry.regions import component_regions
from labelgen.masks import encode_mask, harden
from labelgen.methods.scribble import PRESETS, STYLE_NAMES, ScribbleConfig, make_scribble
from labelgen.methods.scribble_kernels import MIXTURE
from labelgen.methods.scribble_plan import draw_labels
from labelgen.run import rng_for
from labelgen.strokes import arc_length, strokes_from_json, strokes_to_json
from labelgen.vocab import load_vocabulary

VOC = load_vocabulary("voc")
ROWS, COLS = np.mgrid[:120, :160]


def draw(*shapes, void=True):
    """A mask of background, shapes (class id, region), and a void ring around each shape."""
    labels = np.zeros(ROWS.shape, np.uint8)
    for class_id, region in shapes:
        if void:
            labels[ndimage.binary_dilation(region, iterations=2)] = 255
        labels[region] = class_id
    return labels


def disc(row, col, radius):
    return np.hypot(ROWS - row, COLS - col) < radius


def box(top, left, bottom, right):
    return (top <= ROWS) & (bottom > ROWS) & (left <= COLS) & (right > COLS)


MASKS = {
    "ellipse": draw((15, np.hypot((ROWS - 60) / 45, (COLS - 80) / 25) < 1)),
    "bar": draw((2, box(55, 10, 62, 150))),
    "ring": draw((9, disc(60, 80, 45) & ~disc(60, 80, 25))),
    "l": draw((12, box(10, 20, 110, 36) | box(94, 20, 110, 140))),
    "x": draw((3, (abs(ROWS - COLS + 20) < 9) | (abs(ROWS + COLS - 140) < 9))),
    "pole": draw((5, box(5, 80, 118, 82)), void=False),
    "many": draw((8, disc(25, 30, 15)), (8, disc(25, 90, 12)), (15, disc(90, 60, 20)), (8, disc(95, 130, 14))),
    "touching": draw((15, box(20, 20, 90, 70)), (7, box(20, 70, 90, 140)), void=False),
    "border": draw((17, box(70, 0, 120, 160))),
    "whole": np.full(ROWS.shape, 11, np.uint8),
    "void": np.full(ROWS.shape, 255, np.uint8),
    "empty": np.zeros(ROWS.shape, np.uint8),
    "pixel": draw((4, box(60, 80, 61, 81))),
    "background in two": draw((1, box(0, 70, 120, 90))),
}

FEW = ("l", "x", "many", "ring", "pole")


def generate(name, seed=0, **settings):
    truth = MASKS[name]
    return make_scribble(ScribbleConfig(**settings), VOC)(Sample(name, truth.shape, truth=truth), rng_for(seed, name))


def labels_of(name, seed=0, **settings):
    return harden(generate(name, seed, **settings))


@pytest.mark.slow
@pytest.mark.parametrize("style", STYLE_NAMES)
def test_every_labelled_pixel_is_right(style):
    for name, truth in MASKS.items():
        for settings in ({}, {"shrink": 0.5, "margin": 0.2, "group": "class"}, {"width": 7.0, "branches": 2}):
            labels = labels_of(name, style=style, **settings)
            labelled = labels != 255
            assert (labels[labelled] == truth[labelled]).all(), (name, settings)


def test_one_stroke_per_component_and_none_below_the_least_area():
    for name, truth in MASKS.items():
        found = [s.region for s in generate(name, branches=0).strokes]
        least = 80 * (160 / 500) ** 2
        wanted = {r.index for r in component_regions(truth) if r.area >= least and r.class_id != 0}
        background = {r.index for r in component_regions(truth) if r.class_id == 0}
        assert sorted(i for i in found if i not in background) == sorted(wanted), name
        assert len([i for i in found if i in background]) <= 2


def test_tiny_regions_get_a_dot_only_on_demand():
    assert generate("pixel").details["classes_lost"] == ["boat"]
    assert generate("pixel").details["missed_regions"] == 1
    mask = generate("pixel", keep_tiny=True)
    assert mask.details["classes_lost"] == []
    assert np.argwhere(harden(mask) == 4).tolist() == [[60, 80]]


def test_groups():
    truth = MASKS["touching"].copy()
    truth[truth == 7] = 15  # two people who touch
    instances = np.where(truth == 15, 1 + (COLS >= 70), 0).astype(np.int32)
    sample = Sample("a", truth.shape, truth=truth, instances=instances)

    def people(group):
        config = ScribbleConfig(group=group, branches=0)
        strokes = make_scribble(config, VOC)(sample, rng_for(0, "a")).strokes
        return [stroke for stroke in strokes if stroke.class_id == 15]

    assert len(people("component")) == 1
    assert len(people("instance")) == 2
    cars = [s for s in generate("many", group="class", branches=1).strokes if s.class_id == 8]
    assert len(cars) == 2  # the two largest of three share the budget
    with pytest.raises(DataError, match="group instance needs an instance map, but many has none"):
        generate("many", group="instance")


@pytest.mark.slow
@pytest.mark.parametrize("anchor", ["center", "random", "start"])
def test_shrinking_halves_each_stroke_and_moves_nothing(anchor):
    for name in FEW:
        whole = generate(name).strokes
        for shrink in (0.2, 0.5, 0.7):
            shrunk = generate(name, shrink=shrink, shrink_anchor=anchor).strokes
            for full, part in zip(whole, shrunk, strict=True):
                assert np.array_equal(full.points, part.full)
                assert abs(part.length - (1 - shrink) * full.length) < 0.1


@pytest.mark.slow
def test_pixels_are_nested_over_shrink_and_coverage_falls():
    for name in FEW:
        before = labels_of(name) != 255
        for shrink in (0.2, 0.5, 0.7, 1.0):
            now = labels_of(name, shrink=shrink) != 255
            grown = before.copy()  # cut ends are rounded to a hundredth of a pixel
            grown[1:] |= before[:-1]
            grown[:-1] |= before[1:]
            grown[:, 1:] |= before[:, :-1]
            grown[:, :-1] |= before[:, 1:]
            assert not (now & ~grown).any()
            assert (now & ~before).sum() <= 2
            assert now.sum() <= before.sum()
            before = now


def test_shrink_1_is_one_dot_per_stroke_at_the_midpoint():
    for full, dot in zip(generate("l").strokes, generate("l", shrink=1.0).strokes, strict=True):
        assert dot.points.shape == (1, 2)
        steps = np.hypot(*np.diff(full.points, axis=0).T)
        before = np.flatnonzero(np.cumsum(steps) <= steps.sum() / 2)
        assert np.hypot(*(full.points[len(before)] - dot.points[0])) <= steps.max()


def test_keep_is_one_minus_shrink():
    assert ScribbleConfig(keep=0.3) == ScribbleConfig(shrink=0.7)
    assert ScribbleConfig(keep=1.0) == ScribbleConfig()


def test_drops_are_nested_and_leave_the_others_alone():
    whole = generate("many").strokes
    gone = set()
    for drop in (0.2, 0.5, 0.8):
        strokes = generate("many", drop=drop).strokes
        assert all(np.array_equal(a.points, b.points) for a, b in zip(whole, strokes, strict=True))
        now = {i for i, stroke in enumerate(strokes) if stroke.dropped}
        assert gone <= now
        gone = now
    half = generate("many", drop=0.8, shrink=0.5).strokes
    assert {i for i, stroke in enumerate(half) if stroke.dropped} == gone


@pytest.mark.slow
def test_lost_classes_are_counted_and_can_be_kept():
    lost = 0
    for seed in range(8):
        mask = generate("many", seed, drop=0.6)
        drawn = {VOC.classes[i] for i in np.unique(harden(mask)) if i != 255}
        assert set(mask.details["classes_lost"]) == {"background", "cat", "person"} - drawn
        assert mask.details["dropped"] + mask.details["strokes"] == len(mask.strokes)
        lost += len(mask.details["classes_lost"])
        assert generate("many", seed, drop=0.9, keep_one_per_class=True).details["classes_lost"] == []
    assert lost > 0
    mask = generate("many", drop=0.5, drop_mode="exact")
    assert mask.details["dropped"] == len(mask.strokes) // 2


@pytest.mark.slow
def test_other_seeds_draw_other_strokes():
    names = [name for name in MASKS if name != "void"]
    same = sum(np.array_equal(labels_of(name, 0), labels_of(name, 1)) for name in names)
    assert same <= 0.1 * len(names)
    assert all(np.array_equal(labels_of(name), labels_of(name)) for name in names)


def test_one_region_does_not_depend_on_the_others():
    """Leaving out the background, or growing the least area, changes no stroke of the rest."""
    objects = [s for s in generate("many").strokes if s.class_id]
    alone = generate("many", background=False).strokes
    assert all(np.array_equal(a.points, b.points) for a, b in zip(objects, alone, strict=True))
    large = {s.region: s.points for s in generate("many", min_area=5000.0, branches=0).strokes if s.class_id}
    before = {s.region: s.points for s in generate("many", branches=0).strokes}
    assert large
    assert all(np.array_equal(points, before[region]) for region, points in large.items())


def test_without_a_background_stroke_there_is_a_warning():
    assert "background has no stroke" in generate("many", background=False).warnings[0]
    assert generate("whole").warnings == ()
    assert "void everywhere" in generate("void").warnings[0]
    assert generate("void").class_ids == ()


def test_the_void_margin_is_kept():
    labels = labels_of("many", void_margin=5.0)
    far = ndimage.distance_transform_edt(MASKS["many"] != 255)
    assert far[labels != 255].min() > 5
    assert len(np.unique(labels)) == 4


def test_without_a_border_the_background_runs_along_it():
    truth = np.zeros((120, 160), np.uint8)
    truth[box(0, 0, 90, 160)] = 3  # the bird touches three sides of the image
    sample = Sample("a", truth.shape, truth=truth)

    def height(border):
        config = ScribbleConfig(border_is_boundary=border, style="loop", jitter=0.0)
        strokes = make_scribble(config, VOC)(sample, rng_for(0, "a")).strokes
        return min(s.points[:, 0].min() for s in strokes if s.class_id == 3)

    assert height(False) < 5 < height(True)


def test_violations_leave_the_region_and_are_counted():
    wrong = void = 0
    for name in MASKS:
        mask, truth = generate(name, violate=1.0), MASKS[name]
        labels = harden(mask)
        labelled = labels != 255
        assert mask.details["void_pixels"] == (labelled & (truth == 255)).sum()
        assert mask.details["wrong_pixels"] == (labelled & (truth != 255) & (labels != truth)).sum()
        wrong, void = wrong + mask.details["wrong_pixels"], void + mask.details["void_pixels"]
    assert wrong > 0
    assert void > 0


def test_json_strokes_draw_the_same_bytes_again():
    truth = MASKS["many"]
    sample = Sample("many", truth.shape, truth=truth)
    from labelgen.methods.scribble_kernels import full_strokes

    plan = full_strokes(sample, ScribbleConfig(), VOC, rng_for(0, "many"))
    labels = harden(generate("many", shrink=0.5))
    text = json.dumps(strokes_to_json(generate("many", shrink=0.5).strokes, size=truth.shape))
    strokes = strokes_from_json(json.loads(text), where="a.json")
    assert encode_mask(draw_labels(strokes, plan, size=truth.shape, ignore=255)) == encode_mask(labels)


def test_wide_vocabularies():
    wide = load_vocabulary("voc").__class__("wide", tuple(f"c{i}" for i in range(300)))
    truth = np.where(disc(60, 80, 30), 299, 65535).astype(np.uint16)
    mask = make_scribble(ScribbleConfig(), wide)(Sample("a", truth.shape, truth=truth), rng_for(0, "a"))
    labels = harden(mask, ignore=65535)
    assert labels.dtype == np.uint16
    assert set(np.unique(labels)) == {299, 65535}


@pytest.mark.slow
def test_the_mixed_style_draws_in_many_and_names_them():
    styles = {s.style for name in FEW for seed in range(5) for s in generate(name, seed, style="mixed").strokes}
    assert styles <= set(MIXTURE)
    assert len(styles) >= 5
    assert sum(MIXTURE.values()) == pytest.approx(1)


def test_mean_width_and_length_are_those_of_people():
    lengths, pixels = 0.0, 0
    for name in ("ellipse", "ring", "l", "x", "many", "border"):
        mask = generate(name)
        lengths += sum(arc_length(stroke.points) for stroke in mask.strokes)
        pixels += (harden(mask) != 255).sum()
    assert 3.0 <= pixels / lengths <= 3.6


def test_presets_fill_what_is_not_given():
    sloppy = ScribbleConfig(preset="sloppy", violate=0.0)
    assert (sloppy.style, sloppy.width, sloppy.violate) == ("mixed", 4.0, 0.0)
    assert ScribbleConfig() == ScribbleConfig(**PRESETS["scribblesup"])
    import dataclasses

    assert ScribbleConfig(**dataclasses.asdict(sloppy)) == sloppy


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"shrink": 2.0}, r"shrink must lie in \[0, 1\], got 2.0"),
        ({"shrink": float("nan")}, "shrink must lie"),
        ({"keep": -0.5}, r"keep must lie in \[0, 1\], got -0.5"),
        ({"shrink": 0.5, "keep": 0.5}, "give shrink or keep, not both"),
        ({"drop": 1.5}, "drop must lie"),
        ({"violate": -1.0}, "violate must lie"),
        ({"margin": 1.0}, r"margin must lie in \[0, 1\)"),
        ({"width": 0.5}, "width must lie"),
        ({"branches": -1}, "branches must be >= 0"),
        ({"min_area": -1.0}, "min_area must be >= 0"),
        ({"max_background_strokes": 0}, "max_background_strokes must be >= 1"),
        ({"from_xml": "a", "from_png": "b"}, "from_xml or from_png, not both"),
        ({"from_xml": "a", "style": "line"}, "style is for synthetic scribbles, got 'line'"),
        ({"pen": "tel"}, "pen draws strokes of XML files"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ConfigError, match=message):
        ScribbleConfig(**settings)
