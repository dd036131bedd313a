"""TempBalance in a plain loop: the multipliers of the formulas, when they change, and that nothing of it stops training."""

import json
import math
import warnings

import pytest
import torch
from torch import nn

import spectra
from spectra.errors import InputError, SpectraWarning
from spectra.policies.learning_rate import unit_scales
from spectra.policies.presets import scale_policy
from spectra.results.scale_log import load_scale_log
from spectra.training import TempBalance
from spectra.training.balanced_layers import block_finder
from tests.training.balanced_net import NUM_BLOCKS, Net, train


def alpha_of(weight):
    """The published median fit, from singular values, in float64."""
    values = torch.linalg.svdvals(weight.detach().double()).square().sort().values
    tail = values[len(values) // 2 :]
    return 1.0 + len(tail) / float((tail.log() - tail[0].log()).sum())


def block_alphas(net):
    return {f"blocks.{n}": (alpha_of(b.fc1.weight) + alpha_of(b.fc2.weight)) / 2 for n, b in enumerate(net.blocks)}


def sigmoid_scales(alphas, s=1.0, tau=10.0):
    mean = sum(alphas.values()) / len(alphas)
    return {unit: 10 ** (s * (1 / (1 + math.exp(-tau * (a - mean))) - 0.5)) for unit, a in alphas.items()}


PLAIN = {"policy": "emnlp2024-glue", "interval": 1}


@pytest.fixture
def net():
    return Net()


def balanced(net, optimizer=None, **options):
    optimizer = optimizer or torch.optim.SGD(net.parameters(), lr=0.01)
    return optimizer, TempBalance(net, optimizer, **{**PLAIN, **options})


def steps_of(net, steps, **options):
    """Step without gradients: nothing is learned."""
    optimizer, balance = balanced(net, **options)
    for _ in range(steps):
        optimizer.step()
        balance.step()
    return balance


def policy(**changes):
    defaults = {"map": "sigmoid", "s_below": 1.0, "s_above": 1.0, "winsorize": None, "remove_last": False}
    analysis = {"min_evals": 50, "xmin": "median", "xmin_pos": 2.0, "precision": "float64"}
    return scale_policy("emnlp2024-glue", **{**defaults, "analysis": analysis, **changes})


def test_scores_and_multipliers_are_those_of_the_formulas(net):
    _, balance = balanced(net, policy=policy())
    alphas = block_alphas(net)
    assert balance.scores == pytest.approx(alphas, rel=1e-9)  # Gram against singular values, both float64
    # The sigmoid multiplies an error of alpha by tau and ln 10.
    assert balance.scales == pytest.approx(sigmoid_scales(alphas), rel=1e-7)
    assert len({round(scale, 3) for scale in balance.scales.values()}) == NUM_BLOCKS


def test_each_parameter_of_a_block_learns_at_its_multiplied_rate_and_the_others_at_the_base_rate(net):
    optimizer, balance = balanced(net, policy=policy())
    before = {name: parameter.detach().clone() for name, parameter in net.named_parameters()}
    train(net, optimizer, 1)
    for name, parameter in net.named_parameters():
        unit = ".".join(name.split(".")[:2])
        expected = before[name] - 0.01 * balance.scales.get(unit, 1.0) * parameter.grad
        assert torch.allclose(parameter, expected, rtol=1e-6, atol=1e-9), name
    assert {group["lr"] for group in optimizer.param_groups} == {0.01}


def test_multipliers_follow_the_weights(net):
    optimizer, balance = balanced(net, policy=policy())
    train(net, optimizer, 3, balance)
    assert balance.scores == pytest.approx(block_alphas(net), rel=1e-9)


@pytest.mark.parametrize(("interval", "updates"), [(1, 8), (3, 3), (100, 1)])
def test_updates_come_at_their_interval_and_once_before_the_first_step(net, interval, updates):
    optimizer, balance = balanced(net, interval=interval)
    train(net, optimizer, 7, balance)
    assert balance.num_updates == updates


def test_parts_are_measured_in_turn(net, tmp_path):
    optimizer, balance = balanced(net, parts=3, policy=policy(), log=str(tmp_path / "log.jsonl"))
    first = dict(balance.scores)
    train(net, optimizer, 1, balance)
    # The first of three parts: every third of the six layers, in two blocks.
    changed = {unit for unit in first if balance.scores[unit] != first[unit]}
    assert len(changed) == 2
    train(net, optimizer, 2, balance)
    assert [record.num_measured for record in load_scale_log(tmp_path / "log.jsonl").records] == [6, 2, 2, 2]


def test_layers_that_hardly_change_are_not_measured_again(net, tmp_path):
    frozen = [p for name, p in net.named_parameters() if not name.startswith("blocks.1")]
    optimizer = torch.optim.SGD([{"params": frozen, "lr": 1e-9}, {"params": list(net.blocks[1].parameters())}], lr=0.5)
    _, balance = balanced(net, optimizer, skip_below=1e-6, log=str(tmp_path / "log.jsonl"))
    train(net, optimizer, 2, balance)
    assert [record.num_measured for record in load_scale_log(tmp_path / "log.jsonl").records] == [6, 2, 2]


def test_old_scores_keep_their_weight(net):
    optimizer, balance = balanced(net, ema=0.75, policy=policy())
    first = dict(balance.scores)
    train(net, optimizer, 1, balance)
    now = block_alphas(net)
    assert balance.scores == pytest.approx({unit: 0.75 * first[unit] + 0.25 * now[unit] for unit in now}, rel=1e-9)


def test_multipliers_are_one_until_the_start_step(net):
    optimizer, balance = balanced(net, start_step=3)
    seen = train(net, optimizer, 4, balance)
    assert [set(scales.values()) == {1.0} for scales in seen] == [True, True, False, False]


@pytest.mark.parametrize("optimizer_class", [torch.optim.SGD, torch.optim.AdamW])
def test_a_resumed_run_is_the_uninterrupted_one_bit_by_bit(optimizer_class, tmp_path):
    def start():
        net = Net()
        return net, optimizer_class(net.parameters(), lr=0.01)

    options = {"interval": 3, "parts": 2, "ema": 0.5}
    net, optimizer = start()
    _, balance = balanced(net, optimizer, **options)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
    whole = train(net, optimizer, 7, balance, scheduler) + train(net, optimizer, 8, balance, scheduler, seed=1)
    final = net.state_dict()

    net, optimizer = start()
    _, balance = balanced(net, optimizer, **options)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
    begun = train(net, optimizer, 7, balance, scheduler)
    saved = [net.state_dict(), optimizer.state_dict(), scheduler.state_dict(), json.loads(json.dumps(balance.state_dict()))]
    torch.save(saved, tmp_path / "checkpoint.pt")
    stored = torch.load(tmp_path / "checkpoint.pt", weights_only=True)

    net, optimizer = start()
    net.load_state_dict(stored[0])
    balance = TempBalance(net, optimizer, **{**PLAIN, **options}, resume=stored[3])
    optimizer.load_state_dict(stored[1])
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
    scheduler.load_state_dict(stored[2])
    assert begun + train(net, optimizer, 8, balance, scheduler, seed=1) == whole
    assert all(torch.equal(tensor, final[name]) for name, tensor in net.state_dict().items())


def test_a_state_of_other_units_is_refused_and_taken_where_it_fits(net):
    _, balance = balanced(net)
    state = balance.state_dict()
    state["scales"] = {unit.replace("blocks.2", "layers.2"): scale for unit, scale in state["scales"].items()}
    fresh = balanced(Net())[1]
    with pytest.raises(InputError, match=r"other units: 'layers\.2' is gone; 'blocks\.2' is new\. Pass strict=False, to"):
        fresh.load_state_dict(state)
    fresh.load_state_dict(state, strict=False)
    assert fresh.scales["blocks.0"] == state["scales"]["blocks.0"]
    assert fresh.scales["blocks.2"] == 1.0


def test_a_state_of_another_policy_or_version_is_refused(net):
    state = balanced(net)[1].state_dict()
    with pytest.raises(InputError, match="another policy"):
        balanced(Net(), policy=policy(tau=5.0))[1].load_state_dict(state)
    with pytest.raises(InputError, match="a state of version 99"):
        balanced(Net())[1].load_state_dict({**state, "version": 99})


def test_nan_weights_warn_once_and_leave_their_unit_at_one(net):
    with torch.no_grad():
        net.blocks[1].fc1.weight[0, 0] = math.nan
        net.blocks[1].fc2.weight[0, 0] = math.nan
    with pytest.warns(SpectraWarning, match=r"2 layers with NaN or infinite weights, such as 'blocks\.1\.fc1'") as caught:
        balance = steps_of(net, 3)
    assert len(caught) == 1
    assert balance.scales["blocks.1"] == 1.0
    assert balance.scales["blocks.0"] != 1.0


def test_equal_scores_warn_once_and_leave_everything_at_one(net):
    with torch.no_grad():
        for block in net.blocks[1:]:
            block.load_state_dict(net.blocks[0].state_dict())
    with pytest.warns(SpectraWarning, match="all scores are equal: there is nothing to balance") as caught:
        balance = steps_of(net, 3, policy=policy())
    assert len(caught) == 1
    assert set(balance.scales.values()) == {1.0}


def test_one_unit_alone_warns_and_stays_at_one():
    net = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2))
    with pytest.warns(SpectraWarning, match="1 unit with a score: there is nothing to balance"):
        _, balance = balanced(net, policy=policy(unit="layer", exclude=()))
    assert set(balance.scales.values()) == {1.0}


