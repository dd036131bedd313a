import random

import pytest
import torch
from peft import (
    AdaLoraConfig,
    IA3Config,
    LNTuningConfig,
    LoraConfig,
    PeftModel,
    PrefixTuningConfig,
    PromptTuningConfig,
    VeraConfig,
    get_peft_model,
)
from torch import nn

from spectra.errors import InputError, ResultsError
from spectra.training.libraries import quiet
from spectra.training.meta_peft.adapters import TaskAdapters
from spectra.training.meta_peft.outlines import filled
from tests.dcs_runs import bert, gpt2, samples
from tests.meta_peft_runs import distilbert

TASKS = ("cola", "rte", "wnli")

ROWS = torch.stack([row["input_ids"] for row in samples(4)])


def lora(**options):
    return LoraConfig(**{"r": 2, "target_modules": ["query", "value"], "task_type": "SEQ_CLS", **options})


def ia3():
    return IA3Config(target_modules=["key", "output.dense"], feedforward_modules=["output.dense"], task_type="SEQ_CLS")


def stack():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 2))


def logits(model):
    return model(input_ids=ROWS).logits


def outputs(model):
    generator = torch.Generator().manual_seed(1)
    return model(torch.randn(5, 6, generator=generator))


# What adapts, the model, what it computes, and the options.
CASES = {
    "lora, head per task": (lora, bert, logits, {"head": "per_task"}),
    "lora everywhere, head per task": (lambda: lora(target_modules="all-linear"), bert, logits, {"head": "per_task"}),
    "lora everywhere, head shared": (lambda: lora(target_modules="all-linear"), bert, logits, {"head": "shared"}),
    "lora, no head": (lora, bert, logits, {"head": "none"}),
    "lora, tied weights": (lambda: LoraConfig(r=2, fan_in_fan_out=True, task_type="CAUSAL_LM"), gpt2, logits, {"head": "none"}),
    "lora, plain module": (
        lambda: LoraConfig(r=2, target_modules=["0"]),
        stack,
        outputs,
        {"head": "per_task", "head_modules": ["2"]},
    ),
    "ia3": (ia3, bert, logits, {"head": "per_task"}),
    "vera": (lambda: VeraConfig(r=2, target_modules=["0"]), stack, outputs, {"head": "none"}),
    "heads only": (lambda: None, bert, logits, {"head": "per_task"}),
    "nothing per task": (lambda: None, bert, logits, {"head": "shared"}),
}
PROMPTS = {
    "prompts": (lambda: PromptTuningConfig(task_type="SEQ_CLS", num_virtual_tokens=3), bert, logits, {"head": "per_task"}),
    "prefixes": (lambda: PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3), gpt2, logits, {"head": "none"}),
}
ALL = CASES | PROMPTS


def made(case, **options):
    config, model, compute, others = ALL[case]
    base = model().eval()
    return TaskAdapters(base, config(), TASKS, **(others | options)), compute


def of_bert(config=None, **options):
    return TaskAdapters(bert().eval(), lora() if config is None else config, TASKS, **({"head": "per_task"} | options))


def copied(adapters):
    return {name: tensor.clone() for name, tensor in adapters.model.state_dict().items()}


def trained(adapters):
    return {name for name, parameter in adapters.model.named_parameters() if parameter.requires_grad}


def changed(adapters, before):
    return {name for name, tensor in adapters.model.state_dict().items() if not torch.equal(tensor, before[name])}


def step(adapters, compute, optimizer):
    optimizer.zero_grad(set_to_none=True)
    compute(adapters.model).square().mean().backward()
    optimizer.step()


