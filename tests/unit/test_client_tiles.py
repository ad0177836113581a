"""Montages: where tiles lie, and how their lines are cut."""

import numpy as np
import pytest

from salience_client import InvalidRequest, Tile, montage

pytest.importorskip("PIL.Image")

WIDTH, GAP, TOP = 224, 14, 50


def tile(value: int, caption: str = "score-cam", note: str = "", shape=(224, 224)) -> Tile:
    return Tile(np.full((*shape, 3), value, np.uint8), caption, note)


def test_tiles_lie_in_rows_in_the_order_of_reading():
    sheet = montage("title", [tile(value) for value in (10, 20, 30, 40)], columns=3)

    assert (sheet.dtype, sheet.shape[1]) == (np.uint8, 3 * (WIDTH + GAP) + GAP)
    second_row = TOP + (sheet.shape[0] - TOP) // 2
    corners = [(TOP, GAP + column * (WIDTH + GAP)) for column in range(3)] + [(second_row, GAP)]
    for value, (top, left) in zip((10, 20, 30, 40), corners, strict=True):
        assert (sheet[top : top + WIDTH, left : left + WIDTH] == value).all()
    assert (sheet[second_row:, GAP + WIDTH :] == 255).all()


def test_a_montage_is_no_wider_than_its_tiles():
    assert montage("t", [tile(0)]).shape[1] == WIDTH + 2 * GAP


def test_pictures_of_any_size_get_one_width_and_keep_their_shape():
    sheet = montage("t", [tile(7, "", shape=(32, 64)), tile(9, "", shape=(400, 200))])

    assert (sheet[TOP : TOP + 112, GAP : GAP + WIDTH] == 7).all()
    assert (sheet[TOP + 112 : TOP + 448, GAP : GAP + WIDTH] == 255).all()
    right = GAP + WIDTH + GAP
    assert (sheet[TOP : TOP + 448, right : right + WIDTH] == 9).all()


def test_title_caption_and_note_are_written():
    def ink(*words):
        title, caption, note = words
        return int((montage(title, [tile(255, caption, note)]) < 128).sum())

    blank = ink("", "", "")
    assert blank == 0
    assert min(ink("title", "", ""), ink("", "caption", ""), ink("", "", "note")) > 20


def test_a_line_too_long_is_cut_within_its_tile():
    long = "a label that no picture is wide enough for " * 5
    sheet = montage(long, [tile(255, long, long), tile(255)], columns=2)

    caption = sheet[TOP + WIDTH :]
    assert (caption[:, GAP + WIDTH : GAP + WIDTH + GAP] == 255).all()  # between the tiles
    assert (sheet[:, -GAP:] == 255).all()
    assert (caption[:, GAP : GAP + WIDTH] < 128).any()


@pytest.mark.parametrize("words", ["a\nb", "naïve — “…” 猫", "", " " * 1000])
def test_any_words_can_be_written(words):
    assert montage(words, [tile(0, words, words)]).shape == montage("t", [tile(0)]).shape


@pytest.mark.parametrize(("tiles", "columns"), [([], 6), ([tile(0)], 0)])
def test_a_montage_of_nothing_is_refused(tiles, columns):
    with pytest.raises(InvalidRequest, match="one or more tiles"):
        montage("title", tiles, columns)