def test_a_measurement_that_fails_leaves_training_and_multipliers_alone(net, monkeypatch):
    optimizer, balance = balanced(net)
    before = dict(balance.scales)

    def fail(layers):
        raise MemoryError("no memory left")

    monkeypatch.setattr(balance._meter, "measure", fail)  # what no small model can make happen
    with pytest.warns(SpectraWarning, match=r"could not be updated \(no memory left\) and stay"):
        train(net, optimizer, 3, balance)
    assert balance.scales == before


def test_a_thread_measures_what_it_would_have_been_at_the_snapshot(net):
    optimizer, balance = balanced(net, asynchronous=True, max_staleness=1, interval=2, policy=policy())
    train(net, optimizer, 2, balance)  # the second step takes the copy
    at_the_snapshot = block_alphas(net)
    train(net, optimizer, 1, balance)  # one step later it is waited for
    assert balance.scores == pytest.approx(at_the_snapshot, rel=1e-9)
    assert balance.scores != pytest.approx(block_alphas(net), rel=1e-9)
    balance.remove()


def test_deterministic_never_uses_a_thread(net):
    other = Net()
    optimizer, balance = balanced(net, asynchronous=True, deterministic=True)
    other_optimizer, plain = balanced(other)
    assert train(net, optimizer, 4, balance) == train(other, other_optimizer, 4, plain)


