import pytest

from labelgen.errors import ConfigError
from labelgen.nets.backbone_config import BackboneConfig
from segprobe.compare.plan import (
    NamedBackbone,
    Plan,
    label_name,
    parse_backbone,
    parse_variant,
    split_list,
    split_settings,
)
from segprobe.config import FitConfig

DEMO = NamedBackbone("demo-ssvt", BackboneConfig())


def plan(**changes):
    return Plan(**{"runs": ("runs/a", "runs/b"), "backbones": (DEMO,), **changes})


def test_cells_are_the_product_with_the_truth_first_and_seeds_outermost():
    cells = plan(strategies=("frozen", "tuned"), seeds=2).cells()
    assert len(cells) == 3 * 2 * 2
    assert [(c.run, c.strategy, c.seed) for c in cells[:3]] == [
        ("truth", "frozen", 0),
        ("truth", "tuned", 0),
        ("a", "frozen", 0),
    ]
    assert len({c.folder for c in cells}) == len(cells)


def test_each_strategy_has_its_own_settings_and_its_own_flag():
    made = plan(
        strategies=("frozen", "tuned"),
        config=FitConfig(lr=0.5, seed=4),
        frozen=(("epochs", "7"),),
        tuned=(("lr", "0.25"), ("scales", "1,1.5"), ("amp", "float32")),
        seeds=1,
    )
    frozen, tuned = made.cells()[:2]
    assert (frozen.config.lr, frozen.config.epochs, frozen.config.tune, frozen.config.seed) == (0.5, 7, False, 4)
    assert (tuned.config.lr, tuned.config.scales, tuned.config.tune) == (0.25, (1.0, 1.5), True)


def test_seeds_can_have_labels_of_their_own():
    cells = plan(runs=("runs/scribble-{seed}",), seeds=2, truth=False).cells()
    assert [(c.run, c.source) for c in cells] == [("scribble", "runs/scribble-0"), ("scribble", "runs/scribble-1")]
    assert label_name("runs/{seed}/cam") == "cam"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"runs": ()}, "needs a run, got none"),
        ({"strategies": ("cold",)}, "frozen or tuned, got 'cold'"),
        ({"seeds": 0}, "seeds must be >= 1, got 0"),
        ({"runs": ("x/a", "y/a")}, "different names, got a twice"),
        ({"config": FitConfig(tune=True)}, "tuned is said by strategies"),
        ({"frozen": (("epoch", "7"),)}, "no setting 'epoch'"),
        ({"config": FitConfig(baseline="segformer")}, "one of the heads"),
        ({"frozen": (("head", "mlp"),)}, "strategy frozen cannot set head=mlp, which is said by heads"),
        ({"variants": (("x", (("seed", "7"),)),)}, "variant x cannot set seed=7, which is said by seeds"),
        ({"runs": ("runs/a b", "runs/a_b")}, "runs need different names, got a_b twice"),
        ({"backbones": (DEMO, DEMO)}, "backbones need different names, got demo-ssvt twice"),
        ({"heads": ("mlp", "mlp")}, "heads need different names"),
        ({"strategies": ("frozen", "frozen")}, "strategies need different names"),
        ({"variants": (("x", ()), ("x", ()))}, "variants need different names, got x twice"),
    ],
)
def test_what_is_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        plan(**changes).cells()


def test_lists_and_settings_share_the_comma():
    assert split_list("a,x=1,2,b") == ("a,x=1,2", "b")
    assert split_list("frozen, tuned") == ("frozen", "tuned")
    assert split_settings("lr=0.1,scales=1,1.5") == (("lr", "0.1"), ("scales", "1,1.5"))
    assert split_settings("") == ()


def test_a_backbone_with_label_checkpoint_and_settings():
    found = parse_backbone("supervised:demo-ssvt@w.safetensors,size=64,policy=square")
    assert found.name == "supervised"
    assert (found.config.name, found.config.weights) == ("demo-ssvt", "w.safetensors")
    assert (found.config.size, found.config.policy) == (64, "square")
    with pytest.raises(ConfigError, match="needs a name"):
        parse_backbone("@w.safetensors")
    with pytest.raises(ConfigError, match="no setting 'sise'"):
        parse_backbone("demo-ssvt,sise=3")


def test_variants_differ_in_settings_and_have_folders_of_their_own():
    variants = (parse_variant("plain"), parse_variant("image: reduction=image; lr=0.5"))
    first, second = plan(variants=variants, truth=False, runs=("runs/a",), seeds=1).cells()
    assert (first.variant, first.config.reduction) == ("plain", "batch")
    assert (second.config.reduction, second.config.lr) == ("image", 0.5)
    assert first.folder != second.folder
    with pytest.raises(ConfigError, match="variant needs a name"):
        parse_variant(": loss=gce")


def test_baselines_are_heads_and_some_heads_read_more_layers():
    cells = plan(heads=("linear", "multi", "deeplabv3plus"), truth=False, runs=("runs/a",), seeds=1).cells()
    assert [(c.head, c.config.head, c.config.baseline) for c in cells] == [
        ("linear", "linear", ""),
        ("multi", "multi", ""),
        ("deeplabv3plus", "linear", "deeplabv3plus"),
    ]
    assert [len(c.backbone.config.layers) for c in cells] == [1, 4, 1]


def test_heads_without_epochs_pass_over_what_other_heads_read():
    both = plan(heads=("linear", "ridge", "knn"), config=FitConfig(epochs=7, ridge_penalty=0.3), truth=False).cells()
    found = {cell.head: (cell.config.epochs, cell.config.ridge_penalty) for cell in both}
    assert found == {"linear": (7, 0.3), "ridge": (FitConfig.epochs, 0.3), "knn": (FitConfig.epochs, 0.01)}
    with pytest.raises(ConfigError, match="epochs has no say with head ridge"):
        plan(heads=("ridge", "knn"), config=FitConfig(epochs=7)).cells()


def test_settings_need_only_make_sense_together():
    """amp says nothing without tuning, and lorm needs its head; neither is asked before the whole cell is known."""
    made = plan(heads=("projection",), variants=(parse_variant("lorm: terms=lorm"),), truth=False, seeds=1)
    assert made.cells()[0].config.terms == ("lorm",)
    with pytest.raises(ConfigError, match="projected tokens"):
        plan(variants=(parse_variant("lorm: terms=lorm"),)).cells()
