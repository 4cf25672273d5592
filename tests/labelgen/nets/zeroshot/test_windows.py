import numpy as np
import pytest

from labelgen.errors import ConfigError
from labelgen.nets.zeroshot.windows import axis_windows, window_boxes


def test_every_length_is_covered_by_windows_inside_it():
    for length in range(1, 201):
        for crop, stride in ((1, 1), (7, 3), (16, 8), (16, 16), (64, 48), (224, 112)):
            windows = axis_windows(length, crop=crop, stride=stride)
            assert len(windows) == int(np.ceil(max(length - crop, 0) / stride)) + 1
            covered = np.zeros(length, int)
            for start, end in windows:
                assert 0 <= start < end <= length and end - start == min(crop, length)
                covered[start:end] += 1
            assert covered.min() >= 1
            assert list(windows) == sorted(set(windows))


def test_the_last_window_is_shifted_inward():
    assert axis_windows(10, crop=4, stride=3) == ((0, 4), (3, 7), (6, 10))
    assert axis_windows(11, crop=4, stride=3) == ((0, 4), (3, 7), (6, 10), (7, 11))
    assert axis_windows(11, crop=0, stride=0) == ((0, 11),)


def test_boxes_go_row_by_row():
    boxes = window_boxes((5, 3), crop=3, stride=2)
    assert boxes == ((0, 0, 3, 3), (2, 0, 5, 3))
    assert window_boxes((2, 9), crop=4, stride=4) == ((0, 0, 2, 4), (0, 4, 2, 8), (0, 5, 2, 9))


@pytest.mark.parametrize(("length", "crop", "stride"), [(0, 4, 2), (9, 4, 0), (9, 4, 5), (9, 4, -1)])
def test_windows_that_would_leave_pixels_out_are_refused(length, crop, stride):
    with pytest.raises(ConfigError, match=r"at least 1 pixel|stride must lie in \[1, crop\]"):
        axis_windows(length, crop=crop, stride=stride)
