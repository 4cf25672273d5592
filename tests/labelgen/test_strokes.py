import json

import numpy as np
import pytest

from labelgen.errors import DataError
from labelgen.strokes import Stroke, strokes_from_json, strokes_to_json

WHOLE = np.array([[0.0, 0.0], [0.0, 3.0], [4.0, 3.0]])


def test_length_is_the_sum_of_the_legs():
    assert Stroke(1, WHOLE).length == 7.0
    assert Stroke(1, WHOLE[:1]).length == 0.0


def test_whole_undoes_shrinking_and_dropping():
    short = Stroke(1, WHOLE[:2], full_points=WHOLE, dropped=True)
    assert short.length == 3.0
    whole = short.whole()
    assert np.array_equal(whole.points, WHOLE)
    assert whole.full_points is None
    assert not whole.dropped


def test_json_round_trip_through_text():
    strokes = (
        Stroke(15, WHOLE[:2], width=5.0, region=2, style="curve", full_points=WHOLE, dropped=True),
        Stroke(0, np.array([[2.126, 3.0]]), width=1.0, style="point"),
    )
    text = json.dumps(strokes_to_json(strokes, size=(5, 6)))
    data = json.loads(text)
    assert data["size"] == [5, 6]
    assert data["strokes"][0]["length_full"] == 7.0
    first, second = strokes_from_json(data, where="x.json")
    assert (first.class_id, first.width, first.region, first.style, first.dropped) == (15, 5.0, 2, "curve", True)
    assert np.array_equal(first.full, WHOLE)
    assert second.points.tolist() == [[2.13, 3.0]]  # two decimals
    assert second.full_points is None


def test_no_strokes():
    assert strokes_from_json(strokes_to_json((), size=(1, 1)), where="x") == ()


@pytest.mark.parametrize("data", [{"schema": 2, "strokes": []}, [], {"strokes": []}])
def test_unknown_schema(data):
    with pytest.raises(DataError, match=r"must have schema 1, got .* in a\.json"):
        strokes_from_json(data, where="a.json")


@pytest.mark.parametrize("points", [[], [[1.0]], [[1.0, 2.0, 3.0]], [[1.0, float("nan")]], "abc", None])
def test_malformed_vertices(points):
    data = strokes_to_json([Stroke(1, WHOLE)], size=(5, 5))
    data["strokes"][0]["points"] = points
    with pytest.raises(DataError, match=r"malformed in a\.json"):
        strokes_from_json(data, where="a.json")


def test_missing_field():
    data = strokes_to_json([Stroke(1, WHOLE)], size=(5, 5))
    del data["strokes"][0]["class_id"]
    with pytest.raises(DataError, match="class_id"):
        strokes_from_json(data, where="a.json")
