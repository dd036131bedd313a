"""From diagnostics to one number per unit: pure functions, and plans that can be saved, read, edited and applied."""

# Not lazy: nothing heavy is needed, and a plan's module has the name of the function that makes one.
from spectra.policies.drop_controls import CONTROLS, control_rates
from spectra.policies.drop_prob import DropRule, guided_rates, neuron_rates
from spectra.policies.dropout_plan import DropoutPlan, dropout_plan, load_dropout_plan
from spectra.policies.dropout_presets import published_bert_base, published_plan
from spectra.policies.plan import Plan, load_plan, plan

__all__ = [
    # plans
    "DropoutPlan",
    "Plan",
    "dropout_plan",
    "load_dropout_plan",
    "load_plan",
    "plan",
    "published_plan",
    # drop probabilities
    "CONTROLS",
    "DropRule",
    "control_rates",
    "guided_rates",
    "neuron_rates",
    "published_bert_base",
]
