"""The correctness bars of the specification of Fisher sensitivity and guided dropout, section D: which tests hold each."""

import pytest

from tests.bars import missing

BARS = {
    "1 softmax regression": [
        "fisher/test_estimate_kinds.py::test_the_empirical_fisher_of_a_softmax_regression_has_a_closed_form",
        "fisher/test_estimate_kinds.py::test_the_exact_fisher_of_a_softmax_regression_has_a_closed_form",
    ],
    "2 sampled converges": [
        "fisher/test_estimate_kinds.py::test_the_sampled_fisher_converges_to_the_exact_one",
        "fisher/test_objectives.py::test_sampled_fisher_converges_to_the_exact_one",
    ],
    "3 linear Gaussian model": ["fisher/test_estimate_kinds.py::test_the_fisher_of_a_linear_regression_has_a_closed_form"],
    "4 hooks = vmap = loop, batch invariance": [
        "fisher/test_estimate.py::test_a_padded_batch_equals_a_loop_over_single_unpadded_samples",
        "fisher/test_estimate.py::test_in_float64_every_single_tensor_is_right",
        "fisher/test_estimate.py::test_the_loop_gives_the_same_and_says_so",
        "fisher/test_estimate.py::test_the_batch_size_changes_nothing",
        "fisher/test_estimate.py::test_gradient_checkpointing_is_followed",
        "fisher/test_estimate.py::test_torch_func_agrees",
    ],
    "5 neurons and traces": ["fisher/test_estimate.py::test_neurons_and_traces_are_sums_of_the_values"],
    "6 key biases": ["fisher/test_estimate.py::test_key_biases_which_softmax_ignores_have_none"],
    "7 padding": ["fisher/test_estimate.py::test_more_padding_changes_nothing"],
    "8 merge, processes": [
        "fisher/test_estimate.py::test_merged_halves_equal_one_run",
        "fisher/test_estimate_distributed.py::test_every_process_has_the_fisher_of_all_batches",
    ],
    "9 bfloat16": ["fisher/test_estimate.py::test_a_model_in_bfloat16_has_the_same_scores_to_a_percent"],
    "10 spectrum": [
        "fisher/test_spectrum.py::test_eigenvalues_are_those_of_the_dense_fisher",
        "fisher/test_spectrum.py::test_the_eigenvalues_of_a_layer_add_up_to_the_trace_of_the_diagonal",
    ],
    "11 the reference": ["fisher/test_estimate_kinds.py::test_the_references_loop_is_reproduced"],
    "12 rates": [
        "policies/test_drop_prob.py::test_37_scores_give_the_published_steps",
        "policies/test_drop_prob.py::test_a_higher_score_never_has_a_higher_rate",
        "policies/test_drop_prob.py::test_the_order_of_the_sites_does_not_matter",
        "policies/test_drop_prob.py::test_the_rank_rule_sees_only_the_order",
        "policies/test_drop_prob.py::test_a_mean_is_met_with_no_rate_above_the_cap",
        "policies/test_dropout_presets.py::test_rates_are_those_of_the_published_table",
    ],
    "13 empirical rates": [
        "training/test_drop_sites.py::test_a_site_drops_at_its_rate_and_keeps_the_mean",
        "training/test_drop_sites.py::test_attention_drops_its_weights_at_the_rate_of_its_attribute",
        "training/test_drop_sites.py::test_at_rate_0_",
        "training/test_drop_sites.py::test_seeded_runs_repeat",
        "training/test_neuron_dropout.py::test_each_channel_is_dropped_at_its_own_rate_and_keeps_its_mean",
    ],
    "14 evaluation and restoring": [
        "training/test_drop_sites.py::test_in_evaluation_nothing_changes_and_afterwards_all_is_as_before",
    ],
    "15 verify": [
        "training/test_verify_dropout.py::test_a_rate_that_the_attention_implementation_does_not_read_is_named",
        "training/test_verify_dropout.py::test_a_name_that_is_no_site_is_refused",
    ],
    "16 L2 identity": ["training/test_dropout_identity.py::test_the_expected_loss_is_the_loss_plus_an_l2_penalty"],
    "17 surface": [
        "fisher/test_surface.py::test_the_center_is_the_unperturbed_loss_exactly",
        "fisher/test_surface.py::test_the_surface_of_a_quadratic_form_is_the_closed_form",
        "fisher/test_surface.py::test_the_model_is_left_as_it_was",
        "fisher/test_directions.py::test_rows_have_the_norms_of_the_weights_rows",
    ],
    "18 Gaussian dropout": [
        "training/test_gaussian.py::test_noise_has_mean_one_and_the_variance_of_a_dropout_mask",
        "training/test_gaussian.py::test_evaluation_is_the_identity_and_does_not_switch_the_mode",
    ],
}


@pytest.mark.parametrize("bar", BARS)
def test_every_bar_is_held_by_tests_that_exist(bar):
    assert missing(BARS[bar]) == []
