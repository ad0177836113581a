"""Static tokens: only their digests are kept, they end when they should, bad files are refused."""

from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from salience_service.access.tokens import (
    MOST_TOKENS,
    PREFIX,
    TokenTable,
    new_token,
    read_tokens,
    read_tokens_again,
)
from salience_service.errors import ConfigRefused

KNOWN = frozenset({"radiology", "pacs"})
NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)


def _file(directory: Path, text: str) -> Path:
    path = directory / "tokens"
    path.write_text(text, "utf-8")
    return path


def test_a_token_shows_the_principal_of_its_line_and_any_other_text_nobody(tmp_path: Path) -> None:
    first, second = new_token("radiology"), new_token("pacs")
    table = read_tokens(_file(tmp_path, f"# ours\n{first.line}\n\n  {second.line} # PACS\n"), KNOWN)
    assert table.owner(first.secret, NOW) == "radiology"
    assert table.owner(second.secret, NOW) == "pacs"
    for other in ("", first.secret[:-1], first.secret + "x", first.line, "\ud800"):
        assert table.owner(other, NOW) is None


def test_the_line_of_a_token_holds_nothing_of_it() -> None:
    made = new_token("radiology")
    assert made.secret.startswith(PREFIX)
    assert made.secret.removeprefix(PREFIX) not in made.line


@pytest.mark.parametrize("name", ["", "a b", "a\n", "-a", "#a", "a" * 65])
def test_no_token_is_made_for_a_name_that_no_principal_can_have(name: str) -> None:
    with pytest.raises(ConfigRefused, match="no principal's name"):
        new_token(name)


def test_two_tokens_differ_and_hold_256_random_bits() -> None:
    assert new_token("pacs").secret != new_token("pacs").secret
    assert len(new_token("pacs").secret.removeprefix(PREFIX)) == 43  # 32 bytes in base64


def test_a_token_holds_to_the_end_of_its_last_day_and_no_longer(tmp_path: Path) -> None:
    made = new_token("pacs", date(2026, 6, 1))
    table = read_tokens(_file(tmp_path, made.line), KNOWN)
    assert table.owner(made.secret, datetime(2026, 6, 1, 23, 59, 59, tzinfo=UTC)) == "pacs"
    assert table.owner(made.secret, datetime(2026, 6, 2, tzinfo=UTC)) is None


@pytest.mark.parametrize(
    "line",
    [
        "radiology",
        "radiology sha256:abc",
        "radiology md5:" + "0" * 64,
        "radiology sha256:" + "0" * 64 + " until:soon",
        "radiology sha256:" + "0" * 64 + " until:9999-12-31",
        "radiology sha256:" + "0" * 64 + " more",
        "radiology salience_secretsecret",
    ],
)
def test_a_line_that_is_none_is_refused_by_number_without_its_text(
    tmp_path: Path, line: str
) -> None:
    with pytest.raises(ConfigRefused, match="line 2 is not what") as told:
        read_tokens(_file(tmp_path, f"\n{line}\n"), KNOWN)
    assert "secret" not in str(told.value)


def test_a_name_that_is_no_principal_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigRefused, match=r"'nurse' is none of access\.principals"):
        read_tokens(_file(tmp_path, new_token("nurse").line), KNOWN)


def test_lines_with_other_names_are_left_out_of_a_file_that_is_read_again_and_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    good, strange = new_token("pacs"), new_token("nurse")
    table = read_tokens_again(_file(tmp_path, f"{good.line}\n{strange.line}\n"), KNOWN)
    assert table.owner(good.secret, NOW) == "pacs"
    assert table.owner(strange.secret, NOW) is None
    assert "1 of its names are none of access.principals, such as 'nurse'" in caplog.text
    with pytest.raises(ConfigRefused, match="line 2 is not what"):
        read_tokens_again(_file(tmp_path, f"{good.line}\nnonsense\n"), KNOWN)


@pytest.mark.parametrize("read", [read_tokens, read_tokens_again])
def test_a_file_without_a_byte_is_refused_and_one_of_a_comment_holds_none(
    tmp_path: Path, read: Callable[[Path, frozenset[str]], TokenTable]
) -> None:
    with pytest.raises(ConfigRefused, match="tokens is empty"):
        read(_file(tmp_path, ""), KNOWN)
    assert read(_file(tmp_path, "# none\n"), KNOWN).owner(new_token("pacs").secret, NOW) is None


def test_a_token_cannot_show_two_principals(tmp_path: Path) -> None:
    line = new_token("pacs").line
    both = f"{line}\n{line.replace('pacs', 'radiology')}\n"
    with pytest.raises(ConfigRefused, match="there twice"):
        read_tokens(_file(tmp_path, both), KNOWN)


def test_more_tokens_than_the_limit_are_refused(tmp_path: Path) -> None:
    lines = [f"pacs sha256:{number:064x}" for number in range(MOST_TOKENS + 1)]
    with pytest.raises(ConfigRefused, match=f"at most {MOST_TOKENS}"):
        read_tokens(_file(tmp_path, "\n".join(lines)), KNOWN)


def test_a_file_too_large_or_not_there_or_not_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigRefused, match="the limit"):
        read_tokens(_file(tmp_path, "#" * (2**20 + 1)), KNOWN)
    with pytest.raises(ConfigRefused, match="cannot be read"):
        read_tokens(tmp_path / "none", KNOWN)
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigRefused, match="UTF-8"):
        read_tokens(tmp_path / "bytes", KNOWN)
