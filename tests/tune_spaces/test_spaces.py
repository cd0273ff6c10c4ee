import math
import statistics
from pathlib import Path

import pytest
import yaml

from jobs.sweep.command import TuneCommand
from ms2sl.config import flatten
from ms2sl.errors import InputError
from tune_spaces import Leaf, Space, load_space, nested, parse

BUILT_IN = ("ablations", "architecture", "diffusion_steps", "loss_weights", "sampling")
MINE = {
    "losses": {"cycle": {"loguniform": [0.01, 1.0]}, "cross_modal": {"uniform": [0, 2]}},
    "model": {"heads": {"choice": [2, 4]}},
    "training": {"warmup": {"integer": [1, 3]}},
}


def values(space: Space, name: str, draws: int = 400) -> list:
    """What one value is in so many draws."""
    return [dict(flatten(space.draw(0, number)))[name] for number in range(draws)]


def one(leaf: dict) -> Space:
    """A space of a single value, ``losses.cycle``."""
    return parse("mine", {"losses": {"cycle": leaf}})


def test_these_are_the_spaces_that_there_are():
    with pytest.raises(InputError, match=f"there is no search space 'nothing'; there are: {', '.join(BUILT_IN)}, or the path of"):
        load_space("nothing")


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_space_of_ours_makes_a_sweep(name):
    space = load_space(name)
    options = TuneCommand(space=name, trained=Path("model") if name == "sampling" else None).settled(space)
    assert space.leaves or space.variants
    for recipe in space.variants.values() if space.variants else [space.draw(1, number) for number in range(5)]:
        assert options.is_own(recipe) is (recipe == {})


def test_a_space_of_the_user_is_the_same_as_python_and_as_yaml(tmp_path):
    (tmp_path / "mine.py").write_text(f"SPACE = {MINE!r}")
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(MINE))
    (tmp_path / "mine.yml").write_text(yaml.safe_dump(MINE))
    python, *others = (load_space(str(tmp_path / f"mine.{ending}")) for ending in ("py", "yaml", "yml"))
    assert others == [python, python]
    assert python.name == "mine"
    assert python.leaves == {
        "losses.cycle": Leaf("loguniform", (0.01, 1.0)),
        "losses.cross_modal": Leaf("uniform", (0, 2)),
        "model.heads": Leaf("choice", (2, 4)),
        "training.warmup": Leaf("integer", (1, 3)),
    }


def test_a_python_file_may_compute_its_space(tmp_path):
    (tmp_path / "mine.py").write_text("import math\nSPACE = {'losses': {'cycle': {'uniform': [0, math.tau]}}}")
    assert load_space(str(tmp_path / "mine.py")).leaves["losses.cycle"].values == (0, math.tau)


def test_dotted_names_are_as_good_as_nested_ones():
    assert parse("mine", dict(flatten_ranges(MINE))) == parse("mine", MINE)


def flatten_ranges(content: dict):
    for part, settings in content.items():
        for name, leaf in settings.items():
            yield f"{part}.{name}", leaf


@pytest.mark.parametrize("content", [MINE, {"variants": {"full": {}, "deep": {"model": {"encoder_layers": 4}}}}])
def test_its_content_makes_the_same_space_again(content):
    space = parse("mine", content)
    assert space.content == content
    assert parse("mine", space.content) == space


@pytest.mark.parametrize(
    ("file", "content", "reason"),
    [
        ("raises.py", "1 / 0", r"raises\.py gives no search space: ZeroDivisionError: division by zero"),
        ("broken.py", "SPACE = {", r"broken\.py gives no search space: SyntaxError"),
        ("lacks.py", "space = {}", r"lacks\.py gives no search space: .*'SPACE'; it must define SPACE"),
        ("empty.py", "SPACE = {}", "space 'empty' is empty"),
        ("number.py", "SPACE = 3", "space 'number' is empty: there is nothing to search"),
        ("empty.yaml", "", "space 'empty' is empty"),
        ("hollow.yaml", "losses: {}", "space 'hollow' is empty"),
        ("broken.yaml", "losses: [", r"broken\.yaml is not YAML"),
        ("list.yaml", "- losses", r"list\.yaml must hold keys and values"),
    ],
)
def test_a_file_that_is_no_space_is_explained(tmp_path, file, content, reason):
    (tmp_path / file).write_text(content)
    with pytest.raises(InputError, match=reason):
        load_space(str(tmp_path / file))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("nowhere.py", r"there is no search space '.*nowhere\.py'; there are: ablations"),
        ("nowhere.yaml", r"nowhere\.yaml cannot be read: No such file"),
    ],
)
def test_a_file_that_is_not_there_is_named(tmp_path, name, reason):
    with pytest.raises(InputError, match=reason):
        load_space(str(tmp_path / name))


