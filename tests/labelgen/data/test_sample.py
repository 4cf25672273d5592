import numpy as np
import pytest

from labelgen.data import SUPERVISION, Sample
from labelgen.errors import DataError, ShapeError

TRUTH = np.zeros((2, 3), np.uint8)


def full_sample():
    return Sample(
        "a",
        (2, 3),
        image=np.zeros((2, 3, 3), np.uint8),
        truth=TRUTH,
        instances=np.zeros((2, 3), np.int32),
        tags=frozenset({1}),
        strokes=(),
        saliency=np.zeros((2, 3), np.float32),
    )


@pytest.mark.parametrize("need", sorted(SUPERVISION))
def test_only_hides_everything_else(need):
    seen = full_sample().only({need})
    assert {name for name in SUPERVISION if getattr(seen, name) is not None} == {need}
    assert (seen.instances is not None) == (need == "truth")
    assert seen.image is not None


def test_nothing_is_seen_without_needs():
    seen = full_sample().only(frozenset())
    assert all(getattr(seen, name) is None for name in SUPERVISION)


@pytest.mark.parametrize("name", ["image", "truth", "tags"])
def test_missing_supervision_is_an_error(name):
    with pytest.raises(DataError, match="a"):
        getattr(Sample("a", (2, 3)), f"need_{name}")()
    sample = full_sample()
    assert getattr(sample, f"need_{name}")() is getattr(sample, name)


def test_sizes_must_agree():
    with pytest.raises(ShapeError, match=r"truth must have the size \(5, 5\) of the sample, got \(2, 3\) in a"):
        Sample("a", (5, 5), truth=TRUTH)
