import numpy as np
import pytest
import torch

from labelgen.errors import ConfigError
from labelgen.strokes import Stroke
from segprobe.layers import Layers
from segprobe.terms.absent import absent_loss, make_absent, shown_columns
from segprobe.terms.settings import AbsentSettings
from tests.segprobe.terms.grids import DATASET, PlainRun, context_of, dots, truth_maps, view_of

DROPPED = {"method": "scribble", "config": {"drop": 0.5}}


def stroke(class_id, dropped=False):
    return Stroke(class_id, np.array([[3.0, 4.0]]), dropped=dropped)


def expected_loss(logits, absent):
    p = logits.detach().double().softmax(-1).numpy()
    return -np.log(1 - p[..., absent] + 1e-6).sum(-1).mean()


def test_punishes_the_classes_that_labels_do_not_show():
    maps = dots(truth_maps())
    context = context_of(maps)
    view = view_of(context)
    loss = make_absent(AbsentSettings(), context)(view)
    loss.backward()
    shown = set(np.unique(maps[view.image.id])) - {255}
    absent = [column for column, class_id in enumerate(context.labels.class_ids) if class_id not in shown]
    assert 0 < len(absent) < len(context.labels.class_ids)
    assert loss.item() == pytest.approx(expected_loss(view.logits, absent), rel=1e-5)
    pushed = view.logits.grad.sum(dim=(0, 1))
    assert (pushed[absent] > 0).all()  # descent lowers their logits


def test_gradcheck_and_extreme_logits():
    absent = torch.tensor([False, True, True])
    logits = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: absent_loss(x, absent), logits)
    extreme = torch.tensor([[-1e4, 1e4, 0.0], [1e4, -1e4, 0.0]], requires_grad=True)
    loss = absent_loss(extreme, absent)
    loss.backward()
    assert loss.item() == pytest.approx(-np.log(1e-6) / 2, rel=0.02) and torch.isfinite(extreme.grad).all()
    assert absent_loss(torch.tensor([[100.0, 0.0, 0.0]]), absent).item() >= 0


def test_classes_of_dropped_strokes_are_shown():
    maps = dots(truth_maps())
    sample_id = DATASET.ids[0]
    missing = sorted({1, 2, 3, 4, 5} - set(np.unique(maps[sample_id]).tolist()))[0]
    strokes = {i: (stroke(missing, dropped=True),) for i in maps}
    plain, with_strokes = (
        shown_columns(context_of(maps, run=PlainRun(maps, strokes=drawn)))[sample_id] for drawn in (None, strokes)
    )
    column = context_of(maps).column_of[missing]
    assert column not in plain and with_strokes == plain | {column}


def test_images_of_which_nothing_is_known_are_passed_over():
    maps = dots(truth_maps())
    first, *others = DATASET.ids
    run = PlainRun(maps, strokes={first: None, **{i: (stroke(1),) for i in others}}, header=DROPPED)
    context = context_of(maps, run=run)
    term = make_absent(AbsentSettings(), context)
    view = view_of(context)
    loss = term(view)
    loss.backward()
    assert loss.item() == 0.0 and torch.equal(view.logits.grad, torch.zeros_like(view.logits))
    assert term(view_of(context, others[0])).item() > 0


def test_a_run_that_dropped_strokes_and_kept_none_is_refused():
    maps = dots(truth_maps())
    with pytest.raises(ConfigError, match="strokes of toy were dropped and are not kept"):
        make_absent(AbsentSettings(), context_of(maps, run=PlainRun(maps, header=DROPPED)))


def test_background_is_never_absent():
    maps = {sample_id: np.where(labels == 0, 255, labels) for sample_id, labels in truth_maps().items()}
    maps[DATASET.ids[1]] = truth_maps()[DATASET.ids[1]]  # the head knows background from another image
    context = context_of(maps)
    view = view_of(context)
    loss = make_absent(AbsentSettings(), context)(view)
    shown = shown_columns(context)[DATASET.ids[0]]
    assert context.background not in shown
    absent = [column for column in range(6) if column not in shown | {context.background}]
    assert loss.item() == pytest.approx(expected_loss(view.logits, absent), rel=1e-5)


def test_an_image_with_every_class_says_exactly_nothing():
    maps = dots(truth_maps())
    for labels in maps.values():
        labels[0, :6] = np.arange(6)
    context = context_of(maps)
    view = view_of(context)
    loss = make_absent(AbsentSettings(), context)(view)
    loss.backward()
    assert loss.item() == 0.0 and torch.equal(view.logits.grad, torch.zeros_like(view.logits))


def test_the_digest_of_layers_notices_other_strokes():
    maps = dots(truth_maps())
    run = PlainRun(maps)
    other = PlainRun(maps)
    other.records = lambda: {i: {"strokes_sha256": "1"} for i in maps}
    assert Layers(run).digest(run.ids) == Layers(PlainRun(maps)).digest(run.ids) != Layers(other).digest(run.ids)
