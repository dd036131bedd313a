import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from transformers import AutoModelForSequenceClassification, BertForSequenceClassification, GPT2LMHeadModel, RobertaConfig

from spectra.errors import InputError, ResultsError
from spectra.training.libraries import quiet
from spectra.training.meta_peft.base_weights import fresh_head, read_tensors, save_base, with_labels, write_tensors
from tests.dcs_runs import bert, gpt2
from tests.models import mixtral


def same(state, other):
    return state.keys() == other.keys() and all(torch.equal(state[key], other[key]) for key in state)


def roberta():
    from transformers import RobertaForSequenceClassification

    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24, "vocab_size": 40}
    return RobertaForSequenceClassification(RobertaConfig(**sizes, max_position_embeddings=16))


def loaded(kind, folder):
    with quiet():
        return kind.from_pretrained(folder)


class TestSaveBase:
    @pytest.mark.parametrize("is_exact", [False, True])
    @pytest.mark.parametrize(("make", "kind"), [(bert, BertForSequenceClassification), (gpt2, GPT2LMHeadModel)])
    def test_from_pretrained_reads_it(self, tmp_path, make, kind, is_exact):
        model = make()
        state = {key: tensor + 1 for key, tensor in model.state_dict().items()}

        save_base(model, state, tmp_path, is_exact=is_exact)

        assert same(loaded(kind, tmp_path).state_dict(), state)
        assert same(loaded(AutoModelForSequenceClassification, tmp_path).state_dict(), state) or kind is GPT2LMHeadModel

    def test_the_model_and_its_configuration_stay_as_they_are(self, tmp_path):
        model = bert()
        before, config = {key: one.clone() for key, one in model.state_dict().items()}, model.config.to_dict()

        save_base(model, {key: one + 1 for key, one in before.items()}, tmp_path)

        assert same(model.state_dict(), before)
        assert model.config.to_dict() == config

    @pytest.mark.parametrize("is_exact", [False, True])
    def test_experts_that_older_versions_store_one_by_one(self, tmp_path, is_exact):
        model = mixtral()

        save_base(model, model.state_dict(), tmp_path, is_exact=is_exact)

        assert same(loaded(type(model), tmp_path).state_dict(), model.state_dict())
        assert (load_file(tmp_path / "model.safetensors").keys() == model.state_dict().keys()) == is_exact

    def test_of_any_other_module_the_weights_are_written(self, tmp_path):
        model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))

        save_base(model, model.state_dict(), tmp_path / "new")

        assert same(load_file(tmp_path / "new" / "model.safetensors"), model.state_dict())

    def test_files_of_before_are_replaced_and_others_kept(self, tmp_path):
        model = nn.Linear(2, 3)
        (tmp_path / "notes").touch()
        save_base(model, {"weight": torch.zeros(3, 2), "bias": torch.zeros(3)}, tmp_path)

        save_base(model, model.state_dict(), tmp_path)

        assert same(load_file(tmp_path / "model.safetensors"), model.state_dict())
        assert sorted(path.name for path in tmp_path.iterdir()) == ["model.safetensors", "notes"]

    @pytest.mark.parametrize("make", [bert, lambda: nn.Linear(2, 3)])
    def test_a_folder_that_cannot_be_made_is_named(self, tmp_path, make):
        (tmp_path / "file").touch()
        model = make()

        with pytest.raises(ResultsError, match=r"cannot write to '.*file"):
            save_base(model, model.state_dict(), tmp_path / "file")


class TestTensors:
    def test_tensors_that_share_memory_come_back(self, tmp_path):
        state = gpt2().state_dict()

        write_tensors(tmp_path / "all", state)

        assert same(read_tensors(tmp_path / "all", state), state)

    def test_the_file_may_have_one_of_those_that_share_memory(self, tmp_path):
        state = gpt2().state_dict()
        write_tensors(tmp_path / "some", {key: one for key, one in state.items() if key != "lm_head.weight"})

        assert same(read_tensors(tmp_path / "some", state), state)

    def test_views_are_written_whole(self, tmp_path):
        state = {"part": torch.arange(6).reshape(2, 3).T, "row": torch.arange(6)[2:4]}

        write_tensors(tmp_path / "views", state)

        assert same(load_file(tmp_path / "views"), state)

    @pytest.mark.parametrize(
        ("expected", "match"),
        [
            ({"a": torch.ones(3)}, r"'a' is \(2,\) of float32 there, and \(3,\) of float32 here"),
            ({"a": torch.ones(2, dtype=torch.bfloat16)}, r"'a' is \(2,\) of float32 there, and \(2,\) of bfloat16 here"),
            ({"a": torch.ones(2), "b": torch.ones(1)}, r"'b' is missing there, and \(1,\) of float32 here"),
            ({}, r"'a' is \(2,\) of float32 there, and missing here"),
        ],
    )
    def test_those_of_another_model_are_refused(self, tmp_path, expected, match):
        write_tensors(tmp_path / "weights", {"a": torch.ones(2)})

        with pytest.raises(ResultsError, match=match):
            read_tensors(tmp_path / "weights", expected)

    def test_missing_and_damaged_files_are_named(self, tmp_path):
        with pytest.raises(ResultsError, match="there are no weights at '.*weights'"):
            read_tensors(tmp_path / "weights", {})
        (tmp_path / "weights").write_bytes(b"none")
        with pytest.raises(ResultsError, match="weights' is damaged"):
            read_tensors(tmp_path / "weights", {})


