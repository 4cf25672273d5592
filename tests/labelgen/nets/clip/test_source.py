"""Weights of image-text models from files, folders, the cache, and from nowhere."""

import json
import logging
import time

import open_clip
import pytest
import torch

from labelgen.errors import ConfigError, WeightsError
from labelgen.nets.clip import hub as clip_hub
from labelgen.nets.clip.checkpoint import likely_architectures
from labelgen.nets.clip.config import ClipModelConfig
from labelgen.nets.clip.hub import clip_weights_at_hand
from labelgen.nets.clip.model import load_clip
from tests.labelgen.nets.clip.tiny_clip import CONFIG, HALF, OPENAI, register, save_script, save_state, tiny_model


@pytest.fixture(autouse=True)
def tiny_models(monkeypatch):
    register(monkeypatch)


def loaded(**settings):
    return load_clip(ClipModelConfig(**{"model": "tiny", **settings}))


def in_cache(folder, repository, model, *, file="open_clip_model.safetensors"):
    """Lay a file where the hub's client keeps downloads."""
    root = folder / f"models--{repository.replace('/', '--')}"
    (root / "refs").mkdir(parents=True)
    (root / "refs" / "main").write_text("abc")
    (root / "snapshots" / "abc").mkdir(parents=True)
    return save_state(root / "snapshots" / "abc" / file, model)


def test_all_forms_of_a_file_hold_the_same_model(tmp_path):
    model = tiny_model()
    state = model.state_dict()
    torch.save(state, tmp_path / "plain.pt")
    torch.save({"epoch": 3, "state_dict": {f"module.{k}": v for k, v in state.items()}}, tmp_path / "training.pt")
    torch.save({"model": {f"_orig_mod.{k}": v for k, v in state.items()}}, tmp_path / "compiled.bin")
    torch.save({k: v.reshape(1) if k == "logit_scale" else v for k, v in state.items()}, tmp_path / "vector.pth")
    save_state(tmp_path / "safe.safetensors", model)
    found = {path.name: loaded(weights=str(path)).weights_sha256 for path in sorted(tmp_path.iterdir())}
    assert len(found) == 5
    assert len(set(found.values())) == 1
    assert set(found.values()) != {load_clip(ClipModelConfig("tiny"), pretrained=False).weights_sha256}


def test_a_file_gives_the_vectors_of_the_model_that_was_saved(tmp_path):
    model = tiny_model()
    clip = loaded(weights=str(save_state(tmp_path / "a.safetensors", model)))
    tokens = open_clip.SimpleTokenizer(context_length=16)(["a dog"])
    with torch.no_grad():
        assert torch.equal(clip.encode_text(["a dog"]), model.encode_text(tokens, normalize=True))
    assert (clip.weights_from, clip.name, clip.licence) == ("file:a.safetensors", "tiny", "see publisher")


def test_an_archive_of_openai_computes_with_quickgelu(tmp_path):
    path = save_script(tmp_path / "renamed.pt", tiny_model(quick=True))
    clip = loaded(weights=str(path))
    assert (clip.name, clip.activation, clip.text_activation) == ("tiny-quickgelu", "quick_gelu", "quick_gelu")
    torch.testing.assert_close(
        clip.model.encode_image(torch.ones(1, 3, 32, 32)), tiny_model(quick=True).encode_image(torch.ones(1, 3, 32, 32))
    )
    again = load_clip(clip.config)
    assert again.fingerprint() == clip.fingerprint()


def test_openais_three_numbers_in_a_plain_file_tell_the_activation_too(tmp_path):
    numbers = {name: torch.tensor(1) for name in ("input_resolution", "context_length", "vocab_size")}
    torch.save({**tiny_model().state_dict(), **numbers}, tmp_path / "a.pt")
    assert loaded(weights=str(tmp_path / "a.pt")).activation == "quick_gelu"


def test_a_file_from_a_known_repository_computes_with_its_activation(tmp_path, caplog):
    path = in_cache(tmp_path, "org/tiny_clip.openai", tiny_model())
    clip = loaded(weights=str(path))
    assert (clip.activation, clip.mean) == ("quick_gelu", OPENAI["mean"])
    assert not caplog.records


