"""A teacher's logits are read as written, and only for the same weights and data; bad files are refused or replaced."""

import json
import os

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft import LoraConfig, PromptTuningConfig, TaskType, get_peft_model
from safetensors.numpy import save_file
from torch import nn

from spectra.errors import InputError, ResultsError, SpectraWarning
from spectra.training.dcs import teacher_logits
from spectra.training.dcs.teacher_logits import TeacherLogits, teacher_fingerprint, write_logits
from spectra.training.dcs.top_k_logits import TopKLogits
from tests.models import bert, gpt2
from tests.training.dcs.full_disk import full_disk

ASKED_BY_PEFT = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")

WHOSE = {"weights": "ab", "data": "cd", "max_length": "128"}


def logits_of(num_samples=7, num_outputs=3):
    return np.random.default_rng(0).standard_normal((num_samples, num_outputs)).astype(np.float32)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "teacher.safetensors"


@pytest.fixture
def written(path):
    write_logits(path, logits_of(), WHOSE)
    return path


def opened(path, whose=WHOSE):
    found = TeacherLogits.open(path, whose)
    assert found is not None
    return found


@given(st.lists(st.integers(0, 6), max_size=20))
def test_rows_are_those_of_the_table(tmp_path_factory, places):
    path = tmp_path_factory.getbasetemp() / "rows.safetensors"
    if not path.exists():
        write_logits(path, logits_of(), WHOSE)
    rows = opened(path).rows(torch.tensor(places, dtype=torch.int64))
    assert rows.dtype == torch.float32
    np.testing.assert_array_equal(rows.numpy(), logits_of()[places])


def test_sizes_are_known_without_reading(written):
    table = opened(written)
    assert (table.num_samples, table.num_outputs, table.num_bytes) == (7, 3, 7 * 3 * 4)


