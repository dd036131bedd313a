"""DCS in two processes: the weights and the student of one process, for replicas, shards and adapters."""

import os
import sys

import numpy as np
import pytest
import torch
from torch import distributed

from spectra.errors import InputError
from spectra.training.dcs.answers import CACHE_FILE
from spectra.training.dcs.sample_pass import every_sample
from tests.dcs_runs import arguments, bert, gpt2, parameters, samples, sentences, trainer
from tests.forked import found_by_group

pytestmark = pytest.mark.slow
ASKED_BY_PEFT = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")

WITHOUT_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
CONFIG = {"discordance": "tv", "warmup_rounds": 0}  # where rounding decides nothing, and weights change in each round
# What is the same batch for one process and for two. Adam's eps keeps gradients that are zero but for rounding small.
STEPS = {"num_train_epochs": 2, "adam_epsilon": 1e-5}
DROPPED = (33, {"dataloader_drop_last": True})  # the last sample of each epoch is not trained on
UNEVEN = (37, {"accelerator_config": {"even_batches": False}})  # the last batch has 4 samples here and 1 there
RUNS = {
    ("eval_pass", "given"): UNEVEN,
    ("eval_pass", "finetune"): DROPPED,
    ("train_forward", "given"): DROPPED,
    ("train_forward", "finetune"): UNEVEN,
}


def size():
    """Samples in a batch of this process: 8 in all."""
    return 4 if distributed.is_initialized() else 8


def made(folder, config=CONFIG, model=None, data=None, **options):
    model = bert(**WITHOUT_DROPOUT) if model is None else model
    return trainer(folder, config, model, data, per_device_train_batch_size=size(), **(STEPS | options))


def whole(parameter):
    return (parameter.full_tensor() if hasattr(parameter, "full_tensor") else parameter).detach().flatten()


def results(run):
    """What is compared; without the teacher, which may still be in memory."""
    student = {name: whole(p) for name, p in run.model.named_parameters() if "dcs_teacher" not in name}
    return {
        "weights": torch.from_numpy(run.report().weights),
        "discordance": torch.from_numpy(run.report().discordance_by_round),
        "student": torch.cat([student[name] for name in sorted(student)]),
        "losses": torch.tensor([entry["loss"] for entry in run.state.log_history if "loss" in entry]),
    }


def finished(run, **options):
    run.train(**options)
    return results(run)


def assert_same(found, expected):
    """Compare runs of two processes, as each of the two has it, with one: gradients are added up in another order."""
    first, second = found
    assert first.keys() == second.keys() == expected.keys()
    for name, alone in expected.items():
        for key in ("weights", "discordance", "student"):
            torch.testing.assert_close(first[name][key], second[name][key], atol=0, rtol=0, equal_nan=True)
            # Float32 rounding in ten steps: 2e-7 was measured; leaving out one sample changes weights by 5e-3.
            torch.testing.assert_close(first[name][key], alone[key], atol=1e-5, rtol=0, equal_nan=True)
        torch.testing.assert_close(first[name]["losses"], alone["losses"], atol=1e-5, rtol=0)
        assert alone["weights"].std() > 1e-4


def replicas(folder):
    found = {}
    for (source, teacher), (number, options) in RUNS.items():
        dcs = {"teacher": bert(7) if teacher == "given" else "finetune"}
        run = made(
            folder / f"{source}-{teacher}", {**CONFIG, "discordance_source": source}, data=samples(number), dcs=dcs, **options
        )
        found[f"{source}, {teacher}"] = finished(run)
    return found


def test_two_processes_come_to_the_weights_and_the_student_of_one(tmp_path):
    assert_same(found_by_group(replicas, tmp_path), replicas(tmp_path / "one"))


def plain(folder):
    """Batches are filled up with samples that two processes share: as a plain trainer does."""
    from transformers import Trainer

    ours = made(folder / "ours", "plain")
    ours.train()
    # Else transformers multiplies the loss by the number of processes, also that of models which return a mean, as this one.
    args = arguments(folder / "theirs", **STEPS, average_tokens_across_devices=False)
    theirs = Trainer(bert(**WITHOUT_DROPOUT), args, train_dataset=samples())
    theirs.train()
    assert torch.equal(parameters(ours.model), parameters(theirs.model))


def resumed(folder):
    """With dropout: each process has random numbers of its own."""
    found = {}
    for source in ("eval_pass", "train_forward"):
        config, options = {**CONFIG, "discordance_source": source}, {"save_strategy": "steps", "save_steps": 7}
        found[source] = finished(made(folder / source, config, bert(), **options))
        again = made(folder / source, config, bert(), **options)
        found[f"{source}, again"] = finished(again, resume_from_checkpoint=str(folder / source / "checkpoint-7"))
    return found


def plain_and_resumed(folder):
    plain(folder)
    return resumed(folder)


