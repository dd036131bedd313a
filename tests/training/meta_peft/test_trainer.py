from functools import partial

import pytest
import torch
from torch import nn
from transformers import TrainerCallback

from spectra.errors import InputError, ResultsError, SpectraWarning
from spectra.training.meta_peft import MetaPeftTrainer, RetrainedBase
from tests.dcs_runs import arguments, bert, samples
from tests.meta_peft_runs import Regression, ia3, lora, matrices, squared, state_of, tasks, trainer

WIDE = partial(bert, hidden_size=64, intermediate_size=64, num_hidden_layers=2)  # enough eigenvalues for a fit
METHODS = ("peft_ml", "standard", "reptile", "last_layer_ml")


def one_step(run, part=0):
    """The parts of the first step, and a trainer that is about to make it."""
    run.create_optimizer()
    run.model.zero_grad()
    return list(run.get_train_dataloader())[part]


class TestSteps:
    @pytest.mark.filterwarnings("ignore:reptile")
    @pytest.mark.parametrize("method", METHODS)
    def test_every_method_trains_the_base_and_leaves_a_plain_model(self, tmp_path, method):
        before = bert()
        run = trainer(tmp_path, method)

        run.train()
        base = run.retrained()

        assert list(base.model.state_dict()) == list(before.state_dict())
        assert not torch.equal(base.model.bert.pooler.dense.weight, before.bert.pooler.dense.weight)
        assert base.info.method == method

    @pytest.mark.filterwarnings("ignore:reptile")
    @pytest.mark.parametrize("method", METHODS)
    def test_the_loss_falls(self, tmp_path, method):
        run = trainer(tmp_path, method, num_train_epochs=12, learning_rate=5e-3)

        run.train()

        losses = [entry["loss"] for entry in run.state.log_history if "loss" in entry]
        assert sum(losses[-10:]) < 0.9 * sum(losses[:10])

    def test_joint_steps_go_round_until_each_task_is_seen_whole(self, tmp_path):
        run = trainer(tmp_path)
        parts = [part.task for step in run.get_train_dataloader() for part in step]

        assert parts == ["books", "dvd", "kitchen"] * 2 + ["books", "dvd", "books", "books"]
        run.train()
        assert run.state.global_step == len(parts)

    def test_the_schedule_of_the_learning_rate_counts_the_steps_of_all_tasks(self, tmp_path):
        run = trainer(tmp_path, learning_rate=1.0, lr_scheduler_type="linear")

        run.train()

        rates = [entry["learning_rate"] for entry in run.state.log_history if "learning_rate" in entry]
        assert rates == pytest.approx([1 - step / 10 for step in range(10)])

    @pytest.mark.parametrize("optimizer", ["adamw_torch", "sgd"])
    @pytest.mark.parametrize("config", [lora, ia3, None])
    def test_an_adapter_that_takes_no_part_does_not_move(self, tmp_path, config, optimizer):
        arguments = {"optim": optimizer, "weight_decay": 0.1, "learning_rate": 1e-2}
        arguments |= {"optim_args": "momentum=0.9"} if optimizer == "sgd" else {}
        run = trainer(
            tmp_path,
            "last_layer_ml" if config is None else "peft_ml",
            peft_config=None if config is None else config(),
            meta={"callbacks": [Watcher()]},
            **arguments,
        )
        watcher = next(one for one in run.callback_handler.callbacks if isinstance(one, Watcher))
        watcher.run = run

        run.train()

        assert watcher.num_compared == 2 * (10 - 1)  # all but the first step, the two others

    def test_with_fresh_adapters_the_loss_is_the_base_models(self, tmp_path):
        model = bert()
        rows = tasks()["books"]
        batch = {"input_ids": torch.stack([row["input_ids"] for row in rows])}
        model.eval()
        alone = model(**batch).logits
        run = trainer(tmp_path, model=model)

        for task in run.adapters.tasks:
            run.adapters.activate(task)
            run.model.eval()
            torch.testing.assert_close(run.model(**batch).logits, alone, rtol=0, atol=0)

    def test_gradients_of_the_tasks_of_a_step_are_summed(self, tmp_path):
        run = trainer(tmp_path, {"tasks_per_step": 3}, model=bert(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0))
        step = one_step(run)
        assert [part.task for part in step] == ["books", "dvd", "kitchen"]

        run.training_step(run.model, step)
        together = {name: p.grad.clone() for name, p in run.adapters.base_parameters().items() if p.grad is not None}
        total = dict.fromkeys(together, 0)
        for part in step:
            run.model.zero_grad()
            run.training_step(run.model, [part])
            for name, parameter in run.adapters.base_parameters().items():
                total[name] = total[name] + parameter.grad if parameter.grad is not None else total[name]

        for name, gradient in together.items():  # sums of three in float32, in the same order
            torch.testing.assert_close(gradient, total[name], rtol=1e-5, atol=1e-8)

    def test_rows_of_a_step_can_be_cut_into_batches(self, tmp_path):
        plain = {"model": bert(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)}
        whole = trainer(tmp_path, per_device_train_batch_size=8, **plain)
        cut = trainer(
            tmp_path,
            per_device_train_batch_size=2,
            gradient_accumulation_steps=4,
            model=bert(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0),
        )

        whole.train()
        cut.train()

        assert whole.state.global_step == cut.state.global_step
        ours, theirs = whole.retrained().model.state_dict(), cut.retrained().model.state_dict()
        for name, tensor in ours.items():  # Adam divides by the root of tiny squares: sums in another order show
            torch.testing.assert_close(tensor, theirs[name], rtol=1e-3, atol=1e-4)

    def test_alternating_steps_move_adapters_first_and_then_the_base(self, tmp_path):
        run = trainer(tmp_path, {"schedule": "alternating", "inner_steps": 2}, max_steps=3)
        watcher = Moves(run)
        run.add_callback(watcher)

        run.train()

        assert watcher.moved == [(False, True), (False, True), (True, False)]

    def test_all_tasks_are_there_whenever_the_base_moves(self, tmp_path):
        # Five batches of books, three of dvd and two of kitchen: dropped, two of the three would miss the base's steps.
        run = trainer(tmp_path, {"schedule": "alternating", "inner_steps": 4}, num_train_epochs=2)

        assert [len(step) for step in run.step_sampler()] == [3] * 5

    def test_equal_weights_scale_losses_by_batches(self, tmp_path):
        run = trainer(tmp_path, {"task_weighting": "equal"})

        assert run.factors == pytest.approx({"books": (10 / 3) / 5, "dvd": (10 / 3) / 3, "kitchen": (10 / 3) / 2})

    @pytest.mark.parametrize(
        ("options", "factors"),
        [
            ({"on_exhausted": "restart"}, {"books": 1.0, "dvd": 1.0, "kitchen": 1.0}),
            ({"sampling": "uniform"}, {"books": 1.0, "dvd": 1.0, "kitchen": 1.0}),
            ({"sampling": "proportional"}, {"books": 13 / 20, "dvd": 13 / 12, "kitchen": 13 / 7}),
        ],
    )
    def test_tasks_that_are_drawn_alike_count_alike(self, tmp_path, options, factors):
        assert trainer(tmp_path, {"task_weighting": "equal", **options}).factors == pytest.approx(factors)

    def test_what_evaluation_draws_changes_nothing(self, tmp_path):
        def probe(base):
            torch.manual_seed(0)
            return {"loss": float(torch.rand(()))}

        states = []
        for options in ({}, {"eval_strategy": "steps", "eval_steps": 2, "meta": {"eval_tasks": tasks(), "probe": probe}}):
            run = trainer(tmp_path, **options)
            run.train()
            states.append(state_of(run.model))

        one, other = states
        assert all(torch.equal(one[name], other[name]) for name in one)

    def test_a_loss_that_switches_adapters_off_moves_none_of_them(self, tmp_path):
        def loss(model, batch):
            with model.disable_adapter():
                base = model(batch["x"])
            return (model(batch["x"]) - base.detach() - batch["y"]).square().sum(dim=1).mean()

        config = {"schedule": "alternating", "inner_steps": 1}
        lone = lora(target_modules=["map"], task_type=None)
        run = trainer(tmp_path, config, Regression(), lone, matrices(), meta={"loss_fn": loss}, max_steps=4)
        watcher = Moves(run)
        run.add_callback(watcher)
        run.train()

        assert [moved[1] for moved in watcher.moved] == [True, False, True, False]

    def test_adapters_have_their_own_learning_rate(self, tmp_path):
        run = trainer(tmp_path, {"adapter_lr": 0.0}, num_train_epochs=1)
        before = {name: p.detach().clone() for name, p in run.adapters.task_parameters("books").items()}

        run.train()

        after = run.adapters.task_parameters("books")
        assert all(torch.equal(before[name], after[name]) for name in before)

    def test_only_what_matches_is_retrained(self, tmp_path):
        before = bert().state_dict()
        run = trainer(tmp_path, {"base_trainable": r"\.value\."})

        run.train()

        after = run.retrained().model.state_dict()
        moved = {name for name in before if not torch.equal(before[name], after[name])}
        assert moved == {name for name in before if ".value." in name}

    def test_an_offloaded_run_is_the_same(self, tmp_path):
        states = []
        for config in (None, {"adapter_offload": "cpu"}):
            run = trainer(tmp_path, config, eval_strategy="epoch", meta={"eval_tasks": tasks()})
            run.train()
            states.append(state_of(run.model))

        one, other = states
        assert all(torch.equal(one[name], other[name]) for name in one)


