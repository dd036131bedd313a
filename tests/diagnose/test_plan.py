import numpy as np
import pytest

from spectra.diagnose.plan import model_info, plan_analysis
from spectra.diagnose.profiles import resolve_settings
from spectra.errors import SourceError
from spectra.sources import open_source
from tests.models import write_small


def test_a_file_that_went_away_since_it_was_opened_is_named(tmp_path):
    file = write_small(tmp_path / "a.safetensors", bias=np.ones(3, np.float32))
    source = open_source(file)
    plan = plan_analysis(source, resolve_settings("default"))
    file.unlink()
    with pytest.raises(SourceError, match=r"cannot read '.*a\.safetensors': No such file or directory"):
        model_info(source, plan, revision=True)
