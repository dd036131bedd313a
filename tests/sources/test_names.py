import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from spectra.sources.names import model_order, unwrapped_names


@pytest.mark.parametrize(
    ("stored", "plain"),
    [
        (["module.a.weight", "module.b.weight"], ["a.weight", "b.weight"]),
        (["_orig_mod.a.weight", "_orig_mod.b.weight"], ["a.weight", "b.weight"]),
        (["module._orig_mod.a.weight", "module._orig_mod.b.weight"], ["a.weight", "b.weight"]),
        (["_orig_mod.module.a.weight"], ["a.weight"]),
        (["layers.0._orig_mod.weight", "head.weight"], ["layers.0.weight", "head.weight"]),
        (["module.a.weight", "b.weight"], ["module.a.weight", "b.weight"]),
        (["model.a.weight", "model.b.weight"], ["model.a.weight", "model.b.weight"]),
        (["module.module.a.weight"], ["a.weight"]),
        ([], []),
    ],
    ids=[
        "parallel",
        "compiled",
        "both",
        "both, other order",
        "a compiled layer",
        "a layer called module",
        "model",
        "twice",
        "none",
    ],
)
def test_prefixes_of_wrappers_go(stored, plain):
    assert unwrapped_names(stored) == plain


def test_a_trainers_prefix_goes_only_in_a_training_checkpoint():
    stored = ["model.encoder.weight", "model.head.weight"]
    assert unwrapped_names(stored, nested=True) == ["encoder.weight", "head.weight"]
    assert unwrapped_names([*stored, "loss.weight"], nested=True) == [*stored, "loss.weight"]
    assert unwrapped_names(["module.model.a", "module.model.b"], nested=True) == ["a", "b"]
    assert unwrapped_names(["model._orig_mod.a", "model._orig_mod.b"], nested=True) == ["a", "b"]


def test_names_that_would_become_equal_stay_as_they_are():
    stored = ["a._orig_mod.weight", "a.weight"]
    assert unwrapped_names(stored) == stored


@given(
    st.lists(
        st.lists(st.sampled_from(["module", "model", "_orig_mod", "a", "b", "0"]), min_size=1, max_size=5).map(".".join),
        unique=True,
    ),
    st.booleans(),
)
@settings(deadline=None)
def test_different_names_stay_different(names, nested):
    plain = unwrapped_names(names, nested=nested)
    assert len(set(plain)) == len(plain) == len(names)


def test_model_order_is_embeddings_then_blocks_by_number_then_the_head():
    ordered = [
        "model.embed_tokens.weight",
        "model.layers.0.mlp",
        "model.layers.2.mlp",
        "model.layers.10.mlp",
        "model.norm",
        "lm_head.weight",
    ]
    backwards = ordered[::-1]
    assert sorted(backwards, key=model_order) == ordered
    convolutional = ["conv1.weight", "layer1.0.conv1.weight", "layer1.0.conv2.weight", "layer2.0.conv1.weight", "fc.weight"]
    backwards = convolutional[::-1]
    assert sorted(backwards, key=model_order) == convolutional
