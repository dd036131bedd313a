import io

import pytest
from rich.console import Console

from spectra.report.comparison_table import comparison_table, models_table, most_changed_first
from spectra.results.comparison import METRICS_ONLY, NO_COUNTERPART, Finding
from tests.comparisons import comparison_of, equal_row_of, layer_of, row_of

NAN = float("nan")
LONG = "model.decoder.layers.10.self_attn.q_proj.very.long"


def printed(table, width=120, **options):
    console = Console(file=io.StringIO(), width=width, **options)
    console.print(table)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def lines_of(*rows, width=120, **options):
    return printed(comparison_table(rows, width=width, **options), width)


def failed(name, **changes):
    fields = {"status": "nonfinite", "norm_change": NAN, "verdict": "", "findings": (), "notes": "1 NaN; exclude the layer."}
    return row_of(name, **fields | changes)


def test_a_row_says_how_far_how_deep_and_what_was_found():
    assert [" ".join(line.split()) for line in lines_of(row_of("a"))] == [
        "matrix change rank overlap alpha finding",
        "a 0.0625 2/32 0.923 3.10 → 2.60 rank 2, 1 intruder",
    ]


def test_the_smaller_overlap_of_the_two_sides_is_shown():
    one = row_of("a", principal_angles_left=(0.0,), principal_angles_right=(1.0471975511965976,))  # cos² of 60° is 1/4
    assert lines_of(one)[1].split()[3] == "0.250"


def test_what_changed_most_comes_first_and_what_did_not_is_counted():
    rows = [
        equal_row_of("same"),
        row_of("little"),
        row_of("lost", status=NO_COUNTERPART, norm_change=NAN, verdict=""),
        row_of("much", norm_change=4.0),
        row_of("new", norm_before=0.0),
        failed("bad"),
        equal_row_of("too"),
    ]
    assert [row.matrix_name for row in most_changed_first(rows)] == ["bad", "new", "much", "little", "lost", "same", "too"]
    lines = lines_of(*rows)
    assert [line.split()[0] for line in lines[1:-1]] == ["bad", "new", "much", "little", "lost"]
    assert lines[2].split()[1] == "inf"
    assert lines[5].endswith("no counterpart")
    assert lines[-1] == "… 2 unchanged"


def test_metrics_without_weights_are_ordered_by_the_change_of_alpha():
    def metrics(name, alpha):
        return row_of(name, status=METRICS_ONLY, norm_change=NAN, verdict="", after=layer_of(name, alpha=alpha))

    rows = [metrics("a", 3.2), metrics("b", NAN), metrics("c", 1.5), metrics("d", 4.1)]
    assert [row.matrix_name for row in most_changed_first(rows)] == ["c", "d", "a", "b"]
    assert lines_of(*rows)[1].split() == ["c", "–", "2/32", "0.923", "3.10", "→", "1.50", "metrics", "only"]


def test_the_rest_is_counted():
    rows = [row_of(f"layers.{i}.fc") for i in range(9)]
    assert lines_of(*rows, max_rows=4)[-1] == "… 5 more"
    assert lines_of(*rows, equal_row_of("b"), max_rows=4)[-1] == "… 5 more, 1 unchanged"
    assert lines_of(*rows)[-1].startswith("layers.8.fc")
    assert lines_of(*rows, max_rows=0)[-1] == "… 9 more"


def test_what_failed_says_why_in_full():
    assert "nonfinite: 1 NaN; exclude the layer." in " ".join(" ".join(lines_of(failed("a"), width=60)).split())


def test_a_star_is_explained_where_there_is_one():
    poor = row_of("b", after=layer_of("b", alpha=2.0, fit_quality="poor"))
    assert lines_of(poor)[-1] == "* of a poor fit: not to be relied on"
    assert "3.10 → 2.00*" in lines_of(poor)[1]
    assert len(lines_of(row_of("a"))) == 2
    assert len(lines_of(poor, width=60)) == 2  # no alpha, no star


def test_without_fits_alpha_is_a_dash():
    bare = layer_of("a", alpha=NAN, fit_quality="")
    assert lines_of(row_of("a", before=bare, after=bare))[1].split()[4] == "–"
    assert "3.10 → –" in lines_of(row_of("a", after=None))[1]


@pytest.mark.parametrize(
    ("width", "headings"),
    [
        (60, ["matrix", "change", "finding"]),
        (80, ["matrix", "change", "alpha", "finding"]),
        (120, ["matrix", "change", "rank", "overlap", "alpha", "finding"]),
    ],
)
def test_the_table_fits_its_width_and_keeps_the_end_of_names(width, headings):
    rows = [row_of(LONG), failed("layers.0.fc"), row_of("c", verdict="rank 17; " * 20)]
    lines = lines_of(*rows, width=width)
    assert max(map(len, lines)) <= width
    assert lines[0].split() == headings
    assert any("very.long" in line for line in lines)


def test_colors_tell_what_asks_for_a_look():
    def style(row):
        return comparison_table([row], width=100).rows[0].style

    assert style(failed("a")) == "red"
    assert style(row_of("a")) == "yellow"
    assert style(row_of("a", findings=(Finding.LOW_RANK,))) is None
    assert style(row_of("a", findings=(Finding.ROUNDING,))) == "dim"


def test_brackets_in_names_are_no_markup():
    assert lines_of(row_of("[bold]a[0]"))[1].startswith("[bold]a[0] ")


def test_models_have_a_line_each_below_the_base():
    rows = [
        row_of("a", model="lora"), equal_row_of("b", model="lora"), row_of("a", model="full", norm_change=4.0, intruders=()),
        row_of("b", model="full", after=layer_of("b", alpha=4.1)),
    ]  # fmt: skip
    lines = [" ".join(line.split()) for line in printed(models_table(comparison_of(*rows), width=80))]
    assert lines == [
        "model changed change intruders mean alpha",
        "base (base) 3.100",
        "lora 1/2 0.0442 1 2.850",  # 0.5 of hypot(8, 8)
        "full 2/2 0.356 1 3.350",
    ]


def test_alphas_are_averaged_over_matrices_with_good_fits_in_all_models():
    poor = layer_of("b", alpha=30.0, fit_quality="poor")
    rows = [row_of("a"), row_of("b", after=poor), row_of("a", model="c"), row_of("b", model="c")]
    lines = printed(models_table(comparison_of(*rows), width=60), 60)
    assert [line.split()[-1] for line in lines] == ["alpha", "3.100", "2.600", "2.600"]
    assert "intruders" not in lines[0]
    bad = printed(models_table(comparison_of(row_of("b", after=poor), row_of("b", model="c", after=poor)), width=60), 60)
    assert bad[2].split()[-1] == "–"
