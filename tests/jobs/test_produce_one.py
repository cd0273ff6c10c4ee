"""One text or one recording, without Ray."""

import soundfile

from jobs.produce import ProduceCommand, run
from ms2sl.corpora import espeak
from ms2sl.posefile import from_bytes
from ms2sl.skeletons import HOLISTIC_49X2


def test_texts_and_recordings_whose_files_would_have_one_name_do_not_overwrite_each_other(tiny_checkpoint, tmp_path, capsys):
    given, out = tmp_path / "given", tmp_path / "out"
    options = ProduceCommand(model=tiny_checkpoint, out=out, steps=1)
    for folder, word in (("a", "cab"), ("b", "fade")):
        (given / folder).mkdir(parents=True)
        speech = espeak.spell(word)
        soundfile.write(given / folder / "cab_bad.wav", speech.waveform, speech.rate)
    sources = [{"text": "cab bad"}, {"text": "cab-bad"}, *({"speech": given / folder / "cab_bad.wav"} for folder in "ab")]
    content = []
    for source in sources:
        run(options.model_copy(update=source))
        name = capsys.readouterr().out.split(": ")[1].split(" and ")[0]
        content.append((name, (out / name).read_bytes()))
    assert content[0][0].endswith("cab_bad.pose")
    assert len({name for name, _ in content}) == len(list(out.glob("*.pose"))) == len(list(out.glob("*.gif"))) == 4
    for name, encoded in content:
        assert (out / name).read_bytes() == encoded
        assert from_bytes(encoded, HOLISTIC_49X2).poses.n_frames > 0
    run(options.model_copy(update=sources[1]))
    assert len(list(out.glob("*.pose"))) == 4, "signed again, it replaces its own"
