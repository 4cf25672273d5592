"""Damaged files of every kind end in one of our own errors, which says what to do, and in nothing else."""

import copy
import json
import warnings

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from parsers import PARSERS

from labelgen.errors import LabelgenError

QUICK = [name for name, parser in PARSERS.items() if not parser.slow]
SLOW = [name for name, parser in PARSERS.items() if parser.slow]
STEADY = {
    "derandomize": True,
    "deadline": None,
    "database": None,
    "suppress_health_check": list(HealthCheck),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A folder for each parser, with the files that stay the same."""
    made = {}

    def folder(name):
        if name not in made:
            made[name] = tmp_path_factory.mktemp(name)
            PARSERS[name].prepare(made[name])
        return made[name]

    return folder


def refused(name, folder, content):
    """Whether a file is refused, by an error of ours that says something."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Pillow and torch about odd files
        try:
            PARSERS[name].run(folder, content)
        except LabelgenError as error:
            assert error.message
            return True
    return False


@pytest.mark.parametrize("name", PARSERS)
def test_the_examples_are_whole(folders, name):
    for content in PARSERS[name].seeds():
        assert not refused(name, folders(name), content)


EDITS = st.lists(
    st.tuples(
        st.sampled_from(["flip", "cut", "insert", "remove", "repeat", "number"]),
        st.floats(0, 1, exclude_max=True),
        st.integers(0, 255),
        st.sampled_from(
            [b"\0", b"\xff" * 4, b"\x7f\xff\xff\xff", b"{", b'"', b"-1", b"1e999", b"..", b"\n", b"[" * 40]
        ),
    ),
    min_size=1,
    max_size=4,
)


def edited(content, edits):
    """Some bytes changed."""
    for kind, where, byte, text in edits:
        place = int(where * len(content))
        if kind == "flip":
            content = content[:place] + bytes([byte]) + content[place + 1 :]
        elif kind == "cut":
            content = content[:place]
        elif kind == "insert":
            content = content[:place] + text + content[place:]
        elif kind == "remove":
            content = content[:place] + content[place + byte :]
        elif kind == "repeat":
            content = content[:place] + content[place : place + byte] * 3 + content[place:]
        else:
            content = content[:place] + text[:4] + content[place + len(text[:4]) :]
    return content


def check_damaged(name, folder, examples):
    seeds = PARSERS[name].seeds()

    @settings(max_examples=examples, **STEADY)
    @given(st.sampled_from(seeds), EDITS)
    def check(content, edits):
        refused(name, folder, edited(content, edits))

    check()


@pytest.mark.parametrize("name", QUICK)
def test_damaged_bytes(folders, name):
    check_damaged(name, folders(name), 40)


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_damaged_bytes_of_networks(folders, name):
    check_damaged(name, folders(name), 25)


DOCUMENTS = [name for name, parser in PARSERS.items() if parser.file.endswith(".json")]
ODD = st.sampled_from(
    [
        *(None, True, -1, 0, 255, 2**31, 2**70, 10**400, -(2**70), 0.5, 1e308, float("nan"), float("inf")),
        *("", "../../x", "/x", "a\0b", "\ud800", "x" * 300, "CON", "9" * 5000, "cat"),
        *([], {}, [[]], [None], {"": None}, [1, 2], [0.5, -1], ["cat"]),
    ]
)


def places(value, path=()):
    """Where something can be put in a document."""
    yield path
    if isinstance(value, dict):
        for key in value:
            yield from places(value[key], (*path, key))
    elif isinstance(value, list):
        for index in range(len(value)):
            yield from places(value[index], (*path, index))


def replaced(document, path, odd, how):
    """One value of a document removed, replaced, put in a list or given twice."""
    if not path:
        return odd
    document = copy.deepcopy(document)
    inner = document
    for key in path[:-1]:
        inner = inner[key]
    if how == "remove":
        del inner[path[-1]]
    elif how == "wrap":
        inner[path[-1]] = [inner[path[-1]]]
    elif how == "twice" and isinstance(inner, list):
        inner.append(inner[path[-1]])
    elif how == "rename" and isinstance(inner, dict):
        inner[str(odd)[:400]] = inner.pop(path[-1])
    else:
        inner[path[-1]] = odd
    return document


@pytest.mark.parametrize("name", DOCUMENTS)
def test_documents_with_odd_values(folders, name):
    documents = [json.loads(content) for content in PARSERS[name].seeds()]
    spots = [(document, path) for document in documents for path in places(document)]
    folder = folders(name)

    @settings(max_examples=25 if PARSERS[name].slow else 60, **STEADY)
    @given(st.sampled_from(spots), ODD, st.sampled_from(["replace", "replace", "remove", "wrap", "twice", "rename"]))
    def check(spot, odd, how):
        refused(name, folder, json.dumps(replaced(*spot, odd, how)).encode())

    check()


@pytest.mark.parametrize("name", DOCUMENTS)
def test_documents_without_an_end(folders, name):
    for content in (b"[" * 200_000, b'{"a":' * 100_000, b'{"a":' * 100_000 + b"1" + b"}" * 100_000):
        assert refused(name, folders(name), content)
