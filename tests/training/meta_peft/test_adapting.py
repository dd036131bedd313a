import warnings

import pytest
import torch
from peft import IA3Config, LoraConfig, PeftModel, PromptTuningConfig, get_peft_model
from torch import nn

from spectra.errors import InputError, SpectraWarning
from spectra.training.libraries import quiet
from spectra.training.meta_peft.adapting import adapt, adaptation_trainer
from spectra.training.meta_peft.retrained import RetrainedBase, RetrainingInfo
from tests.dcs_runs import arguments, bert, samples
from tests.meta_peft_runs import distilbert

ROWS = torch.stack([row["input_ids"] for row in samples(4)])


def lora(**options):
    return LoraConfig(**{"r": 2, "target_modules": ["query", "value"], "task_type": "SEQ_CLS", **options})


def ia3():
    return IA3Config(target_modules=["key"], feedforward_modules=[], task_type="SEQ_CLS")


def prompts():
    return PromptTuningConfig(task_type="SEQ_CLS", num_virtual_tokens=3)


def base(rank=1, model=None, **changes):
    options = {"method": "peft_ml", "tasks": ("cola", "rte"), "ranks": {"cola": rank, "rte": 1}, "peft_type": "LORA"}
    options |= {"head": "per_task", "head_modules": ("classifier",), "num_steps": 1, "selected_by": "last"}
    return RetrainedBase(bert().eval() if model is None else model, RetrainingInfo(**(options | changes)))


def made(source, config, folder, **options):
    return adaptation_trainer(source, samples(8), config, arguments(folder, num_train_epochs=1), **options)


def adapted(source, config, folder, **options):
    return adapt(source, samples(8), config, arguments(folder, num_train_epochs=2), **options)


def trained(model):
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


class Line(nn.Module):
    def __init__(self):
        super().__init__()
        self.map = nn.Linear(3, 3, bias=False)

    def forward(self, x):
        return self.map(x)


def lines(number=8):
    generator = torch.Generator().manual_seed(0)
    return [{"x": torch.randn(3, generator=generator), "y": torch.zeros(3)} for _ in range(number)]


def squared(model, batch):
    return (model(batch["x"]) - batch["y"]).square().mean()


def images():
    """With batch norm in the base, and in the head."""
    torch.manual_seed(0)
    head = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(16), nn.Linear(16, 2))
    return nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), head)


def classes(model, batch):
    return nn.functional.cross_entropy(model(batch["x"]), batch["y"])


class TestWhatIsTrained:
    @pytest.mark.parametrize("config", [lora, ia3, prompts, lambda: None])
    def test_the_base_does_not_move_and_adapter_and_head_do(self, tmp_path, config):
        source = base()
        before = {key: one.clone() for key, one in source.model.state_dict().items()}
        trainer = made(source, config(), tmp_path, head="keep")
        start = {key: one.clone() for key, one in trainer.model.state_dict().items()}
        names = trained(trainer.model)

        trainer.train()

        end = trainer.model.state_dict()
        moved = {key for key in end if not torch.equal(end[key], start[key])}
        assert moved <= names
        assert {"weight", "bias"} <= {name.rpartition(".")[2] for name in moved if "classifier" in name}
        assert len(moved) > 2 or config() is None
        assert all(torch.equal(one, before[key]) for key, one in source.model.state_dict().items())

    def test_without_a_method_the_head_alone_is_trained(self, tmp_path):
        trainer = made(base(), None, tmp_path)

        assert trainer.model.get_nb_trainable_parameters()[0] == 2 * 16 + 2
        assert isinstance(trainer.model, PeftModel)

    def test_without_a_head_the_adapter_alone_is(self, tmp_path):
        trainer = made(base(), lora(), tmp_path, head="none")

        assert trainer.model.get_nb_trainable_parameters()[0] == 2 * 2 * (16 + 16)
        assert not any("classifier" in name for name in trained(trainer.model))

    def test_biases_that_the_configuration_asks_for_are_trained(self, tmp_path):
        trainer = made(base(), lora(bias="lora_only"), tmp_path)

        assert any(name.endswith("query.base_layer.bias") for name in trained(trainer.model))

    def test_where_retraining_had_no_head_there_is_none(self, tmp_path):
        trainer = made(base(head="none", head_modules=()), lora(), tmp_path)

        assert not any("classifier" in name for name in trained(trainer.model))

    def test_dora_is_a_way_to_adapt(self, tmp_path):
        model = adapted(base(), lora(use_dora=True), tmp_path)

        assert any("magnitude" in name for name in trained(model))

    @pytest.mark.parametrize("config", [lambda: LoraConfig(r=2, target_modules=["0"]), lambda: None], ids=["lora", "head"])
    def test_running_statistics_of_the_base_stay_and_those_of_the_head_move(self, tmp_path, config):
        source = images()
        before = {key: one.clone() for key, one in source.state_dict().items()}
        generator = torch.Generator().manual_seed(0)
        rows = [{"x": 3 * torch.randn(2, 4, 4, generator=generator) + 1, "y": torch.tensor(n % 2)} for n in range(8)]

        model = adapt(source, rows, config(), arguments(tmp_path), loss_fn=classes, head_modules=["3"])

        after = model.get_base_model()
        assert all(torch.equal(one, before[f"1.{key}"]) for key, one in after[1].state_dict().items())
        assert not torch.equal(after[3].get_submodule("modules_to_save.default.1").running_mean, before["3.1.running_mean"])
        model.save_pretrained(tmp_path / "adapter")
        x = torch.stack([row["x"] for row in rows])
        with quiet():
            again = PeftModel.from_pretrained(source, tmp_path / "adapter").eval()
        assert torch.equal(again(x), model(x))

    def test_a_module_without_a_head_is_adapted_without_one(self, tmp_path):
        trainer = adaptation_trainer(
            Line(), lines(), LoraConfig(r=1, target_modules=["map"]), arguments(tmp_path), loss_fn=squared
        )

        assert trainer.model.get_nb_trainable_parameters()[0] == 6


