"""What `salience explain --out` writes, and under which names."""

import numpy as np
import pytest

from salience_client import AnswerReader
from tests.support import fake_answers as fake

pytest.importorskip("PIL.Image")
pytest.importorskip("rich")

from salience_client.commands.files import file_stems, write_maps


def maps(*pairs, values=None):
    """Maps of (method, target) pairs."""
    found = []
    for map_id, (method, name) in enumerate(pairs):
        message = fake.map_message(
            fake.ramp() if values is None else values, map_id, method, fake.target(name)
        )
        message.seen.Clear()
        message.seen.width, message.seen.height = 6, 4
        found.extend(AnswerReader().read(fake.whole(message)))
    return found


def test_one_target_gives_files_named_after_methods():
    assert file_stems(maps(("score-cam", "tabby"), ("poly-cam", "tabby"))) == [
        "score-cam",
        "poly-cam",
    ]


def test_several_targets_are_in_the_names():
    stems = file_stems(maps(("score-cam", "tabby"), ("score-cam", "not:tench")))

    assert stems == ["score-cam.tabby", "score-cam.not-tench"]


@pytest.mark.parametrize("name", ["../../etc/passwd", "/root", "..", "a\0b", "x" * 400, "—", ""])
def test_no_label_leads_out_of_the_directory(tmp_path, name):
    stems = file_stems(maps(("score-cam", name), ("../m", "other")))

    for stem in stems:
        assert len(stem) <= 130
        assert (tmp_path / f"{stem}.npy").resolve().parent == tmp_path.resolve()
        assert not stem.startswith((".", "-"))


def test_labels_that_look_the_same_as_files_keep_their_own():
    stems = file_stems(maps(("m", "a b"), ("m", "a/b"), ("m", "A-B")))

    assert len({stem.lower() for stem in stems}) == 3


def test_a_name_that_looks_numbered_does_not_take_anothers_place():
    stems = file_stems(maps(("m", "a b"), ("m", "a-b.2"), ("m", "a/b")))

    assert len({stem.lower() for stem in stems}) == 3


def test_the_numbers_are_written_as_float32_and_the_overlay_beside(tmp_path):
    from PIL import Image

    image = np.zeros((40, 60, 3), np.uint8)
    *_, (_, written) = write_maps(maps(("score-cam", "tabby")), image, "stretch", tmp_path)

    array = np.load(written.array, allow_pickle=False)
    assert (array.dtype, array.shape) == (np.float32, (4, 6))
    np.testing.assert_array_equal(array, fake.ramp())
    with Image.open(written.picture) as picture:
        assert (picture.size, picture.mode) == ((6, 4), "RGB")
    assert written.array.name == "score-cam.npy"


def test_a_padded_models_overlay_shows_its_borders(tmp_path):
    from PIL import Image

    flat = np.zeros((4, 6), np.float32)
    image = np.full((4, 2, 3), 200, np.uint8)  # narrow: borders left and right
    *_, (_, written) = write_maps(maps(("m", "tabby"), values=flat), image, "pad", tmp_path)

    with Image.open(written.picture) as picture:
        pixels = np.asarray(picture).astype(int)
    assert pixels[:, :2].max() < 20
    assert pixels[:, 2:4].min() > 80
    assert pixels[:, 4:].max() < 20
