import pytest
import torch
from transformers import T5Config, T5ForConditionalGeneration, Trainer

from spectra.training.batch_means import divide_by_batches
from tests.dcs_runs import arguments, bert, gpt2, parameters, samples, sentences

SGD = {"optim": "sgd", "learning_rate": 0.1, "max_grad_norm": 0.0, "max_steps": 2, "lr_scheduler_type": "constant"}


def t5():
    torch.manual_seed(0)
    sizes = {"vocab_size": 40, "d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 1, "num_heads": 2, "dropout_rate": 0.0}
    return T5ForConditionalGeneration(T5Config(**sizes, decoder_start_token_id=0))


def translations():
    generator = torch.Generator().manual_seed(0)
    return [{name: torch.randint(1, 40, (5,), generator=generator) for name in ("input_ids", "labels")} for _ in range(16)]


def trained(folder, make, data, batch, batches):
    sizes = {"per_device_train_batch_size": batch, "gradient_accumulation_steps": batches}
    model = make()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    model.config.attention_probs_dropout_prob = 0.0
    trainer = Trainer(model, arguments(folder, **SGD, **sizes), train_dataset=data)
    divide_by_batches(trainer)
    trainer.train()
    return trainer


@pytest.mark.parametrize(
    ("make", "data"), [(bert, samples(16)), (gpt2, sentences(16)), (t5, translations())], ids=["classifier", "decoder", "both"]
)
def test_two_batches_of_a_step_are_one_of_twice_the_size(make, data, tmp_path):
    whole, halves = trained(tmp_path / "a", make, data, 8, 1), trained(tmp_path / "b", make, data, 4, 2)
    # Sums in another order, in float32.
    torch.testing.assert_close(parameters(halves.model), parameters(whole.model), rtol=1e-4, atol=1e-6)
    assert halves.state.log_history[-1]["train_loss"] == pytest.approx(whole.state.log_history[-1]["train_loss"], rel=1e-4)


def test_a_module_that_is_not_of_transformers_takes_means(tmp_path):
    trainer = Trainer(torch.nn.Linear(2, 2), arguments(tmp_path))
    divide_by_batches(trainer)
    assert not trainer.model_accepts_loss_kwargs
