import pytest

from spectra.esd.stacks import free_memory, stack_size, stack_size_on

TORCH_CPU = "cpu:0"


@pytest.mark.parametrize(("small", "size"), [(0, 501), (1, 501), (100, 6), (500, 2), (501, 1), (4096, 1)])
def test_numpys_stacks_exceed_500_rows(small, size):
    assert stack_size(small) == stack_size_on("cpu", (small, 9000), "float64") == size


@pytest.mark.parametrize(
    ("shape", "size"),
    [((64, 64), 256), ((384, 1536), 42), ((512, 512), 32), ((513, 513), 1), ((4096, 11008), 1), ((0, 5), 2**14)],
    ids=str,
)
def test_a_devices_stacks_have_16384_rows_and_large_matrices_stand_alone(shape, size):
    assert stack_size_on(TORCH_CPU, shape, "float64") == stack_size_on(TORCH_CPU, shape[::-1], "float64") == size


def test_long_matrices_come_in_smaller_stacks():
    # 2**27 weights in all
    assert stack_size_on(TORCH_CPU, (512, 2**17), "float64") == 2


def test_what_cannot_be_asked_has_two_gibibytes():
    assert free_memory(TORCH_CPU) == 2**31


@pytest.mark.gpu
def test_a_gpu_says_what_is_free():
    assert 0 < free_memory("cuda:0") < 2**50