class TestStandard:
    def test_without_adapters_it_is_plain_training_in_the_same_order_bit_for_bit(self, tmp_path):
        from transformers import Trainer

        still = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}  # loaders draw, too
        run = trainer(tmp_path, "standard", model=bert(**still), num_train_epochs=2)
        steps = [part.batches[0].inputs for step in epochs(run, 2) for part in step]
        run.train()
        plain = Trainer(bert(**still), arguments(tmp_path, num_train_epochs=1), train_dataset=[None] * len(steps))
        plain.get_train_dataloader = lambda: steps
        plain.train()

        ours, theirs = run.model.state_dict(), plain.model.state_dict()
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)

    def test_adapters_that_are_held_still_leave_standard_retraining(self, tmp_path):
        """With B = 0, and a rate of 0 for adapters, gradients of the base are those without adapters."""
        options = {"head": "shared"}
        with_adapters = trainer(tmp_path, {**options, "adapter_lr": 0.0}, peft_config=lora(task_type=None), max_grad_norm=0.0)
        with_adapters.train()
        without = trainer(tmp_path, {**options, "method": "standard"}, max_grad_norm=0.0)
        without.train()

        ours, theirs = with_adapters.retrained().model.state_dict(), without.retrained().model.state_dict()
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


class TestReptile:
    def test_an_outer_step_of_sgd_goes_a_share_of_the_way(self, tmp_path):
        data = matrices((6, 6))
        run = trainer(
            tmp_path,
            {"method": "reptile", "inner_steps": 3, "inner_lr": 0.1},
            model=Regression(),
            data=data,
            meta={"loss_fn": squared},
            optim="sgd",
            learning_rate=1.0,
            per_device_train_batch_size=2,
            max_steps=1,
            lr_scheduler_type="constant",
        )
        start = run.model.map.weight.detach().clone()
        part = next(iter(run.get_train_dataloader()))[0]
        other = Regression()
        other.map.weight.data.copy_(start)
        optimizer = torch.optim.AdamW(other.parameters(), lr=0.1, weight_decay=0.0)
        for batch in part.batches:
            optimizer.zero_grad()
            squared(other, batch.inputs).backward()
            nn.utils.clip_grad_norm_(other.parameters(), 1.0)
            optimizer.step()

        run.train()

        assert len(part.batches) == 3
        torch.testing.assert_close(run.model.map.weight, start + (other.map.weight - start) / 2)