def test_weight_decay_is_balanced_by_its_policy(net):
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, weight_decay=0.1)
    _, balance = balanced(net, optimizer, policy="alphadecay")
    scales = set(balance.scales.values()) - {1.0}
    assert min(scales) == pytest.approx(0.67)
    assert max(scales) == pytest.approx(3.0)
    seen = {}
    optimizer.register_step_pre_hook(
        lambda opt, *_: seen.update({id(p): (g["lr"], g["weight_decay"]) for g in opt.param_groups for p in g["params"]})
    )
    train(net, optimizer, 1)
    units = {name: balance.scales.get(name.rpartition(".")[0], 1.0) for name, _ in net.named_parameters()}
    for name, parameter in net.named_parameters():
        assert seen[id(parameter)] == (0.01, pytest.approx(0.1 * units[name]))


def test_adapters_are_scored_by_the_effective_weight():
    peft = pytest.importorskip("peft")
    net = Net()
    adapted = peft.get_peft_model(net, peft.LoraConfig(r=4, lora_alpha=8, target_modules=["fc1"], init_lora_weights=False))
    optimizer = torch.optim.SGD([p for p in adapted.parameters() if p.requires_grad], lr=0.1)
    _, balance = balanced(adapted, optimizer, policy=policy())
    merged = {
        f"blocks.{n}": alpha_of(block.fc1.weight + block.fc1.get_delta_weight("default")) for n, block in enumerate(net.blocks)
    }
    assert balance.scores == pytest.approx(merged, rel=1e-6)  # peft adds the factors' product in float32
    scaled = {group["spectra_unit"] for group in optimizer.param_groups}
    assert scaled == {"blocks.0", "blocks.1", "blocks.2"}


def test_the_log_holds_every_update(net, tmp_path):
    optimizer, balance = balanced(net, log=str(tmp_path / "log.jsonl"))
    seen = train(net, optimizer, 3, balance)
    log = load_scale_log(tmp_path / "log.jsonl")
    assert [record.step for record in log.records] == [0, 1, 2, 3]
    assert [dict(record.scales) for record in log.records[1:]] == seen
    assert balance.logs()["tempbalance/scale/blocks.0"] == seen[-1]["blocks.0"]