@pytest.mark.parametrize(
    ("leaf", "reason"),
    [
        (0.1, r"is the fixed value 0\.1; a space has only what varies, one of uniform, loguniform, integer, choice"),
        ("none", "is the fixed value 'none'"),
        (None, "is the fixed value None"),
        ({"uniform": [2.0, 1.0]}, r"uniform needs two numbers, the lower one first, not \[2\.0, 1\.0\]"),
        ({"uniform": [1.0, 1.0]}, "two numbers, the lower one first"),
        ({"uniform": [1.0]}, "two numbers"),
        ({"uniform": [1, 2, 3]}, "two numbers"),
        ({"uniform": ["0.1", "1"]}, r"two numbers, the lower one first, not \['0.1', '1'\]"),
        ({"uniform": [False, True]}, r"two numbers, the lower one first, not \[False, True\]"),
        ({"integer": [False, 3]}, "two numbers"),
        ({"integer": [0.5, 3]}, "two numbers"),
        ({"uniform": [math.nan, 1.0]}, "two numbers"),
        ({"uniform": [0.0, math.inf]}, "two numbers"),
        ({"uniform": [None, 1.0]}, "two numbers"),
        ({"uniform": 3}, "uniform needs a list, not 3"),
        ({"uniform": "01"}, "uniform needs a list, not '01'"),
        ({"loguniform": [0, 1.0]}, "the lower end of loguniform must be above 0, not 0"),
        ({"loguniform": [-1.0, 1.0]}, "must be above 0"),
        ({"choice": []}, r"choice needs a list, not \[\]"),
        ({"choice": {"a": 1}}, "choice needs a list"),
        ({"uniform": [0, 1], "step": 0.1}, "must be a single one of uniform, loguniform, integer, choice, and not uniform, step"),
        ([0.1, 1.0], r"is a list, and not one of uniform, .*: write {'choice': \[0\.1, 1\.0\]} to try each"),
    ],
)
def test_what_says_no_range_and_no_choice_is_explained_with_its_key(leaf, reason):
    with pytest.raises(InputError, match=rf"space 'mine': losses\.cycle:? .*{reason}"):
        one(leaf)


def test_a_form_that_is_none_is_named_beside_those_there_are():
    with pytest.raises(InputError, match=r"losses\.cycle\.lognormal is a list, and not one of uniform, loguniform, integer, choice"):
        one({"lognormal": [0.1, 1.0]})


@pytest.mark.parametrize("variants", [["full"], None, "full", {"full": None}, {"full": 3}, {"full": ["losses"]}])
def test_variants_that_are_no_recipes_are_refused(variants):
    with pytest.raises(InputError, match="space 'mine': variants must be recipes by name"):
        parse("mine", {"variants": variants})


def test_variants_that_yaml_took_for_numbers_have_names():
    assert list(parse("mine", yaml.safe_load("variants: {8: {}, 16: {sampling: {steps: 16}}}")).variants) == ["8", "16"]


def test_a_draw_is_the_same_for_the_same_seed_and_number_alone():
    space = parse("mine", MINE)
    assert space.draw(3, 5) == parse("mine", MINE).draw(3, 5)
    drawn = [dict(flatten(space.draw(seed, number)))["losses.cycle"] for seed in range(4) for number in range(4)]
    assert len(set(drawn)) == 16


def test_a_draw_holds_every_value_within_its_range():
    space = parse("mine", MINE)
    for number in range(100):
        drawn = dict(flatten(space.draw(0, number)))
        assert list(drawn) == list(space.leaves)
        assert all(space.leaves[name].holds(value) for name, value in drawn.items())
        assert {name: type(value) for name, value in drawn.items()} == {
            "losses.cycle": float,
            "losses.cross_modal": float,
            "model.heads": int,
            "training.warmup": int,
        }


