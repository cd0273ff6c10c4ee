from jobs.produce import SHOWN, RemarkCounts, print_remarks


def test_the_first_remarks_are_kept_and_the_others_counted(capsys):
    counts = RemarkCounts()
    for i in range(50):
        counts.add([(f"{i}.wav is odd", "its language is ignored"), (f"{i}.wav is odd",)])
    assert (counts.total, len(counts.shown), counts.others) == (100, SHOWN, 50 - (SHOWN - 1))
    assert counts.shown["0.wav is odd"] == 2
    assert counts.shown["its language is ignored"] == 50
    assert counts.kinds == {("… is odd", "its language is ignored"): 50, ("… is odd",): 50}, "however many there are"
    print_remarks(counts.shown, counts.others)
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "remark: 0.wav is odd (2 utterances)"
    assert said[-1] == "and 41 more remarks"