class TestStart:
    @pytest.mark.parametrize("case", CASES)
    def test_every_task_computes_what_the_base_did(self, case):
        _, model, compute, _ = CASES[case]
        expected = compute(model().eval())
        adapters, _ = made(case)

        for task in TASKS:
            adapters.activate(task)
            assert torch.equal(compute(adapters.model), expected)

    @pytest.mark.parametrize("case", ALL)
    def test_the_base_keeps_its_names_and_numbers(self, case):
        expected = ALL[case][1]().state_dict()

        state = made(case)[0].base_state_dict()

        assert list(state) == list(expected)
        assert all(torch.equal(state[key], expected[key]) for key in expected)

    def test_tasks_start_apart(self):
        adapters = of_bert()

        first, second = (adapters.task_parameters(task).values() for task in TASKS[:2])

        assert any(not torch.equal(one, other) for one, other in zip(first, second, strict=True))

    def test_a_start_depends_on_the_name_and_the_seed_alone(self):
        def start(tasks, seed):
            adapters = TaskAdapters(bert(), lora(), tasks, head="per_task", seed=seed)
            return torch.cat([one.flatten() for one in adapters.task_parameters("rte").values()])

        assert torch.equal(start(["cola", "rte"], 1), start(["rte", "wnli"], 1))
        assert not torch.equal(start(["cola", "rte"], 1), start(["cola", "rte"], 2))

    def test_no_random_generator_of_the_process_moves(self):
        torch.manual_seed(3)
        random.seed(3)
        model = bert()
        before = torch.get_rng_state(), random.getstate()

        TaskAdapters(model, lora(), TASKS, head="per_task")

        assert torch.equal(torch.get_rng_state(), before[0])
        assert random.getstate() == before[1]

    def test_the_configuration_is_not_changed(self):
        config = lora(target_modules="all-linear")
        before = config.to_dict()

        of_bert(config, head="shared")

        assert config.to_dict() == before

    def test_ranks_may_differ_by_task(self):
        adapters = of_bert({"cola": lora(r=1), "rte": lora(r=2), "wnli": lora(r=4)})

        assert adapters.ranks == {"cola": 1, "rte": 2, "wnli": 4}
        assert adapters.peft_type == "LORA"
        # A and B of two layers of width 16, each of rank r, and the head.
        sizes = {task: sum(one.numel() for one in adapters.task_parameters(task).values()) for task in TASKS}
        assert sizes == {"cola": 64 + 34, "rte": 128 + 34, "wnli": 256 + 34}

    def test_of_ranks_by_layer_the_largest_counts(self):
        assert of_bert(lora(r=1, rank_pattern={"query": 3})).ranks == dict.fromkeys(TASKS, 3)

    def test_without_a_method_there_is_no_rank(self):
        adapters, _ = made("heads only")

        assert adapters.ranks == dict.fromkeys(TASKS)
        assert adapters.peft_type is None
        assert adapters.head_modules == ("classifier",)

    def test_without_anything_per_task_the_model_is_not_wrapped(self):
        model = bert()

        adapters = TaskAdapters(model, None, TASKS, head="shared")

        assert adapters.model is model
        assert not adapters.has_adapters
        assert adapters.task_parameters("rte") == {}

    def test_adapters_stay_out_of_a_shared_head(self):
        adapters = of_bert(lora(target_modules="all-linear"), head="shared")

        assert not any("classifier" in name for name in adapters.task_parameters("rte"))
        assert any("classifier" in name for name in adapters.base_parameters())

    @pytest.mark.parametrize("excluded", [["key"], r".*\.key"])
    def test_what_is_excluded_stays_so_beside_a_shared_head(self, excluded):
        adapters = of_bert(lora(target_modules="all-linear", exclude_modules=excluded), head="shared")

        assert not any("key" in name or "classifier" in name for name in adapters.task_parameters("rte"))

    @pytest.mark.parametrize("head", ["per_task", "shared"])
    def test_the_head_is_all_that_peft_copies_for_it(self, head):
        adapters = TaskAdapters(distilbert(), lora(target_modules="all-linear"), TASKS, head=head)

        assert adapters.head_modules == ("pre_classifier", "classifier")
        owned = adapters.task_parameters("rte") if head == "per_task" else adapters.base_parameters()
        names = {name for name in owned if "classifier" in name}
        assert len(names) == 4
        assert not any("lora" in name for name in names)

    def test_modules_of_the_users_come_beside_the_head(self):
        adapters = of_bert(lora(modules_to_save=["pooler"]))

        names = adapters.task_parameters("rte")

        assert any("pooler" in name for name in names)
        assert any("classifier" in name for name in names)