def test_removed_multipliers_do_nothing(net):
    optimizer, balance = balanced(net)
    balance.remove()
    other = Net()
    train(net, optimizer, 2)
    train(other, torch.optim.SGD(other.parameters(), lr=0.01), 2)
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), other.parameters(), strict=True))


def test_a_scheduler_made_before_is_refused(net):
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    torch.optim.lr_scheduler.StepLR(optimizer, 5)
    with pytest.raises(InputError, match="scheduler"):
        balanced(net, optimizer)


def test_parameters_of_another_model_are_refused(net):
    with pytest.raises(InputError, match="does not have"):
        balanced(net, torch.optim.SGD(Net().parameters(), lr=0.01))


def test_a_model_without_layers_to_balance_is_refused():
    net = nn.Sequential(nn.Linear(64, 64))
    with pytest.raises(InputError, match="no layer that this policy could balance"):
        balanced(net, policy=policy(exclude=("*",)))


def test_an_unknown_policy_and_wrong_options_are_refused(net):
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    with pytest.raises(InputError, match=r"Did you mean 'recommended'\?"):
        TempBalance(net, optimizer, policy="recomended")
    with pytest.raises(InputError, match=r"unknown option 'intervall'\. Did you mean 'interval'\?"):
        TempBalance(net, optimizer, intervall=3)
    with pytest.raises(InputError, match=r"parts: expected a whole number of at least 1, got 0; ema: expected a weight in"):
        TempBalance(net, optimizer, parts=0, ema=1.5)


def test_multipliers_are_left_alone_in_a_run_without_warnings(net):
    optimizer, balance = balanced(net)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train(net, optimizer, 5, balance)


@pytest.mark.parametrize("name", ["neurips2023", "emnlp2024-glue", "emnlp2024-sciml", "farms", "recommended", "alphadecay"])
def test_every_preset_gives_in_training_what_it_gives_for_a_report(name, net):
    preset = scale_policy(name)
    report = spectra.analyze(net, **preset.analysis)
    expected = unit_scales(report.layers, preset)
    _, balance = balanced(net, torch.optim.SGD(net.parameters(), lr=0.01, weight_decay=0.1), policy=name, parts=2)
    assert balance.members == expected.members
    assert balance.scores == pytest.approx(expected.scores, rel=1e-6)  # float32 Gram matrices, in other stacks
    assert balance.scales == pytest.approx(expected.scales, rel=1e-4)
    assert len(set(balance.scales.values())) > 1
    assert set(balance.left_out) == set(expected.left_out)


def test_two_balances_of_one_optimizer_do_not_take_each_other_off(net):
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, weight_decay=0.1)
    _, decays = balanced(net, optimizer, policy=policy(name="decays", target="weight_decay"))
    _, rates = balanced(net, optimizer, policy=policy(), start_step=2)
    with pytest.raises(InputError, match="its learning_rate is balanced already"):
        balanced(net, optimizer, policy=policy())
    decays.remove()
    seen = []
    optimizer.register_step_pre_hook(lambda opt, *_: seen.append({group["lr"] for group in opt.param_groups}))
    train(net, optimizer, 3, rates)
    assert [len(step) for step in seen] == [1, 1, 4]


def test_a_failed_update_is_tried_again_at_the_next_interval_only(net, monkeypatch, tmp_path):
    optimizer, balance = balanced(net, start_step=1, interval=4, log=str(tmp_path / "log.jsonl"))
    calls = []

    def fail(layers):
        calls.append(layers)
        raise MemoryError("no memory left")

    monkeypatch.setattr(balance._meter, "measure", fail)
    with pytest.warns(SpectraWarning, match="no memory left"):
        train(net, optimizer, 10, balance)
    assert len(calls) == 3  # after steps 1, 5 and 9
    assert load_scale_log(tmp_path / "log.jsonl").records == ()


def test_a_late_start_measures_all_parts_at_once(net):
    optimizer, balance = balanced(net, start_step=2, parts=3, interval=5, policy=policy())
    train(net, optimizer, 2, balance)
    assert balance.scores == pytest.approx(block_alphas(net), rel=1e-9)


def test_calls_without_a_step_of_the_optimizer_do_not_count(net):
    optimizer, balance = balanced(net)
    for _ in range(3):  # as in accumulation
        balance.step()
    assert balance.num_steps == 0
    train(net, optimizer, 2, balance)
    assert (balance.num_steps, balance.num_updates) == (2, 3)
    with balance._controller.applied():  # an engine that makes steps without hooks
        pass
    balance.step()
    assert balance.num_steps == 3


