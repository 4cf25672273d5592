import pytest

from labelgen.errors import ConfigError
from segprobe.closed_form import SOLVERS
from segprobe.config import FitConfig, idle_settings
from segprobe.fit import fit_head
from segprobe.head_settings import CLOSED_FORM, HEAD_SETTINGS, default_layers, parse_head
from tests.segprobe.toy import ToyFeatures, label_set, toy_dataset


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


TRAINING = {"loss": "gce", "ema": 0.9, "feature_dropout": 0.1, "epochs": 4, "steps": 9, "batch_size": 2, "lr": 0.1}
TRAINING |= {"weight_decay": 0.0, "warmup": 0.1, "checkpoint_every": 7}


@pytest.mark.parametrize("head", CLOSED_FORM)
@pytest.mark.parametrize("name", TRAINING)
def test_heads_without_epochs_take_no_settings_of_training(head, name):
    said = name.replace("_", "-")
    with pytest.raises(ConfigError, match=f"{said} has no say with head {head}, which has no epochs"):
        FitConfig(head=head, **{name: TRAINING[name]})
    assert FitConfig(head="linear", **{name: TRAINING[name]}).head == "linear"


def test_a_start_and_a_penalty_are_refused_where_they_have_no_say():
    with pytest.raises(ConfigError, match="init has no say with head ridge"):
        FitConfig(head="ridge", init="ridge")
    with pytest.raises(ConfigError, match="ridge-penalty has no say with head knn, which is no ridge regression"):
        FitConfig(head="knn,bank=9", ridge_penalty=0.3)
    with pytest.raises(ConfigError, match="epochs, lr has no say"):
        FitConfig(head="ridge", epochs=1, lr=1.0)
    assert FitConfig(head="ridge", ridge_penalty=0.3).ridge_penalty == 0.3


ACTS = {
    "pixels": 3,
    "sampling": "full",
    "reduction": "image",
    "class_weights": "inverse",
    "ridge_penalty": 3.0,
    "seed": 5,
}


@pytest.mark.parametrize("name", ACTS)
def test_what_ridge_takes_changes_it(name):
    """The other half: a setting that is not refused is read. Those of views and labels are tested elsewhere."""
    assert name not in idle_settings("ridge")
    dataset = toy_dataset(3)
    features = ToyFeatures(dataset)
    maps = {sample_id: dataset.truth(sample_id).copy() for sample_id in dataset.ids}
    maps[dataset.ids[0]].flat[20:] = 255  # so that images differ in what their pixels weigh together
    labels = label_set(maps)
    usual, other = (
        fit_head(labels, features, FitConfig(head="ridge", **{"pixels": 40, **more})).head.classify.weight
        for more in ({}, {name: ACTS[name]})
    )
    assert not usual.equal(other)