class TestActivate:
    @pytest.mark.parametrize("case", ALL)
    def test_what_is_trained_is_the_base_and_what_is_the_tasks(self, case):
        adapters, compute = made(case)

        for task in ("rte", "cola", "rte"):
            adapters.activate(task)
            compute(adapters.model).sum().backward()

            expected = adapters.base_parameters() | adapters.task_parameters(task)
            assert trained(adapters) == set(expected)
            assert all(parameter.grad is not None for parameter in expected.values())
            adapters.model.zero_grad(set_to_none=True)

    @pytest.mark.parametrize("case", ALL)
    def test_every_parameter_has_one_owner(self, case):
        adapters, _ = made(case)
        parts = [adapters.base_parameters(), *(adapters.task_parameters(task) for task in TASKS)]

        owned = [id(parameter) for part in parts for parameter in part.values()]

        assert len(owned) == len(set(owned))
        names = dict(adapters.model.named_parameters())
        assert all(names[name] is parameter for part in parts for name, parameter in part.items())

    @pytest.mark.parametrize("optimizer", [torch.optim.AdamW, lambda ps, lr: torch.optim.SGD(ps, lr, momentum=0.9)])
    @pytest.mark.parametrize("case", [case for case in ALL if case != "nothing per task"])
    def test_a_step_moves_nothing_of_other_tasks(self, case, optimizer):
        adapters, compute = made(case)
        adapters.register_all()
        steps = optimizer(list(adapters.model.parameters()), lr=0.1)
        for task in TASKS:  # so that all have momentum
            adapters.activate(task)
            step(adapters, compute, steps)
        before = copied(adapters)

        adapters.activate("rte")
        step(adapters, compute, steps)

        moved = changed(adapters, before)
        assert moved & set(adapters.task_parameters("rte"))
        assert moved & set(adapters.base_parameters())
        assert not moved & {name for task in ("cola", "wnli") for name in adapters.task_parameters(task)}
        assert not any("original_module" in name for name in moved)

    def test_base_and_adapter_can_be_trained_alone(self):
        adapters = of_bert()

        adapters.activate("rte", base=False)
        assert trained(adapters) == set(adapters.task_parameters("rte"))
        adapters.activate("rte", adapter=False)
        assert trained(adapters) == set(adapters.base_parameters())

    def test_gradients_of_a_task_outlast_the_next(self):
        adapters = of_bert()
        for task in TASKS:
            adapters.activate(task)
            logits(adapters.model).sum().backward()

        assert all(one.grad is not None for task in TASKS for one in adapters.task_parameters(task).values())

    def test_register_all_turns_everything_on_until_the_next_task(self):
        adapters = of_bert()
        adapters.activate("rte")

        adapters.register_all()

        everything = adapters.base_parameters().keys() | {name for task in TASKS for name in adapters.task_parameters(task)}
        assert trained(adapters) == everything
        adapters.activate("rte")
        assert trained(adapters) == adapters.base_parameters().keys() | adapters.task_parameters("rte").keys()

    def test_dropout_of_the_adapter_is_that_of_the_configuration(self):
        adapters = of_bert(lora(lora_dropout=0.5))

        assert any(isinstance(module, nn.Dropout) and module.p == 0.5 for module in adapters.model.modules())

    def test_an_unknown_task_is_named(self):
        with pytest.raises(InputError, match=r"no task 'rtw'. Did you mean 'rte'\? There are: cola, rte, wnli"):
            of_bert().activate("rtw")
        with pytest.raises(InputError, match="no task 'rtw'"):
            of_bert().task_parameters("rtw")


class TestBase:
    def test_a_pattern_says_what_is_trained_beside_a_shared_head(self):
        adapters = of_bert(head="shared", base_trainable=r"attention.*weight|^bert\.pooler")

        names = {name.removeprefix("base_model.model.").replace(".base_layer", "") for name in adapters.base_parameters()}

        of_model = [name for name, _ in bert().named_parameters()]
        assert names == {
            name
            for name in of_model
            if ("attention" in name and name.endswith("weight")) or name.startswith(("bert.pooler", "classifier"))
        }

    def test_what_was_frozen_stays_frozen(self):
        model = bert()
        model.bert.embeddings.requires_grad_(False)

        adapters = TaskAdapters(model, lora(), TASKS, head="per_task")
        adapters.register_all()

        assert not any("embeddings" in name for name in trained(adapters))

    def test_the_base_sees_what_training_does(self):
        adapters = of_bert()
        before = {key: tensor.clone() for key, tensor in adapters.base_state_dict().items()}
        adapters.activate("rte")
        step(adapters, logits, torch.optim.SGD(adapters.model.parameters(), lr=1.0))

        after = adapters.base_state_dict()

        moved = {key for key in after if not torch.equal(after[key], before[key])}
        assert moved | {"bert.encoder.layer.0.attention.self.key.bias"} == {  # which softmax does not see
            key for key in before if not key.startswith("classifier")
        }
        assert torch.equal(after["classifier.weight"], before["classifier.weight"])

    @pytest.mark.parametrize("case", ALL)
    def test_disabled_is_the_base_with_its_own_head(self, case):
        adapters, compute = made(case)
        adapters.activate("rte")
        with torch.no_grad():
            for parameter in adapters.task_parameters("rte").values():
                parameter += 0.1
        on, flags = compute(adapters.model), trained(adapters)

        with adapters.disabled():
            off = compute(adapters.model)

        assert torch.equal(off, compute(filled(adapters.outline, adapters.base_state_dict()).eval()))
        assert torch.equal(compute(adapters.model), on)
        assert trained(adapters) == flags
        assert torch.equal(on, off) == (not adapters.has_adapters)

    def test_the_view_has_the_live_parameters_under_their_first_names(self):
        adapters = of_bert()

        view = dict(adapters.base_view().named_parameters())

        assert list(view) == [name for name, _ in bert().named_parameters()]
        live = {id(parameter) for parameter in adapters.base_parameters().values()}
        assert {name for name in view if id(view[name]) not in live} == {"classifier.weight", "classifier.bias"}


