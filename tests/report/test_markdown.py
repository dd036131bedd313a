from spectra.report.markdown import bullets, code, table


def test_a_table_has_names_on_the_left_and_numbers_on_the_right():
    assert table(["a", "b"], [["x|y", "1"], ["z", "2"]]) == "| a | b |\n| --- | ---: |\n| x\\|y | 1 |\n| z | 2 |"


def test_items_of_a_list_are_lines():
    assert bullets(["one\n two", "three"]) == "- one two\n- three"


def test_names_are_shown_as_they_are():
    assert code("a_b*") == "`a_b*`"