def test_a_run_that_stops_in_the_middle_of_an_epoch_goes_on_exactly(tmp_path):
    for found in found_by_group(plain_and_resumed, tmp_path):
        for source in ("eval_pass", "train_forward"):
            assert len(found[source]["losses"]) == 10  # the checkpoint is in the second of two epochs
            assert all(torch.equal(found[source][key], again) for key, again in found[f"{source}, again"].items())


def test_processes_write_the_teachers_answers_once_and_agree_on_what_they_have(tmp_path):
    first, second = found_by_group(written, tmp_path)
    assert first == {"one folder": [1, 0], "folders of their own": [1, 1]}
    assert second == {"one folder": [0, 0], "folders of their own": [1, 1]}


def written(folder):
    """Count how often each of two runs puts the file in place here."""
    moved = []
    sys.addaudithook(lambda event, paths: moved.append(str(paths[1])) if event == "os.rename" else None)

    def run(where):
        before = len(moved)
        finished(made(where, dcs={"teacher": bert(7)}, num_train_epochs=1))
        return sum(path.endswith(CACHE_FILE) for path in moved[before:])

    found = {"one folder": [run(folder), run(folder)]}
    os.environ["LOCAL_RANK"] = "0"  # as on two machines
    own = folder / os.environ["RANK"]
    found["folders of their own"] = [run(own)]
    if os.environ["RANK"] == "1":
        (own / CACHE_FILE).unlink()
    found["folders of their own"].append(run(own))
    refused(folder)
    return found


def refused(folder):
    with pytest.raises(InputError, match="mode: 'sample' is for one process. Use 'weight' here"):
        made(folder / "drawn", {"mode": "sample"}).train()
    with pytest.raises(InputError, match="cache: 'top_k' is written by one process. .* or use 'off'"):
        made(folder / "words", {"cache": "top_k"}, gpt2(), sentences()).train()


def with_adapter(model):
    from peft import LoraConfig, get_peft_model

    is_classifier = hasattr(model, "classifier")
    torch.manual_seed(5)
    return get_peft_model(
        model,
        LoraConfig(
            r=2,
            target_modules=["query" if is_classifier else "c_attn"],
            fan_in_fan_out=not is_classifier,
            task_type="SEQ_CLS" if is_classifier else "CAUSAL_LM",
        ),
    )


def quiet_gpt2():
    model = gpt2()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return model


def adapters(folder, **options):
    """A classifier, whose teacher's answers are kept; a language model, whose teacher stays in memory, and which goes on."""
    number, dropped = DROPPED
    options = options | dropped | {"save_strategy": "steps", "save_steps": 3}
    classifier = made(folder / "classes", CONFIG, with_adapter(bert(**WITHOUT_DROPOUT)), samples(number), **options)
    found = {"classes": finished(classifier)}
    for name, more in {"words": {}, "words again": {"resume_from_checkpoint": str(folder / "words" / "checkpoint-3")}}.items():
        model = with_adapter(quiet_gpt2())
        found[name] = finished(made(folder / "words", {"warmup_rounds": 0}, model, sentences(number), **options), **more)
    for key in ("weights", "student", "losses"):
        assert torch.equal(found["words"][key], found["words again"][key])
    return found


@ASKED_BY_PEFT
def test_adapters_of_replicas_learn_what_they_learn_in_one_process(tmp_path):
    assert_same(found_by_group(adapters, tmp_path), adapters(tmp_path / "one"))


def shards(folder):
    """FSDP2 through accelerate, which divides models on accelerators only: it is told that the processes have some."""
    from accelerate import PartialState
    from accelerate.utils import DistributedType

    options = {}
    if distributed.is_initialized():
        PartialState(cpu=True).distributed_type = DistributedType.MULTI_GPU
        as_one = {"auto_wrap_policy": "NO_WRAP"}
        options = {"fsdp": True, "fsdp_config": as_one, "accelerator_config": {"use_configured_state": True}}
    number, dropped = DROPPED
    run = made(folder / "all", CONFIG, None, samples(number), **options, **dropped)
    found = {"all": finished(run)}
    assert run.is_fsdp_enabled == distributed.is_initialized()
    return found | adapters(folder, **options)


@ASKED_BY_PEFT
def test_shards_learn_what_one_process_learns(tmp_path):
    assert_same(found_by_group(shards, tmp_path), shards(tmp_path / "one"))


def test_every_sample_is_looked_at_whatever_the_loaders_of_training_do(tmp_path):
    # Workers that stay belong to the loader of the evaluation data.
    options = {"dataloader_num_workers": 1, "dataloader_persistent_workers": True, "dataloader_drop_last": True}
    run = made(tmp_path, "plain", data=samples(33), dcs={"eval_dataset": samples(8)}, **options)
    run.evaluate()
    seen = [index for index, _, _ in every_sample(run)]
    np.testing.assert_array_equal(torch.cat(seen), np.arange(33))
    assert run.args.dataloader_drop_last
    assert run.args.dataloader_persistent_workers