def test_the_config_beside_a_file_tells_activation_and_preprocessing(tmp_path, caplog):
    path = save_state(tmp_path / "open_clip_model.safetensors", tiny_model())
    about = {"model_cfg": {**CONFIG, "quick_gelu": True}, "preprocess_cfg": HALF}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(about))
    clip = loaded(weights=str(path))
    assert (clip.activation, clip.mean, clip.preprocess.resize_mode) == ("quick_gelu", HALF["mean"], "squash")
    assert not caplog.records


def test_a_file_of_unknown_origin_gets_gelu_and_a_warning(tmp_path, caplog):
    path = save_state(tmp_path / "mine.safetensors", tiny_model())
    assert loaded(weights=str(path)).activation == "gelu"
    assert "--model tiny-quickgelu" in caplog.text
    caplog.clear()
    assert loaded(model="tiny-quickgelu", weights=str(path)).activation == "quick_gelu"
    assert not caplog.records


def test_gelu_weights_under_a_quickgelu_name_are_refused(tmp_path):
    path = save_state(tmp_path / "open_clip_model.safetensors", tiny_model())
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": CONFIG, "preprocess_cfg": OPENAI}))
    with pytest.raises(WeightsError, match="trained with GELU, but tiny-quickgelu computes with QuickGELU") as caught:
        loaded(model="tiny-quickgelu", weights=str(path))
    assert caught.value.hint == "--model tiny"


def test_a_siglip_file_gets_siglips_preprocessing(tmp_path):
    source = load_clip(ClipModelConfig("tiny-sig"), pretrained=False)
    path = save_state(tmp_path / "x.safetensors", source.model)
    clip = loaded(model="tiny-sig", weights=str(path))
    assert (clip.mean, clip.std, clip.preprocess.resize_mode) == (HALF["mean"], HALF["std"], "squash")
    assert clip.logit_bias == -10
    assert clip.activation == "gelu"


def test_a_file_that_names_its_model_needs_no_name(tmp_path):
    about = {"labelgen": json.dumps({"model": "tiny"})}
    path = save_state(tmp_path / "own.safetensors", tiny_model(), about=about)
    assert load_clip(ClipModelConfig(weights=str(path))).name == "tiny"


def test_a_file_that_names_none_is_asked_about(tmp_path):
    path = save_state(tmp_path / "own.safetensors", tiny_model())
    with pytest.raises(ConfigError, match=r"which model do the weights in .*own\.safetensors belong to") as caught:
        load_clip(ClipModelConfig(weights=str(path)))
    assert "--model tiny" in caught.value.hint


def test_the_demo_model_takes_weights_of_its_own(tmp_path):
    source = load_clip(ClipModelConfig(), pretrained=False, seed=3)
    state = {k: v for k, v in source.model.state_dict().items() if k != "token_embedding.weight"}
    torch.save(state, tmp_path / "demo.pt")
    clip = load_clip(ClipModelConfig("demo-clip", weights=str(tmp_path / "demo.pt")))
    assert clip.weights_sha256 == source.weights_sha256
    assert (clip.weights_from, clip.licence) == ("file:demo.pt", "see publisher")


# ---- what does not fit ----


def test_another_embedding_size_is_named(tmp_path):
    path = tmp_path / "wide.pt"
    torch.save(tiny_model(config={**CONFIG, "embed_dim": 40}).state_dict(), path)
    with pytest.raises(WeightsError, match="its embedding has 40 numbers, not 24") as caught:
        loaded(weights=str(path))
    assert "2 of another shape" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_and_unknown_keys_are_counted(tmp_path):
    state = tiny_model().state_dict()
    del state["visual.proj"], state["ln_final.bias"]
    torch.save({**state, "visual.extra": torch.zeros(1)}, tmp_path / "a.pt")
    with pytest.raises(
        WeightsError, match=r"do not fit tiny: 2 keys missing \(.*\); 1 unknown \(visual.extra\), of \d+"
    ):
        loaded(weights=str(tmp_path / "a.pt"))


