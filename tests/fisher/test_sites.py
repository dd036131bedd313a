"""Dropout sites: what is found in real models, what is left out, and which parameters stand behind a site."""

import functools
import re

import pytest
import torch
from torch import nn

from spectra.errors import InputError
from spectra.fisher.sites import SiteKind, SiteRole, find_sites
from tests.dropout_models import FAMILIES, tiny

# peft asks transformers for it.
ASKED_BY_PEFT = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")


def sites_of(model, **options):
    return {site.name: site for site in find_sites(model, **options)}


def behind(site):
    """Names of the parameters, from the module that holds the site where they are inside it."""
    holder = site.name.rpartition(".")[0]
    return [name.removeprefix(f"{holder}.") for name in site.parameters]


def weights_and_biases(*layers):
    return [f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")]


def test_bert_base_has_the_37_published_sites_and_the_classifier():
    from transformers import BertConfig, BertForSequenceClassification

    with torch.device("meta"):  # names and shapes are enough
        sites = find_sites(BertForSequenceClassification(BertConfig()))
    roles = [site.role for site in sites]
    assert [roles.count(role) for role in ("embeddings", "attention_probs", "attention_output", "mlp_output")] == [
        1,
        12,
        12,
        12,
    ]
    assert roles[-1] == "classifier"
    assert len(sites) == 38
    assert {(site.kind, site.drop_prob) for site in sites} == {("module", 0.1)}


@pytest.mark.parametrize("name", ["bert", "bert, masked", "roberta", "electra"])
def test_blocks_of_bert_are_those_of_the_reference(name):
    sites = sites_of(tiny(name))
    body = next(iter(sites)).split(".")[0]
    assert len(sites[f"{body}.embeddings.dropout"].parameters) == 5
    layer = f"{body}.encoder.layer.1"
    for site, inside in {
        f"{layer}.attention.self.dropout": weights_and_biases("query", "key", "value"),
        f"{layer}.attention.output.dropout": weights_and_biases("dense", "LayerNorm"),
        f"{layer}.output.dropout": weights_and_biases("dense", "LayerNorm"),
    }.items():
        assert behind(sites[site]) == inside


# A site, its kind and role, and what is behind it: from the module that holds the site, or from the model.
EXAMPLES = {
    "bert": ("dropout", "module", "classifier", weights_and_biases("bert.pooler.dense")),
    "roberta": ("classifier.dropout", "module", "classifier", weights_and_biases("dense", "out_proj")),
    "distilbert": ("dropout", "module", "classifier", weights_and_biases("pre_classifier")),
    "modernbert": ("model.layers.1.mlp.drop", "module", "mlp_hidden", ["Wi.weight"]),
    "gpt2": ("transformer.drop", "module", "embeddings", ["wte.weight", "wpe.weight"]),
    "llama": (
        "model.layers.1.self_attn.attention_dropout", "attribute", "attention_probs",
        ["q_proj.weight", "k_proj.weight", "v_proj.weight"],
    ),
    "t5": (
        "encoder.block.0.layer.0.SelfAttention.dropout", "attribute", "attention_probs", ["q.weight", "k.weight", "v.weight"],
    ),
    "bart": ("model.encoder.layers.0.activation_dropout", "attribute", "mlp_hidden", weights_and_biases("fc1")),
    "vit": (
        "vit.embeddings.dropout", "module", "embeddings",
        ["cls_token", "position_embeddings", *weights_and_biases("patch_embeddings.projection")],
    ),
}  # fmt: skip
MORE = [
    ("gpt2", "transformer.h.0.attn.attn_dropout", "attention_probs", weights_and_biases("c_attn")),
    ("gpt2", "transformer.h.0.attn.resid_dropout", "attention_output", weights_and_biases("c_proj")),
    ("gpt2", "transformer.h.0.mlp.dropout", "mlp_output", weights_and_biases("c_proj")),
    ("gpt-neox", "gpt_neox.layers.0.post_mlp_dropout", "mlp_output", weights_and_biases("mlp.dense_4h_to_h")),
    ("phi3", "model.layers.0.resid_attn_dropout", "attention_output", ["self_attn.o_proj.weight"]),
    ("starcoder2", "model.embedding_dropout", "embeddings", ["embed_tokens.weight"]),
    ("qwen3", "model.layers.0.self_attn.attention_dropout", "attention_probs",
     ["q_proj.weight", "k_proj.weight", "v_proj.weight", "q_norm.weight", "k_norm.weight"]),
    ("albert", "albert.encoder.albert_layer_groups.0.albert_layers.0.attention.output_dropout", "attention_output",
     weights_and_biases("dense", "LayerNorm")),
    ("distilbert", "distilbert.transformer.layer.0.ffn.dropout", "mlp_output", weights_and_biases("lin2")),
    ("deberta-v2", "deberta.encoder.layer.0.attention.self.pos_dropout", "other", None),
    ("deberta-v2", "pooler.dropout", "classifier", weights_and_biases("dense")),
    ("t5", "encoder.dropout", "embeddings", ["shared.weight"]),
    ("t5", "encoder.block.0.layer.0.dropout", "attention_output", ["SelfAttention.o.weight"]),
    ("t5", "encoder.block.0.layer.1.dropout", "mlp_output", ["DenseReluDense.wo.weight"]),
    ("t5, gated", "decoder.block.1.layer.2.DenseReluDense.dropout", "mlp_hidden", ["wi_0.weight", "wi_1.weight"]),
    ("opt", "model.decoder.layers.0.dropout", "other", weights_and_biases("self_attn.out_proj", "fc2")),
    ("bart", "model.decoder.layers.0.dropout", "other",
     weights_and_biases("self_attn.out_proj", "encoder_attn.out_proj", "fc2")),
    ("whisper", "model.encoder.dropout", "embeddings", [*weights_and_biases("conv1", "conv2"), "embed_positions.weight"]),
]  # fmt: skip


@functools.cache
def sites_in(family):
    return sites_of(tiny(family))


@pytest.mark.parametrize(
    ("family", "name", "role", "parameters"),
    [*((family, name, role, parameters) for family, (name, _, role, parameters) in EXAMPLES.items()), *MORE],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_site_has_its_role_and_the_parameters_that_make_what_it_drops(family, name, role, parameters):
    site = sites_in(family)[name]
    assert site.role == role
    if parameters is not None:
        assert behind(site) == parameters


@pytest.mark.parametrize("family", EXAMPLES)
def test_a_site_has_its_kind(family):
    name, kind, _, _ = EXAMPLES[family]
    assert sites_in(family)[name].kind == kind


@pytest.mark.parametrize("family", FAMILIES)
def test_every_site_has_parameters_of_the_model_behind_it(family):
    model = tiny(family)
    known = {name for name, _ in model.named_parameters()}
    sites = find_sites(model)
    assert len(sites) >= 2
    for site in sites:
        assert site.parameters
        assert set(site.parameters) <= known
        assert site.role in list(SiteRole)
        assert site.kind in list(SiteKind)
        assert 0.0 <= site.drop_prob < 1.0


@pytest.mark.parametrize(
    ("family", "name"),
    [
        ("opt", "model.decoder.dropout"),
        ("albert", "albert.encoder.albert_layer_groups.0.albert_layers.0.dropout"),
        ("bloom", "transformer.h.0.hidden_dropout"),
        ("bart", "model.encoder.layerdrop"),
        ("swin", "swin.encoder.layers.1.blocks.0.drop_path.drop_prob"),
        ("swin", "swin.encoder.layers.1.blocks.0.drop_path"),
    ],
)
def test_what_is_never_read_and_what_drops_whole_layers_is_no_site(family, name):
    assert functools.reduce(getattr, name.split("."), tiny(family)) is not None
    assert name not in sites_in(family)


def test_a_rate_that_comes_from_the_configuration_is_no_site():
    from transformers import FalconConfig, FalconForCausalLM

    model = FalconForCausalLM(FalconConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, vocab_size=40))
    assert model.transformer.h[0].hidden_dropout == 0.0
    assert [name for name in sites_of(model) if "hidden_dropout" in name] == []


class Plain(nn.Module):
    """Rates as numbers: one that is read, others that are no rates or no numbers, and one that nobody reads."""

    def __init__(self):
        super().__init__()
        self.fc1, self.drop1, self.fc2 = nn.Linear(4, 4), nn.Dropout(0.2), nn.Linear(4, 4)
        self.dropout, self.hidden_dropout, self.attention_dropout, self.resid_dropout = 0.3, 1.0, True, 0.1
        self.unused = nn.Dropout(0.5)

    def forward(self, x):
        x = self.fc2(self.drop1(self.fc1(x)))
        if self.attention_dropout:
            x = nn.functional.dropout(x, self.hidden_dropout * 0.0, self.training)
        return nn.functional.dropout(x, self.dropout, self.training)


def test_only_numbers_that_are_rates_and_are_read_are_sites():
    sites = sites_of(Plain())
    assert list(sites) == ["dropout", "drop1"]
    assert [(site.kind, site.drop_prob) for site in sites.values()] == [("attribute", 0.3), ("module", 0.2)]


def test_dropout_between_the_layers_of_an_mlp_has_the_first_behind_it_and_dropout_after_it_the_second():
    sites = sites_of(Plain())
    assert (sites["drop1"].role, behind(sites["drop1"])) == ("mlp_hidden", weights_and_biases("fc1"))
    assert (sites["dropout"].role, behind(sites["dropout"])) == ("mlp_output", weights_and_biases("fc2"))


@pytest.mark.parametrize(
    "kind", [nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout]
)
def test_every_kind_of_dropout_module_is_a_site_and_in_a_sequence_belongs_to_the_layer_before_it(kind):
    model = nn.Sequential(kind(0.1), nn.Linear(4, 4), nn.ReLU(), kind(0.2), nn.Linear(4, 2))
    first, second = find_sites(model)
    assert (second.name, second.drop_prob, second.parameters) == ("3", 0.2, ("1.weight", "1.bias"))
    assert first.parameters == ("1.weight", "1.bias", "4.weight", "4.bias")  # nothing before it: the part around it


def test_dropout_called_by_a_name_made_at_run_time_is_a_site():
    class Dynamic(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.drop0 = nn.Linear(4, 4), nn.Dropout(0.1)

        def forward(self, x):
            return getattr(self, f"drop{0}")(self.first(x))

    assert list(sites_of(Dynamic())) == ["drop0"]


def test_dropout_that_the_module_above_calls_is_a_site():
    class Shelf(nn.Module):
        def __init__(self):
            super().__init__()
            self.drop, self.layer = nn.Dropout(0.1), nn.Linear(4, 4)

    class Reader(nn.Module):
        def __init__(self):
            super().__init__()
            self.shelf = Shelf()

        def forward(self, x):
            return self.shelf.drop(self.shelf.layer(x))

    class Passing(Shelf):
        def forward(self, x):
            return self.layer(x)

    model = Reader()
    assert list(sites_of(model)) == ["shelf.drop"]
    model.shelf = Passing()
    assert list(sites_of(model)) == ["shelf.drop"]
    assert list(sites_of(Passing())) == []


def test_a_module_in_two_places_counts_once():
    shared = nn.Dropout(0.1)
    assert list(sites_of(nn.Sequential(nn.Linear(4, 4), shared, nn.Linear(4, 4), shared))) == ["1"]


def test_layers_of_torch_have_sites():
    encoder = nn.TransformerEncoderLayer(8, 2, 16)
    assert {name: site.role for name, site in sites_of(encoder).items()} == {
        "self_attn.dropout": "attention_probs",
        "dropout": "mlp_hidden",
        "dropout1": "other",
        "dropout2": "other",
    }
    assert behind(sites_of(encoder)["self_attn.dropout"]) == ["in_proj_weight", "in_proj_bias"]
    assert list(sites_of(nn.LSTM(4, 4, num_layers=2, dropout=0.1))) == ["dropout"]
    assert list(sites_of(nn.LSTM(4, 4))) == []  # it drops between layers


def test_the_model_itself_being_dropout_is_no_site():
    assert find_sites(nn.Dropout(0.1)) == ()


@ASKED_BY_PEFT
@pytest.mark.parametrize("rate", [0.0, 0.1])
def test_adapters_have_their_own_sites_also_where_peft_puts_an_identity(rate):
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=2, lora_dropout=rate, target_modules=["q_proj", "embed_tokens"], task_type="CAUSAL_LM")
    sites = sites_of(get_peft_model(tiny("llama"), config))
    layer = "base_model.model.model.layers.0.self_attn"
    adapters = [name for name, site in sites.items() if site.kind == "lora"]
    assert adapters == [f"base_model.model.model.layers.{i}.self_attn.q_proj.lora_dropout.default" for i in (0, 1)]
    site = sites[adapters[0]]
    assert (site.role, site.drop_prob) == ("adapter", rate)
    assert site.parameters == tuple(f"{layer}.q_proj.lora_{factor}.default.weight" for factor in "AB")
    # The adapted projection still counts as one beside the site of its attention.
    assert f"{layer}.q_proj.base_layer.weight" in sites[f"{layer}.attention_dropout"].parameters


@ASKED_BY_PEFT
def test_only_the_adapter_in_use_and_only_the_trained_copy_of_a_head_have_sites():
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=2, lora_dropout=0.1, target_modules=["query"], task_type="SEQ_CLS")
    model = get_peft_model(tiny("roberta"), config)
    model.add_adapter("second", config)
    names = list(sites_of(model))
    assert [name for name in names if "second" in name or "original" in name] == []
    head = "base_model.model.classifier.modules_to_save.default.dropout"
    assert sites_of(model)[head].role == "classifier"