class TestEvaluation:
    def test_each_task_is_evaluated_with_its_own_adapter(self, tmp_path):
        data = tasks()
        run = trainer(tmp_path, meta={"eval_tasks": data}, num_train_epochs=2)
        run.train()

        metrics = run.evaluate()

        run.model.eval()
        losses = {}
        for task, rows in data.items():
            run.adapters.activate(task)
            batch = {"input_ids": torch.stack([row["input_ids"] for row in rows])}
            labels = torch.tensor([row["labels"] for row in rows])
            losses[task] = float(nn.functional.cross_entropy(run.model(**batch).logits.detach(), labels))
        # Means of batches of 8, of which the last is shorter: Trainer weighs rows alike
        assert {task: metrics[f"eval_{task}_loss"] for task in data} == pytest.approx(losses, rel=1e-5)
        assert metrics["eval_loss"] == pytest.approx(sum(losses.values()) / 3, rel=1e-5)

    def test_the_best_base_is_kept(self, tmp_path):
        run = trainer(
            tmp_path,
            meta={"eval_tasks": tasks()},
            num_train_epochs=4,
            eval_strategy="epoch",
            save_strategy="epoch",
            load_best_model_at_end=True,
            metric_for_best_model="loss",
        )
        run.train()

        history = [entry["eval_loss"] for entry in run.state.log_history if "eval_loss" in entry]
        assert run.evaluate()["eval_loss"] == pytest.approx(min(history), rel=1e-6)
        assert run.retrained().info.selected_by == "loss"

    def test_a_probe_can_choose_the_base(self, tmp_path):
        asked = []

        def probe(base):
            asked.append(base)
            return {"accuracy": -float(len(asked))}

        run = trainer(
            tmp_path,
            meta={"eval_tasks": tasks(), "probe": probe},
            num_train_epochs=3,
            eval_strategy="epoch",
            save_strategy="epoch",
            load_best_model_at_end=True,
            metric_for_best_model="probe_accuracy",
            greater_is_better=True,
        )
        run.train()

        assert len(asked) == 3
        assert isinstance(asked[0], RetrainedBase)
        assert [base.info.num_steps for base in asked] == [10, 20, 30]
        assert run.retrained().info.num_steps == 10  # the first epoch was the best
        run.save_model(str(tmp_path / "best"))
        assert RetrainedBase.load(tmp_path / "best").info == run.retrained().info

    def test_workers_that_stay_have_the_rows_of_each_task(self, tmp_path):
        data = tasks()
        run = trainer(tmp_path, dataloader_num_workers=1, dataloader_persistent_workers=True, meta={"eval_tasks": data})
        plain = trainer(tmp_path, meta={"eval_tasks": data}).evaluate()

        for found in (run.evaluate(), run.evaluate(data)):
            assert {name: found[name] for name in plain if "loss" in name} == pytest.approx(
                {name: value for name, value in plain.items() if "loss" in name}
            )

    def test_each_task_is_predicted_with_its_own_adapter(self, tmp_path):
        run = trainer(tmp_path, num_train_epochs=3)
        run.train()
        rows = samples(4)

        found = run.predict({"books": rows, "dvd": rows})

        run.adapters.activate("dvd")
        run.model.eval()
        alone = run.model(input_ids=torch.stack([row["input_ids"] for row in rows])).logits
        torch.testing.assert_close(torch.tensor(found["dvd"].predictions), alone.detach())
        assert not (found["books"].predictions == found["dvd"].predictions).all()
        with pytest.raises(InputError, match="test_dataset: expected rows by task"):
            run.predict(rows)

    def test_metrics_that_would_share_a_name_are_refused(self, tmp_path):
        data = tasks({"x": 8, "x_y": 8})
        run = trainer(tmp_path, data=data, meta={"eval_tasks": data, "compute_metrics": lambda found: {"y_loss": 0.0}})

        with pytest.raises(InputError, match="two metrics are called 'eval_x_y_loss'"):
            run.evaluate()

    def test_a_probe_must_return_metrics(self, tmp_path):
        run = trainer(tmp_path, meta={"eval_tasks": tasks(), "probe": lambda base: 0.5})

        with pytest.raises(InputError, match="probe: expected metrics by name, such as .* got float"):
            run.evaluate()

    def test_unknown_tasks_cannot_be_evaluated(self, tmp_path):
        run = trainer(tmp_path)

        with pytest.raises(InputError, match="eval_tasks: expected rows by task; tasks are books, dvd, kitchen"):
            run.evaluate({"music": samples(4)})
        with pytest.raises(InputError, match="eval_tasks: expected rows by task"):
            run.evaluate()


