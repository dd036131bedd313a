import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spectra.errors import InputError
from spectra.fisher.contributions import Dense, Factored, OwnRows, Rows
from spectra.fisher.gradient_rows import GradientRows

SAMPLES = 3


def random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def factored(shape, tokens, *, groups=1, seed=0, samples=SAMPLES):
    rows, cols = shape[0] // groups, shape[1:].numel()
    return Factored(
        random(samples, groups, tokens, rows, seed=seed), random(samples, groups, tokens, cols, seed=seed + 1), shape
    )


def lookups(shape, tokens, *, seed=0):
    ids = torch.randint(shape[0], (SAMPLES, tokens), generator=torch.Generator().manual_seed(seed))
    return Rows(ids, random(SAMPLES, tokens, shape[1], seed=seed), shape)


def kept(shape, batches, *, sizes_only=False):
    """Rows of one parameter; a batch is a list of uses."""
    rows = GradientRows({"w": random(*shape)}, sizes_only)
    for uses in batches:
        rows.start_batch(SAMPLES)
        rows.start_objective(0)
        for use in uses:
            rows.add_use("w", use)
        rows.end_batch()
    return rows


def expected(batches):
    """Every gradient written out, multiplied."""
    written_out = torch.stack(
        [sum(use.of_sample(sample).flatten() for use in uses) for uses in batches for sample in range(SAMPLES)]
    )
    return written_out @ written_out.t()


def assert_products(shape, batches):
    torch.testing.assert_close(kept(shape, batches).inner_products("w"), expected(batches), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("tokens", [1, 2, 30], ids=["by factors", "by rows", "kept whole"])
@pytest.mark.parametrize("shape", [(6, 5), (4, 3, 2)], ids=["dense", "convolution"])
def test_products_of_a_weight_are_those_of_its_gradients_written_out(shape, tokens):
    shape = torch.Size(shape)
    assert_products(shape, [[factored(shape, tokens)], [factored(shape, tokens, seed=5)]])


@settings(deadline=None, max_examples=30)
@given(
    rows=st.integers(1, 40),
    cols=st.integers(1, 40),
    tokens=st.lists(st.integers(1, 6), min_size=1, max_size=3),
    seed=st.integers(0, 1000),
)
def test_batches_of_other_lengths_can_be_multiplied(rows, cols, tokens, seed):
    shape = torch.Size((rows, cols))
    assert_products(shape, [[factored(shape, length, seed=seed + i)] for i, length in enumerate(tokens)])


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 30), st.integers(1, 5), st.integers(1, 8), st.booleans(), st.integers(0, 1000))
def test_lookups_and_an_output_layer_of_one_table_are_added_before_anything_is_multiplied(words, width, tokens, is_tied, seed):
    shape = torch.Size((words, width))
    batches = [[lookups(shape, tokens, seed=seed + i)] + [factored(shape, 2, seed=seed)] * is_tied for i in range(2)]
    assert_products(shape, batches)


def test_every_form_can_be_mixed():
    shape = torch.Size((SAMPLES, 4))
    dense, own = Dense(random(SAMPLES, SAMPLES, 4), shape), OwnRows(random(SAMPLES, 4))
    assert_products(shape, [[dense, own], [factored(shape, 1)], [lookups(shape, 5), dense]])


def test_groups_of_channels_stay_apart():
    shape = torch.Size((6, 2, 3))
    assert_products(shape, [[factored(shape, 4, groups=2)]])


def test_a_weight_larger_than_what_is_formed_at_once_is_multiplied_whole():
    shape = torch.Size((1000, 800))  # 3 samples of it take 19 MB, more than a block
    tokens = 25  # too many for the products of the factors
    found, written_out = kept(shape, [[factored(shape, tokens)]]), expected([[factored(shape, tokens)]])
    # sums of 800,000 products in another order
    torch.testing.assert_close(found.inner_products("w"), written_out, rtol=1e-10, atol=1e-10 * float(written_out.max()))


