# SPDX-License-Identifier: Apache-2.0
"""``pkcs11:`` URIs, as RFC 7512 has them and as tools print them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from airflow_provider_wxbank.wechatpay.errors import InvalidCredentials
from airflow_provider_wxbank.wechatpay.signers.pkcs11_uri import pins_in, read_key_uri


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A file that could be a module, under folders that only their owners can write."""
    path = tmp_path / "lib.so"
    path.touch()
    path.chmod(0o755)
    shared = {one for one in tmp_path.resolve().parents if one.stat().st_mode & stat.S_IWOTH}
    if shared:
        # Under /tmp everybody can write: what is above the test's folder is taken for this machine's own.
        monkeypatch.setattr(Path, "parents", property(lambda self: [tmp_path]))
    return str(path)


def test_what_tools_print_is_read(module: str) -> None:
    printed = (
        "pkcs11:model=SoftHSM%20v2;manufacturer=SoftHSM%20project;serial=90c3eccb26935bc6;token=merch%C3%A4nts%3B1;"
        f"id=%0A%1b;object=merchant-2026;type=private?module-path={module}"
    )
    read = read_key_uri(printed, "")
    assert read.token == {
        "token": "merchänts;1", "manufacturer": "SoftHSM project", "model": "SoftHSM v2", "serial": "90c3eccb26935bc6"
    }  # fmt: skip
    assert (read.label, read.id, read.pin) == ("merchant-2026", b"\x0a\x1b", None)
    assert read_key_uri(f"PKCS11:?module-path={module}", "12345").pin == "12345"


WRONG = [
    ("pkcs11:token=a", "must name the module of the token"),
    ("pkcs11:token=a?module-path=M&module-name=x", "must name the module of the token"),
    ("pkcs11:token=a;token=b?module-path=M", "has token twice"),
    ("pkcs11:tokn=a?module-path=M", "has tokn, which is not known here; known are token, "),
    ("pkcs11:token=a;pin-value=1234?module-path=M", "pin-value belongs behind a question mark"),
    ("pkcs11:token=a?module-path=M&object=x", "object belongs before the question mark"),
    ("pkcs11:token?module-path=M", "has a part that is not name=value"),
    ("pkcs11:token=?module-path=M", "has token without a value"),
    ("pkcs11:token=a b?module-path=M", "write a blank as %20"),
    ("pkcs11:token=100%?module-path=M", "% without two hexadecimal digits"),
    ("pkcs11:token=%ff?module-path=M", "token is not UTF-8"),
    ("pkcs11:type=cert?module-path=M", "has type=cert: it must name a private key"),
    ("pkcs11:token=a?module-path=lib.so", "module-path must begin with /"),
    ("pkcs11:token=a?module-path=/there/is/none.so", "the module /there/is/none.so is not there"),
    ("pkcs11:token=a?module-path=/usr/lib", "is not a file"),
    ("pkcs11:token=a?module-name=../lib", "module-name is a name"),
    ("pkcs11:token=a?module-name=nobody-has-this", "there is no module nobody-has-this in the usual folders"),
    ("pkcs11:token=a?module-path=M&pin-source=|/bin/echo", "pin-source must be the path of a file"),
    ("pkcs11:token=a?module-path=M&pin-source=file://elsewhere/pin", "pin-source must be the path of a file"),
    (
        "pkcs11:token=a?module-path=M&pin-source=/there/is/none",
        "cannot be read from pin-source: No such",
    ),
    ("pkcs11:token=a?module-path=M&pin-source=/bin/ls", "cannot be read from pin-source /bin/ls: it is no text"),
    ("pkcs11:token=a?module-path=M&pin-source=/dev/null", "cannot be read from pin-source /dev/null: it is not a file"),
    ("pkcs11:token=a?module-path=M&pin-value=***", r"pin-value is \*\*\*, what Airflow shows"),
    ("pkcs11:token=a?module-path=M&pin-value=SECRET&pin-source=/pin", "given twice, by pin-value and pin-source"),
    ("pkcs11:token=a?module-path=M&pin-value=SECRET%0AS", "pin-value is empty, too long, or has characters"),
    ("pkcs11:token=a?module-path=M&pin-value=SECR", "pin-value is shorter than 5 characters"),
    ("pkcs11:token=a?module-path=M&pin-source=/SECRET", "cannot be read from pin-source: No such"),
    *(
        (f"pkcs11:{misspelt}", "has a PIN where it is no attribute of its own: it belongs behind the question mark")
        for misspelt in (
            "token=a?module-path=/x.so;pin-value=SECRET",
            "token=a,pin-value=SECRET?module-path=M",
            "token=a?module-path=M,PIN=SECRET",
            "object=k%3Bpin-value=SECRET?module-path=M",
            "object=k%253Bpin-value%253DSECRET?module-path=M",
            "type=private%20pin:SECRET?module-path=M",
            "token=a;PIN_VALUE=SECRET?module-path=M",
            "token=a;pin:SECRET=?module-path=M",
            "token=a?module-path=M&pin-source=/etc/x?pin-value=SECRET",
            "token=a?module-name=x;pin-value=SECRET",
        )
    ),
    ("pkcs11:" + "a" * 3000, "is longer than 2000 characters"),
]