class TestStart:
    def test_a_fresh_head_is_another_for_another_seed_and_a_kept_one_that_of_the_base(self, tmp_path):
        def head(**options):
            seed = options.pop("seed", 3)
            trainer = adaptation_trainer(base(), samples(8), lora(), arguments(tmp_path, seed=seed), **options)
            return trainer.model.get_base_model().classifier.weight

        assert torch.equal(head(head="keep"), base().model.classifier.weight)
        assert torch.equal(head(), head(head="fresh"))
        assert not torch.equal(head(), head(head="keep"))
        assert not torch.equal(head(), head(seed=4))

    def test_a_head_of_two_modules_is_drawn_anew_and_trained_whole(self, tmp_path):
        source = distilbert()
        trainer = made(source, lora(target_modules=["q_lin"]), tmp_path)

        of_head = {name for name in trained(trainer.model) if "classifier" in name}
        assert {name.split(".")[2] for name in of_head} == {"pre_classifier", "classifier"}
        model = trainer.model.get_base_model()
        for name in ("pre_classifier", "classifier"):
            assert not torch.equal(model.get_submodule(name).weight, source.get_submodule(name).weight)

    def test_an_adapter_starts_from_the_seed(self, tmp_path):
        def start(seed):
            trainer = adaptation_trainer(base(), samples(8), lora(), arguments(tmp_path, seed=seed))
            return torch.cat([one.flatten() for name, one in trainer.model.named_parameters() if "lora_A" in name])

        assert torch.equal(start(1), start(1))
        assert not torch.equal(start(1), start(2))

    def test_a_kept_head_and_a_new_adapter_compute_what_the_base_does(self, tmp_path):
        trainer = made(base(), lora(), tmp_path, head="keep")

        assert torch.equal(trainer.model.eval()(input_ids=ROWS).logits, base().model(input_ids=ROWS).logits)

    def test_a_fresh_head_may_have_more_labels(self, tmp_path):
        model = adapted(base(), lora(), tmp_path, num_labels=3)

        assert model(input_ids=ROWS).logits.shape == (4, 3)
        assert bert().config.num_labels == 2


