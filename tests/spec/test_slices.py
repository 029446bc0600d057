"""Slices, bins, crossings, measures and harms in profiles: what they mean, and each mistake with its line."""

import re
from pathlib import Path

import pytest

from kit.errors import SpecError
from kit.spec.profile import load_profile
from kit.spec.types import Requirement, SliceSpec

GOOD = """\
[profile]
name = "p"

[bins]
age = 4
"heart rate" = 3

[[slice]]
name = "older women"
where = 'age >= 65 and sex == "F"'
why = "They fall more often."

[[slice]]
name = "wheelchair"
rows = [17, 3]

[[require]]
id = "slices"
metric = "accuracy.drop"
by = ["age", "sex"]
cross = 2
slices = ["older women", "wheelchair"]
at_most = "5 points"

[[require]]
id = "words"
metric = "quality.loss"
measure = "wer"
at_most = "1 point"

[[require]]
id = "gap"
metric = "fairness.gap"
by = ["sex"]
harm = "allocation"
positive = "yes"
at_most = "10 points"
"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "p.toml"
    path.write_text(text)
    return path


def requirement(tmp_path: Path, body: str) -> Requirement:
    text = f'[profile]\nname = "p"\n[[require]]\nid = "a"\n{body}\n'
    return load_profile(write(tmp_path, text)).requirements[0]


def test_slices_bins_and_crossings(tmp_path: Path) -> None:
    profile = load_profile(write(tmp_path, GOOD))
    assert profile.bins == {"age": 4, "heart rate": 3}
    assert profile.slices == (
        SliceSpec("older women", 'age >= 65 and sex == "F"', (), "They fall more often.", 8),
        SliceSpec("wheelchair", "", (17, 3), "", 13),
    )
    slices, words, gap = profile.requirements
    assert (slices.by, slices.cross, slices.slices) == (("age", "sex"), 2, ("older women", "wheelchair"))
    assert (words.measure, words.direction) == ("wer", "at_most")
    assert words.limit == pytest.approx(0.01)
    assert (gap.harm, gap.measure, gap.positive) == ("allocation", "", "yes")


def test_profiles_do_not_share_bins(tmp_path: Path) -> None:
    plain = '[profile]\nname = "p"\n[[require]]\nid = "a"\nmetric = "model.size"\nat_most = "1 MB"\n'
    first, second = load_profile(write(tmp_path, plain)), load_profile(write(tmp_path, plain))
    first.bins["x"] = 2
    assert second.bins == load_profile(write(tmp_path, plain)).bins == {}


@pytest.mark.parametrize(
    ("old", "new", "line", "what", "next_step"),
    [
        ('name = "wheelchair"', 'name = "older women"', 14, "already the name of the slice on line 8", "its own name"),
        ("rows = [17, 3]", "", 13, "slice[1]: needs `where` (an expression) or `rows`", "keep one"),
        ("rows = [17, 3]", "rows = [17]\nwhere = 'age > 3'", 13, "and not both", "keep one"),
        ("rows = [17, 3]", "rows = [17, 17]", 15, "slice[1].rows[1]: row 17 is listed twice", "list it once"),
        ("rows = [17, 3]", "rows = [-1]", 15, "slice[1].rows[0]: expected a whole number >= 0", "from 0"),
        ("rows = [17, 3]", "where = 'age >'", 15, "slice[1].where: not a valid expression", "write it like"),
        ("rows = [17, 3]", "where = 'age > x'", 15, 'slice[1].where: at column 7: "x" is no value', 'quotes: "x"'),
        ("rows = [17, 3]", "rowz = [17, 3]", 15, "slice[1].rowz: unknown key", 'did you mean "rows"?'),
        ("age = 4", "age = 1", 5, "bins.age: 1 is no number of bins: from 2 to 100", "quartiles"),
        ("age = 4", "age = 1000", 5, "bins.age: 1000 is no number of bins", "quartiles"),
        ("cross = 2", "cross = 3", 21, "3 columns are crossed, and `by` has 2", "list more columns"),
        ("cross = 2", "cross = 4", 21, "require[0].cross: expected a whole number <= 3", "crossed"),
        ('"wheelchair"]', '"wheelchairs"]', 22, 'the profile has no slice "wheelchairs"', 'did you mean "wheelchair"?'),
        ('"wheelchair"]', '"older women"]', 22, '"older women" is listed twice', "list it once"),
        ('measure = "wer"', 'measure = "wert"', 28, 'there is no measure "wert"', 'did you mean "wer"?'),
        ('measure = "wer"\n', "", 25, "quality.loss needs to know which measure", 'measure = "f1"'),
        ('measure = "wer"', 'measure = "wer"\npositive = "yes"\nharm = "allocation"', 30, "compares none", "remove it"),
        ('harm = "allocation"', 'harm = "alocation"', 35, "'alocation' is not known", 'mean "allocation"?'),
        ('harm = "allocation"', 'harm = "allocation"\nmeasure = "accuracy"', 36, "does not show the harm", "odds"),
        ('positive = "yes"', 'slices = ["older women"]', 36, "compares the groups of a column", "remove"),
        ('by = ["age", "sex"]\ncross = 2', 'measure = "f1"', 20, "accuracy.drop takes no measure", "quality.value"),
    ],
)  # fmt: skip
def test_each_mistake_names_its_line_and_what_is_right(
    tmp_path: Path, old: str, new: str, line: int, what: str, next_step: str
) -> None:
    assert old in GOOD
    path = write(tmp_path, GOOD.replace(old, new, 1))
    with pytest.raises(SpecError) as caught:
        load_profile(path)
    assert what in caught.value.what
    assert next_step in caught.value.next_step
    assert caught.value.where == f"{path}:{line}"


@pytest.mark.parametrize(
    ("body", "direction", "limit"),
    [
        ('metric = "quality.value"\nmeasure = "f1"\nat_least = "80 %"', "at_least", 0.8),
        ('metric = "quality.value"\nmeasure = "wer"\nat_most = "8 %"', "at_most", 0.08),
        ('metric = "quality.value"\nmeasure = "mae"\nat_most = 3.5', "at_most", 3.5),
        ('metric = "quality.value"\nmeasure = "mine.py:loss"\nat_most = "2.5"', "at_most", 2.5),
        ('metric = "quality.loss"\nmeasure = "f1"\nat_most = "2 points"', "at_most", 0.02),
        ('metric = "quality.loss"\nmeasure = "mae"\nat_most = 0.1', "at_most", 0.1),
        ('metric = "quality.loss"\nmeasure = "mine.py:loss"\nat_most = "3 %"', "at_most", 0.03),
        ('metric = "fairness.gap"\nby = ["a"]\nat_most = "5 points"', "at_most", 0.05),
        ('metric = "fairness.gap"\nby = ["a"]\nmeasure = "mae"\nat_most = 2', "at_most", 2.0),
        ('metric = "fairness.ratio"\nby = ["a"]\nmeasure = "mae"\nat_least = "80 %"', "at_least", 0.8),
        ('metric = "accuracy.value"\nslices = []\nby = ["a"]\nat_least = "80 %"', "at_least", 0.8),
    ],
)
def test_a_limit_is_in_its_measure_s_direction_and_unit(
    tmp_path: Path, body: str, direction: str, limit: float
) -> None:
    found = requirement(tmp_path, body)
    assert found.direction == direction
    assert found.limit == pytest.approx(limit)


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (
            'metric = "quality.value"\nmeasure = "wer"\nat_least = "80 %"',
            "of wer is limited with at_most, not at_least",
        ),
        ('metric = "quality.loss"\nmeasure = "mae"\nat_most = "2 ms"', "a number"),
        ('metric = "quality.loss"\nmeasure = "f1"\nat_most = "2 %"', "a difference of two shares"),
        ('metric = "latency.p50"\nslices = ["x"]\nat_most = "2 ms"', "latency.p50 is not judged by slice"),
        ('metric = "quality.loss"\nmeasure = "a.py:1f"\nat_most = 1', 'there is no measure "a.py:1f"'),
        ('metric = "slices.found"\nmeasure = "auc"\nat_most = "1 points"', "auc is no mean over rows"),
        ('metric = "slices.found"\nmeasure = "map-50"\nat_most = "1 points"', "map-50 is no mean over rows"),
        ('metric = "model.size"\npositive = "x"\nat_most = "1 MB"', "model.size takes no positive"),
        ('metric = "quality.loss"\nmeasure = "mae"\nlargest = 0\nat_most = 1', "it is 0"),
        ('metric = "quality.loss"\nmeasure = "mae"\nlargest = inf\nat_most = 1', "it is inf"),
        ('metric = "quality.loss"\nmeasure = "mae"\nlargest = nan\nat_most = 1', "it is nan"),
        ('metric = "quality.loss"\nmeasure = "mae"\nlargest = 1e51\nat_most = 1', "1e+51 is out of range"),
        ('metric = "quality.loss"\nmeasure = "f1"\nlargest = 1\nat_most = "1 point"', "has an end of its own in f1"),
        ('metric = "fairness.gap"\nby = ["a"]\nlargest = 1\nat_most = "1 point"', "has an end of its own in accuracy"),
        ('metric = "model.size"\nlargest = 1\nat_most = "1 MB"', "model.size takes no largest loss"),
    ],
)
def test_limits_and_keys_that_do_not_fit_are_refused(tmp_path: Path, body: str, what: str) -> None:
    with pytest.raises(SpecError) as caught:
        requirement(tmp_path, body)
    assert what in caught.value.what


@pytest.mark.parametrize("measure", ["mae", "rmse", "r2", "wer", "mine.py:loss"])
@pytest.mark.parametrize("largest", ["10", "2.5", "1e50"])
def test_the_largest_loss_of_a_measure_without_an_end(tmp_path: Path, measure: str, largest: str) -> None:
    limit = '"1 point"' if measure in ("r2", "wer") else "1"
    body = f'metric = "quality.loss"\nmeasure = "{measure}"\nat_most = {limit}\n'
    assert requirement(tmp_path, f"{body}largest = {largest}").largest == float(largest)
    assert requirement(tmp_path, body).largest is None


def test_the_examples_of_the_docs_load(tmp_path: Path) -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "formats.md").read_text()
    blocks = [
        re.findall(r"```toml\n(.*?)```", part, re.DOTALL)[0]
        for part in re.split(r"^### ", text, flags=re.MULTILINE)
        if part.startswith(("Slices\n", "Measures\n"))
    ]
    assert len(blocks) == 2
    for block in blocks:
        assert load_profile(write(tmp_path, f'[profile]\nname = "p"\n{block}')).requirements
