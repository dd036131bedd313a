import numpy as np

from spectra.diagnose.kept_grams import KeptGrams
from spectra.diagnose.layer import diagnose_layers
from spectra.diagnose.paired_jobs import jobs_by_name
from spectra.results.settings import AnalysisSettings
from spectra.sources.mapping import open_mapping

WEIGHTS = {f"{name}.weight": np.random.default_rng(0).standard_normal((30, 20)) for name in "ab"}
JOBS = list(jobs_by_name(open_mapping(WEIGHTS), AnalysisSettings()).values())


def test_a_gram_matrix_is_kept_for_its_weight_and_whole_shape():
    grams = KeptGrams()
    diagnose_layers(JOBS, AnalysisSettings(), grams=grams)
    for job in JOBS:
        gram, scale = grams.of(job, (30, 20))
        weight = WEIGHTS[f"{job.matrix_name}.weight"]
        np.testing.assert_allclose(gram, weight.T @ weight, rtol=1e-13, atol=1e-13)
        assert scale == 1.0
        assert grams.of(job, (29, 20)) is None  # of its first rows it is another one


def test_no_more_are_kept_than_there_is_room_for():
    grams = KeptGrams(most_bytes=20 * 20 * 8)
    diagnose_layers(JOBS, AnalysisSettings(), grams=grams)
    assert [grams.of(job, (30, 20)) is None for job in JOBS] == [False, True]


def test_what_took_another_route_has_none():
    grams = KeptGrams()
    diagnose_layers(JOBS, AnalysisSettings(method="svd"), grams=grams)
    diagnose_layers(JOBS, AnalysisSettings(precision="float32"), grams=grams)
    assert grams.of(JOBS[0], (30, 20)) is None
