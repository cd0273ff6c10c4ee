import numpy as np
import pytest

from ms2sl.errors import InputError
from ms2sl.io.storage import StoragePath
from ms2sl.video.decoding import pictures
from tests.video.films import picture, turned, write

SHADES = [np.full((48, 64, 3), shade, np.uint8) for shade in range(40, 240, 20)]


def read(path, most_fps=60.0, most_pixels=720):
    return list(pictures(StoragePath(path), most_fps, most_pixels))


@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".mov"])
def test_each_picture_comes_with_its_time(tmp_path, suffix):
    found = read(write(tmp_path / f"film{suffix}", SHADES))
    assert np.allclose([each.seconds for each in found], np.arange(10) / 25, atol=1e-3)
    assert np.allclose([each.pixels.mean() for each in found], range(40, 240, 20), atol=6)


def test_times_of_a_variable_rate_are_kept(tmp_path):
    times = [0, 40, 80, 200, 240, 400, 440, 480, 520, 900]
    assert np.allclose([each.seconds for each in read(write(tmp_path / "film.mp4", SHADES, times))], np.array(times) / 1000, atol=2e-3)


def test_a_film_of_many_pictures_a_second_is_thinned(tmp_path):
    found = read(write(tmp_path / "film.mp4", SHADES * 6, fps=60), most_fps=30)
    assert len(found) == 30
    assert np.diff([each.seconds for each in found]) == pytest.approx(1 / 30, abs=2e-3)


def test_pictures_stand_as_the_phone_was_held(tmp_path):
    film = write(tmp_path / "film.mp4", [picture()] * 3)
    [first, *_] = read(turned(film, tmp_path / "turned.mp4"))
    assert first.pixels.shape == (480, 360, 3)
    assert np.abs(first.pixels.astype(int) - np.rot90(picture(), -1)).mean() < 6


def test_large_pictures_are_made_smaller(tmp_path):
    [first, *_] = read(write(tmp_path / "film.mp4", [picture()]), most_pixels=90)
    assert first.pixels.shape == (90, 120, 3)


def test_from_a_broken_film_comes_what_can_be_read(tmp_path):
    film = write(tmp_path / "film.webm", [picture(i % 50) for i in range(200)])
    (tmp_path / "cut.webm").write_bytes(film.read_bytes()[: film.stat().st_size // 2])
    assert 50 < len(read(tmp_path / "cut.webm")) < 150


@pytest.mark.parametrize(
    ("content", "reason"), [(b"", "no film that can be opened"), (b"hello, this is no film" * 99, "no film that can be opened")]
)
def test_what_is_no_film_is_told(tmp_path, content, reason):
    (tmp_path / "film.mp4").write_bytes(content)
    with pytest.raises(InputError, match=reason) as error:
        read(tmp_path / "film.mp4")
    assert str(tmp_path) not in str(error.value)


def test_sound_alone_is_no_film(tmp_path, sound_film):
    with pytest.raises(InputError, match="no picture, sound alone"):
        read(sound_film)


def test_a_clock_that_is_set_back_loses_no_picture(tmp_path):
    one = write(tmp_path / "one.mpg", SHADES)
    (tmp_path / "two.mpg").write_bytes(one.read_bytes() * 2)
    found = read(tmp_path / "two.mpg")
    assert len(found) >= 19
    assert (np.diff([each.seconds for each in found]) > 0).all()
