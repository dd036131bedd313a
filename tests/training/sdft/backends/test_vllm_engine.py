"""What vLLM is asked and what becomes of its answers; the engine itself needs a GPU, so that a small one stands in for it."""

import os
import sys
from types import ModuleType, SimpleNamespace

import pytest

from spectra.errors import BackendError, MissingPackageError, SourceError
from spectra.training.sdft.backends.vllm_engine import VllmBackend
from spectra.training.sdft.generation import GREEDY, REFERENCE, Completion, GenerationSpec, Request
from tests.pretrained import decoder_tokenizer

SHORT = GenerationSpec(sampled=False, max_new_tokens=4, max_length=None)


class SamplingParams:
    def __init__(self, **settings):
        if settings["temperature"] > 2:
            raise ValueError("temperature must be in [0, 2],\ngot 3.0.")
        self.settings = settings


class LLM:
    """Takes and gives what vllm.LLM takes and gives, and answers a prompt with itself."""

    def __init__(self, **options):
        if unknown := set(options) - {"model", "dtype", "tensor_parallel_size", "seed", "max_model_len"}:
            raise TypeError(f"EngineArgs.__init__() got an unexpected keyword argument '{unknown.pop()}'")
        self.options, self.calls = options, []
        config = {"max_model_len": options.get("max_model_len", 2048), "dtype": "torch.bfloat16", "quantization": None}
        hub = SimpleNamespace(_commit_hash="0123abcd")
        self.llm_engine = SimpleNamespace(model_config=SimpleNamespace(hf_config=hub, **config))

    def get_tokenizer(self):
        return decoder_tokenizer()

    def generate(self, prompts, sampling_params, *, use_tqdm):
        assert use_tqdm is False
        self.calls.append((prompts, [params.settings for params in sampling_params]))
        return [self.answer(**prompt) for prompt in prompts]

    def answer(self, prompt_token_ids):
        text = decoder_tokenizer().decode(prompt_token_ids)
        return SimpleNamespace(outputs=[SimpleNamespace(text=text, token_ids=prompt_token_ids, finish_reason="stop")])


@pytest.fixture(autouse=True)
def engine(monkeypatch):
    vllm = ModuleType("vllm")
    vllm.LLM, vllm.SamplingParams = LLM, SamplingParams
    monkeypatch.setitem(sys.modules, "vllm", vllm)


def requests(*texts):
    return [Request(({"role": "user", "content": text},)) for text in texts]


def test_answers_come_back_in_order_with_their_tokens():
    written = VllmBackend("m").complete(requests("a film", "the very good film"), SHORT, [1, 2])
    assert written == [Completion("a film", 2, "stop"), Completion("the very good film", 4, "stop")]


def test_each_request_has_its_seed_and_all_settings():
    backend = VllmBackend("m")
    backend.complete(requests("a", "the"), REFERENCE, [5, 2**63 - 1])
    ((prompts, settings),) = backend._engine.calls
    common = {"temperature": 0.95, "top_p": 0.7, "top_k": 50, "max_tokens": 512}
    assert settings == [{**common, "seed": 5}, {**common, "seed": 2**63 - 1}]
    assert [list(prompt) for prompt in prompts] == [["prompt_token_ids"]] * 2


def test_no_top_k_is_said_in_a_way_that_every_version_knows():
    backend = VllmBackend("m")
    backend.complete(requests("a"), GenerationSpec(top_k=0), [1])
    assert backend._engine.calls[0][1][0]["top_k"] == -1


def test_greedy_is_temperature_zero():
    backend = VllmBackend("m")
    backend.complete(requests("a"), GREEDY, [1])
    assert backend._engine.calls[0][1] == [{"temperature": 0.0, "max_tokens": 512, "seed": 1}]


def test_a_prompt_that_does_not_fit_never_reaches_the_engine_and_the_others_are_answered():
    backend = VllmBackend("m", max_model_len=6)  # two tokens of prompt, four of answer
    written = backend.complete(requests("a film", "the very good film", "good"), SHORT, [1, 2, 3])
    assert written == [Completion("a film", 2, "stop"), Completion("", 0, "too_long"), Completion("good", 1, "stop")]
    assert [settings["seed"] for settings in backend._engine.calls[0][1]] == [1, 3]


def test_an_engine_is_not_called_for_nothing():
    backend = VllmBackend("m", max_model_len=4)
    assert backend.complete(requests("a"), SHORT, [1]) == [Completion("", 0, "too_long")]
    assert backend._engine.calls == []


def test_an_engine_that_fails_is_an_error_in_one_line_that_keeps_what_is_known(monkeypatch):
    def die(*_, **__):
        raise RuntimeError("EngineCore encountered an issue.\nSee stack trace (above).")

    backend = VllmBackend("m", max_model_len=6)
    monkeypatch.setattr(backend._engine, "generate", die)
    message = r"'m': EngineCore encountered an issue\. See stack trace \(above\)\. Look into its log, then run the same command"
    with pytest.raises(BackendError, match=message) as caught:
        backend.complete(requests("a", "the very good film"), SHORT, [1, 2])
    assert caught.value.completions == {1: Completion("", 0, "too_long")}


def test_settings_that_it_refuses_are_an_error_with_its_reason():
    with pytest.raises(BackendError, match=r"temperature must be in \[0, 2\], got 3\.0\. Look"):
        VllmBackend("m").complete(requests("a"), GenerationSpec(temperature=3.0), [1])


def test_options_are_handed_on_and_unknown_ones_are_an_error_in_one_line():
    options = {"dtype": "float16", "tensor_parallel_size": 2, "seed": 3, "max_model_len": 100}
    backend = VllmBackend("m", **options)
    assert backend._engine.options == {"model": "m", **options}
    with pytest.raises(SourceError, match=r"vllm cannot load 'm' \(.*unexpected keyword argument 'gpus'\)\. Give a causal"):
        VllmBackend("m", gpus=2)


def test_prompts_are_counted_and_shown_as_they_are_sent():
    backend = VllmBackend("m")
    assert backend.lengths(requests("a film", "good")) == [2, 1]
    assert backend.render(requests("a film")[0]) == "a film\n\n"
    assert (backend.name, backend.batch_size, backend.context) == ("vllm", 256, 2048)


def test_a_hub_id_is_known_by_its_commit():
    assert VllmBackend("owner/m").identity() == {
        "model": "owner/m",
        "weights": "0123abcd",
        "dtype": "bfloat16",
        "quantization": "None",
        "chat_template": "none",
    }


def test_a_folder_is_known_by_its_weights_and_not_by_what_lies_beside_them(tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    weights = folder / "model.safetensors"
    weights.write_bytes(b"one")
    before = VllmBackend(str(folder)).identity()
    (folder / "README.md").write_text("a note")
    assert VllmBackend(str(folder)).identity() == before
    assert before["model"] == "mine"
    weights.write_bytes(b"two")  # as long as before
    os.utime(weights, ns=(1, 1))
    assert VllmBackend(str(folder)).identity()["weights"] != before["weights"]


def test_a_missing_package_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(MissingPackageError, match=r'this backend needs vllm: pip install "spectra-nn\[vllm\]"'):
        VllmBackend("m")