class TestFreshHead:
    @pytest.mark.parametrize("make", [bert, roberta])
    def test_is_drawn_as_transformers_draws_it_also_after_loading(self, tmp_path, make):
        made = make()
        with torch.no_grad():
            for parameter in made.parameters():
                parameter += 1
        made.save_pretrained(tmp_path)
        model = loaded(type(made), tmp_path)
        before = {key: tensor.clone() for key, tensor in model.state_dict().items()}

        fresh_head(model, ["classifier"], seed=1)

        after = model.state_dict()
        assert {key for key in after if not torch.equal(after[key], before[key])} == {
            key for key in after if key.startswith("classifier")
        }
        for key in (key for key in after if key.startswith("classifier")):
            # Normal of standard deviation 0.02, biases 0: four deviations of the estimate from at least 32 numbers.
            assert after[key].abs().sum() == 0 if key.endswith("bias") else 0.01 < after[key].std() < 0.03

    def test_depends_on_the_seed_alone(self):
        heads = []
        for seed, draws in ((1, 0), (1, 3), (2, 0)):
            model = bert()
            torch.rand(draws)
            fresh_head(model, ["classifier"], seed)
            heads.append(model.classifier.weight)

        assert torch.equal(heads[0], heads[1])
        assert not torch.equal(heads[0], heads[2])

    def test_leaves_the_generator_of_the_process_alone(self):
        model = bert()
        before = torch.get_rng_state()

        fresh_head(model, ["classifier"], seed=1)

        assert torch.equal(torch.get_rng_state(), before)

    def test_of_a_plain_module_is_what_its_layers_start_with(self):
        model = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Sequential(nn.Linear(3, 2), nn.ReLU()))
        torch.manual_seed(4)
        expected = nn.Linear(3, 2)

        fresh_head(model, ["2"], seed=4)

        assert same(model[2][0].state_dict(), expected.state_dict())

    def test_of_a_layer_that_transformers_has_no_recipe_for_is_its_own(self):
        model = bert()
        model.classifier = nn.Bilinear(4, 4, 2)
        torch.manual_seed(4)
        expected = nn.Bilinear(4, 4, 2)

        fresh_head(model, ["classifier"], seed=4)

        assert same(model.classifier.state_dict(), expected.state_dict())

    def test_a_layer_that_does_not_say_how_it_starts_is_named(self):
        class Scale(nn.Module):
            def __init__(self):
                super().__init__()
                self.scale = nn.Parameter(torch.ones(2))

        with pytest.raises(InputError, match="'1' is a Scale, which has no reset_parameters"):
            fresh_head(nn.Sequential(nn.Linear(2, 2), Scale()), ["1"], seed=0)


class TestWithLabels:
    @pytest.mark.parametrize("make", [bert, roberta])
    def test_the_head_and_the_configuration_have_as_many(self, make):
        model = make()
        rest = {key: one.clone() for key, one in model.state_dict().items() if "classifier" not in key}

        with_labels(model, ["classifier"], 5)
        fresh_head(model, ["classifier"], seed=0)

        ids = torch.arange(6)[None]
        assert model(input_ids=ids, labels=torch.tensor([4])).logits.shape == (1, 5)
        assert model.config.num_labels == len(model.config.id2label) == 5
        assert all(torch.equal(model.state_dict()[key], rest[key]) for key in rest)
        assert all(bool(one.isfinite().all()) for one in model.parameters())

    def test_the_kind_of_problem_is_asked_of_the_new_labels(self):
        model = bert()
        ids = torch.arange(6)[None]
        assert model(input_ids=ids, labels=torch.tensor([1])).loss > 0  # writes down that labels are classes

        with_labels(model, ["classifier"], 1)
        fresh_head(model, ["classifier"], seed=0)

        assert model(input_ids=ids, labels=torch.tensor([0.5])).loss > 0
        assert model.config.problem_type == "regression"

    def test_the_dtype_stays(self):
        model = bert().to(torch.bfloat16)

        with_labels(model, ["classifier"], 3)

        assert model.classifier.weight.dtype == torch.bfloat16

    def test_other_modules_are_refused(self):
        with pytest.raises(InputError, match="num_labels 3: a Linear is not of transformers"):
            with_labels(nn.Linear(2, 2), [""], 3)