class TestCheckpoints:
    @pytest.mark.parametrize(
        ("config", "peft_config"),
        [
            (None, lora(lora_dropout=0.2)),
            (None, ia3()),
            ({"schedule": "alternating", "inner_steps": 1}, lora()),
            ({"tasks_per_step": 2}, lora()),
            ({"sampling": "temperature", "temperature": 2.0}, lora()),
            ("standard", None),
            ("last_layer_ml", None),
            ({"method": "reptile", "inner_steps": 2}, None),
            ({"tempbalance": {"policy": "recommended", "interval": 2}}, lora()),
        ],
    )
    def test_a_resumed_run_equals_an_uninterrupted_one(self, tmp_path, config, peft_config):
        options = {"num_train_epochs": 2, "save_strategy": "steps", "save_steps": 3}
        whole = trainer(tmp_path / "whole", config, WIDE(), peft_config, **options)
        whole.train()
        again = trainer(tmp_path / "again", config, WIDE(), peft_config, **options)

        again.train(str(tmp_path / "whole" / "checkpoint-3"))

        one, other = state_of(whole.model), state_of(again.model)
        assert all(torch.equal(one[name], other[name]) for name in one)

    def test_a_checkpoint_loads_with_plain_from_pretrained(self, tmp_path):
        from transformers import AutoModelForSequenceClassification

        run = trainer(tmp_path, save_strategy="epoch")
        run.train()

        loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path / "checkpoint-10")
        base = RetrainedBase.load(tmp_path / "checkpoint-10")

        assert base.info == run.retrained().info
        assert all(torch.equal(base.model.state_dict()[name], tensor) for name, tensor in loaded.state_dict().items())
        ours = run.retrained().model.state_dict()
        assert all(torch.equal(ours[name], tensor) for name, tensor in loaded.state_dict().items())

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"config": "last_layer_ml"}, "began with method = 'peft_ml'"),
            ({"data": tasks({"books": 20, "dvd": 12})}, "its tasks are books, dvd, kitchen"),
            ({"data": tasks({"books": 20, "dvd": 12, "kitchen": 8})}, "task 'kitchen' had other rows"),
        ],
    )
    def test_another_run_does_not_go_on(self, tmp_path, changes, message):
        trainer(tmp_path, save_strategy="epoch").train()

        with pytest.raises(ResultsError, match=message):
            trainer(tmp_path / "other", **changes).train(str(tmp_path / "checkpoint-10"))

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"seed": 7}, "began with seed = 42, and is to go on with 7"),
            ({"per_device_train_batch_size": 2}, "began with rows of a task in a step = 4"),
            ({"peft_config": lora(lora_alpha=3)}, "began with peft_config"),
        ],
    )
    def test_a_run_with_other_arguments_does_not_go_on(self, tmp_path, options, message):
        trainer(tmp_path, save_strategy="epoch").train()

        with pytest.raises(ResultsError, match=message):
            trainer(tmp_path / "other", **options).train(str(tmp_path / "checkpoint-10"))

    def test_rows_that_are_drawn_can_be_saved_and_gone_on_with(self, tmp_path):
        class Noisy(list):
            def __getitem__(self, place):
                row = super().__getitem__(place)
                return row | {"input_ids": row["input_ids"].clamp(max=int(torch.randint(30, 40, ())))}

        states = []
        for options in ({}, {"save_strategy": "steps", "save_steps": 2}):
            run = trainer(tmp_path, data={name: Noisy(rows) for name, rows in tasks().items()}, **options)
            run.train()
            states.append(state_of(run.model))

        assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
        trainer(tmp_path, data={name: Noisy(rows) for name, rows in tasks().items()}).train(str(tmp_path / "checkpoint-4"))