class TestSources:
    def test_a_base_a_model_and_folders_of_them_adapt_alike(self, tmp_path):
        base().save(tmp_path / "retrained")
        with quiet():
            bert().save_pretrained(tmp_path / "pretrained")
        sources = [base(), bert(), tmp_path / "retrained", str(tmp_path / "pretrained")]

        states = [adapted(source, lora(), tmp_path / "run").state_dict() for source in sources]

        assert all(torch.equal(state[key], states[0][key]) for state in states[1:] for key in states[0])

    def test_the_method_of_a_base_is_the_function(self, tmp_path):
        options = arguments(tmp_path, num_train_epochs=1)

        one, other = base().adapt(samples(8), lora(), options), adapt(base(), samples(8), lora(), options)

        assert all(torch.equal(one.state_dict()[key], other.state_dict()[key]) for key in one.state_dict())
        assert not one.training

    def test_what_peft_saves_it_loads(self, tmp_path):
        model = adapted(base(), lora(), tmp_path / "run")

        model.save_pretrained(tmp_path / "adapter", save_embedding_layers=False)

        with quiet():
            again = PeftModel.from_pretrained(bert(), tmp_path / "adapter").eval()
        assert torch.equal(again(input_ids=ROWS).logits, model(input_ids=ROWS).logits)

    def test_the_configuration_is_not_changed(self, tmp_path):
        config = lora(target_modules="all-linear")
        before = config.to_dict()

        made(base(), config, tmp_path)

        assert config.to_dict() == before


class TestLoss:
    def test_a_function_of_model_and_batch_is_minimised(self, tmp_path):
        model = Line()
        options = {"num_train_epochs": 20, "learning_rate": 0.1, "gradient_accumulation_steps": 2}
        trainer = adaptation_trainer(
            model,
            lines(),
            LoraConfig(r=3, target_modules=["map"]),
            arguments(tmp_path, **options),
            loss_fn=squared,
            eval_dataset=lines(),
        )
        before = trainer.evaluate()["eval_loss"]

        trainer.train()

        assert before == pytest.approx(squared(model, {key: torch.stack([r[key] for r in lines()]) for key in "xy"}).item())
        assert trainer.evaluate()["eval_loss"] < before / 2

    def test_accumulated_steps_take_the_mean_of_the_batches(self, tmp_path):
        """Two batches of four, as one of eight."""

        def after(**options):
            trainer = adaptation_trainer(
                start,
                lines(),
                LoraConfig(r=3, target_modules=["map"]),
                arguments(tmp_path, num_train_epochs=1, optim="sgd", **options),
                loss_fn=squared,
            )
            trainer.train()
            return torch.cat([one.flatten() for one in trainer.model.parameters()])

        torch.manual_seed(0)
        start = Line()
        whole = after(per_device_train_batch_size=8)
        parts = after(per_device_train_batch_size=4, gradient_accumulation_steps=2)
        torch.testing.assert_close(parts, whole)

    def test_the_models_own_loss_is_evaluated_with_metrics(self, tmp_path):
        trainer = made(
            base(),
            lora(),
            tmp_path,
            eval_dataset=samples(8),
            compute_metrics=lambda found: {"accuracy": float((found.predictions.argmax(-1) == found.label_ids).mean())},
        )

        assert set(trainer.evaluate()) >= {"eval_loss", "eval_accuracy"}

    def test_metrics_beside_a_function_are_refused(self, tmp_path):
        with pytest.raises(InputError, match="compute_metrics with loss_fn"):
            made(base(), lora(), tmp_path, loss_fn=squared, compute_metrics=lambda found: {})


class TestRank:
    def test_a_rank_below_that_of_retraining_is_warned_of_once(self, tmp_path):
        with pytest.warns(SpectraWarning, match="rank 2 on a base that was retrained with rank 3") as found:
            adapted(base(rank=3), lora(r=2), tmp_path)
        assert len([one for one in found if issubclass(one.category, SpectraWarning)]) == 1

    def test_a_rank_by_layer_counts_where_it_is_largest(self, tmp_path):
        by_layer = lora(r=1, rank_pattern={"query": 2, "value": 2})
        with warnings.catch_warnings():
            warnings.simplefilter("error", SpectraWarning)
            made(base(rank=2), by_layer, tmp_path)
        with pytest.warns(SpectraWarning, match="rank 2 on a base that was retrained with rank 3"):
            made(base(rank=3), by_layer, tmp_path)

    @pytest.mark.parametrize(("rank", "config"), [(2, lora), (None, lora), (8, ia3), (8, lambda: None)])
    def test_no_other_is(self, tmp_path, rank, config):
        source = base(ranks={"cola": rank, "rte": None})
        with warnings.catch_warnings():
            warnings.simplefilter("error", SpectraWarning)
            made(source, config(), tmp_path)


