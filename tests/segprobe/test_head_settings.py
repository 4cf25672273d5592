import pytest

from labelgen.errors import ConfigError
from segprobe.closed_form import SOLVERS
from segprobe.config import FitConfig
from segprobe.head_settings import CLOSED_FORM, HEAD_SETTINGS, default_layers, parse_head


@pytest.mark.parametrize("name", HEAD_SETTINGS)
def test_a_name_alone_means_the_defaults(name):
    choice = parse_head(name)
    assert (choice.name, choice.text, choice.settings) == (name, name, HEAD_SETTINGS[name]())


def test_settings_are_read_and_written_as_they_are_typed():
    choice = parse_head("knn, neighbours=5,temperature=0.1")
    assert choice.to_json() == {"neighbours": 5, "temperature": 0.1, "bank": 16384}
    assert parse_head(choice.text) == choice


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("tree", "head must be one of linear, .*, got 'tree'"),
        ("linear,width=3", "head linear has no settings, got 'width=3'"),
        ("conv,depth=3", "head conv has no setting 'depth'"),
        ("conv,width=0", "width must be >= 1, got 0"),
        ("conv,width=wide", "width of head conv must be a whole number"),
        ("knn,neighbours=0", "neighbours must be >= 1"),
        ("knn,temperature=0", "temperature must be > 0"),
        ("projection,dim=0", "dim must be >= 1"),
        ("mlp,hidden", "NAME=VALUE"),
    ],
)
def test_what_makes_no_sense_is_refused(text, sentence):
    with pytest.raises(ConfigError, match=sentence):
        FitConfig(head=text)


def test_the_width_of_an_mlp_is_typed_in_either_way_and_means_the_same():
    assert FitConfig(head="mlp,hidden=32") == FitConfig(head="mlp", hidden=32)
    assert FitConfig(head="mlp,hidden=32").head_choice.settings.hidden == 32
    assert FitConfig(head="conv,width=128").head == "conv"
    with pytest.raises(ConfigError, match="given twice, as 32 and 64"):
        FitConfig(head="mlp,hidden=32", hidden=64)
    with pytest.raises(ConfigError, match="hidden has no say with head linear, got 64"):
        FitConfig(hidden=64)


@pytest.mark.parametrize("head", ["mlp", "conv", "projection", "prototype", "knn"])
def test_only_a_matrix_starts_from_the_ridge_solution(head):
    with pytest.raises(ConfigError, match=f"init ridge needs a linear head, got head {head}"):
        FitConfig(head=head, init="ridge")


def test_several_layers_are_the_default_of_the_head_that_reads_them():
    assert default_layers("multi") == (-4, -3, -2, -1)
    assert default_layers("linear") == (-1,)


def test_every_head_without_epochs_has_its_solver():
    assert set(SOLVERS) == set(CLOSED_FORM)


@pytest.mark.parametrize("head", CLOSED_FORM)
@pytest.mark.parametrize("setting", [{"loss": "gce"}, {"ema": 0.9}, {"feature_dropout": 0.1}])
def test_heads_without_epochs_take_no_settings_of_training(head, setting):
    name = next(iter(setting)).replace("_", "-")
    with pytest.raises(ConfigError, match=f"{name} has no say with head {head}, which has no epochs"):
        FitConfig(head=head, **setting)
