import numpy as np
import pytest

from ms2sl.corpora.frame_files import frame_places
from ms2sl.errors import InputError


@pytest.mark.parametrize(
    "pattern", ["frame_{}.json", "{}.json", "v2_take-3_{}_keypoints.json", "{:012d}_keypoints.json", "a{}b2.json", "000_{}.json"]
)
def test_frames_are_ordered_by_number_with_and_without_zeros_in_front(pattern):
    numbers = np.random.default_rng(0).permutation(120).tolist()
    assert frame_places([pattern.format(number) for number in numbers]) == (numbers, ())


def test_a_missing_number_leaves_its_place():
    assert frame_places([f"f{number}.json" for number in (7, 8, 12, 13)]) == ([0, 1, 5, 6], ())
    assert frame_places(["only_17.json"]) == ([0], ())


@pytest.mark.parametrize(("numbers", "places"), [((0, 2, 4, 10), (0, 1, 2, 5)), ((0, 33, 67, 100, 200), (0, 1, 2, 3, 6))])
def test_numbers_may_count_in_steps(numbers, places):
    assert frame_places([f"{number}ms.json" for number in numbers]) == (list(places), ())


@pytest.mark.parametrize(
    "names",
    [
        ["00:00:01.json", "00:00:02.json", "00:01:00.json", "01:00:00.json"],
        ["1_17.json", "2_92.json", "3_51.json", "10_4.json"],
        ["t0.00.json", "t0.04.json", "t0.08.json", "t1.00.json"],
        ["t0.0.json", "t0.04.json", "t0.08.json", "t0.12.json", "t0.2.json", "t1.0.json"],
        ["1.8.json", "1.9.json", "1.10.json", "2.0.json"],
    ],
    ids=["times", "frame and something else", "seconds", "seconds of several lengths", "part and frame"],
)
def test_where_several_numbers_differ_all_of_them_order_the_frames(names):
    shuffled = np.random.default_rng(1).permutation(len(names))
    places, told = frame_places([names[i] for i in shuffled])
    assert places == shuffled.tolist()
    assert len(told) == 1
    assert "in the order of all of them, and none is taken as missing" in told[0]


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (["a_1.json", "a_2.json", "b_1.json"], r"b_1\.json and a_1\.json are no frames of one clip"),
        (["a_1.json", "a_2.json", "notes.json"], r"notes\.json and a_1\.json are no frames of one clip"),
        (["a_1.json", "a_01.json", "a_2.json"], r"no number .* tells them apart: a_1\.json and a_01\.json"),
        (["a_1.json", "a_2.json", "a_99999999.json"], "numbered from 1 to 99999999, which is no clip"),
    ],
)
def test_what_are_no_frames_of_one_clip_is_told(names, reason):
    with pytest.raises(InputError, match=reason):
        frame_places(names)
