"""How parameters are used: what is followed through a batch, what is left to the loop with a reason, and what it costs."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from spectra import InputError
from spectra.fisher.estimate import fisher
from spectra.fisher.provenance import MARK
from tests.fisher.literal import error, fisher_of, gradients, literal_fisher, pair_loss
from tests.fisher.looped_uses import LOOPED
from tests.fisher.models import CASES, LLAMA, causal
from tests.fisher.uses import FOLLOWED, Custom, N

EXACT = 1e-10  # float64; 1e-15 is seen


def compared(use, sizes):
    """Estimates in batches of several sizes, all equal to the loop over samples; nothing is left on any tensor."""
    torch.manual_seed(0)
    make, inputs = use
    model, x, y = make().double().eval(), inputs(), torch.arange(N) % 3
    x = x.double() if x.is_floating_point() else x
    expected = fisher_of(gradients(model, [(x[n : n + 1], y[n : n + 1]) for n in range(N)], pair_loss))
    estimates = [fisher(model, list(zip(x.split(size), y.split(size), strict=True))) for size in sizes]
    for estimate in estimates:
        assert error(estimate.values, expected) < EXACT
    assert not any(hasattr(tensor, MARK) for tensor in (*model.parameters(), *model.buffers(), x, y))
    return estimates


@pytest.mark.parametrize("name", FOLLOWED)
def test_a_use_that_is_followed_equals_the_loop(name):
    for estimate in compared(FOLLOWED[name], (N, 3, 1)):
        assert estimate.info.notes == ()
        assert {tensor.route for tensor in estimate.tensors} == {"batched"}


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("name", LOOPED)
def test_a_use_that_is_not_followed_is_looped_and_noted(name):
    use, reason, names = LOOPED[name]
    estimate = compared(use, (N, 3, 1))[0]
    (note,) = estimate.info.notes
    assert note.startswith("measured one sample at a time, as ")
    assert reason in note
    assert {tensor.name for tensor in estimate.tensors if tensor.route == "loop"} == names
    assert all(name in note for name in names)


@pytest.mark.parametrize("name", ["a bias next to a computed weight", "a bias next to a computed filter"])
def test_a_weight_that_a_network_computes_is_left_to_autograd(name):
    (estimate,) = compared(LOOPED[name][0], (1,))
    assert "its layer's weight or bias depends on the batch: b" in estimate.info.notes[0]
    assert [tensor.route for tensor in estimate.tensors] == ["loop", "batched", "batched"]


def test_samples_that_are_alike_do_not_hide_that_time_comes_first():
    torch.manual_seed(0)
    model = Custom(lambda m, x: m.head(x.transpose(0, 1)).mean(0), head=nn.Linear(5, 3))
    x, y = torch.cat([torch.ones(2, 6, 5), torch.randn(1, 6, 5)]), torch.arange(3)
    expected = fisher_of(gradients(model, [(x[n : n + 1], y[n : n + 1]) for n in range(3)], pair_loss))
    assert error(fisher(model, [(x, y)]).values, expected) < 1e-6


def test_a_batch_norm_of_the_batch_at_hand_is_not_followed():
    model = nn.Sequential(nn.BatchNorm1d(2, track_running_stats=False), nn.Flatten(), nn.Linear(8, 3))
    estimate = fisher(model, [(torch.randn(3, 2, 4), torch.arange(3))])
    assert "its batch norm mixes the samples: 0.weight, 0.bias" in estimate.info.notes[0]


@pytest.mark.parametrize("route", ["auto", "loop"])
def test_gradients_of_a_table_may_be_sparse(route):
    torch.manual_seed(0)
    table = nn.Embedding(7, 5)
    model = Custom(lambda m, x: m.head(m.table(x).mean(1)), table=table, head=nn.Linear(5, 3))
    batch = torch.randint(7, (3, 4)), torch.arange(3)
    expected = fisher(model, [batch])
    table.sparse = True
    estimate = fisher(model, [batch], route=route)
    assert error(estimate.values, expected.values) < 1e-6


def test_of_torchs_encoder_all_but_the_attention_is_followed():
    torch.manual_seed(0)
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(6, 2, 8, batch_first=True), 2, enable_nested_tensor=False)
    model = Custom(lambda m, x: m.head(m.encoder(x)[:, 0]), encoder=encoder, head=nn.Linear(6, 3)).eval()
    x, y = torch.randn(3, 4, 6), torch.arange(3)
    expected = fisher_of(gradients(model, [(x[n : n + 1], y[n : n + 1]) for n in range(3)], pair_loss))
    estimate = fisher(model, [(x, y)])
    assert error(estimate.values, expected) < 1e-6
    looped = [tensor.name for tensor in estimate.tensors if tensor.route == "loop"]
    assert looped == [name for name in expected if ".self_attn." in name]


@pytest.mark.parametrize("implementation", ["grouped_mm", "eager"])
def test_experts_are_looped_and_noted(implementation):
    case = causal("MixtralForCausalLM", **LLAMA, num_local_experts=4)
    case.model.set_experts_implementation(implementation)
    estimate = fisher(case.model, case.batches(3))
    assert error(estimate.values, literal_fisher(case.model, case.samples)) < 1e-6
    assert "rows chosen by the data" in estimate.info.notes[0]
    looped = {tensor.name for tensor in estimate.tensors if tensor.route == "loop"}
    assert looped >= {name for name in estimate.values if ".experts." in name}
    if implementation == "eager":  # which puts the rows back where they were
        assert all(".experts." in name for name in looped)


def test_a_parameter_that_no_gradient_reaches_is_noted():
    model = Custom(lambda m, x: m.head(x) + m.cut.detach(), head=nn.Linear(5, 3), cut=nn.Parameter(torch.ones(3)))
    model.forgotten = nn.Parameter(torch.ones(2))
    estimate = fisher(model, [(torch.randn(4, 5), torch.arange(4) % 3)])
    assert estimate.info.notes == ("no gradient reaches: cut, forgotten",)
    assert not estimate.values["forgotten"].any()
    assert estimate.scores()["cut"] == 0.0


class Changing(nn.Module):
    """Uses its weight where nobody sees it, once a first batch has been measured and proved, in four calls."""

    def __init__(self):
        super().__init__()
        self.w, self.calls = nn.Parameter(torch.randn(5)), 0
        self.head = nn.Linear(5, 3)

    def forward(self, x):
        self.calls += 1
        scaled = x * self.w
        if self.calls > 4:
            with torch._C.DisableTorchFunction():
                scaled = scaled + x * self.w
        return self.head(scaled)


def test_a_use_that_is_not_seen_after_it_was_is_refused():
    batches = [(torch.randn(1, 5), torch.tensor([0]))] * 2
    with pytest.raises(
        InputError, match=r"after 1 batches, parameter 'w' was used in a way that cannot be followed\..*route='loop'"
    ):
        fisher(Changing(), batches)
    assert fisher(Changing(), batches, route="loop").info.num_samples == 2


class Repeating(nn.Module):
    """Computes the same in another way when gradient checkpointing repeats it."""

    def __init__(self):
        super().__init__()
        self.first, self.w, self.calls = nn.Linear(5, 3), nn.Parameter(torch.randn(3, 3)), 0

    def forward(self, x):
        self.calls = 0
        return F.linear(checkpoint(self.inside, self.first(x), use_reentrant=True), self.w)

    def inside(self, h):
        self.calls += 1
        return F.linear(h, self.w) if self.calls == 1 else torch.einsum("bi,oi->bo", h, self.w)


def test_a_use_that_is_lost_in_the_backward_pass_makes_the_loop_start_anew():
    torch.manual_seed(0)
    model, x, y = Repeating(), torch.randn(4, 5), torch.arange(4) % 3
    expected = fisher_of(gradients(model, [(x[n : n + 1], y[n : n + 1]) for n in range(4)], pair_loss))
    estimate = fisher(model, [(x[:2], y[:2]), (x[2:], y[2:])])
    assert error(estimate.values, expected) < 1e-6
    assert estimate.tensors[0].route == "loop"


def counted(model):
    """A list that grows by one with every forward pass, and one with every gradient written to a parameter."""
    forwards, writes = [], []
    model.register_forward_hook(lambda *_: forwards.append(1))
    for parameter in model.parameters():
        parameter.register_post_accumulate_grad_hook(lambda _: writes.append(1))
    return forwards, writes


@pytest.mark.parametrize("name", ["bert, sdpa", "gpt2, sdpa", "t5, tied", "vit, sdpa", "albert, shared layers"])
def test_a_batch_costs_one_forward_pass_and_the_first_its_proof(name):
    case = CASES[name]()
    forwards, writes = counted(case.model)
    seen = []
    fisher(case.model, case.batches(2), progress=lambda _: seen.append((len(forwards), len(writes))))
    # Two passes compare places in the batch; then the batch, the batch on trial, its two samples alone, and the batch again, as
    # its first graph made room. Only single samples write gradients: that of a whole batch is never formed.
    (forwards_of_first, writes_of_first), *others = seen
    assert forwards_of_first == 2 + 1 + 1 + 2 + 1
    assert writes_of_first <= 2 * len(list(case.model.parameters()))
    assert others[0] == (forwards_of_first + 1, writes_of_first)


def test_of_single_samples_the_first_is_proved():
    torch.manual_seed(0)
    model = nn.Linear(5, 3)
    forwards, _ = counted(model)
    fisher(model, [(torch.randn(1, 5), torch.tensor([1]))] * 4)
    assert len(forwards) == 4 + 3


def test_a_large_batch_is_proved_with_eight_of_its_samples_unless_they_take_another_way():
    torch.manual_seed(0)
    sizes = []
    model = nn.Linear(5, 3)
    model.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    batch = (torch.randn(20, 5), torch.arange(20) % 3)
    fisher(model, [batch])
    assert sizes == [3, 3, 20, 8, 1, 1, 1, 1, 20]
    sizes.clear()
    by_size = Custom(lambda m, x: m.head(x * 1.0 if len(x) > 8 else x), head=nn.Linear(5, 3))
    by_size.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    fisher(by_size, [batch])
    assert sizes == [3, 3, 20, 8, 20, 1, 1, 1, 1, 20]


class Branching(nn.Module):
    """Takes another way with long inputs, on which tokens come before samples."""

    def __init__(self):
        super().__init__()
        self.inner, self.head = nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x):
        if x.shape[1] > 4:
            return self.head(torch.tanh(self.inner(x.transpose(0, 1))).mean(0))
        return self.head(torch.tanh(self.inner(x)).mean(1))


class Packing(nn.Module):
    """Joins the real tokens of all samples, of which every sample has another number."""

    def __init__(self):
        super().__init__()
        self.table, self.inner, self.head = nn.Embedding(20, 6), nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, ids):
        lengths = (ids > 0).sum(1).tolist()
        embedded = self.table(ids)
        packed = torch.tanh(self.inner(torch.cat([row[:length] for row, length in zip(embedded, lengths, strict=True)])))
        return self.head(torch.stack([chunk.mean(0) for chunk in packed.split(lengths)]))


class Differentiating(nn.Module):
    """Takes a gradient in its forward pass, as models of forces do."""

    def __init__(self):
        super().__init__()
        self.first, self.energy, self.head = nn.Linear(6, 8), nn.Linear(8, 1), nn.Linear(6, 3)

    def forward(self, x):
        x = x.detach().requires_grad_()
        (force,) = torch.autograd.grad(self.energy(torch.tanh(self.first(x))).sum(), x, create_graph=True)
        return self.head(force)


class Saliency(Differentiating):
    """Runs a whole backward pass in its forward pass."""

    def forward(self, x):
        hidden = torch.tanh(self.first(x))
        hidden.sum().backward(retain_graph=True)
        return self.head(hidden[:, :6])


class Handing(nn.Module):
    """Hands a parameter through a checkpoint as an argument."""

    def __init__(self):
        super().__init__()
        self.position, self.inner, self.head = nn.Parameter(torch.randn(5, 6)), nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x):
        x = x.detach().requires_grad_()
        inside = checkpoint(lambda x, p: torch.tanh(self.inner(x + p)), x, self.position, use_reentrant=True)
        return self.head(inside.mean(1))


class Siamese(nn.Module):
    """Puts the two parts of a sample one under the other; their difference is all that counts."""

    def __init__(self):
        super().__init__()
        self.inner, self.head = nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x):
        one, two = torch.tanh(self.inner(torch.cat([x[:, 0], x[:, 1]]))).chunk(2)
        return self.head(one - two)


def inputs(*shape):
    return torch.randn(*shape)


IDS = torch.tensor([[1, 2, 3, 0, 0], [4, 5, 6, 0, 0], [7, 8, 0, 0, 0], [9, 10, 11, 12, 0]])
PROVED = {
    "a way taken later": (Branching, lambda: [inputs(4, 3, 6), inputs(4, 8, 6)]),
    "samples of unequal lengths, packed": (Packing, lambda: [IDS]),
    "gradients in the forward pass": (Differentiating, lambda: [inputs(4, 6)]),
    "a backward pass in the forward pass": (Saliency, lambda: [inputs(4, 6)]),
    "a parameter handed to a checkpoint": (Handing, lambda: [inputs(4, 5, 6)]),
    "pairs of nearly equal samples": (Siamese, lambda: [1e-4 * inputs(4, 2, 6) + 1.0]),
    "zeros, then pairs": (Siamese, lambda: [torch.zeros(4, 2, 6), inputs(4, 2, 6)]),
}


@pytest.mark.parametrize("name", PROVED)
def test_what_no_rule_foresees_is_found_by_comparing_samples_with_themselves_alone(name):
    torch.manual_seed(0)
    make, data = PROVED[name]
    model, batches = make(), [(x, torch.arange(4) % 3) for x in data()]
    single = [(x[n : n + 1], y[n : n + 1]) for x, y in batches for n in range(4)]

    def alone(model, pair):
        losses = pair_loss(model, pair)
        model.zero_grad()  # what the forward pass itself has left there
        return losses

    expected = fisher_of(gradients(model, single, alone))
    assert error(fisher(model, batches).values, expected) < 1e-6  # float32, as the other bars


def test_the_loop_costs_a_forward_pass_per_sample():
    case = CASES["bert, sdpa"]()
    forwards, writes = counted(case.model)
    fisher(case.model, case.batches(3), route="loop")
    assert len(forwards) == len(case.samples)
    assert len(writes) == len(case.samples) * len(list(case.model.parameters()))


def test_only_parameters_that_need_it_are_looped():
    torch.manual_seed(0)
    model = LOOPED["a function of one's own"][0][0]()
    _, writes = counted(model)
    fisher(model, [(torch.randn(4, 5), torch.arange(4) % 3)])
    # One stray on trial and one in the batch; all three parameters in the proof and in the loop.
    assert len(writes) == 1 + 1 + 2 * 4 * 3