@pytest.mark.parametrize("shape", [(), (4,), (0, 3)], ids=["a scalar", "a vector", "no entries"])
def test_small_parameters_have_products_too(shape):
    gradients = random(SAMPLES, *shape)
    flat = gradients.flatten(1) if shape else gradients.unsqueeze(1)
    found = kept(shape, [[Dense(gradients, torch.Size(shape))]]).inner_products("w")
    torch.testing.assert_close(found, flat @ flat.t(), rtol=1e-12, atol=0.0)


def test_a_parameter_without_gradients_has_products_of_zero():
    rows = kept((2, 2), [[], []])
    assert rows.num_rows == 2 * SAMPLES
    assert not rows.inner_products("w").any()


def test_one_by_one_the_rows_stand_where_the_batch_puts_them():
    gradients = random(2, SAMPLES, 4)  # two objectives
    together, alone = (GradientRows({"w": random(4)}) for _ in range(2))
    together.start_batch(SAMPLES)
    for index, some in enumerate(gradients):
        together.start_objective(index)
        together.add_use("w", Dense(some, torch.Size([4])))
    alone.start_batch(SAMPLES)
    for sample in range(SAMPLES):
        for index, some in enumerate(gradients):
            alone.start_objective(index)
            alone.add_sample("w", sample, some[sample])
    assert together.num_rows == alone.num_rows == 2 * SAMPLES
    torch.testing.assert_close(together.inner_products("w"), alone.inner_products("w"), rtol=1e-14, atol=1e-14)


def test_gradients_of_lower_precision_are_multiplied_in_float64():
    gradients = random(SAMPLES, 4).to(torch.bfloat16)
    rows = GradientRows({"w": gradients[0]})
    rows.start_batch(SAMPLES)
    rows.start_objective(0)
    for sample, gradient in enumerate(gradients):
        rows.add_sample("w", sample, gradient)
    exact = gradients.double() @ gradients.double().t()
    torch.testing.assert_close(rows.inner_products("w"), exact, rtol=1e-15, atol=1e-15)


def test_factors_are_kept_where_they_are_smaller_and_without_tokens_that_do_not_count():
    shape, itemsize = torch.Size((50, 40)), 8
    factors = factored(shape, 10)
    factors.left[:, :, 3:8] = 0.0  # no gradient arrives at these
    few, many = kept(shape, [[factors]]), kept(shape, [[factored(shape, 100)]])
    assert few.num_bytes["w"] == SAMPLES * 5 * (50 + 40) * itemsize
    assert many.num_bytes["w"] == SAMPLES * 50 * 40 * itemsize
    assert_products(shape, [[factors]])


def test_sizes_are_the_same_where_nothing_is_kept():
    shape = torch.Size((6, 5))
    batches = [[factored(shape, 1), lookups(shape, 3)], [Dense(random(SAMPLES, 6, 5), shape)]]
    counted = kept(shape, batches, sizes_only=True)
    assert counted.num_bytes == kept(shape, batches).num_bytes
    assert not counted.inner_products("w").any()


def test_a_parameter_can_be_forgotten():
    rows = kept((4,), [[Dense(random(SAMPLES, 4), torch.Size([4]))]])
    rows.reset("w")
    assert not rows.num_bytes
    assert not rows.inner_products("w").any()


@pytest.mark.parametrize("objective", [0, 1])
def test_a_gradient_that_is_not_finite_is_named_with_its_sample(objective):
    rows = GradientRows({"w": random(4)})
    for batch in range(2):
        rows.start_batch(SAMPLES)
        for index in range(2):
            gradients = random(SAMPLES, 4)
            if (batch, index) == (1, objective):
                gradients[2, 0] = float("inf")
            rows.start_objective(index)
            rows.add_use("w", Dense(gradients, torch.Size([4])))
    with pytest.raises(InputError, match=r"the gradient of 'w' is not finite for sample 2 of batch 1\. Check the weights"):
        rows.inner_products("w")