class TestFiles:
    @pytest.mark.parametrize("case", ALL)
    def test_what_is_loaded_is_what_was_saved_bit_for_bit(self, case, tmp_path):
        adapters, compute = made(case)
        steps = torch.optim.SGD(list(adapters.model.parameters()), lr=0.1)
        for task in TASKS:
            adapters.activate(task)
            step(adapters, compute, steps)
        adapters.save(tmp_path)
        saved = copied(adapters)
        for task in TASKS:
            adapters.activate(task)
            step(adapters, compute, steps)
        assert changed(adapters, saved)

        adapters.load(tmp_path)

        assert changed(adapters, saved) == set()

    def test_an_adapter_is_one_that_peft_loads(self, tmp_path):
        adapters = of_bert()
        adapters.activate("rte")
        step(adapters, logits, torch.optim.SGD(adapters.model.parameters(), lr=0.1))

        adapters.save(tmp_path)

        base = filled(adapters.outline, adapters.base_state_dict())
        with quiet():
            alone = PeftModel.from_pretrained(base, tmp_path / "rte").eval()
        assert torch.equal(logits(alone), logits(adapters.model))
        assert sorted(path.name for path in tmp_path.iterdir()) == [*TASKS[:1], "config.json", "model.safetensors", *TASKS[1:]]

    def test_saving_again_replaces_the_older_files(self, tmp_path):
        adapters = of_bert()
        adapters.save(tmp_path)
        (tmp_path / "rte" / "leftover").touch()
        adapters.activate("rte")
        step(adapters, logits, torch.optim.SGD(adapters.model.parameters(), lr=0.1))
        adapters.save(tmp_path)

        other = of_bert(seed=5)
        other.load(tmp_path)

        assert changed(other, adapters.model.state_dict()) == set()
        assert not (tmp_path / "rte" / "leftover").exists()

    def test_nothing_is_loaded_where_an_adapter_is_missing(self, tmp_path):
        adapters = of_bert()
        adapters.save(tmp_path)
        (tmp_path / "wnli" / "adapter_model.safetensors").unlink()
        with torch.no_grad():
            for parameter in adapters.model.parameters():
                parameter += 1
        before = copied(adapters)

        with pytest.raises(ResultsError, match=r"no adapter of task 'wnli' at .*wnli.*adapter_model"):
            adapters.load(tmp_path)

        assert changed(adapters, before) == set()

    def test_an_adapter_of_another_rank_is_refused(self, tmp_path):
        of_bert().save(tmp_path)

        with pytest.raises(ResultsError, match=r"is of another adapter or model \('.*lora_.*' differs\)"):
            of_bert(lora(r=3)).load(tmp_path)

    def test_a_damaged_adapter_is_named(self, tmp_path):
        adapters = of_bert()
        adapters.save(tmp_path)
        (tmp_path / "rte" / "adapter_model.safetensors").write_bytes(b"no weights")

        with pytest.raises(ResultsError, match=r"rte.*adapter_model.safetensors' is damaged"):
            adapters.load(tmp_path)

    def test_a_folder_that_cannot_be_written_is_named(self, tmp_path):
        (tmp_path / "file").touch()

        with pytest.raises(ResultsError, match=r"cannot write to '.*file"):
            of_bert().save(tmp_path / "file")