class TestRefusals:
    def refuse(self, match, folder, source=None, config=None, **options):
        with pytest.raises(InputError, match=match):
            made(base() if source is None else source, config, folder, **options)

    @pytest.mark.parametrize(
        ("given", "match"),
        [
            ({"args": None}, "args: expected TrainingArguments, got NoneType"),
            ({"args": {"seed": 1}}, "args: expected TrainingArguments, got dict"),
            ({"peft_config": "lora"}, "peft_config: expected one of peft, such as LoraConfig.r=8., or None, got str"),
            ({"peft_config": {"cola": lora()}}, "peft_config: expected one of peft.*got dict"),
            ({"dataset": []}, "dataset: there are no rows"),
            ({"dataset": None}, "dataset: expected the rows of a task, got NoneType"),
            (
                {"dataset": {"cola": samples(2)}},
                "dataset: expected the rows of a task, got dict. Give those of one",
            ),
            ({"dataset": "rows.tsv"}, "dataset: 'rows.tsv' is a path. Read the rows first"),
            ({"num_labels": 0}, "num_labels: expected a whole number of at least 1, got 0"),
            ({"num_labels": 2.0}, "num_labels: expected a whole number of at least 1, got 2.0"),
            ({"loss_fn": "mse"}, "loss_fn: expected a function of model and batch, got str"),
            ({"base": None}, "base: a NoneType cannot be adapted"),
            ({"base": "no/such/folder"}, "base: there is no folder 'no/such/folder'"),
        ],
        ids=lambda value: "" if isinstance(value, str) else next(iter(value)),
    )
    def test_arguments_of_another_kind(self, tmp_path, given, match):
        usual = {"base": base(), "dataset": samples(2), "peft_config": lora(), "args": arguments(tmp_path)}
        with pytest.raises(InputError, match=match):
            adaptation_trainer(**(usual | given))

    def test_all_faults_are_named_at_once(self):
        with pytest.raises(InputError, match="^args: .* dataset: .* num_labels: "):
            adaptation_trainer(base(), [], lora(), None, num_labels=0)

    def test_a_module_that_does_not_know_its_loss(self, tmp_path):
        self.refuse("loss_fn: a Line does not know its loss", tmp_path, Line(), LoraConfig(target_modules=["map"]))

    def test_a_head_whose_name_ends_that_of_another_module(self, tmp_path):
        config = lora(target_modules=["q_lin"])
        match = "peft would give every task its own 'pre_classifier', too"
        self.refuse(match, tmp_path, distilbert(), config, head_modules=["classifier"])

    def test_heads_that_cannot_be(self, tmp_path):
        self.refuse(r"unknown head 'frech'. Did you mean 'fresh'\?", tmp_path, config=lora(), head="frech")
        self.refuse("the model has no module 'score'", tmp_path, config=lora(), head_modules=["score"])
        match, config = "a Line has neither score nor classifier", LoraConfig(target_modules=["map"])
        self.refuse(match, tmp_path, Line(), config, head="fresh", loss_fn=squared)

    def test_nothing_to_train(self, tmp_path):
        self.refuse("nothing to train", tmp_path, Line(), loss_fn=squared)
        self.refuse("nothing to train", tmp_path, head="none")

    def test_labels_without_a_fresh_head(self, tmp_path):
        self.refuse("num_labels 3: only a fresh head", tmp_path, config=lora(), num_labels=3, head="keep")
        self.refuse("num_labels 3: only a fresh head", tmp_path, config=lora(), num_labels=3, head="none")

    def test_configurations_that_do_not_fit(self, tmp_path):
        self.refuse("cannot adapt a BertForSequence", tmp_path, config=lora(target_modules=["q_proj"]))
        self.refuse("rank 20 for 'bert.*query', which is 16 x 16", tmp_path, config=lora(r=20))

    def test_what_is_no_base(self, tmp_path):
        self.refuse("a int cannot be adapted", tmp_path, 3, lora())
        self.refuse("holds no model of transformers", tmp_path, tmp_path, lora())
        with quiet():
            model = get_peft_model(bert(), lora())
        self.refuse("the model has an adapter already", tmp_path, model, lora())
