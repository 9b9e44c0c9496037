"""The admin token and the encryption keys: made once, private, and told readably when they cannot be used."""

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from app.errors import AskAdmin
from app.settings import Settings, SettingsError
from app.store.keys import Sealer, load_keys, write_private

KEY, OTHER = "QUFB" * 10 + "QUE=", "QkJC" * 10 + "QkI="


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_first_start_makes_private_files(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "data"
    keys = load_keys(Settings(data_dir=folder))
    assert keys.made == (folder / "admin-token", folder / "encryption-keys")
    assert (keys.admin_token_file, keys.encryption_keys_file) == keys.made
    assert [mode(path) for path in (folder, *keys.made)] == [0o700, 0o600, 0o600]
    assert sorted(path.name for path in folder.iterdir()) == ["admin-token", "encryption-keys"]
    assert len(keys.admin_token) >= 40
    assert keys.admin_token not in repr(keys)


def test_the_next_start_uses_them(tmp_path: Path) -> None:
    first = load_keys(Settings(data_dir=tmp_path))
    second = load_keys(Settings(data_dir=tmp_path))
    assert second.made == ()
    assert second.admin_token == first.admin_token
    assert second.sealer.open(first.sealer.seal(b"x")) == b"x"


def test_processes_that_start_together_agree(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        loaded = list(pool.map(lambda _: load_keys(Settings(data_dir=tmp_path)), range(16)))
    assert len({keys.admin_token for keys in loaded}) == 1
    assert all(loaded[0].sealer.open(keys.sealer.seal(b"x")) == b"x" for keys in loaded)


def test_a_file_that_others_may_read_is_closed_to_them(tmp_path: Path) -> None:
    load_keys(Settings(data_dir=tmp_path))
    (tmp_path / "encryption-keys").chmod(0o644)
    load_keys(Settings(data_dir=tmp_path))
    assert mode(tmp_path / "encryption-keys") == 0o600


def test_the_settings_win_and_no_file_is_made(tmp_path: Path) -> None:
    keys = load_keys(Settings(data_dir=tmp_path, admin_token="given", encryption_keys=f"{KEY}, {OTHER}"))
    assert (keys.admin_token, keys.admin_token_file, keys.encryption_keys_file, keys.made) == ("given", None, None, ())
    assert list(tmp_path.iterdir()) == []
    assert Sealer([KEY]).open(keys.sealer.seal(b"x")) == b"x"
    assert keys.sealer.open(Sealer([OTHER]).seal(b"x")) == b"x"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("admin_token", "two words"),
        ("admin_token", "tökén"),
        ("encryption_keys", "short"),
        ("encryption_keys", f"{KEY},short"),
        ("encryption_keys", " , "),
    ],
)
def test_a_setting_that_cannot_be_used_is_told_in_three_lines(tmp_path: Path, name: str, value: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_keys(Settings(data_dir=tmp_path, **{name: value}))
    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    assert f"WECOM_SYNC_{name.upper()}" in lines[0]
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content"), [("admin-token", b""), ("encryption-keys", b"broken"), ("admin-token", b"\xff")]
)
def test_a_file_that_cannot_be_used_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SettingsError, match=name):
        load_keys(Settings(data_dir=tmp_path))
    assert (tmp_path / name).read_bytes() == content


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match="DATA_DIR"):
        load_keys(Settings(data_dir=tmp_path / "file" / "data"))


def test_a_private_file_is_never_overwritten(tmp_path: Path) -> None:
    assert write_private(tmp_path / "a", "first")
    assert not write_private(tmp_path / "a", "second")
    assert (tmp_path / "a").read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_sealing_hides_and_every_key_opens() -> None:
    sealed = Sealer([KEY]).seal_json({"secret": "企业"})
    assert "企业".encode() not in sealed
    assert Sealer([OTHER, KEY]).open_json(sealed) == {"secret": "企业"}
    resealed = Sealer([OTHER, KEY]).reseal(sealed)
    assert Sealer([OTHER]).open_json(resealed) == {"secret": "企业"}
    for refused in (Sealer([OTHER]).open, Sealer([OTHER]).reseal):
        with pytest.raises(AskAdmin, match=r"keys\.cannot_open"):
            refused(sealed)