def test_units_that_the_optimizer_does_not_have_take_no_part(net):
    parameters = [p for name, p in net.named_parameters() if not name.startswith("blocks.1")]
    _, balance = balanced(net, torch.optim.SGD(parameters, lr=0.01), policy=policy())
    assert set(balance.scales) == {"blocks.0", "blocks.2"}


def test_a_weight_decay_of_zero_is_said_to_stay_zero(net):
    with pytest.warns(SpectraWarning, match="the weight decay of all units is 0"):
        balanced(net, policy=policy(target="weight_decay"))


def test_old_scores_weigh_only_in_units_that_were_measured(net):
    optimizer, balance = balanced(net, ema=0.5, parts=6, policy=policy(unit="layer"))
    first = dict(balance.scores)
    train(net, optimizer, 1, balance)
    assert sum(balance.scores[unit] != first[unit] for unit in first) == 1


def test_a_learning_rate_of_zero_and_a_saved_plan_are_no_policies(net):
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    with pytest.raises(InputError, match="r_min: a unit whose learning rate is 0 would never move"):
        TempBalance(net, optimizer, policy=policy(map="linear", r_min=0.0))
    with pytest.raises(InputError, match=r"policy: expected a preset's name, .* got dict_keys"):
        TempBalance(net, optimizer, policy={}.keys())
    with pytest.raises(InputError, match=r"config: expected a TempBalanceConfig or options by name, got 'neurips2023'"):
        TempBalance(net, optimizer, "neurips2023")
    with pytest.raises(InputError, match=r"unknown option 'map': it is one of the policy's\. Write policy="):
        TempBalance(net, optimizer, map="linear")
    with pytest.raises(InputError, match=r"expected True or False, got 'no'; log: expected a file, got 5"):
        TempBalance(net, optimizer, norms_follow="no", log=5)


def test_some_options_of_a_policy_change_the_recommended_one(net):
    _, balance = balanced(net, policy={"tau": 3.0})
    assert balance.policy.tau == 3.0
    assert balance.policy.exclude == scale_policy("recommended").exclude


def test_blocks_are_entries_of_lists_and_not_their_parts_or_experts():
    from transformers import MixtralConfig, MixtralModel, SwinConfig, SwinModel, T5Config, T5Model

    t5 = block_finder(T5Model(T5Config(d_model=8, d_kv=4, d_ff=8, num_layers=2, num_heads=2, vocab_size=10)))
    assert t5("encoder.block.1.layer.0.SelfAttention.q") == "encoder.block.1"
    assert t5("decoder.block.0.layer.2.DenseReluDense.wo") == "decoder.block.0"
    assert t5("shared") is None
    swin = block_finder(SwinModel(SwinConfig(embed_dim=8, depths=[2, 2], num_heads=[2, 2], window_size=2, image_size=32)))
    assert swin("encoder.layers.0.blocks.1.intermediate.dense") == "encoder.layers.0.blocks.1"
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_attention_heads": 2, "num_key_value_heads": 1}
    mixtral = block_finder(MixtralModel(MixtralConfig(**sizes, num_hidden_layers=1, num_local_experts=2, vocab_size=10)))
    assert mixtral("layers.0.self_attn.q_proj") == "layers.0"
    assert block_finder(nn.Sequential(nn.Linear(2, 2)))("encoder.layer.3.query") == "encoder.layer.3"


RATES = policy(name="rates")
DECAYS = policy(name="decays", target="weight_decay", unit="layer", map="linear", r_min=0.5, r_max=2.0)


def both(net, optimizer, order=("rates", "decays"), **options):
    """Two balances, made in one order or the other: learning rates by block, weight decays by layer."""
    policies = {"rates": RATES, "decays": DECAYS}
    made = {name: balanced(net, optimizer, policy=policies[name], **options)[1] for name in order}
    return made["rates"], made["decays"]


class Both:
    """Two balances as one, for a loop."""

    def __init__(self, *balances):
        self.balances = balances

    def step(self):
        for balance in self.balances:
            balance.step()

    @property
    def scales(self):
        return {number: dict(balance.scales) for number, balance in enumerate(self.balances)}