def test_sites_can_be_inserted_by_glob_after_the_module_they_follow():
    sites = find_sites(tiny("llama"), insert="*.down_proj")
    assert [site.name for site in sites][:2] == [
        "model.layers.0.self_attn.attention_dropout",
        "model.layers.0.mlp.down_proj.output_dropout",
    ]
    site = sites[1]
    assert (site.kind, site.role, site.drop_prob) == ("inserted", "mlp_output", 0.0)
    assert site.parameters == ("model.layers.0.mlp.down_proj.weight",)


@pytest.mark.parametrize(
    ("family", "attention", "mlp"),
    [
        ("llama", "model.layers.0.self_attn.o_proj", "model.layers.0.mlp.down_proj"),
        ("gpt2", "transformer.h.0.attn.c_proj", "transformer.h.0.mlp.c_proj"),
        ("opt", "model.decoder.layers.0.self_attn.out_proj", "model.decoder.layers.0.fc2"),
        ("t5", "encoder.block.0.layer.0.SelfAttention.o", "encoder.block.0.layer.1.DenseReluDense.wo"),
    ],
)
def test_sites_can_be_inserted_by_what_they_follow(family, attention, mlp):
    roles = {site.name: site.role for site in find_sites(tiny(family), insert=["attention-output", "mlp-output"])}
    assert roles[f"{attention}.output_dropout"] == "attention_output"
    assert roles[f"{mlp}.output_dropout"] == "mlp_output"


def test_inserting_at_any_other_module_is_possible():
    (site,) = find_sites(nn.Sequential(nn.Linear(4, 4), nn.ReLU()), insert="0")
    assert (site.name, site.role, site.parameters) == ("0.output_dropout", "other", ("0.weight", "0.bias"))


@pytest.mark.parametrize("pattern", ["*.down_porj", "model.layers.0.mlp.down_porj"])
def test_a_pattern_that_matches_no_module_is_refused(pattern):
    with pytest.raises(InputError, match=re.escape(f"insert: no module of LlamaForCausalLM matches '{pattern}'.")):
        find_sites(tiny("llama"), insert=["*.o_proj", pattern])


def test_finding_changes_nothing():
    model = tiny("bert").train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    find_sites(model)
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
