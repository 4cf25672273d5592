import numpy as np

from labelgen.demo.compose import KINDS, Actor, draw_cast, picture
from labelgen.demo.pairs import draw_pair


def test_pair_is_two_different_frames_of_the_size_asked_for():
    first, second = draw_pair(np.random.default_rng(1), size=(48, 56))
    assert first.shape == second.shape == (48, 56, 3)
    assert not np.array_equal(first, second)


def test_pair_depends_on_the_generator_alone():
    pairs = [draw_pair(np.random.default_rng(4), size=(40, 40)) for _ in range(2)]
    assert np.array_equal(pairs[0][0], pairs[1][0])
    assert np.array_equal(pairs[0][1], pairs[1][1])


def test_an_actor_keeps_its_build_and_paint_in_another_posture():
    actor = Actor(class_id=7, who=11)
    draw = KINDS[actor.class_id].draw
    first, second = (draw(np.random.default_rng(actor.who), np.random.default_rng(how)) for how in (1, 2))
    assert first[-1].paint == second[-1].paint
    assert first[0].paint.base == second[0].paint.base or len(first) != len(second)
    other = draw(np.random.default_rng(12), np.random.default_rng(1))
    assert {part.paint for part in other} != {part.paint for part in first}


def test_every_class_can_be_drawn_and_is_seen():
    for class_id in KINDS:
        rng = np.random.default_rng(class_id)
        image, labels, instances = picture(rng, "meadow", (Actor(class_id, 5),), size=(128, 160))
        assert image.shape == (128, 160, 3)
        assert set(np.unique(labels)) == {0, class_id}
        assert set(np.unique(instances)) == {0, 1}


def test_cast_prefers_classes_at_home_in_its_place():
    rng = np.random.default_rng(0)
    casts = [draw_cast(rng) for _ in range(300)]
    at_home = np.mean([place in KINDS[cast[0].class_id].homes for place, cast in casts])
    assert 0.7 < at_home < 0.95
    assert {len(cast) for _, cast in casts} == {1, 2, 3, 4}