@pytest.mark.parametrize("order", [("rates", "decays"), ("decays", "rates")])
def test_learning_rates_of_blocks_and_decays_of_layers_are_those_of_each_policy_alone(net, order):
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.01, weight_decay=0.1)
    rates, decays = both(net, optimizer, order)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)  # counts the groups as both have made them
    for balance, alone in ((rates, RATES), (decays, DECAYS)):
        found = unit_scales(spectra.analyze(net, **alone.analysis).layers, alone)
        assert balance.scales == pytest.approx(dict(found.scales), rel=1e-9)
    seen = {}
    optimizer.register_step_pre_hook(
        lambda opt, *_: seen.update({id(p): (g["lr"], g["weight_decay"]) for g in opt.param_groups for p in g["params"]})
    )
    of_blocks, of_layers = dict(rates.scales), dict(decays.scales)
    train(net, optimizer, 1, Both(rates, decays), scheduler)
    for name, parameter in net.named_parameters():
        block, layer = ".".join(name.split(".")[:2]), name.rpartition(".")[0]
        assert seen[id(parameter)] == (0.01 * of_blocks.get(block, 1.0), 0.1 * of_layers.get(layer, 1.0)), name
    assert len({decay for _, decay in seen.values()}) == 1 + 2 * NUM_BLOCKS  # base, and two layers of each block
    assert {(group["lr"], group["weight_decay"]) for group in optimizer.param_groups} == {(0.01 * 0.9, 0.1)}


def test_a_resumed_run_of_two_policies_is_the_uninterrupted_one_bit_by_bit(tmp_path):
    def start(resume=(None, None)):
        net = Net()
        optimizer = torch.optim.AdamW(net.parameters(), lr=0.01, weight_decay=0.1)
        rates = TempBalance(net, optimizer, policy=RATES, interval=2, resume=resume[0])
        decays = TempBalance(net, optimizer, policy=DECAYS, interval=3, parts=2, resume=resume[1])
        return net, optimizer, Both(rates, decays), torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)

    net, optimizer, two, scheduler = start()
    whole = train(net, optimizer, 5, two, scheduler) + train(net, optimizer, 7, two, scheduler, seed=1)
    final = net.state_dict()

    net, optimizer, two, scheduler = start()
    begun = train(net, optimizer, 5, two, scheduler)
    plain = [json.loads(json.dumps(balance.state_dict())) for balance in two.balances]
    torch.save([net.state_dict(), optimizer.state_dict(), scheduler.state_dict()], tmp_path / "checkpoint.pt")
    stored = torch.load(tmp_path / "checkpoint.pt", weights_only=True)

    net, optimizer, two, scheduler = start(plain)
    for part, state in zip((net, optimizer, scheduler), stored, strict=True):
        part.load_state_dict(state)
    assert begun + train(net, optimizer, 7, two, scheduler, seed=1) == whole
    assert all(torch.equal(tensor, final[name]) for name, tensor in net.state_dict().items())


def test_a_second_policy_of_the_same_target_is_refused_whatever_its_units(net):
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.01)
    balanced(net, optimizer, policy=RATES)
    with pytest.raises(InputError, match=r"split already for its learning_rate.* one policy for each target"):
        balanced(net, optimizer, policy=policy(unit="layer"))


def test_decays_of_layers_after_a_scheduler_are_refused_and_rates_stay_balanced(net):
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.01)
    _, rates = balanced(net, optimizer, policy=RATES)
    torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
    with pytest.raises(InputError, match="a scheduler is attached"):
        balanced(net, optimizer, policy=DECAYS)
    train(net, optimizer, 1, rates)
    assert rates.num_updates == 2


def test_one_of_two_is_taken_off_and_the_other_goes_on(net):
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.01, weight_decay=0.1)
    rates, decays = both(net, optimizer)
    rates.remove()
    seen = []
    optimizer.register_step_pre_hook(
        lambda opt, *_: seen.append([{group[key] for group in opt.param_groups} for key in ("lr", "weight_decay")])
    )
    train(net, optimizer, 1, decays)
    assert seen[0][0] == {0.01}
    assert len(seen[0][1]) > NUM_BLOCKS


def test_a_state_of_another_policy_names_what_differs_and_can_be_taken_where_it_fits(net):
    state = balanced(net)[1].state_dict()
    changed = scale_policy("emnlp2024-glue", tau=5.0)
    with pytest.raises(
        InputError, match=r"another policy \('tau' changed\).* strict=False, to TempBalance or TempBalanceCallback"
    ):
        balanced(Net(), policy=changed, resume=state)
    _, balance = balanced(Net(), policy=changed, resume=state, strict=False)
    assert balance.scales == state["scales"]
