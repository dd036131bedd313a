"""DCS under a real trainer: what a run does, what it keeps, and how it goes on."""

import numpy as np
import pytest
import torch
from transformers import TrainerCallback

from spectra.errors import InputError, ResultsError, SpectraWarning
from spectra.training.dcs import dcs_config, effective_sample_share
from tests.dcs_runs import (
    arguments,
    bart_classifier,
    bert,
    gpt2,
    m2m100,
    numbers,
    parameters,
    samples,
    sentences,
    trainer,
    translations,
)

ASKED_BY_PEFT = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")


def rounds(log):
    return [entry for entry in log if "dcs/round" in entry]


def test_a_run_changes_weights_after_the_warm_up_and_logs_each_round(tmp_path):
    run = trainer(tmp_path, {"warmup_rounds": 1})
    run.train()
    report = run.report()
    assert [one.number for one in report.rounds] == [1, 2, 3] or [one.number for one in report.rounds] == [0, 1, 2]
    assert report.rounds[0].skipped == "warmup"
    assert np.all(report.weights_by_round[0] == 1)
    assert report.weights.mean() == pytest.approx(1, abs=1e-9)
    logged = rounds(run.state.log_history)
    assert [entry["dcs/ess"] for entry in logged] == pytest.approx([one.ess for one in report.rounds])
    assert all(entry["dcs/seconds"] > 0 for entry in logged)


def test_the_plain_baseline_is_a_plain_trainer_bit_by_bit(tmp_path):
    from transformers import Trainer

    run = trainer(tmp_path / "ours", "plain")
    run.train()
    plain = Trainer(bert(), arguments(tmp_path / "plain"), train_dataset=samples())
    plain.train()
    assert torch.equal(parameters(run.model), parameters(plain.model))


def test_a_model_that_does_not_shift_labels_itself_is_trained_as_by_a_plain_trainer(tmp_path):
    from transformers import Trainer

    run = trainer(tmp_path / "ours", "plain", m2m100(), translations(), num_train_epochs=1)
    run.train()
    plain = Trainer(m2m100(), arguments(tmp_path / "plain", num_train_epochs=1), train_dataset=translations())
    plain.train()
    ours, theirs = ([entry["loss"] for entry in one.state.log_history if "loss" in entry] for one in (run, plain))
    assert len(ours) == 6
    assert ours == pytest.approx(theirs, rel=1e-5)  # float32: sums in another order
    torch.testing.assert_close(parameters(run.model), parameters(plain.model), atol=1e-4, rtol=1e-3)  # six steps of Adam


def test_a_classifier_with_a_decoder_makes_its_own_inputs(tmp_path):
    rows = [{**one, "input_ids": torch.cat([one["input_ids"], torch.tensor([2])])} for one in samples()]  # 2 ends a text
    run = trainer(tmp_path, "plain", bart_classifier(), rows, num_train_epochs=1)
    run.train()
    assert run.objective.kind == "argmax"


def test_uniform_self_distillation_does_not_disturb_what_is_random(tmp_path):
    # A teacher that says nothing new: with lam = 0 its training must leave no trace in the student's.
    with_teacher = trainer(tmp_path / "a", {"lam": 0.0, "eta": 0.5, "warmup_rounds": 9})
    with_teacher.train()
    plain = trainer(tmp_path / "b", "plain")
    plain.train()
    assert torch.equal(parameters(with_teacher.model), parameters(plain.model))


