"""The published probabilities of BERT-base, against the table of the specification (section B.3)."""

import numpy as np
import pytest

from spectra.errors import InputError
from spectra.policies.drop_prob import guided_rates
from spectra.policies.dropout_presets import published_bert_base, published_plan
from spectra.results.fisher import SiteBlock

# Type of the site: layers from the lowest Fisher to the highest, first and last rate, mean.
TABLE = {
    "attention.self": ("7 10 9 8 1 6 11 2 0 5 3 4", 0.0990, 0.06875, 0.0839),
    "attention.output": ("11 0 9 10 7 1 6 8 2 5 4 3", 0.0660, 0.03575, 0.0509),
    "output": ("11 9 6 5 2 0 10 8 7 1 4 3", 0.0330, 0.00275, 0.0179),
}
ROLES = {"attention.self": "attention_probs", "attention.output": "attention_output", "output": "mlp_output"}


def bert_sites(prefix="bert.", num_layers=12):
    """The dropout sites of BertForSequenceClassification, in the order of its modules."""
    sites = [SiteBlock(f"{prefix}embeddings.dropout", "module", "embeddings", 0.1, ())]
    for layer in range(num_layers):
        for place, role in ROLES.items():
            sites.append(SiteBlock(f"{prefix}encoder.layer.{layer}.{place}.dropout", "module", role, 0.1, ()))
    return [*sites, SiteBlock("dropout", "module", "classifier", 0.1, ())]


def names_of(sites):
    return [site.name for site in sites]


@pytest.mark.parametrize("prefix", ["bert.", "", "base_model.model.bert.", "roberta."])
@pytest.mark.parametrize("place", TABLE)
def test_rates_are_those_of_the_published_table(prefix, place):
    rates = published_bert_base(names_of(bert_sites(prefix)))
    layers, first, last, mean = TABLE[place]
    of_type = [rates[f"{prefix}encoder.layer.{layer}.{place}.dropout"] for layer in layers.split()]
    # 0.00275 is 0.099/36: a few roundings of numbers below 0.1. The table gives means to four places.
    assert of_type == pytest.approx([first - 0.00275 * step for step in range(12)], abs=1e-15)
    assert of_type[-1] == pytest.approx(last, abs=1e-15)
    assert np.mean(of_type) == pytest.approx(mean, abs=5e-5)


def test_the_rank_rule_gives_the_same_on_scores_in_the_published_order():
    order = [f"bert.encoder.layer.{layer}.{place}.dropout" for place in TABLE for layer in TABLE[place][0].split()]
    scores = dict(zip([*order, "bert.embeddings.dropout"], np.geomspace(1e-12, 1e-3, 37), strict=True))
    assert guided_rates(scores, p_upper=0.099, p_lower=0.0) == published_bert_base(names_of(bert_sites()))


def test_the_embeddings_have_none_and_the_mean_is_half_of_the_usual():
    rates = published_bert_base(names_of(bert_sites()))
    assert rates["bert.embeddings.dropout"] == 0.0
    assert len(rates) == 37
    assert np.mean(list(rates.values())) == pytest.approx(0.0495, abs=1e-15)


def test_the_classifier_and_sites_that_were_added_are_left_alone_and_the_order_is_the_models():
    names = names_of(bert_sites())
    added = "bert.encoder.layer.0.attention.self.query.lora_dropout.default"
    assert list(published_bert_base([added, *names])) == names[:-1]


def test_the_plan_of_the_preset_makes_the_controls_of_the_published_comparison():
    plan = published_plan(bert_sites(), model="bert-base-uncased")
    assert plan.rates == published_bert_base(names_of(bert_sites()))
    assert (plan.model, plan.p_upper, plan.p_lower, plan.rule, plan.scores) == ("bert-base-uncased", 0.099, 0.0, "rank", {})
    assert set(plan.kinds.values()) == {"module"}
    per_type = plan.with_control("per-type").rates
    for place, (*_, mean) in TABLE.items():
        assert per_type[f"bert.encoder.layer.3.{place}.dropout"] == pytest.approx(mean, abs=5e-5)
    assert list(plan.with_control("mean-matched").rates.values()) == pytest.approx([0.0495] * 37, abs=1e-15)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "no site is of name 'embeddings.dropout', expected 1"),
        (["transformer.drop", "my_embeddings.dropout"], "no site is of name 'embeddings.dropout'"),
        (
            names_of(bert_sites(num_layers=11)),
            "3 of its 37 dropout sites are missing, 'bert.encoder.layer.11.attention.self.dropout', ",
        ),
        (names_of(bert_sites(num_layers=2)), "30 of its 37 dropout sites are missing, .* and 27 more. Measure the model's own"),
        (
            names_of(bert_sites(num_layers=24)),
            "it has 12 layers, and there is 'bert.encoder.layer.12.attention.self.dropout'",
        ),
        (
            names_of([*bert_sites("encoder."), *bert_sites("decoder.")]),
            r"2 sites \('encoder.embeddings.dropout', 'decoder.embeddings.dropout'\) are of name",
        ),
    ],
    ids=["none", "other", "11 layers", "2 layers", "24 layers", "two models"],
)
def test_a_model_of_another_shape_is_refused(names, message):
    with pytest.raises(InputError, match=f"no BERT-base: .*{message}"):
        published_bert_base(names)
    with pytest.raises(InputError, match=message):
        published_plan([SiteBlock(name, "module", "other", 0.1, ()) for name in names])


def test_the_sites_of_a_real_bert_are_found():
    from transformers import BertConfig, BertForSequenceClassification

    from spectra.fisher.sites import find_sites

    config = BertConfig(vocab_size=20, hidden_size=8, num_attention_heads=2, intermediate_size=8, max_position_embeddings=8)
    plan = published_plan(find_sites(BertForSequenceClassification(config)))
    assert len(plan.rates) == 37
    expected = {site.name: site.role for site in bert_sites()[:-1]}
    assert plan.roles == expected
