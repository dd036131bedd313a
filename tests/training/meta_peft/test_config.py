import pytest

from spectra.errors import InputError
from spectra.training.meta_peft.config import Head, MetaPeftConfig, meta_peft_config


def test_defaults_are_the_papers_method_one_task_a_step():
    config = meta_peft_config()

    assert (config.method, config.schedule, config.tasks_per_step) == ("peft_ml", "joint", None)
    assert config.uses_adapters
    assert config.num_inner_steps == 0


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        ({"method": "reptile"}, 20),
        ({"method": "reptile", "inner_steps": 3}, 3),
        ({"schedule": "alternating"}, 10),
        ({"schedule": "alternating", "inner_steps": 2}, 2),
        ({"method": "standard"}, 0),
    ],
)
def test_inner_steps_have_the_released_codes_defaults(options, steps):
    assert MetaPeftConfig(**options).num_inner_steps == steps


@pytest.mark.parametrize(
    ("method", "has_head", "head"),
    [
        ("peft_ml", True, Head.PER_TASK),
        ("peft_ml", False, Head.NONE),
        ("standard", True, Head.SHARED),
        ("reptile", True, Head.SHARED),
        ("last_layer_ml", False, Head.PER_TASK),
    ],
)
def test_the_head_goes_with_the_method_unless_asked_for(method, has_head, head):
    assert MetaPeftConfig(method=method).head_of(has_head) == head


def test_a_head_that_is_asked_for_is_taken():
    assert MetaPeftConfig(head="shared").head_of(has_head=True) == Head.SHARED


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "maml"}, r"method: expected one of peft_ml, standard, reptile, last_layer_ml, got 'maml'"),
        ({"schedule": "join"}, r"schedule: expected .*Did you mean 'joint'"),
        ({"tasks_per_step": 0}, r"tasks_per_step: expected a whole number of at least 1"),
        ({"tasks_per_step": True}, r"tasks_per_step"),
        ({"adapter_lr": -1.0}, r"adapter_lr: expected a number of at least 0"),
        ({"base_trainable": "("}, r"base_trainable: expected a regular expression"),
        ({"head_modules": ()}, r"head_modules: expected names of modules"),
        ({"on_exhausted": "stop"}, r"on_exhausted: expected one of drop, restart, or none"),
        ({"temperature": 0.0, "sampling": "temperature"}, r"temperature: expected a number above 0"),
        ({"schedule": "alternating", "method": "standard"}, r"'alternating' needs adapters or heads of tasks"),
        ({"schedule": "alternating", "method": "reptile"}, r"'alternating' needs adapters"),
        ({"method": "last_layer_ml", "head": "shared"}, r"'last_layer_ml' is a head per task"),
        ({"method": "reptile", "tasks_per_step": 3}, r"Reptile goes to one task in a step"),
        ({"inner_steps": 5}, r"inner_steps: these are steps of schedule 'alternating' or of method 'reptile'"),
        ({"inner_lr": 1e-4}, r"inner_lr: this is Reptile's, and the method is 'peft_ml'"),
        ({"method": "standard", "adapter_lr": 1e-3}, r"adapter_lr: it is of adapters, and method 'standard' has none"),
        ({"method": "reptile", "adapter_offload": "cpu"}, r"adapter_offload: it is of adapters"),
        ({"method": "reptile", "task_weighting": "equal"}, r"task_weighting: Reptile goes the same way for each task"),
        ({"temperature": 2.0}, r"counts with sampling 'temperature' only"),
    ],
)
def test_what_cannot_be_is_refused_in_words(options, message):
    with pytest.raises(InputError, match=message):
        MetaPeftConfig(**options)


def test_options_come_as_a_method_a_mapping_or_themselves():
    config = MetaPeftConfig(tasks_per_step=2)

    assert meta_peft_config(config) is config
    assert meta_peft_config("reptile").method == "reptile"
    assert meta_peft_config({"tasks_per_step": 2}) == config


def test_an_unknown_method_or_kind_is_refused():
    with pytest.raises(InputError, match=r"unknown method 'reptil'. Did you mean 'reptile'"):
        meta_peft_config("reptil")
    with pytest.raises(InputError, match=r"unknown option 'tasks_a_step'"):
        meta_peft_config({"tasks_a_step": 2})
    with pytest.raises(InputError, match=r"config: expected a MetaPeftConfig"):
        meta_peft_config(3)


def test_options_become_plain_values_and_come_back():
    config = MetaPeftConfig(schedule="alternating", head_modules=("classifier",), tempbalance={"policy": "recommended"})

    assert MetaPeftConfig.from_dict(config.to_dict()) == config
