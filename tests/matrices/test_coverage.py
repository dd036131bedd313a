"""Nothing is lost: every parameter of two and more dimensions is in a row or skipped with a reason (htsr.md, H18)."""

from functools import cache

import numpy as np
import pytest

from tests.matrices.rows import decisions, rows_of, skipped_of
from tests.models import EXPERTS, FUSED, MODELS, tiny

ARCHITECTURES = [*MODELS, *(name for name in [*FUSED, *EXPERTS] if name not in MODELS)]
SETTINGS = {
    "default": {},
    "whole": {"split_fused": "none"},
    "heads": {"split_heads": True},
    "pool": {"moe": "pool"},
    "slices": {"conv_mode": "slices"},
    "operator": {"conv_mode": "operator"},
}


@cache
def model_of(architecture):
    """Built once: these tests look and change nothing."""
    return MODELS[architecture]() if architecture in MODELS else tiny(architecture)


@pytest.mark.parametrize("chosen", SETTINGS)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_parameter_of_a_live_model_is_a_row_or_skipped_with_a_reason(architecture, chosen):
    model = model_of(architecture)
    parameters = {name: p for name, p in model.named_parameters(remove_duplicate=False) if p.dim() >= 2}
    rows, skipped = rows_of(model, **SETTINGS[chosen]), skipped_of(model, **SETTINGS[chosen])
    analysed = {row.tensor.name for row in rows}
    assert set(parameters) == analysed | set(skipped)
    assert not analysed & set(skipped)
    assert all(skipped.values())
    assert len({row.matrix_name for row in rows}) == len(rows)
    for name in analysed:  # and every element of it in one row
        covered = [row for row in rows if row.tensor.name == name]
        assert sum(row.num_params for row in covered) == parameters[name].numel() or chosen == "operator"


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_tensor_of_a_saved_model_is_a_row_or_skipped_with_a_reason(architecture, tmp_path):
    model = model_of(architecture)
    model.save_pretrained(tmp_path)
    rows = rows_of(tmp_path)
    for tensor, found in decisions(tmp_path):
        assert (found is None) == (len(tensor.shape) < 2)
        covered = sum(row.num_params for row in rows if row.tensor.name == tensor.name)
        assert covered == (np.prod(tensor.shape) if isinstance(found, tuple) else 0)
    assert len({row.matrix_name for row in rows}) == len(rows)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_saved_model_has_as_many_parameters_of_every_kind_as_the_live_one(architecture, tmp_path):
    # transformers 5 renames and stacks on loading, and undoes both on saving: the names differ by right, the matrices not.
    model = model_of(architecture)
    model.save_pretrained(tmp_path)

    def shapes(rows):
        return sorted((row.kind, *sorted((row.num_rows, row.num_cols))) for row in rows if row.tensor.tied_to is None)

    assert shapes(rows_of(tmp_path)) == shapes(rows_of(model))


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "bert", "vit", "resnet", "mixtral"])
def test_what_is_skipped_of_the_usual_models_is_known(architecture):
    # Class token and positions are vectors added to activations: no matrix of a layer.
    expected = {"vit": {"embeddings.cls_token", "embeddings.position_embeddings"}}.get(architecture, set())
    assert set(skipped_of(model_of(architecture))) == expected