class TestTempBalance:
    def test_the_base_is_balanced_by_its_own_spectra(self, tmp_path):
        run = trainer(tmp_path, {"tempbalance": {"policy": "recommended", "interval": 3}}, WIDE())
        run.train()

        last = [entry for entry in run.state.log_history if "tempbalance/updates" in entry][-1]
        assert last["tempbalance/updates"] >= 2
        assert any(name.startswith("tempbalance/scale/bert.encoder") for name in last)

    @pytest.mark.parametrize("config", [lora, ia3])
    def test_adapters_are_in_no_unit(self, tmp_path, config):
        from spectra.training.parameter_groups import group_unit

        run = trainer(tmp_path, {"tempbalance": "recommended"}, peft_config=config())
        run.create_optimizer()

        own = {id(p) for task in run.adapters.tasks for p in run.adapters.task_parameters(task).values()}
        units = {group_unit(group) for group in run.optimizer.param_groups for p in group["params"] if id(p) in own}
        assert units == {""}


class TestPlans:
    def test_adapters_can_have_the_ranks_of_a_plan(self, tmp_path):
        import spectra

        ranks = spectra.plan(spectra.analyze(WIDE()), policy="adapter-rank", mean_rank=3, max_rank=6)
        run = trainer(tmp_path, None, WIDE(), lora(**ranks.lora_arguments()))
        run.train()

        shapes = {name: p.shape[0] for name, p in run.adapters.task_parameters("dvd").items() if "lora_A" in name}
        found = {name.removeprefix("base_model.model.").split(".lora_A")[0]: rank for name, rank in shapes.items()}
        assert found == dict(ranks.values)
        assert len(set(found.values())) > 1


