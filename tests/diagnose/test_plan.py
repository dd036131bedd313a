import numpy as np
import pytest

import spectra
from spectra.diagnose.plan import model_info, plan_analysis
from spectra.diagnose.profiles import resolve_settings
from spectra.errors import InputError, SourceError
from spectra.sources import open_source
from tests.models import write_small


def test_a_file_that_went_away_since_it_was_opened_is_named(tmp_path):
    file = write_small(tmp_path / "a.safetensors", bias=np.ones(3, np.float32))
    source = open_source(file)
    plan = plan_analysis(source, resolve_settings("default"))
    file.unlink()
    with pytest.raises(SourceError, match=r"cannot read '.*a\.safetensors': No such file or directory"):
        model_info(source, plan, revision=True)


@pytest.mark.parametrize(
    ("settings", "cause"),
    [
        (
            {"profile": "weightwatcher"},
            "min_evals leave no layer of .*; 'a.weight': 1 eigenvalues: under the profile's limit of 8",
        ),
        ({"max_side": 3}, "max_side leave no layer of .*; 'a.weight': side of 30: over the profile's limit of 3"),
        (
            {"max_side": 30, "max_evals": 3},
            "max_side, max_evals leave .*; 'a.weight': side of 40.*; 'b.weight': 20 eigenvalues",
        ),
    ],
    ids=lambda value: ", ".join(value) if isinstance(value, dict) else "",
)
def test_only_the_limits_that_left_layers_out_are_named(settings, cause):
    weights = {"a.weight": np.ones((1, 30), np.float32)}
    if "max_evals" in settings:
        weights = {"a.weight": np.ones((2, 40), np.float32), "b.weight": np.ones((20, 20), np.float32)}
    with pytest.raises(InputError, match=f"^the limits of {cause}"):
        spectra.analyze(weights, **settings)
