"""What a rule sees of the model around a tensor."""

from spectra.matrices import ModelContext
from spectra.sources import open_source
from tests.models import small_weights


def test_the_shapes_of_all_tensors_are_known_by_name():
    context = ModelContext.of(open_source(small_weights(blocks=1)))
    assert context.shapes == {"embed.weight": (150, 40), "layers.0.fc.weight": (60, 40), "head.weight": (50, 40)}
    assert context.config == {}


def test_nested_configurations_come_after_the_one_that_holds_them():
    inner = {"model_type": "b", "deep": {"model_type": "c"}}
    context = ModelContext({"model_type": "a", "text_config": inner, "sizes": [1, 2]}, {})
    assert [config["model_type"] for config in context.configs] == ["a", "b", "c"]
    assert context.configs_of(("c", "b")) == [inner, {"model_type": "c"}]
    assert context.configs_of(("d",)) == []


def test_a_neighbour_is_found_by_the_last_place_where_the_names_differ():
    context = ModelContext({}, {"up.down.0.down.weight": (3, 4)})
    assert context.beside("up.down.0.up.weight", "up", "down") == (3, 4)
    assert context.beside("up.down.0.gate.weight", "gate", "elsewhere") is None
    assert context.beside("up.down.0.gate.weight", "absent", "down") is None