class TestRefusals:
    """Each leaves the model as it was."""

    def refuse(self, match, config=None, model=None, tasks=TASKS, **options):
        model = bert() if model is None else model
        before = [(name, id(module)) for name, module in model.named_modules()]
        weights = {name: (id(one), one.requires_grad) for name, one in model.named_parameters()}
        with pytest.raises(InputError, match=match):
            TaskAdapters(model, config, tasks, **({"head": "per_task"} | options))
        assert [(name, id(module)) for name, module in model.named_modules()] == before
        assert {name: (id(one), one.requires_grad) for name, one in model.named_parameters()} == weights

    @pytest.mark.parametrize(
        ("tasks", "match"),
        [
            ([], "a list of names is needed"),
            ("cola", "a list of names is needed, not 'cola'"),
            (["rte", "rte"], "'rte' is there twice"),
            (["co la"], "'co la' cannot name an adapter"),
            ([3], "3 cannot name an adapter"),
            (["default"], "'default' is also part of the name of a parameter.*'task_default'"),
            (["query"], "'query' is also part of the name"),
            (["0"], "'0' is also part of the name"),
            (["lora"], "'lora' is also part of peft's own 'lora_'"),
            (["a"], "'a' is also part of peft's own 'lora_', .*'task_a'"),
            (["lora_A"], "'lora_A' is also part of the name"),
            (["keys"], "'keys' is also part of the name"),
            (["my_classifier"], "'my_classifier' is also part of the name"),
        ],
    )
    def test_names_that_cannot_be(self, tasks, match):
        self.refuse(match, lora(), tasks=tasks)

    def test_an_unknown_kind_of_head(self):
        self.refuse(r"unknown head 'shard'. Did you mean 'shared'\?", lora(), head="shard")

    def test_a_head_that_is_not_there(self):
        self.refuse("the model has no module 'clasifier'. Did you mean 'classifier'", lora(), head_modules=["clasifier"])

    def test_a_head_whose_name_ends_that_of_another_module(self):
        self.refuse(
            "head_modules: peft would give every task its own 'pre_classifier', too.*It compares the ends of names",
            lora(target_modules=["q_lin"]),
            distilbert(),
            head_modules=["classifier"],
        )
        model = nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 2)))
        self.refuse(r"its own '2\.2', too", LoraConfig(r=2, target_modules=["0"]), model, head_modules=["2"])
        self.refuse("its own 'classifier', too", lora(), head_modules=["bert.pooler"])

    def test_a_model_without_a_head(self):
        self.refuse(
            r"a Sequential has neither score nor classifier.*head_modules \(it has 0, 1, 2\)",
            LoraConfig(target_modules=["0"]),
            stack(),
        )

    def test_modules_of_a_head_that_is_none(self):
        self.refuse("head_modules classifier with head='none'", lora(), head="none", head_modules=["classifier"])

    def test_a_copy_of_a_shared_head(self):
        self.refuse(
            "modules_to_save classifier would give every task its own", lora(modules_to_save=["classifier"]), head="shared"
        )

    def test_target_modules_that_match_nothing(self):
        self.refuse(
            r"cannot adapt a BertFor.*No modules were targeted.*Some modules of it: query, key, value, dense, classifier",
            lora(target_modules=["q_proj"]),
        )

    def test_layers_that_peft_does_not_adapt(self):
        self.refuse("cannot adapt a BertFor.*LayerNorm", lora(target_modules=["LayerNorm"]))

    def test_a_rank_above_that_of_the_matrix(self):
        self.refuse(r"rank 17 for 'bert\..*query', which is 16 x 16 and has 16 at most", lora(r=17))

    def test_attention_into_which_the_adapter_is_merged(self):
        model = nn.Sequential(nn.MultiheadAttention(8, 2), nn.Linear(8, 2))
        self.refuse(
            "'0' is a MultiheadAttention, whose weights get no gradient", LoraConfig(target_modules=["0"]), model, head="none"
        )

    @pytest.mark.parametrize("start", ["pissa", "pissa_niter_4", "olora"])
    def test_starts_that_change_the_base(self, start):
        self.refuse(f"init_lora_weights '{start}' subtracts the adapter from the base", lora(init_lora_weights=start))

    def test_an_adapter_that_cuts_the_base(self):
        from peft.tuners.lora.config import KasaConfig

        self.refuse("kasa_config cuts singular values off the base", lora(kasa_config=KasaConfig()))

    def test_methods_that_leave_the_base_without_gradients(self):
        self.refuse(
            "under LN_TUNING the weights that are adapted get no gradient", LNTuningConfig(target_modules=["LayerNorm"])
        )

    def test_methods_that_give_the_base_a_wrong_gradient(self):
        from peft import DeftConfig

        match = "under {} the base would get a wrong gradient, as peft takes .* for a constant"
        self.refuse(match.format("DoRA"), lora(use_dora=True))
        self.refuse(match.format("DoRA"), {"cola": lora(), "rte": lora(use_dora=True), "wnli": lora()})
        self.refuse(match.format("DEFT"), DeftConfig(target_modules=["query"]))

    def test_methods_that_need_what_is_not_there(self):
        from peft import PolyConfig, ShiraConfig

        self.refuse("POLY asks for the numbers of tasks beside each batch", PolyConfig(r=2, target_modules=["query"]))
        self.refuse("SHIRA chooses what it trains when it is made", ShiraConfig(r=2, target_modules=["query"]))

    def test_methods_of_which_peft_trains_one_adapter_only(self):
        config = AdaLoraConfig(target_modules=["query"], total_step=10, task_type="SEQ_CLS")
        self.refuse("cannot adapt a BertFor.*only 1 trainable adapter", config)

    def test_prompts_that_a_network_makes(self):
        from peft import PromptEncoderConfig

        self.refuse(
            "P_TUNING trains a network that peft does not save", PromptEncoderConfig(task_type="SEQ_CLS", num_virtual_tokens=2)
        )

    def test_prompts_with_a_shared_head(self):
        config = PromptTuningConfig(task_type="SEQ_CLS", num_virtual_tokens=2)
        self.refuse("with PROMPT_TUNING peft gives every task a head of its own", config, head="shared")

    def test_something_that_is_no_configuration(self):
        self.refuse("a int is no configuration of peft", 3)

    def test_tasks_without_a_configuration_and_others_with_one(self):
        self.refuse("none for task 'wnli'", {"cola": lora(), "rte": lora()})
        self.refuse("'mnli' is no task", dict.fromkeys((*TASKS, "mnli"), lora()))

    def test_tasks_that_are_adapted_in_different_ways(self):
        self.refuse("peft_type is IA3 for task 'rte' and LORA for 'cola'", {"cola": lora(), "rte": ia3(), "wnli": lora()})
        other = lora(target_modules=["key"])
        self.refuse(
            "target_modules is key for task 'rte' and query, value for 'cola'", {"cola": lora(), "rte": other, "wnli": lora()}
        )

    @pytest.mark.parametrize(
        ("changes", "match"),
        [
            ({"modules_to_save": ["pooler"]}, "modules_to_save is pooler for task 'rte' and None for 'cola'"),
            ({"exclude_modules": ["key"]}, "exclude_modules is key for task 'rte' and None for 'cola'"),
            ({"task_type": None}, "task_type is None for task 'rte' and SEQ_CLS for 'cola'"),
        ],
        ids=lambda value: "" if isinstance(value, str) else next(iter(value)),
    )
    def test_tasks_that_differ_in_more_than_rank(self, changes, match):
        self.refuse(match, {"cola": lora(), "rte": lora(**changes), "wnli": lora()})

    def test_a_model_with_an_adapter(self):
        with quiet():
            adapted = get_peft_model(bert(), lora())
        self.refuse("the model has an adapter already", lora(), adapted)
        self.refuse("the model has an adapter already", lora(), adapted.get_base_model())

    def test_a_quantized_model(self):
        model = bert()
        model.config.quantization_config = {"quant_method": "gptq"}
        self.refuse("quantized .its configuration has a quantization_config", lora(), model)
        model = stack()
        model[0].weight = nn.Parameter(torch.ones(8, 6, dtype=torch.uint8), requires_grad=False)
        self.refuse("quantized .'0.weight' holds whole numbers", LoraConfig(target_modules=["2"]), model, head="none")

    def test_a_pattern_that_is_none_or_finds_nothing(self):
        self.refuse(r"'\(' is no regular expression", lora(), base_trainable="(")
        self.refuse("'querry' is found in none that is trained", lora(), base_trainable="querry")

    def test_a_base_that_is_frozen(self):
        self.refuse("every parameter has requires_grad off", lora(), bert().requires_grad_(False))