@pytest.mark.parametrize(("uri", "message"), WRONG)
def test_what_is_wrong_in_a_uri_is_told_without_secrets(module: str, uri: str, message: str) -> None:
    with pytest.raises(InvalidCredentials, match=message) as raised:
        read_key_uri(uri.replace("=M", f"={module}"), "")
    assert "SECRET" not in str(raised.value)


def test_a_module_that_everybody_can_write_is_not_loaded(tmp_path: Path) -> None:
    path = tmp_path / "lib.so"
    path.touch()
    path.chmod(0o777)
    with pytest.raises(InvalidCredentials, match=f"{path} is not loaded, since everybody can write {path}"):
        read_key_uri(f"pkcs11:?module-path={path}", "")


def test_a_module_that_another_user_could_change_is_not_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "lib.so"
    path.touch(mode=0o755)
    monkeypatch.setattr(Path, "parents", property(lambda self: [tmp_path]))
    if os.geteuid() == 0:
        os.chown(tmp_path, 4711, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
    with pytest.raises(InvalidCredentials, match=f"is not loaded, since {tmp_path}.* belongs to another user"):
        read_key_uri(f"pkcs11:?module-path={path}", "")


def pin_of(source: Path, module: str) -> str | None:
    return read_key_uri(f"pkcs11:?module-path={module}&pin-source={source}", "").pin


@pytest.mark.parametrize(
    "content",
    [b"SECRET", b"SECRET\n", b"\xef\xbb\xbfSECRET \r\n", b"SECRET\n# of the token in room 4\n", b"SECRET\n\xff"],
)
def test_the_pin_is_the_first_line_of_its_file(module: str, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "pin-value").write_bytes(content)
    assert pin_of(tmp_path / "pin-value", module) == "SECRET"


def test_a_pin_of_a_file_that_anybody_can_write_is_not_used(module: str, tmp_path: Path) -> None:
    path = tmp_path / "pin"
    path.write_text("SECRET")
    path.chmod(0o606)
    with pytest.raises(InvalidCredentials, match=f"pin-source {path}: everybody can write it: chmod o-w"):
        pin_of(path, module)


def test_a_pipe_holds_nobody_up(module: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pin", mode=0o600)
    with pytest.raises(InvalidCredentials, match="it is not a file"):
        pin_of(tmp_path / "pin", module)


def test_a_pin_is_one_of_two_fields(module: str) -> None:
    with pytest.raises(InvalidCredentials, match="given twice, by merchant_private_key_pin and pin-value"):
        read_key_uri(f"pkcs11:?module-path={module}&pin-value=SECRET", "12345")


def test_pins_in_a_uri_are_found_however_it_is_written() -> None:
    assert pins_in("pkcs11:token=a?pin-value=a%2Bb&module-path=/m") == {"a%2Bb", "a+b"}
    assert pins_in("pkcs11:token=a;pin-value=in-the-wrong-place") == {"in-the-wrong-place"}
    assert pins_in("pkcs11:token=a,PIN_VALUE=one?module-path=/m;pin=two&pin-source=/pin") == {"one", "two"}
    assert "a b" in pins_in("pkcs11:object=k%3Bpin-value%3Da%20b")
    assert pins_in("pkcs11:token=a?pin-source=/pin") == pins_in("") == set()