def test_another_grid_is_refused_instead_of_resampled(tmp_path):
    bigger = {**CONFIG, "vision_cfg": {**CONFIG["vision_cfg"], "image_size": 48}}
    torch.save(tiny_model(config=bigger).state_dict(), tmp_path / "a.pt")
    with pytest.raises(WeightsError, match=r"visual.positional_embedding is \(37, 32\), not \(17, 32\)"):
        loaded(weights=str(tmp_path / "a.pt"))


def test_a_misfit_that_is_another_model_is_told_which(tmp_path):
    torch.save(tiny_model().state_dict(), tmp_path / "a.pt")
    with pytest.raises(WeightsError, match="do not fit demo-clip") as caught:
        loaded(model="demo-clip", weights=str(tmp_path / "a.pt"))
    assert "it is tiny" in caught.value.hint


@pytest.mark.parametrize("name", ["ViT-L-14", "ViT-B-16", "ViT-B-32-256"])
def test_architectures_are_told_from_shapes(name):
    config = open_clip.get_model_config(name)
    with torch.device("meta"):
        state = open_clip.CLIP(**config).state_dict()
    assert name in likely_architectures(state)
    assert len(likely_architectures(state)) <= 2


def test_a_timm_tower_is_told_from_its_grid_and_words():
    clip = load_clip(ClipModelConfig("tiny-sig"), pretrained=False)
    assert likely_architectures(clip.model.state_dict()) == ["tiny-sig"]


class Harmful:
    def __reduce__(self):
        return (print, ("ran",))


def test_files_that_would_run_code_are_refused(tmp_path, capsys):
    torch.save({"state_dict": tiny_model().state_dict(), "args": Harmful()}, tmp_path / "a.pt")
    with pytest.raises(WeightsError, match="would run code when loaded"):
        loaded(weights=str(tmp_path / "a.pt"))
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.pt", None, "must exist"),
        ("a.safetensors", b"not safe", "not a readable safetensors file"),
        ("a.pt", b"junk", "not a readable torch checkpoint: 4 bytes, neither a zip archive nor a pickle"),
        ("a.bin", b"\x80\x02junk", "not a readable torch checkpoint|would run code"),
        ("b.pt", b"", "not a readable torch checkpoint: 0 bytes"),
        ("a.npz", b"", "numpy form are not read"),
    ],
)
def test_files_that_cannot_be_read_are_named(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match=message):
        loaded(weights=str(tmp_path / name))


def test_files_of_something_else_are_named(tmp_path):
    torch.save({"blocks.0.norm.weight": torch.zeros(2)}, tmp_path / "vit.pt")
    with pytest.raises(WeightsError, match=r"holds no image-text model: no key begins with 'visual\.'"):
        loaded(weights=str(tmp_path / "vit.pt"))
    torch.save({"vision_model.x": torch.zeros(2), "text_model.x": torch.zeros(2)}, tmp_path / "hf.bin")
    with pytest.raises(WeightsError, match="as the transformers package does"):
        loaded(weights=str(tmp_path / "hf.bin"))


def test_captioning_models_are_refused():
    with pytest.raises(ConfigError, match="captioning model"):
        load_clip(ClipModelConfig("coca_ViT-B-32"), pretrained=False)


# ---- folders ----


def test_a_folder_tells_everything(tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    model = tiny_model(quick=True)
    save_state(folder / "open_clip_model.safetensors", model)
    about = {"model_cfg": {**CONFIG, "quick_gelu": True}, "preprocess_cfg": HALF}
    (folder / "open_clip_config.json").write_text(json.dumps(about))
    clip = load_clip(ClipModelConfig(weights=f"local-dir:{folder}"))
    assert (clip.name, clip.weights_from, clip.activation, clip.mean) == (
        "mine",
        "folder:mine",
        "quick_gelu",
        HALF["mean"],
    )
    assert clip.encode_text(["a dog"]).shape == (1, 24)
    assert load_clip(clip.config).fingerprint() == clip.fingerprint()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (None, "must hold open_clip_config.json"),
        ("{", "cannot be read"),
        ("{}", "must describe a model"),
        (json.dumps({"model_cfg": CONFIG}), "must hold weights"),
    ],
)
def test_folders_that_are_not_complete_are_explained(tmp_path, config, message):
    if config is not None:
        (tmp_path / "open_clip_config.json").write_text(config)
    with pytest.raises(WeightsError, match=message):
        load_clip(ClipModelConfig(weights=f"local-dir:{tmp_path}"))