class TestFaults:
    @pytest.mark.parametrize(
        ("data", "message"),
        [
            (samples(8), "tasks: expected rows by task, such as"),
            ({"books": samples(8)}, "at least 2, better 3 or more; got 1"),
            ({"books": samples(8), "dvd": []}, "tasks: 'dvd' has no rows"),
            ({"books": samples(8), "dvd": iter(samples(8))}, "tasks: the rows of 'dvd' need a length and places"),
            ({"books": samples(8), "dvd.": samples(8)}, "'dvd.' cannot name an adapter"),
        ],
    )
    def test_tasks_that_cannot_be_are_refused(self, tmp_path, data, message):
        with pytest.raises(InputError, match=message):
            trainer(tmp_path, data=data)

    @pytest.mark.parametrize(
        ("meta", "message"),
        [
            ({"train_dataset": samples(8)}, "train_dataset: pass tasks="),
            ({"eval_dataset": samples(8)}, "eval_dataset: pass eval_tasks="),
            ({"compute_loss_func": len}, "compute_loss_func: pass loss_fn="),
            ({"eval_tasks": {"music": samples(8)}}, "eval_tasks: 'music' is no task"),
            ({"eval_tasks": samples(8)}, "eval_tasks: expected rows by task"),
            ({"eval_tasks": {"books": []}}, "eval_tasks: 'books' has no rows"),
            ({"optimizers": (object(), None)}, "optimizers: adapters are made here"),
            ({"probe": 3}, "probe: expected a function, got int"),
            ({"loss_fn": "mse"}, "loss_fn: expected a function, got str"),
            ({"loss_fn": squared, "compute_metrics": len}, "compute_metrics with loss_fn"),
            ({"compute_metric": len}, "unknown argument 'compute_metric'. Did you mean 'compute_metrics'"),
        ],
    )
    def test_what_a_plain_trainer_takes_is_pointed_elsewhere(self, tmp_path, meta, message):
        with pytest.raises(InputError, match=message):
            trainer(tmp_path, meta=meta)

    def test_arguments_and_an_adapter_are_needed(self, tmp_path):
        with pytest.raises(InputError, match="args: expected TrainingArguments"):
            MetaPeftTrainer(bert(), lora(), tasks())
        with pytest.raises(InputError, match="peft_config: 'peft_ml' needs one"):
            MetaPeftTrainer(bert(), None, tasks(), arguments(tmp_path))

    @pytest.mark.parametrize(
        ("config", "options", "message"),
        [
            (None, {"eval_strategy": "epoch"}, "eval_strategy is 'epoch', and there are no eval_tasks"),
            (None, {"dataloader_drop_last": True}, "dataloader_drop_last: short batches are trained on"),
            (None, {"train_sampling_strategy": "group_by_length"}, "not by 'group_by_length'"),
            (None, {"data_seed": -1}, "data_seed: expected a whole number of at least 0, got -1"),
            ({"tasks_per_step": 4}, {}, "tasks_per_step is 4, and there are 3 tasks"),
            ({"schedule": "alternating", "tasks_per_step": 1}, {}, "'alternating' takes all tasks in a step"),
            ({"schedule": "alternating", "on_exhausted": "drop"}, {}, "on_exhausted: 'alternating' takes all tasks in a step"),
            (
                {"task_weighting": "equal", "sampling": "uniform", "tasks_per_step": 2},
                {},
                "'equal' takes one task in a step, or all",
            ),
            ({"tempbalance": "recomended"}, {}, "Did you mean 'recommended'"),
        ],
    )
    def test_options_that_do_not_go_together_are_refused_before_anything_is_changed(self, tmp_path, config, options, message):
        model = bert()

        with pytest.raises(InputError, match=message):
            trainer(tmp_path, config, model, **options)
        assert list(model.state_dict()) == list(bert().state_dict())

    def test_a_model_and_its_loss_are_needed(self, tmp_path):
        with pytest.raises(InputError, match="model: expected a module, got str"):
            trainer(tmp_path, model="bert")
        with pytest.raises(InputError, match="loss_fn: a Regression does not know its loss"):
            trainer(tmp_path, model=Regression(), data=matrices())

    def test_a_loss_by_row_is_refused(self, tmp_path):
        loss = {"loss_fn": lambda model, batch: model(batch["x"]).sum(dim=1)}
        run = trainer(tmp_path, None, Regression(), lora(target_modules=["map"], task_type=None), matrices(), meta=loss)

        with pytest.raises(InputError, match="loss_fn: expected one number, the mean over the batch"):
            run.train()

    def test_a_run_in_which_the_base_would_never_move_is_refused(self, tmp_path):
        run = trainer(tmp_path, {"schedule": "alternating"}, max_steps=10)

        with pytest.raises(InputError, match="the base moves after 10 steps of the adapters, and the run has 10 in all"):
            run.train()

    def test_the_name_of_the_probe_is_taken(self, tmp_path):
        with pytest.raises(InputError, match="a task is called 'probe'"):
            trainer(tmp_path, data=tasks({"probe": 8, "dvd": 8}), meta={"probe": len})

    def test_paths_are_no_rows(self, tmp_path):
        with pytest.raises(InputError, match="tasks: 'books' is a path. Read the rows first"):
            trainer(tmp_path, data={"books": "books.csv", "dvd": samples(4)})

    def test_a_batch_of_no_task_is_refused(self, tmp_path):
        run = trainer(tmp_path)
        mixed = {"input_ids": torch.zeros(2, 4, dtype=torch.long), "adapter_names": ["books", "dvd"]}

        with pytest.raises(InputError, match="a batch must be of one task"):
            run.training_step(run.model, mixed)
        with pytest.raises(InputError, match="adapter_names: a batch must be of one task"):
            run.compute_loss(run.model, mixed)

    def test_tasks_too_short_for_all_inner_steps_of_reptile_are_told(self, tmp_path):
        config = {"method": "reptile", "inner_steps": 3}
        data = tasks({"books": 12, "dvd": 5})

        with pytest.warns(SpectraWarning, match="1 task of 2 cannot take all 3 inner steps, such as 'dvd' with 2 batches"):
            trainer(tmp_path, config, data=data, per_device_train_batch_size=4)

    def test_reptile_cannot_accumulate(self, tmp_path):
        with pytest.raises(InputError, match="reptile: its steps on a task are steps of their own"):
            trainer(tmp_path, "reptile", gradient_accumulation_steps=2)


