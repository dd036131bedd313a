"""The sums of squares, in every form and detail, against squares of gradients that are written out."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spectra import InputError
from spectra.fisher.contributions import Dense, Factored, OwnRows, Rows
from spectra.fisher.sums import Sums
from spectra.results.fisher import Keep

SAMPLES = 4
close = torch.testing.assert_close


def numbers(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def sums_of(shape, keep, *, transposed=False, dtype=torch.float64):
    names = frozenset(["w"])
    sums = Sums({"w": torch.empty(shape, dtype=dtype)}, Keep(keep), names, names if transposed else frozenset())
    sums.start_batch(SAMPLES)
    return sums


def gradients_of(contribution):
    return torch.stack([contribution.of_sample(n) for n in range(SAMPLES)])


def compare(sums, gradients):
    """All that the sums hold, with what the gradients say."""
    sums.end_batch()
    squares = gradients.square()
    traces = squares.reshape(SAMPLES, -1).sum(1)
    assert sums.traces["w"] == pytest.approx(float(traces.sum()), rel=1e-10)
    assert sums.squared_traces["w"] == pytest.approx(float(traces.square().sum()), rel=1e-10)
    if sums.keep == Keep.VALUES:
        close(sums.values["w"], squares.sum(0))
    if sums.keep == Keep.NEURONS:
        over_inputs, over_outputs = (0, 1) if sums.transposed else (1, 0)
        close(sums.output_neurons["w"], squares.sum(0).sum(over_inputs))
        close(sums.input_neurons["w"], squares.sum(0).sum(over_outputs))


FORMS = {
    "few tokens": lambda: Factored(numbers(SAMPLES, 1, 2, 6), numbers(SAMPLES, 1, 2, 5), torch.Size((6, 5))),
    "many tokens": lambda: Factored(numbers(SAMPLES, 1, 20, 6), numbers(SAMPLES, 1, 20, 5), torch.Size((6, 5))),
    "one token": lambda: Factored(numbers(SAMPLES, 1, 1, 6), numbers(SAMPLES, 1, 1, 5), torch.Size((6, 5))),
    "lookups": lambda: Rows(torch.randint(6, (SAMPLES, 9)), numbers(SAMPLES, 9, 5), torch.Size((6, 5))),
    "one by one": lambda: Dense(numbers(SAMPLES, 30), torch.Size((6, 5))),
}


@pytest.mark.parametrize("keep", ["values", "neurons", "traces"])
@pytest.mark.parametrize("transposed", [False, True], ids=["as usual", "transposed"])
@pytest.mark.parametrize("form", FORMS)
def test_every_form_adds_the_squares_of_its_gradients(form, keep, transposed):
    torch.manual_seed(0)
    contribution = FORMS[form]()
    gradients = gradients_of(contribution)
    sums = sums_of((6, 5), keep, transposed=transposed)
    sums.add("w", contribution)
    compare(sums, gradients)


@pytest.mark.parametrize("keep", ["values", "neurons", "traces"])
def test_rows_of_single_samples_stay_apart(keep):
    torch.manual_seed(0)
    contribution = OwnRows(numbers(SAMPLES, 5))
    sums = sums_of((SAMPLES, 5), keep)
    sums.add("w", contribution)
    compare(sums, gradients_of(contribution))


def test_numbers_of_no_dimension_have_squares():
    sums = Sums({"w": torch.empty((), dtype=torch.float64)}, Keep.VALUES)
    sums.start_batch(SAMPLES)
    contribution = Dense(numbers(SAMPLES), torch.Size(()))
    sums.add("w", contribution)
    compare(sums, gradients_of(contribution))


@pytest.mark.parametrize("keep", ["values", "traces"])
@pytest.mark.parametrize("tokens", [1, 2, 30])
def test_groups_of_a_convolution_stay_apart(tokens, keep):
    torch.manual_seed(0)
    contribution = Factored(numbers(SAMPLES, 2, tokens, 3), numbers(SAMPLES, 2, tokens, 4), torch.Size((6, 2, 2)))
    sums = Sums({"w": torch.empty(6, 2, 2, dtype=torch.float64)}, Keep(keep))
    sums.start_batch(SAMPLES)
    sums.add("w", contribution)
    compare(sums, gradients_of(contribution))


@settings(max_examples=40)
@given(
    tokens=st.integers(1, 5), rows=st.integers(1, 4), cols=st.integers(1, 4), alive=st.floats(0, 1), seed=st.integers(0, 1000)
)
def test_tokens_without_a_gradient_are_left_out_and_change_nothing(tokens, rows, cols, alive, seed):
    torch.manual_seed(seed)
    left, right = numbers(SAMPLES, 1, tokens, rows), numbers(SAMPLES, 1, tokens, cols)
    left[torch.rand(SAMPLES, 1, tokens) > alive] = 0.0
    right[torch.rand(SAMPLES, 1, tokens) > alive] = 0.0
    contribution = Factored(left, right, torch.Size((rows, cols)))
    gradients = gradients_of(contribution)
    for keep in ("values", "neurons", "traces"):
        sums = sums_of((rows, cols), keep)
        sums.add("w", contribution)
        compare(sums, gradients)


@pytest.mark.parametrize("keep", ["values", "neurons", "traces"])
@pytest.mark.parametrize("transposed", [False, True], ids=["as usual", "transposed"])
def test_a_product_and_the_rows_it_leaves_out_are_whole_together(keep, transposed):
    torch.manual_seed(0)
    sums, rows = sums_of((6, 5), keep, transposed=transposed), torch.tensor([1, 4])
    left, right, more = numbers(SAMPLES, 3, 6), numbers(SAMPLES, 3, 5), numbers(SAMPLES, 2, 5)
    gradients = left.transpose(1, 2) @ right
    for n in range(SAMPLES):
        kept = sums.add_product("w", n, left[n], right[n], rows)
        close(kept, gradients[n][rows])
        sums.add_rows("w", rows, kept + more[n], n)
    gradients[:, rows] += more
    compare(sums, gradients)


@pytest.mark.parametrize("keep", ["values", "neurons", "traces"])
def test_single_samples_add_up_over_objectives_and_batches(keep):
    torch.manual_seed(0)
    sums, gradients = sums_of((6, 5), keep), numbers(2, SAMPLES, 6, 5)
    for objective in gradients:
        for n, gradient in enumerate(objective):
            sums.add_sample("w", n, gradient)
    sums.end_batch()
    sums.start_batch(SAMPLES)
    sums.end_batch()  # one without a target
    traces = gradients.square().sum((0, 2, 3))  # the objectives of a sample make one trace
    assert sums.traces["w"] == pytest.approx(float(traces.sum()), rel=1e-12)
    assert sums.squared_traces["w"] == pytest.approx(float(traces.square().sum()), rel=1e-12)


def test_sums_of_low_precision_are_kept_in_float32():
    sums = sums_of((6, 5), "values", dtype=torch.bfloat16)
    gradient = torch.full((6, 5), 1e-3, dtype=torch.bfloat16)
    sums.add_sample("w", 0, gradient)
    assert sums.values["w"].dtype == torch.float32
    close(sums.values["w"], gradient.float().square())


def test_a_parameter_can_be_forgotten():
    sums = sums_of((6, 5), "neurons")
    sums.add("w", Dense(numbers(SAMPLES, 30), torch.Size((6, 5))))
    sums.reset("w")
    compare(sums, torch.zeros(SAMPLES, 6, 5, dtype=torch.float64))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_gradient_that_is_not_finite_is_refused(bad):
    sums, gradients = sums_of((6, 5), "traces"), numbers(SAMPLES, 30)
    gradients[2, 7] = bad
    sums.add("w", Dense(gradients, torch.Size((6, 5))))
    with pytest.raises(InputError, match=r"the gradient of 'w' is not finite for sample 2 of the batch\. .* try bfloat16"):
        sums.end_batch()
