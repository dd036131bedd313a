import pytest
import torch

from spectra.errors import InputError
from spectra.training.recipe.assembly.run_arguments import run_arguments
from tests.assembled_runs import labelled, recipe


def arguments(folder, *, model="demo", data=None, **changes):
    return run_arguments(recipe(folder, model, labelled(folder, **(data or {})), **changes), folder / "run")


def test_options_and_further_arguments_reach_the_trainer(tmp_path):
    further = {"adam_beta2": 0.98, "label_smoothing_factor": 0.1}
    made = arguments(tmp_path, training={"learning_rate": 3e-4, "warmup_steps": 0.1, "arguments": further}, seed=5)
    assert (made.learning_rate, made.warmup_steps, made.adam_beta2, made.label_smoothing_factor) == (3e-4, 0.1, 0.98, 0.1)
    assert (made.seed, made.data_seed, made.run_name, made.report_to) == (5, None, "run", [])
    assert made.output_dir == str(tmp_path / "run" / "checkpoints")
    assert made.disable_tqdm
    assert made.dataloader_pin_memory == torch.cuda.is_available()


def test_evaluation_follows_the_checkpoints(tmp_path):
    assert arguments(tmp_path).eval_strategy == "steps"
    assert arguments(tmp_path, training={"eval_strategy": "epoch"}).eval_strategy == "epoch"


def test_without_data_nothing_is_evaluated(tmp_path):
    assert arguments(tmp_path, data={"eval": None}).eval_strategy == "no"


def test_a_metric_keeps_the_best_state(tmp_path):
    made = arguments(tmp_path, training={"metric_for_best_model": "f1", "eval_steps": 2})
    assert (made.load_best_model_at_end, made.metric_for_best_model, made.greater_is_better) == (True, "f1", True)
    assert not arguments(tmp_path).load_best_model_at_end


def test_cpu_is_the_cpu_wherever_there_is_a_gpu(tmp_path):
    made = arguments(tmp_path, model={"name": "demo", "device": "cpu"})
    assert made.use_cpu
    assert made.device.type == "cpu"


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("cuda:1", r"model\.device: a trainer takes the first GPU .* Set CUDA_VISIBLE_DEVICES=1 and give 'cuda'"),
        ("tpu", r"model\.device: expected auto, cpu or cuda, got 'tpu'"),
    ],
)
def test_devices_that_cannot_be_chosen_so_are_refused(tmp_path, device, message):
    with pytest.raises(InputError, match=message):
        arguments(tmp_path, model={"name": "demo", "device": device})


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"model\.device: there is no GPU that torch can use"):
        arguments(tmp_path, model={"name": "demo", "device": "cuda"})


@pytest.mark.parametrize(
    ("further", "message"),
    [
        ({"no_such_thing": 1}, r"training: transformers refuses it: .*no_such_thing"),
        ({"logging_strategy": "often"}, "training: transformers refuses it: "),
    ],
)
def test_further_arguments_that_cannot_be_are_refused(tmp_path, further, message):
    with pytest.raises(InputError, match=message):
        arguments(tmp_path, training={"arguments": further})