def epochs(run, number):
    loader = run.get_train_dataloader()
    for epoch in range(number):
        loader.set_epoch(epoch)
        yield from loader


class Watcher(TrainerCallback):
    """Compares parameters and optimizer state of other tasks before and after each step."""

    num_compared = 0
    run = None

    def on_pre_optimizer_step(self, args, state, control, **kwargs):
        self.before = {task: self.of(task) for task in self.run.adapters.tasks}

    def on_optimizer_step(self, args, state, control, **kwargs):
        for task in self.run.adapters.tasks:
            if task != self.run.adapters.active:
                after = self.of(task)
                assert all(torch.equal(one, other) for one, other in zip(self.before[task], after, strict=True))
                self.num_compared += state.global_step > 0

    def of(self, task):
        found = []
        for parameter in self.run.adapters.task_parameters(task).values():
            state = self.run.optimizer.state.get(parameter, {})
            found += [parameter.detach().clone(), *(v.clone() for v in state.values() if isinstance(v, torch.Tensor))]
        return found


class Moves(TrainerCallback):
    """Notes whether base and adapters have moved in each step."""

    def __init__(self, run):
        self.run, self.moved, self.last = run, [], None

    def on_step_begin(self, args, state, control, **kwargs):
        self.last = self.now()

    def on_step_end(self, args, state, control, **kwargs):
        now = self.now()
        self.moved.append(
            tuple(any(not torch.equal(*pair) for pair in zip(*both, strict=True)) for both in zip(self.last, now, strict=True))
        )

    def now(self):
        adapters = self.run.adapters
        base = [p.detach().clone() for p in adapters.base_parameters().values()]
        own = [p.detach().clone() for task in adapters.tasks for p in adapters.task_parameters(task).values()]
        return base, own
