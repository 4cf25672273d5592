import numpy as np
import pytest

from labelgen.data.raw_ids import raw_ids_of
from labelgen.errors import DataError
from labelgen.vocab import Vocabulary, load_vocabulary, vocabulary_names


@pytest.mark.parametrize("name", vocabulary_names())
def test_table_equals_a_loop(name):
    vocabulary = load_vocabulary(name)
    raw = vocabulary.raw_ids or tuple(range(vocabulary.num_classes))
    rows = np.array([[*raw, *vocabulary.void_ids, 255]], np.uint8)
    expected = [raw.index(int(i)) if int(i) in raw else 255 for i in rows[0]]
    assert raw_ids_of(vocabulary).apply(rows, where="x").tolist() == [expected]


def test_every_other_id_is_refused():
    vocabulary = load_vocabulary("cityscapes")
    table = raw_ids_of(vocabulary)
    allowed = {*vocabulary.raw_ids, *vocabulary.void_ids, 255}
    refused = set()
    for raw_id in range(256):
        try:
            table.apply(np.array([[7, raw_id]], np.uint8), where="x.png")
        except DataError as error:
            assert f"got {raw_id} in x.png" in str(error)
            refused.add(raw_id)
    assert refused == set(range(256)) - allowed


def test_vocabulary_ids_ignore_the_table_of_the_files():
    ade20k = load_vocabulary("ade20k")
    rows = np.array([[0, 149, 255]], np.uint8)
    assert raw_ids_of(ade20k, own_ids=False).apply(rows, where="x").tolist() == [[0, 149, 255]]
    with pytest.raises(DataError, match="the ids 0-149, 255, got 150"):
        raw_ids_of(ade20k, own_ids=False).apply(np.array([[150]], np.uint8), where="x")


def test_16_bit_files():
    table = raw_ids_of(load_vocabulary("voc"))
    small = table.apply(np.array([[0, 20, 255]], np.uint16), where="x")
    assert small.dtype == np.uint8
    assert small.tolist() == [[0, 20, 255]]
    with pytest.raises(DataError, match="got 300, 65535 in x"):
        table.apply(np.array([[0, 300, 65535]], np.uint16), where="x")


def test_wide_vocabulary():
    table = raw_ids_of(Vocabulary("many", tuple(map(str, range(300)))))
    wide = table.apply(np.array([[255, 299, 65535]], np.uint16), where="x")
    assert wide.tolist() == [[255, 299, 65535]]  # 255 is a class here
    assert table.apply(np.array([[3]], np.uint8), where="x").dtype == np.uint16


def test_message_shortens_long_lists():
    with pytest.raises(DataError, match=r"got 21, 22, 23, 24, 25 \.\.\. in x"):
        raw_ids_of(load_vocabulary("voc")).apply(np.arange(21, 40, dtype=np.uint8)[None], where="x")


def test_empty_mask():
    assert raw_ids_of(load_vocabulary("voc")).apply(np.zeros((0, 4), np.uint8), where="x").shape == (0, 4)
