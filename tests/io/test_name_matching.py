import numpy as np

from ms2sl.io.name_matching import by_name, match, unique_ids


def test_ids_are_the_same_where_clips_come_from_the_same_and_nowhere_else():
    """Of clips of any paths, splits and names, among them such as other clips would get."""
    rng = np.random.default_rng(0)
    for _ in range(2000):
        texts = ["".join(rng.choice(list("ab-/"), rng.integers(1, 6))).strip("/") or "a" for _ in range(12)]
        paths = [text if rng.random() < 0.8 else "" for text in texts]
        ids = [text.split("/")[-1] or "a" for text in texts]
        splits = rng.choice(["a", "b"], len(ids)).tolist()
        unique = unique_ids(ids, splits, paths)
        keys = [(split, path or name, name) for split, path, name in zip(splits, paths, ids, strict=True)]
        assert len({*zip(unique, keys, strict=True)}) == len(set(unique)) == len(set(keys))
        for name, own in zip(ids, unique, strict=True):
            assert own == name or len({key for key in keys if key[2] == name}) > 1, "what is unique is left as it is"


def test_things_of_one_name_are_told_and_not_chosen_from():
    found, twins = by_name([("gr\u00fcn", 1), ("rot", 2), ("gru\u0308n", 3)])
    assert found == {"rot": 2}
    assert twins == {"gr\u00fcn": "2 have the name gr\u00fcn: 1, 3"}


def test_paths_are_matched_by_their_longest_end_that_is_theirs_alone():
    found, twins = match(["x/s1/1", "x/s2/1", "x/2", "y/2", "3"], ["s1/1", "1", "2", "3"])
    assert found == {"x/s1/1": "s1/1", "x/s2/1": "1", "3": "3"}
    assert twins == {"2": "x/2 and y/2 could both be 2"}