def test_uniform_draws_fill_their_range_evenly():
    drawn = values(one({"uniform": [2.0, 10.0]}), "losses.cycle")
    assert 2 <= min(drawn) < 2.2
    assert 9.8 < max(drawn) <= 10
    assert statistics.median(drawn) == pytest.approx(6, abs=0.8)


def test_loguniform_draws_are_as_often_below_as_above_the_geometric_mean():
    drawn = values(one({"loguniform": [0.01, 100.0]}), "losses.cycle")
    assert 0.01 <= min(drawn) < 0.015
    assert 70 < max(drawn) <= 100
    assert 0.4 < statistics.median(drawn) < 2.5
    quarters = [sum(low <= value < 10 * low for value in drawn) for low in (0.01, 0.1, 1.0, 10.0)]
    assert min(quarters) > 70


def test_integers_include_both_ends():
    assert sorted(set(values(one({"integer": [1, 4]}), "losses.cycle", 100))) == [1, 2, 3, 4]


def test_every_choice_is_drawn_and_keeps_its_type():
    drawn = values(one({"choice": [1, 2.5, "x", None, True]}), "losses.cycle", 100)
    assert {(type(value), value) for value in drawn} == {(int, 1), (float, 2.5), (str, "x"), (type(None), None), (bool, True)}


def test_who_lives_on_a_logarithmic_scale_is_known():
    assert parse("mine", MINE).logarithmic == {"losses.cycle"}


def test_ends_belong_to_a_range_and_others_do_not():
    space = parse("mine", MINE)
    assert [space.leaves["losses.cycle"].holds(value) for value in (0.009, 0.01, 0.5, 1.0, 1.1)] == [False, True, True, True, False]
    assert [space.leaves["model.heads"].holds(value) for value in (2, 3, 4)] == [True, False, True]


@pytest.mark.parametrize(
    ("losses", "size"),
    [
        ({"cycle": {"choice": [0, 1, 2]}, "cross_modal": {"choice": [0, 1]}}, 6),
        ({"cycle": {"choice": [0, 1, 2]}, "cross_modal": {"integer": [3, 6]}}, 12),
        ({"cycle": {"choice": [0, 1, 2]}, "cross_modal": {"uniform": [0, 1]}}, math.inf),
        ({"cycle": {"loguniform": [0.1, 1]}}, math.inf),
    ],
)
def test_the_size_of_a_space_is_how_many_recipes_can_be_drawn(losses, size):
    space = parse("mine", {"losses": losses})
    assert space.size == size
    drawn = {str(space.draw(0, number)) for number in range(200)}
    assert len(drawn) == min(size, 200)


def test_a_grid_has_every_combination_once():
    space = parse("mine", {"losses": {"cycle": {"choice": [0, 1, 2]}}, "model": {"heads": {"choice": [2, 4]}}})
    found = [(recipe["losses"]["cycle"], recipe["model"]["heads"]) for recipe in space.grid()]
    assert sorted(found) == [(0, 2), (0, 4), (1, 2), (1, 4), (2, 2), (2, 4)]


def test_a_grid_refuses_ranges_by_name():
    with pytest.raises(
        InputError,
        match=r"needs choices, and losses\.cycle, losses\.cross_modal, training\.warmup has a range; list values, or use",
    ):
        parse("mine", MINE).grid()


def test_what_a_space_touches_is_in_its_ranges_or_in_its_variants():
    assert [parse("mine", MINE).touches(part) for part in ("losses", "model", "sampling", "cycle")] == [True, True, False, False]
    variants = parse("mine", {"variants": {"full": {}, "quick": {"sampling": {"steps": 1}}}})
    assert [variants.touches(part) for part in ("sampling", "losses", "full")] == [True, False, False]


@pytest.mark.parametrize("content", [{}, {"a": 1}, {"a": {"b": 1, "c": {"d": None}}, "e": [1, 2]}, {"a": {"b": {"c": {"d": "x"}}}}])
def test_nesting_inverts_flattening(content):
    assert nested(dict(flatten(content))) == content
    assert dict(flatten(nested({"a.b": 1, "a.c": 2, "d": 3}))) == {"a.b": 1, "a.c": 2, "d": 3}
