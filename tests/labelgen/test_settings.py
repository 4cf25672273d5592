from dataclasses import dataclass, field
from typing import Annotated, Literal

import pytest

from labelgen.errors import ConfigError
from labelgen.settings import settings_from_text, split_setting


@dataclass(frozen=True)
class Toy:
    name: Annotated[str, "help"] = "a"
    count: int = 1
    share: float = 0.5
    on: bool = False
    mode: Literal["x", "y", 3] = "x"
    words: tuple[str, ...] = ()
    size: tuple[int, float] = (1, 2.0)
    limit: int | None = None
    either: int | str = 0
    hidden: int = field(default=0, init=False)
    table: dict = field(default_factory=dict)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("name", "b=c", "b=c"),
        ("count", "-3", -3),
        ("share", "1e-3", 0.001),
        ("on", "True", True),
        ("on", "no", False),
        ("mode", "3", 3),
        ("words", "red, blue", ("red", "blue")),
        ("words", "", ()),
        ("size", "4,5", (4, 5.0)),
        ("limit", "none", None),
        ("limit", "7", 7),
        ("either", "7", 7),
        ("either", "auto", "auto"),
    ],
)
def test_text_takes_the_type_of_its_field(name, text, value):
    made = getattr(settings_from_text(Toy, {name: text}, of="toy"), name)
    assert made == value and type(made) is type(value)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("count", "1.5", "count of toy must be a whole number, got '1.5'"),
        ("share", "half", "share of toy must be a number"),
        ("on", "maybe", "on of toy must be true or false"),
        ("mode", "z", "mode of toy must be x or y or 3, got 'z'"),
        ("size", "4", "size of toy must be 2 values between commas"),
        ("limit", "many", "limit of toy must be a whole number"),
        ("table", "a", "table of toy cannot be given as text"),
        ("hidden", "1", "toy has no setting 'hidden'"),
        ("nmae", "1", "toy has no setting 'nmae'"),
    ],
)
def test_what_does_not_fit_is_refused(name, text, message):
    with pytest.raises(ConfigError, match=message):
        settings_from_text(Toy, {name: text}, of="toy")


def test_settings_are_split_at_the_first_equals_sign():
    assert split_setting("a-b = c=d") == ("a_b", "c=d")
    for text in ("a", "=b", ""):
        with pytest.raises(ConfigError, match="NAME=VALUE"):
            split_setting(text)
