import pytest

from labelgen.errors import ConfigError
from segprobe.config import FitConfig
from segprobe.terms import TERMS, parse_term, parse_terms
from segprobe.terms.settings import TERM_SETTINGS


def test_every_term_has_settings_with_a_weight():
    assert list(TERMS) == list(TERM_SETTINGS)
    for name, row in TERMS.items():
        assert parse_term(name).settings == row.settings()
        assert parse_term(f"{name},weight=0.25").settings.weight == 0.25


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("forest", "unknown term 'forest'"),
        ("tree,depth=3", "term tree has no setting 'depth'"),
        ("tree,sigma=0", "sigma must be a finite number > 0"),
        ("tree,weight=nan", "weight must be a finite number > 0"),
        ("tree,weight", "a setting must be written NAME=VALUE"),
        ("tree,features=pixels", "features of term tree must be tokens or projection"),
        ("gated-crf,radius=0", "radius must be a finite number > 0"),
        ("gated-crf,features=-1", "features must be a finite number >= 0"),
        ("pseudo,smoothing=1", r"smoothing must lie in \[0, 1\)"),
        ("prototype,momentum=1", r"momentum must lie in \(0, 1\)"),
        ("distance-entropy,maps=none", "maps of term distance-entropy must be auto or"),
    ],
)
def test_wrong_terms_are_refused(text, message):
    with pytest.raises(ConfigError, match=message):
        parse_term(text)


def test_the_hint_lists_terms_and_settings():
    with pytest.raises(ConfigError) as error:
        parse_term("forest")
    assert "tree" in error.value.hint and "lorm" in error.value.hint
    with pytest.raises(ConfigError) as error:
        parse_term("tree,sigma=-1")
    assert "feature_sigma=1.0" in error.value.hint


def test_each_term_once():
    with pytest.raises(ConfigError, match="each term may be given once, got tree 2 times"):
        parse_terms(["tree", "absent", "tree,weight=1"])


def test_a_fit_checks_its_terms():
    assert FitConfig(terms=("tree,weight=0.2",)).to_json()["terms"] == ["tree,weight=0.2"]
    with pytest.raises(ConfigError, match="unknown term"):
        FitConfig(terms=("forest",))
    with pytest.raises(ConfigError, match="terms act by gradients, and head ridge has none"):
        FitConfig(terms=("tree",), head="ridge")
    for term in ("lorm", "tree,features=projection", "prototype,features=projection"):
        with pytest.raises(ConfigError, match="acts on projected tokens, got head linear"):
            FitConfig(terms=(term,))
        assert FitConfig(terms=(term,), head="projection")


def test_settings_are_spelled_out_for_the_record():
    assert parse_term("pseudo,weight=2").to_json() == {"name": "pseudo", "weight": 2.0, "smoothing": 0.1}