@pytest.mark.parametrize("norm", [False, True])
def test_accumulated_batches_have_the_gradient_of_one_batch_also_when_the_last_is_short(tmp_path, norm):
    # 33 samples: steps of 16, 16 and 1; dropout off, else the masks differ.
    def run(folder, size, accumulated):
        quiet = bert(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
        changes = {"per_device_train_batch_size": size, "gradient_accumulation_steps": accumulated, "num_train_epochs": 2}
        config = {"warmup_rounds": 0, "batch_norm_weights": norm}
        made = trainer(tmp_path / folder, config, quiet, dcs={"teacher": bert(1)}, **changes)
        made.train()
        return parameters(made.model)

    # The order of sums differs: float32, three steps.
    torch.testing.assert_close(run("one", 16, 1), run("four", 4, 4), atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("source", ["eval_pass", "train_forward"])
@pytest.mark.parametrize("mode", ["weight", "sample"])
def test_a_run_that_stops_in_the_middle_of_an_epoch_goes_on_exactly(tmp_path, source, mode):
    config = {"discordance": "tv", "discordance_source": source, "warmup_rounds": 0, "mode": mode}
    changes = {"save_strategy": "steps", "save_steps": 13, "num_train_epochs": 3}
    whole = trainer(tmp_path / "whole", config, **changes)
    whole.train()
    again = trainer(tmp_path / "whole", config, **changes)
    again.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-13"))
    assert torch.equal(parameters(again.model), parameters(whole.model))
    np.testing.assert_array_equal(again.report().weights, whole.report().weights)
    np.testing.assert_array_equal(again.report().weights_by_round, whole.report().weights_by_round)
    assert whole.report().weights.std() > 0


def test_a_run_by_steps_changes_only_what_was_seen(tmp_path):
    run = trainer(tmp_path, {"update_every": 3, "eta": 0.2, "warmup_rounds": 0}, num_train_epochs=1)
    run.train()
    logged = rounds(run.state.log_history)
    assert [entry["dcs/round"] for entry in logged] == [0, 1, 2]
    assert [one.num_seen for one in run.report().rounds] == [9]  # 33 samples: the last of three rounds, which ends the pass


def test_the_teacher_is_trained_once_and_its_answers_are_found_again(tmp_path):
    first = trainer(tmp_path, "uniform")
    first.train()
    written = (tmp_path / "teacher_logits.safetensors").stat().st_mtime_ns
    second = trainer(tmp_path, "dcs")
    second.train()
    assert (tmp_path / "teacher_logits.safetensors").stat().st_mtime_ns == written
    other = trainer(tmp_path, "dcs", learning_rate=1e-3)
    other.train()
    assert (tmp_path / "teacher_logits.safetensors").stat().st_mtime_ns != written


def test_a_given_teacher_is_asked_by_object_and_by_folder_alike(tmp_path):
    teacher = bert(7)
    teacher.save_pretrained(tmp_path / "saved")
    by_object = trainer(tmp_path / "a", "dcs", dcs={"teacher": teacher})
    by_object.train()
    by_folder = trainer(tmp_path / "b", "dcs", dcs={"teacher": tmp_path / "saved"})
    by_folder.train()
    assert torch.equal(parameters(by_object.model), parameters(by_folder.model))
    assert all(p.requires_grad for p in teacher.parameters())  # as it was passed


def test_generations_train_a_teacher_by_dcs_before_the_last_student(tmp_path):
    run = trainer(tmp_path, {"generations": 2}, num_train_epochs=2)
    run.train()
    assert (tmp_path / "teacher" / "teacher_logits.safetensors").is_file()
    assert len(run.report().rounds) == 2


def test_regressions_are_compared_by_their_errors(tmp_path):
    teacher = bert(5, num_labels=1)
    with torch.no_grad():  # answers that vary: else all errors are alike, and the round is skipped
        teacher.classifier.weight *= 100
        teacher.classifier.bias.zero_()
    config = {"warmup_rounds": 0, "lam": 0.1, "error_form": "square"}
    run = trainer(tmp_path, config, bert(num_labels=1), numbers(), dcs={"teacher": teacher})
    run.train()
    report = run.report()
    assert run.objective.kind == "r2"
    assert report.labels.dtype == np.float64
    assert report.weights.std() > 0
    assert np.nanmax(report.discordance_by_round) == pytest.approx(1)


@pytest.mark.parametrize("cache", ["off", "top_k"])
def test_language_models_are_compared_token_by_token(tmp_path, cache):
    run = trainer(tmp_path, {"cache": cache, "top_k": 40, "warmup_rounds": 0}, gpt2(), sentences(), num_train_epochs=2)
    run.train()
    assert run.objective.kind == "token"
    assert np.all((run.report().discordance_by_round >= 0) & (run.report().discordance_by_round <= 1))


def test_all_words_in_the_cache_are_as_good_as_the_teacher_itself(tmp_path):
    def run(folder, cache):
        config = {"cache": cache, "top_k": 40, "warmup_rounds": 0}
        made = trainer(tmp_path / folder, config, gpt2(), sentences(), dcs={"teacher": gpt2(3)}, num_train_epochs=1)
        made.train()
        return parameters(made.model)

    # Log-probabilities are stored in float32, and the rest mass is 0 up to rounding.
    torch.testing.assert_close(run("a", "off"), run("b", "top_k"), atol=1e-5, rtol=1e-4)


@ASKED_BY_PEFT
@pytest.mark.parametrize("kind", ["classifier", "language"])
def test_adapters_learn_from_a_second_adapter_over_the_same_base(tmp_path, kind):
    from peft import LoraConfig, get_peft_model

    base = bert() if kind == "classifier" else gpt2()
    data = samples() if kind == "classifier" else sentences()
    target, task = ("query", "SEQ_CLS") if kind == "classifier" else ("c_attn", "CAUSAL_LM")
    lora = LoraConfig(r=2, target_modules=[target], fan_in_fan_out=kind != "classifier", task_type=task)
    model = get_peft_model(base, lora)
    frozen = {name: p.detach().clone() for name, p in model.named_parameters() if not p.requires_grad}
    start = {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}
    run = trainer(tmp_path, "dcs", model, data, num_train_epochs=2, save_strategy="epoch")
    run.train()
    after = dict(model.named_parameters())
    assert all(torch.equal(after[name], frozen[name]) for name in frozen)
    assert any(not torch.equal(after[name], start[name]) for name in start)
    assert model.active_adapter == "default"
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    assert sorted(trained) == sorted(start)
    assert list(model.peft_config) == (["default"] if kind == "classifier" else ["default", "dcs_teacher"])


def test_a_language_model_with_its_teacher_in_memory_goes_on_exactly(tmp_path):
    changes = {"save_strategy": "steps", "save_steps": 4, "num_train_epochs": 2}
    whole = trainer(tmp_path, {"warmup_rounds": 0}, gpt2(), sentences(), **changes)
    whole.train()
    again = trainer(tmp_path, {"warmup_rounds": 0}, gpt2(), sentences(), **changes)
    again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-4"))
    assert torch.equal(parameters(again.model), parameters(whole.model))


def test_evaluation_takes_the_models_own_loss(tmp_path):
    from transformers import Trainer

    run = trainer(tmp_path, "plain", dcs={"eval_dataset": samples(9)})
    plain = Trainer(bert(), arguments(tmp_path), eval_dataset=samples(9))
    assert run.evaluate()["eval_loss"] == plain.evaluate()["eval_loss"]


def test_losses_of_samples_can_be_given(tmp_path):
    def weighted(logits, labels):
        return torch.nn.functional.cross_entropy(logits, labels, reduction="none", weight=torch.tensor([1.0, 3.0]))

    run = trainer(tmp_path / "a", "plain", dcs={"sample_loss": weighted})
    run.train()
    plain = trainer(tmp_path / "b", "plain")
    plain.train()
    assert not torch.equal(parameters(run.model), parameters(plain.model))
    wrong = trainer(tmp_path / "c", "plain", dcs={"sample_loss": torch.nn.functional.cross_entropy})
    with pytest.raises(InputError, match="one loss for each of 4 samples.*reduction='none'"):
        wrong.train()


def test_diagnostics_join_by_configuration(tmp_path):
    sizes = {"hidden_size": 64, "num_hidden_layers": 3, "intermediate_size": 96}
    config = {
        "tempbalance": {"policy": "emnlp2024-glue", "interval": 2},
        "guided_dropout": {"bert.encoder.layer.0.output.dropout": 0.3},
        "discordance": "tv",
        "warmup_rounds": 0,
        "weighted_fisher": True,
    }
    run = trainer(tmp_path, config, bert(**sizes), num_train_epochs=2)
    seen = {}

    class Watch(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step in (8, 9, 17, 18):
                seen[state.global_step] = len(run.report().rounds)

    run.add_callback(Watch())
    callbacks = run.callback_handler.callbacks
    callbacks.insert(0, callbacks.pop())
    run.train()
    assert any("tempbalance" in key for entry in run.state.log_history for key in entry)
    assert (tmp_path / "guided_dropout.json").is_file()
    # A diagnostic sees the weights it is logged with: the round comes before whatever happens at the end of the step.
    assert seen == {8: 0, 9: 1, 17: 1, 18: 2}
    weighted = run.fisher().scores()
    run.config = dcs_config(run.config, weighted_fisher=False)
    uniform = run.fisher().scores()
    ratios = [weighted[name] / uniform[name] for name in uniform if uniform[name] > 0]
    assert 0.25 <= min(ratios) < max(ratios) <= 4.0  # the bounds of the weights
    assert max(ratios) != pytest.approx(1.0, abs=1e-6)


def test_a_loss_can_be_asked_for_before_training(tmp_path):
    run = trainer(tmp_path)
    batch = next(iter(run.get_train_dataloader()))
    model = run.model.train()
    for module in model.modules():
        module.p = 0.0  # of dropout: two passes are to be alike
    labels = {name: value for name, value in batch.items() if name != "sample_index"}
    assert run.compute_loss(model, dict(batch)).item() == pytest.approx(model(**labels).loss.item(), rel=1e-6)


def test_the_best_teacher_is_chosen_on_the_eval_data(tmp_path):
    from transformers import BertForSequenceClassification, Trainer

    def loss(select):
        folder = tmp_path / select
        data = {"eval_dataset": samples(9, seed=3)}
        changes = {"num_train_epochs": 4, "learning_rate": 3e-2, "save_strategy": "epoch"}
        trainer(folder, {"preset": "uniform", "teacher_select": select}, dcs=data, **changes).train()
        assert not list((folder / "teacher").glob("checkpoint-*"))  # optimizer states, which only an unfinished teacher needs
        teacher = BertForSequenceClassification.from_pretrained(folder / "teacher")
        return Trainer(teacher, arguments(folder), eval_dataset=samples(9, seed=3)).evaluate()["eval_loss"]

    assert loss("best") < loss("last")


def test_the_best_teacher_is_saved_when_it_is_evaluated(tmp_path):
    data = {"eval_dataset": samples(9, seed=3)}
    steps = {"eval_strategy": "steps", "eval_steps": 2, "save_strategy": "steps", "save_steps": 5, "max_steps": 8}
    run = trainer(tmp_path, {"preset": "uniform", "teacher_select": "best"}, dcs=data, learning_rate=3e-2, **steps)
    made, make = [], run.make_teacher_trainer

    def make_teacher_trainer(*arguments):
        made.append(make(*arguments))
        return made[-1]

    run.make_teacher_trainer = make_teacher_trainer
    run.train()
    state = made[0].state
    assert state.best_model_checkpoint.endswith(f"checkpoint-{state.best_global_step}")


def test_samples_are_drawn_anew_in_each_epoch_even_if_weights_stay(tmp_path):
    looked_at = []

    class Watched(list):
        def __getitem__(self, index):
            looked_at.append(index)
            return super().__getitem__(index)

    config = {"preset": "uniform", "mode": "sample", "cache": "off"}
    trainer(tmp_path, config, data=Watched(samples(24)), dcs={"teacher": bert(1)}, num_train_epochs=3).train()
    epochs = [tuple(looked_at[start : start + 24]) for start in (-72, -48)] + [tuple(looked_at[-24:])]
    assert len(set(epochs)) == 3


def test_the_history_is_written_when_checkpoints_are(tmp_path):
    from spectra.results.sample_history import load_sample_history

    run = trainer(tmp_path, "dcs", save_strategy="epoch")
    run.train()
    found = load_sample_history(tmp_path / "sample_weights.safetensors")
    np.testing.assert_array_equal(found.weights, run.report().weights)
    assert effective_sample_share(found.weights) == pytest.approx(found.rounds[-1].ess)


def test_a_second_training_of_the_same_trainer_asks_no_teacher_again(tmp_path):
    run = trainer(tmp_path, "uniform", num_train_epochs=1)
    run.train()
    written = (tmp_path / "teacher_logits.safetensors").stat().st_mtime_ns
    run.train()
    assert (tmp_path / "teacher_logits.safetensors").stat().st_mtime_ns == written


@pytest.mark.parametrize(
    "change",
    [
        {"sample_loss": lambda logits, labels: 2 * torch.nn.functional.cross_entropy(logits, labels, reduction="none")},
        {"model": {"hidden_dropout_prob": 0.5}},
        {"args": {"neftune_noise_alpha": 5.0}},
        {"labels": True},
    ],
    ids=["loss", "dropout", "noise", "labels"],
)
def test_whatever_makes_another_teacher_makes_the_answers_anew(tmp_path, change):
    def run(loss=None, model=None, args=None, labels=False):
        data = samples(200)
        if labels:
            data[5] = {**data[5], "labels": 1 - data[5]["labels"]}
        options = {"max_steps": 1, **(args or {})}
        trainer(tmp_path, "uniform", bert(**(model or {})), data, dcs={"sample_loss": loss}, **options).train()
        return (tmp_path / "teacher_logits.safetensors").stat().st_mtime_ns

    before = run()
    assert run() == before
    assert run(change.get("sample_loss"), change.get("model"), change.get("args"), change.get("labels", False)) != before


def test_an_unfinished_teacher_of_another_recipe_is_not_continued(tmp_path):
    class Stop(TrainerCallback):
        def on_train_begin(self, args, state, control, **kwargs):
            raise KeyboardInterrupt

    changes = {"save_strategy": "epoch", "num_train_epochs": 1}
    first = trainer(tmp_path, "uniform", **changes)
    first.add_callback(Stop())  # of the student, whose teacher is done
    with pytest.raises(KeyboardInterrupt):
        first.train()
    logits = tmp_path / "teacher_logits.safetensors"
    before = logits.read_bytes()
    again = trainer(tmp_path, "uniform", learning_rate=1e-5, **changes)
    again.train(resume_from_checkpoint=True)
    assert logits.read_bytes() != before


def test_checkpoints_of_a_teacher_of_another_recipe_are_removed(tmp_path):
    def stopped(rate, after, resume=None):
        run = trainer(tmp_path, "uniform", learning_rate=rate, save_strategy="steps", save_steps=2, max_steps=6)
        make = run.make_teacher_trainer

        class Stop(TrainerCallback):
            def on_save(self, args, state, control, **kwargs):
                if state.global_step == after:
                    raise KeyboardInterrupt

        def make_teacher_trainer(*arguments):
            nested = make(*arguments)
            nested.add_callback(Stop())
            return nested

        run.make_teacher_trainer = make_teacher_trainer
        with pytest.raises(KeyboardInterrupt):
            run.train(resume_from_checkpoint=resume)
        return sorted(path.name for path in (tmp_path / "teacher").glob("checkpoint-*"))

    assert stopped(1e-2, after=4) == ["checkpoint-2", "checkpoint-4"]
    assert stopped(1e-4, after=2) == ["checkpoint-2"]
    assert stopped(1e-4, after=4, resume=True) == ["checkpoint-2", "checkpoint-4"]


def test_a_teacher_that_was_stopped_after_its_last_step_takes_none_more(tmp_path):
    # Two of the nine steps of the first epoch: the teacher ends in the middle of it.
    changes = {"save_strategy": "steps", "save_steps": 2, "max_steps": 2, "lr_scheduler_type": "constant"}
    whole = trainer(tmp_path / "whole", "uniform", **changes)
    whole.train()
    torn = trainer(tmp_path / "torn", "uniform", **changes)
    make = torn.make_teacher_trainer

    def make_teacher_trainer(*arguments):
        nested = make(*arguments)
        save = nested.save_model

        def save_model(*arguments, **options):
            if nested.state.global_step == 2 and not options.get("_internal_call"):
                raise KeyboardInterrupt
            save(*arguments, **options)

        nested.save_model = save_model
        return nested

    torn.make_teacher_trainer = make_teacher_trainer
    with pytest.raises(KeyboardInterrupt):
        torn.train()
    again = trainer(tmp_path / "torn", "uniform", **changes)
    again.train(resume_from_checkpoint=True)
    assert torch.equal(parameters(again.model), parameters(whole.model))


@ASKED_BY_PEFT
def test_adapters_start_where_they_were_and_what_is_frozen_stays_so(tmp_path):
    from peft import LoraConfig, get_peft_model

    model = get_peft_model(bert(), LoraConfig(r=2, target_modules=["query"], task_type="SEQ_CLS"))
    for name, parameter in model.named_parameters():
        if "lora_A" in name:
            parameter.requires_grad_(False)
        if name.endswith("pooler.dense.weight"):
            parameter.requires_grad_(True)
    start = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    seen = {}

    class Watch(TrainerCallback):
        def on_train_begin(self, args, state, control, model=None, **kwargs):
            seen.update({name: tensor.clone() for name, tensor in model.state_dict().items()})

    run = trainer(tmp_path, "dcs", model, num_train_epochs=1)
    run.add_callback(Watch())
    run.train()
    assert all(torch.equal(seen[name], start[name]) for name in start)
    frozen = [name for name in start if "lora_A" in name]
    assert all(torch.equal(model.state_dict()[name], start[name]) for name in frozen)
    assert not torch.equal(parameters(model), torch.cat([start[n].flatten() for n, _ in model.named_parameters()]))


@ASKED_BY_PEFT
def test_the_best_teacher_with_adapters_has_learned(tmp_path):
    from peft import LoraConfig, get_peft_model

    model = get_peft_model(bert(), LoraConfig(r=2, target_modules=["query"], task_type="SEQ_CLS"))
    untrained = [model.eval()(input_ids=one["input_ids"][None]).logits[0].tolist() for one in samples()[:3]]
    config = {"teacher_select": "best"}
    run = trainer(tmp_path, config, model, dcs={"eval_dataset": samples(9, seed=2)}, num_train_epochs=3, learning_rate=2e-2)
    run.train()
    from safetensors.torch import load_file

    logits = next(iter(load_file(tmp_path / "teacher_logits.safetensors").values()))
    assert not torch.allclose(logits[:3], torch.tensor(untrained), atol=1e-3)


@ASKED_BY_PEFT
def test_generations_of_adapters_with_the_teacher_in_memory_go_on_exactly(tmp_path):
    from peft import LoraConfig, get_peft_model

    def run(resume=None):
        lora = LoraConfig(r=2, target_modules=["c_attn"], fan_in_fan_out=True, task_type="CAUSAL_LM", init_lora_weights=True)
        torch.manual_seed(1)
        changes = {"save_strategy": "steps", "save_steps": 4, "num_train_epochs": 1}
        made = trainer(tmp_path, {"generations": 2, "warmup_rounds": 0}, get_peft_model(gpt2(), lora), sentences(), **changes)
        made.train(resume_from_checkpoint=resume)
        return parameters(made.model)

    assert torch.equal(run(), run(str(tmp_path / "checkpoint-4")))


def test_training_data_can_be_evaluated(tmp_path):
    run = trainer(tmp_path, "plain")
    assert run.evaluate(run.train_dataset)["eval_loss"] == run.evaluate(samples())["eval_loss"]


def test_training_that_ends_before_a_round_says_so(tmp_path):
    run = trainer(tmp_path, "dcs", dcs={"teacher": bert(2)}, max_steps=2)
    with pytest.warns(SpectraWarning, match="ended before the first round"):
        run.train()


def test_losses_are_logged_in_the_steps_of_rounds_too(tmp_path):
    run = trainer(tmp_path, {"warmup_rounds": 0}, dcs={"teacher": bert(2)}, logging_steps=9)
    run.train()
    assert [entry["step"] for entry in run.state.log_history if "loss" in entry] == [9, 18, 27]
    assert [entry["step"] for entry in run.state.log_history if "dcs/eps" in entry] == [9, 18, 27]


class TestBadInput:
    @pytest.mark.parametrize(
        ("label", "message"),
        [
            ("pos", "sample 3 has the label 'pos', which is text"),
            (float("nan"), "sample 3 has the label nan, which is not finite"),
            (0.5, "sample 3 has the label 0.5, a fraction"),
            (2, "sample 3 has the label 2, and the model knows the classes 0 to 1"),
            (-1, "sample 3 has the label -1"),
        ],
    )
    def test_labels_that_cannot_be_are_refused_before_anything_is_trained(self, tmp_path, label, message):
        data = samples(9)
        data[3] = {**data[3], "labels": label}
        run = trainer(tmp_path, data=data)
        with pytest.raises(InputError, match=message):
            run.train()
        assert not (tmp_path / "teacher").exists()

    def test_texts_without_any_label_are_refused(self, tmp_path):
        data = [{**one, "labels": torch.full((6,), -100)} for one in sentences()]
        with pytest.raises(InputError, match="none of 24 samples.*-100"):
            trainer(tmp_path, model=gpt2(), data=data).train()

    def test_a_run_does_not_go_on_with_other_options(self, tmp_path):
        changes = {"save_strategy": "epoch", "num_train_epochs": 1}
        trainer(tmp_path, {"tau": 2.0}, **changes).train()
        with pytest.raises(ResultsError, match="began with tau = 2.0, and is to go on with 4.0"):
            trainer(tmp_path, {"tau": 4.0}, **changes).train(resume_from_checkpoint=True)

    def test_there_must_be_something_to_go_on_from(self, tmp_path):
        with pytest.raises(ResultsError, match="no checkpoint to go on from"):
            trainer(tmp_path).train(resume_from_checkpoint=True)
        with pytest.raises(ResultsError, match="there is no such checkpoint"):
            trainer(tmp_path).train(resume_from_checkpoint=str(tmp_path / "nowhere"))

    def test_options_in_the_wrong_place_are_named(self, tmp_path):
        with pytest.raises(InputError, match=r"lam: it is an option of DCS. Pass config=\{'lam': 0.3\}"):
            trainer(tmp_path, dcs={"lam": 0.3})
        with pytest.raises(InputError, match="lam: expected.*; eta: expected.*v_max|lam: expected.*eta: expected"):
            trainer(tmp_path, {"lam": 2, "eta": -1})

    @pytest.mark.parametrize(
        ("teacher", "message"),
        [(None, "expected 'finetune'"), ("nope", "there is no folder"), (".", "holds no model")],
    )
    def test_a_teacher_that_is_none_is_refused(self, tmp_path, teacher, message, monkeypatch):
        monkeypatch.chdir(tmp_path)
        with pytest.raises(InputError, match=message):
            trainer(tmp_path / "run", dcs={"teacher": teacher}).train()

    def test_generations_start_with_a_teacher_of_their_own(self, tmp_path):
        with pytest.raises(InputError, match="generations: the first teacher of several is trained here"):
            trainer(tmp_path, {"generations": 2}, dcs={"teacher": bert(1)})

    def test_packed_rows_are_refused(self, tmp_path):
        from transformers import TrainingArguments

        class Packing(TrainingArguments):
            packing = True

        from spectra.training.dcs import DCSTrainer

        with pytest.raises(InputError, match="packing: a row would hold several samples"):
            DCSTrainer(bert(), Packing(str(tmp_path), report_to=[]), train_dataset=samples())

    def test_data_that_are_drawn_anew_have_no_cached_teacher(self, tmp_path):
        class Noisy(torch.utils.data.Dataset):
            def __len__(self):
                return 8

            def __getitem__(self, index):
                return {"input_ids": torch.randint(5, 40, (6,)), "labels": index % 2}

        with pytest.raises(InputError, match="differ from look to look.*cache='off'"):
            trainer(tmp_path, data=Noisy(), dcs={"teacher": bert(1)}).train()
        trainer(tmp_path, {"cache": "off"}, data=Noisy(), dcs={"teacher": bert(1)}, num_train_epochs=1).train()

    def test_a_run_does_not_go_on_with_another_given_teacher(self, tmp_path):
        changes = {"save_strategy": "epoch", "num_train_epochs": 1}
        trainer(tmp_path, dcs={"teacher": bert(1)}, **changes).train()
        with pytest.raises(ResultsError, match="this run began with another one"):
            trainer(tmp_path, dcs={"teacher": bert(2)}, **changes).train(resume_from_checkpoint=True)

    def test_nor_with_one_that_is_asked_about_each_batch(self, tmp_path):
        changes = {"save_strategy": "epoch", "num_train_epochs": 1}
        trainer(tmp_path, {"cache": "off"}, dcs={"teacher": bert(1)}, **changes).train()
        with pytest.raises(ResultsError, match="this run began with another one"):
            trainer(tmp_path, {"cache": "off"}, dcs={"teacher": bert(2)}, **changes).train(resume_from_checkpoint=True)
        trainer(tmp_path, {"cache": "off"}, dcs={"teacher": bert(1)}, **changes).train(resume_from_checkpoint=True)

    def test_a_teacher_that_shares_parameters_is_refused(self, tmp_path):
        model, other = bert(), bert(1)
        other.bert = model.bert
        with pytest.raises(InputError, match="shares parameters with the student"):
            trainer(tmp_path, model=model, dcs={"teacher": other}).train()

    def test_weights_for_the_fisher_need_a_run(self, tmp_path):
        with pytest.raises(InputError, match="no weights before train"):
            trainer(tmp_path, {"weighted_fisher": True}).fisher()

    def test_data_without_order_are_refused(self, tmp_path):
        from torch.utils.data import IterableDataset

        class Stream(IterableDataset):
            def __iter__(self):
                yield from samples()

        with pytest.raises(InputError, match="index|length|iterable"):
            trainer(tmp_path, data=Stream())

    def test_a_loss_for_batches_is_refused(self, tmp_path):
        with pytest.raises(InputError, match="Pass sample_loss="):
            trainer(tmp_path, dcs={"compute_loss_func": lambda *_, **__: 0})

    def test_a_teacher_of_other_labels_is_refused(self, tmp_path):
        run = trainer(tmp_path, dcs={"teacher": bert(num_labels=3)})
        with pytest.raises(InputError, match="it knows 3 labels, the student 2"):
            run.train()
        named = bert(id2label={0: "no", 1: "yes"}, label2id={"no": 0, "yes": 1})
        other = bert(id2label={0: "yes", 1: "no"}, label2id={"yes": 0, "no": 1})
        run = trainer(tmp_path, model=named, dcs={"teacher": other})
        with pytest.raises(InputError, match="its labels are yes, no, the student's no, yes"):
            run.train()

    def test_going_on_with_other_data_is_refused(self, tmp_path):
        changes = {"save_strategy": "epoch", "num_train_epochs": 1}
        trainer(tmp_path, **changes).train()
        other = trainer(tmp_path, data=samples(seed=1), **changes)
        with pytest.raises(ResultsError, match="another training set"):
            other.train(resume_from_checkpoint=True)

    def test_going_on_without_the_teachers_answers_is_refused(self, tmp_path):
        changes = {"save_strategy": "epoch", "num_train_epochs": 1}
        trainer(tmp_path, **changes).train()
        (tmp_path / "teacher_logits.safetensors").unlink()
        with pytest.raises(ResultsError, match="answers of the teacher"):
            trainer(tmp_path, **changes).train(resume_from_checkpoint=True)

    def test_a_teacher_whose_logits_are_not_finite_is_refused(self, tmp_path):
        broken = bert(3)
        with torch.no_grad():
            broken.classifier.bias.fill_(float("inf"))
        run = trainer(tmp_path, dcs={"teacher": broken})
        with pytest.raises(InputError, match="teacher's answers about 8 samples are not finite, the first is sample 0"):
            run.train()

    def test_items_without_labels_are_refused(self, tmp_path):
        run = trainer(tmp_path, "plain", data=[{"input_ids": one["input_ids"]} for one in samples()])
        with pytest.raises(InputError, match="each item needs 'labels'"):
            run.train()

    def test_a_report_before_training_is_refused(self, tmp_path):
        with pytest.raises(InputError, match="before train"):
            trainer(tmp_path).report()