def test_the_table_is_mapped_and_not_read(path):
    status = "/proc/self/smaps_rollup"
    if not os.path.exists(status):
        pytest.skip("needs Linux's /proc")

    def own_kib():  # memory of this process that no file backs
        with open(status) as file:
            return sum(int(line.split()[1]) for line in file if line.startswith(("Private_Dirty", "Anonymous")))

    size = 64 * 2**20
    write_logits(path, np.zeros((size // 64, 16), dtype=np.float32), WHOSE)
    before = own_kib()
    table = opened(path)
    table.rows(torch.tensor([0, 5, size // 64 - 1]))
    assert own_kib() - before < size / 1024 / 4
    assert table.num_bytes == size


def test_other_dtypes_and_strides_are_written_as_float32(path):
    logits = np.asfortranarray(logits_of().astype(np.float64))
    write_logits(path, logits, WHOSE)
    np.testing.assert_array_equal(opened(path).rows(torch.arange(7)).numpy(), logits_of())


def test_places_outside_are_refused(written):
    for place in (-1, 7):
        with pytest.raises((IndexError, RuntimeError), match="out of range"):
            opened(written).rows(torch.tensor([place]))


@pytest.mark.gpu
@pytest.mark.parametrize("most", [2**20, 0], ids=["small table", "large table"])
def test_rows_come_to_the_device_of_the_index(written, most, monkeypatch):
    monkeypatch.setattr(teacher_logits, "_MOST_ON_DEVICE", most)
    table, index = opened(written), torch.tensor([3, 0, 3], device="cuda")
    table.rows(index)
    torch.cuda.set_sync_debug_mode("error" if most else "default")
    try:
        rows = table.rows(index)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert rows.device == index.device
    np.testing.assert_array_equal(rows.cpu().numpy(), logits_of()[[3, 0, 3]])


def test_a_missing_file_means_that_the_teacher_is_asked(path):
    assert TeacherLogits.open(path, WHOSE) is None


@pytest.mark.parametrize("key", WHOSE)
def test_answers_of_another_teacher_or_about_other_data_are_not_taken(written, key):
    assert TeacherLogits.open(written, WHOSE | {key: "other"}) is None
    assert TeacherLogits.open(written, WHOSE | {"tau": "2.0"}) is None
    assert TeacherLogits.open(written, dict(reversed(WHOSE.items()))) is not None


def test_answers_of_another_kind_are_not_taken(written):
    assert TopKLogits.open(written, WHOSE) is None


@pytest.mark.parametrize(
    "kept", [0, 7, 60, 250, -1], ids=["nothing", "no header", "half a header", "half the table", "one less"]
)
def test_a_truncated_file_is_replaced_with_a_warning(written, kept):
    written.write_bytes(written.read_bytes()[:kept])
    with pytest.warns(SpectraWarning, match="teacher.safetensors' is damaged .*the teacher is asked again"):
        assert TeacherLogits.open(written, WHOSE) is None
    write_logits(written, logits_of(), WHOSE)
    assert opened(written).num_samples == 7


def test_nothing_in_a_file_is_executed(path):
    path.write_bytes(b"cos\nsystem\n(S'exit 1'\ntR.")
    with pytest.warns(SpectraWarning, match="is damaged"):
        assert TeacherLogits.open(path, WHOSE) is None


def test_a_file_of_something_else_is_not_taken_for_a_cache(path):
    save_file({"weight": logits_of()}, path)
    with pytest.raises(ResultsError, match=r"teacher.safetensors' is no cache of a teacher's answers.* Choose another path"):
        TeacherLogits.open(path, WHOSE)


def test_a_folder_in_its_place_is_one_message(tmp_path):
    with pytest.raises(ResultsError, match="cannot read '.*Check what it is"):
        TeacherLogits.open(tmp_path, WHOSE)


def test_a_full_disk_is_one_message_and_leaves_what_was_there(written):
    before = written.read_bytes()
    with full_disk(), pytest.raises(ResultsError, match="cannot write to '.*teacher.safetensors': .*Free space"):
        write_logits(written, logits_of(2000), WHOSE)
    assert list(written.parent.iterdir()) == [written]
    assert written.read_bytes() == before


def test_a_folder_that_cannot_be_made_is_one_message(written):
    with pytest.raises(ResultsError, match="cannot write to"):
        write_logits(written / "below" / "a.safetensors", logits_of(), WHOSE)


def test_the_folder_is_made_and_others_may_read_the_file(tmp_path):
    path = tmp_path / "new" / "teacher.safetensors"
    write_logits(path, logits_of(), WHOSE)
    (path.parent / "beside").touch()
    assert path.stat().st_mode == (path.parent / "beside").stat().st_mode


def test_other_shapes_are_refused(path):
    with pytest.raises(InputError, match=r"logits: expected shape \(samples, outputs\), got \(7,\)"):
        write_logits(path, logits_of()[:, 0], WHOSE)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300], ids=str)
def test_logits_that_are_not_finite_are_refused_by_sample(path, value):
    logits = logits_of().astype(np.float64)
    logits[[4, 5], [1, 0]] = value
    with pytest.raises(InputError, match="about 2 samples are not finite, the first is sample 4. .*bfloat16 or float32"):
        write_logits(path, logits, WHOSE)
    assert not path.exists()


class Net(nn.Module):
    def __init__(self, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.layers = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


def test_the_fingerprint_tells_weights_statistics_data_and_lengths_apart():
    net = Net()
    same = teacher_fingerprint(net, "data", 128)
    assert same == teacher_fingerprint(Net(), "data", 128)
    assert json.loads(json.dumps(same)) == same
    net.layers[1].running_mean += 1.0
    others = [(Net(1), "data", 128), (Net(), "more", 128), (Net(), "data", None), (net, "data", 128)]
    assert len({str(teacher_fingerprint(*other)) for other in (*others, (Net(), "data", 128))}) == 5


def weights_of(model):
    return teacher_fingerprint(model, "", None)["weights"]


def change(model, part):
    changed = [parameter for name, parameter in model.named_parameters() if part in name]
    assert changed
    for parameter in changed:
        parameter.data += 1.0


ADAPTERS = {
    "linear": (bert, {"target_modules": ["query"]}),
    "embedding and transposed": (gpt2, {"target_modules": ["wte", "c_attn"], "fan_in_fan_out": True}),
    "saved whole": (bert, {"target_modules": ["query"], "modules_to_save": ["value"]}),
}


@ASKED_BY_PEFT
@pytest.mark.parametrize(("make", "options"), ADAPTERS.values(), ids=ADAPTERS)
def test_only_the_adapter_that_answers_counts(make, options):
    model = get_peft_model(make(), LoraConfig(r=2, **options), adapter_name="teacher")
    alone = weights_of(model)
    model.add_adapter("student", LoraConfig(r=2, **options))
    assert weights_of(model) == alone
    change(model, ".student")
    assert weights_of(model) == alone
    model.set_adapter("student")
    as_student = weights_of(model)
    assert as_student != alone
    model.set_adapter("teacher")
    assert weights_of(model) == alone
    change(model, ".teacher")
    assert weights_of(model) not in (alone, as_student)


@ASKED_BY_PEFT
def test_adapters_that_are_switched_off_do_not_count():
    model = get_peft_model(bert(), LoraConfig(r=2, target_modules=["query"]), adapter_name="teacher")
    with model.disable_adapter():
        off = weights_of(model)
        change(model, ".teacher.")
        assert weights_of(model) == off
    assert weights_of(model) != off


@ASKED_BY_PEFT
def test_prompts_of_another_adapter_do_not_count():
    config = PromptTuningConfig(task_type=TaskType.CAUSAL_LM, num_virtual_tokens=2)
    model = get_peft_model(gpt2(), config, adapter_name="teacher")
    alone = weights_of(model)
    model.add_adapter("student", config)
    change(model, "prompt_encoder.student")
    assert weights_of(model) == alone
    change(model, "prompt_encoder.teacher")
    assert weights_of(model) != alone


def test_any_teacher_has_a_fingerprint_where_transformers_has_methods_of_peft_s_names():
    assert weights_of(bert()) == weights_of(bert())