# ---- published weights ----


def test_published_weights_are_found_in_the_cache_of_the_hub(tmp_path):
    in_cache(tmp_path, "org/tiny_clip.openai", tiny_model())
    clip = loaded(pretrained="openai", cache_dir=str(tmp_path))
    assert (clip.name, clip.activation, clip.pretrained, clip.licence) == (
        "tiny-quickgelu",
        "quick_gelu",
        "openai",
        "MIT",
    )
    assert clip.weights_from == "published"
    assert load_clip(clip.config).fingerprint() == clip.fingerprint()


def test_the_default_tag_is_used_and_recorded(tmp_path):
    in_cache(tmp_path, "org/tiny_clip.openai", tiny_model())
    assert loaded(cache_dir=str(tmp_path)).pretrained == "openai"


def test_published_weights_are_found_where_addresses_are_downloaded_to(tmp_path):
    torch.save(tiny_model().state_dict(), tmp_path / "tiny-plain.pt")
    clip = loaded(pretrained="plain", cache_dir=str(tmp_path))
    assert (clip.name, clip.activation) == ("tiny", "gelu")


def test_a_damaged_download_is_not_used(tmp_path):
    (tmp_path / "ViT-B-16.pt").write_bytes(b"half of it")
    with pytest.raises(WeightsError, match="is damaged") as caught:
        clip_weights_at_hand("ViT-B-16", "openai", cache_dir=str(tmp_path))
    assert "delete it" in caught.value.hint


def test_missing_weights_are_explained_in_two_lines_at_once(tmp_path):
    started = time.perf_counter()
    with pytest.raises(WeightsError) as caught:
        load_clip(ClipModelConfig("ViT-B/16", cache_dir=str(tmp_path)))
    assert time.perf_counter() - started < 5
    message, hint = str(caught.value), caught.value.hint
    for part in (
        "ViT-B-16 (openai)",
        "timm/vit_base_patch16_clip_224.openai",
        "open_clip_model.safetensors",
        str(tmp_path),
    ):
        assert part in message
    assert "HF_HUB_OFFLINE" in message
    for part in ("hf download timm/vit_base", "--model ViT-B-16-quickgelu --weights FILE", "--model demo-clip"):
        assert part in hint
    assert "\n" not in message + hint


def test_missing_weights_behind_an_address_name_it(tmp_path):
    with pytest.raises(WeightsError, match=r"https://example.org/weights/tiny-plain.pt could not be fetched") as caught:
        loaded(pretrained="plain", cache_dir=str(tmp_path))
    assert "curl -LO https://example.org/weights/tiny-plain.pt" in caught.value.hint


def test_with_a_network_weights_are_downloaded(tmp_path, monkeypatch):
    path = save_state(tmp_path / "x.safetensors", tiny_model())
    asked = []

    def fetch(repository, files, *, cache_dir):
        asked.append((repository, tuple(files), cache_dir))
        return path

    monkeypatch.setattr(clip_hub, "need_network", lambda url: None)
    monkeypatch.setattr(clip_hub, "fetch_hub", fetch)
    clip = loaded(pretrained="openai", cache_dir=str(tmp_path))
    files = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
    assert asked == [("org/tiny_clip.openai", files, str(tmp_path))]
    assert clip.activation == "quick_gelu"


def test_a_repository_without_the_file_is_a_weights_error(tmp_path, monkeypatch):
    def fetch(repository, files, *, cache_dir):
        raise FileNotFoundError(repository)

    monkeypatch.setattr(clip_hub, "need_network", lambda url: None)
    monkeypatch.setattr(clip_hub, "fetch_hub", fetch)
    with pytest.raises(WeightsError, match="FileNotFoundError"):
        loaded(pretrained="openai", cache_dir=str(tmp_path))


def test_loading_says_what_it_loaded(tmp_path, caplog):
    in_cache(tmp_path, "org/tiny_clip.openai", tiny_model())
    with caplog.at_level(logging.INFO):
        loaded(cache_dir=str(tmp_path))
    assert "tiny-quickgelu from published, activation quick_gelu" in caplog.text
