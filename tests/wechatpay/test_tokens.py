# SPDX-License-Identifier: Apache-2.0
"""A merchant's key on a token of SoftHSM: it signs as a PEM does, survives what tokens do, and never leaves."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as generate_ec_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

pytest.importorskip("pkcs11", reason="python-pkcs11, the extra pkcs11, is not installed here")

import pkcs11
from pkcs11 import Attribute, Mechanism, ObjectClass, TokenFlag

from airflow_provider_wxbank.agreements.files import named, naming_key
from airflow_provider_wxbank.wechatpay.crypto import token_keys
from airflow_provider_wxbank.wechatpay.crypto.suites import UnusableKey
from airflow_provider_wxbank.wechatpay.errors import InvalidCredentials, TryLater
from airflow_provider_wxbank.wechatpay.signers import logins, modules
from airflow_provider_wxbank.wechatpay.signers.choice import signer_of
from airflow_provider_wxbank.wechatpay.signers.tokens import TokenSigner
from tests.harness.keys import new_key, public_key
from tests.harness.keys import signer as pem_signer
from tests.harness.softhsm import MODULE, PIN, Hsm, needs_softhsm, uri

pytestmark = needs_softhsm

forks = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
"""Python 3.12 warns of a fork beside threads; workers of Airflow fork all the same."""

KEY, OTHER = new_key(), new_key()
MESSAGE = b"GET\n/v3/certificates\n1\nN\n\n"


def open_key(uri_text: str, pin: str = PIN) -> TokenSigner:
    values = {"merchant_serial_no": "5F"} | ({"merchant_private_key_pin": pin} if pin else {})
    made = signer_of(uri_text, values)
    assert isinstance(made, TokenSigner)
    return made


@pytest.fixture
def merchants(hsm: Hsm) -> Hsm:
    """A token with one key."""
    hsm.add_token("merchants")
    hsm.import_key(KEY, "merchants", "merchant-2026")
    return hsm


def session_on(token: str) -> Any:
    """A session of the module that is open already."""
    (module,) = modules._MODULES.values()
    (opened,) = [one for one in module._open.values() if one.session.token.label == token]
    return opened.session


def test_a_token_signs_as_a_pem_does_and_names_files_alike(merchants: Hsm) -> None:
    token, pem = open_key(uri("merchants", "merchant-2026")), pem_signer(KEY)
    assert token.sign(MESSAGE) == pem.sign(MESSAGE)
    assert token.public_key == public_key(KEY)
    key = naming_key(token, None)
    assert key == naming_key(pem, None) != naming_key(pem_signer(OTHER), None)
    assert named("june", key, "ICBC_DEBIT", b"1") == named("june", naming_key(pem, None), "ICBC_DEBIT", b"1")
    # Nor does what a token signs meet a secret that somebody fills in.
    assert key != naming_key(token, "0123456789abcdef0123456789abcdef")
    serial = merchants.serial("merchants")
    assert token.about == (
        f"RSA, 2048 bits, key merchant-2026 (id 0a1b) on token merchants (SoftHSM project, SoftHSM v2, serial {serial})"
    )
    assert PIN not in repr(token)


def test_the_key_cannot_be_taken_out(merchants: Hsm) -> None:
    open_key(uri("merchants", "merchant-2026"))
    (key,) = session_on("merchants").get_objects({Attribute.CLASS: ObjectClass.PRIVATE_KEY})
    assert (key[Attribute.EXTRACTABLE], key[Attribute.SENSITIVE]) == (False, True)
    for part in (Attribute.PRIVATE_EXPONENT, Attribute.PRIME_1, Attribute.PRIME_2):
        with pytest.raises(pkcs11.AttributeSensitive):
            key[part]
    wrapping = session_on("merchants").generate_key(pkcs11.KeyType.AES, 256, store=False)
    with pytest.raises(pkcs11.KeyUnextractable):
        wrapping.wrap_key(key, mechanism=Mechanism.AES_KEY_WRAP_PAD)
    secret = KEY.private_numbers()
    stored = b"".join(path.read_bytes() for path in merchants.folder.rglob("*") if path.is_file())
    assert not [
        one for one in (secret.p, secret.q, secret.d) if one.to_bytes(-(-one.bit_length() // 8), "big") in stored
    ]


def test_a_key_is_generated_on_the_token_and_found_by_any_of_its_attributes(hsm: Hsm) -> None:
    hsm.add_token("merchants")
    shown = hsm.tool(
        "merchants",
        "--keypairgen",
        "--key-type",
        "rsa:2048",
        "--label",
        "merchant 2026; new",
        "--id",
        "00ff",
        "--sensitive",
    )
    assert "never extractable" in shown
    by_label = open_key(uri("merchants", "merchant 2026; new"))
    by_id = open_key(uri("merchants", type="private").replace("?", ";id=%00%FF?"))
    by_serial = open_key(
        uri("merchants", serial=hsm.serial("merchants"), model="SoftHSM v2", manufacturer="SoftHSM project")
    )
    assert by_label.about == by_id.about == by_serial.about
    assert by_label.sign(MESSAGE) == by_id.sign(MESSAGE) == by_serial.sign(MESSAGE)
    slot = session_on("merchants").token.slot.slot_id
    assert open_key(f"pkcs11:slot-id={slot}?module-name=softhsm2").sign(MESSAGE) == by_id.sign(MESSAGE)


def test_a_pin_comes_from_a_file_or_stands_in_the_uri(merchants: Hsm, tmp_path: Path) -> None:
    (tmp_path / "pin").write_text(f"{PIN}\n")
    for more in (f"pin-source={tmp_path}/pin", f"pin-source=file:{tmp_path}/pin", f"pin-value={quote(PIN, safe='')}"):
        assert open_key(f"{uri('merchants')}&{more}", pin="").sign(MESSAGE) == pem_signer(KEY).sign(MESSAGE)


def test_where_the_whole_mechanism_is_missing_its_second_half_signs_alike(merchants: Hsm) -> None:
    open_key(uri("merchants"))
    session = session_on("merchants")
    (key,) = session.get_objects({Attribute.CLASS: ObjectClass.PRIVATE_KEY})
    signing = token_keys.signing_of({Mechanism.RSA_PKCS})
    assert signing(key, MESSAGE, PIN) == pem_signer(KEY).sign(MESSAGE)
    with pytest.raises(UnusableKey, match="neither CKM_SHA256_RSA_PKCS nor CKM_RSA_PKCS"):
        token_keys.signing_of({Mechanism.RSA_PKCS_PSS})


def test_a_key_that_wants_its_pin_each_time_is_given_it(merchants: Hsm) -> None:
    merchants.import_key(OTHER, "merchants", "strict", "0c")
    signer = open_key(uri("merchants", "merchant-2026"))
    merchants.tool(
        "merchants", "--keypairgen", "--key-type", "rsa:2048", "--label", "each", "--id", "0d", "--always-auth"
    )
    each = open_key(uri("merchants", "each"))
    (key,) = session_on("merchants").get_objects({Attribute.CLASS: ObjectClass.PRIVATE_KEY, Attribute.LABEL: "each"})
    assert key[Attribute.ALWAYS_AUTHENTICATE]
    assert each.public_key.verify(MESSAGE, each.sign(MESSAGE))
    assert signer.sign(MESSAGE) == pem_signer(KEY).sign(MESSAGE)


def test_many_threads_sign_at_once(merchants: Hsm) -> None:
    signer, expected = open_key(uri("merchants")), pem_signer(KEY)
    messages = [f"message {index}".encode() for index in range(400)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(signer.sign, messages)) == [expected.sign(message) for message in messages]


@forks
def test_a_child_opens_the_module_for_itself_and_leaves_that_of_its_parent_alone(merchants: Hsm) -> None:
    signer = open_key(uri("merchants"))
    expected = signer.sign(MESSAGE)
    of_the_parent = session_on("merchants").token.open()

    def in_child() -> int:
        if not signer.sign(MESSAGE) == open_key(uri("merchants")).sign(MESSAGE) == expected:
            return 1
        # The module was initialized anew: its first session is the child's, and there is no second one.
        try:
            of_the_parent.generate_random(64)
        except pkcs11.SessionHandleInvalid:
            return 0
        return 2

    for _ in range(2):
        child = os.fork()
        if child == 0:
            # As a process of a worker that ends without a word: pytest goes on in the parent alone.
            os._exit(in_child())
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert signer.sign(MESSAGE) == expected
        assert of_the_parent.generate_random(64)


@forks
def test_a_child_signs_while_a_thread_of_its_parent_had_the_token(merchants: Hsm) -> None:
    signer = open_key(uri("merchants"))
    expected = signer.sign(MESSAGE)
    (module,) = modules._MODULES.values()
    with module._turn():
        child = os.fork()
        if child == 0:
            os._exit(0 if signer.sign(MESSAGE) == expected else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_token_that_was_pulled_is_told_as_that_and_found_again(merchants: Hsm) -> None:
    signer = open_key(uri("merchants"))
    expected = signer.sign(MESSAGE)
    with merchants.pulled():
        for ask in (lambda: signer.sign(MESSAGE), lambda: open_key(uri("merchants"))):
            with pytest.raises(TryLater, match="the token with token=merchants is not there any more: put it back"):
                ask()
    assert signer.sign(MESSAGE) == expected
    with merchants.pulled():
        pass
    assert signer.sign(MESSAGE) == expected


def test_where_no_token_is_there_at_all_it_may_come(merchants: Hsm) -> None:
    with merchants.pulled(), pytest.raises(TryLater, match="is not there: put it back; there are: none"):
        open_key(uri("merchants"))
    assert open_key(uri("merchants")).sign(MESSAGE)


@pytest.mark.parametrize("what", ["session", "module"])
def test_a_session_that_was_closed_is_opened_anew(merchants: Hsm, what: str) -> None:
    """A token does so after a time; and whoever shares the module may initialize it anew."""
    signer = open_key(uri("merchants"))
    expected = signer.sign(MESSAGE)
    session = session_on("merchants")
    if what == "session":
        session.close()
    else:
        pkcs11.lib(str(Path(MODULE).resolve())).reinitialize()
    assert signer.sign(MESSAGE) == expected
    assert session_on("merchants") is not session


def test_another_key_in_its_place_is_not_signed_with(merchants: Hsm) -> None:
    signer = open_key(uri("merchants", "merchant-2026"))
    merchants.tool("merchants", "--delete-object", "--type", "privkey", "--id", "0a1b")
    merchants.tool("merchants", "--delete-object", "--type", "pubkey", "--id", "0a1b")
    with pytest.raises(InvalidCredentials, match="no private key has object=merchant-2026"):
        signer.sign(MESSAGE)
    merchants.import_key(OTHER, "merchants", "merchant-2026")
    with pytest.raises(InvalidCredentials, match="another key at object=merchant-2026 than before"):
        signer.sign(MESSAGE)
    assert open_key(uri("merchants", "merchant-2026")).public_key == public_key(OTHER)


@forks
def test_a_wrong_pin_is_tried_once(merchants: Hsm) -> None:
    right = open_key(uri("merchants"))
    tried: list[str] = []

    def note(fails: Callable[[], object]) -> str:
        with pytest.raises(InvalidCredentials) as raised:
            fails()
        tried.append(str(raised.value))
        return tried[-1]

    assert "does not take the PIN of the connection" in note(lambda: open_key(uri("merchants"), "wrong-PIN-1"))
    assert "PinIncorrect" in tried[0]
    # The one that is right works as before, and makes the token forget.
    assert right.sign(MESSAGE)
    assert not _flags() & TokenFlag.USER_PIN_COUNT_LOW
    for name in ("token", "serial"):
        value = {"token": "merchants", "serial": merchants.serial("merchants")}
        text = uri("merchants") if name == "token" else uri("merchants", **{name: value[name]})
        assert "has tried it once, and does not try it again" in note(lambda text=text: open_key(text, "wrong-PIN-1"))  # type: ignore[misc]
    child = os.fork()
    if child == 0:
        try:
            open_key(uri("merchants"), "wrong-PIN-1")
        except InvalidCredentials as failure:
            os._exit(0 if "has tried it once" in str(failure) else 2)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    # SoftHSM says so after each wrong PIN.
    assert not _flags() & TokenFlag.USER_PIN_COUNT_LOW
    assert not [text for text in tried if "wrong-PIN-1" in text or PIN in text]
    assert right.sign(MESSAGE)


def _flags() -> Any:
    (token,) = pkcs11.lib(str(Path(MODULE).resolve())).get_tokens(token_label="merchants")
    return token.flags


def test_the_last_try_of_a_pin_is_left_to_a_person() -> None:
    logins.check_tries(TokenFlag.USER_PIN_INITIALIZED | TokenFlag.USER_PIN_COUNT_LOW)
    with pytest.raises(InvalidCredentials, match="one more PIN before it is locked, and it is not risked"):
        logins.check_tries(TokenFlag.USER_PIN_COUNT_LOW | TokenFlag.USER_PIN_FINAL_TRY)
    with pytest.raises(InvalidCredentials, match="the token's PIN is locked: unlock it"):
        logins.check_tries(TokenFlag.USER_PIN_LOCKED)


def test_a_session_is_waited_for() -> None:
    waits: list[float] = []
    left = [pkcs11.SessionCount, pkcs11.SessionCount]

    def open_session() -> str:
        if left:
            raise left.pop()
        return "a session"

    assert logins.when_free(open_session, waits.append, lambda: sum(waits)) == "a session"
    assert len(waits) == 2

    def none_is_free() -> str:
        raise pkcs11.SessionCount

    with pytest.raises(TryLater, match="no free session for 60 s"):
        logins.when_free(none_is_free, waits.append, lambda: sum(waits))
    assert 60 <= sum(waits) < 63


def test_a_token_that_hangs_is_not_waited_for_for_ever(merchants: Hsm, monkeypatch: pytest.MonkeyPatch) -> None:
    signer = open_key(uri("merchants"))
    (module,) = modules._MODULES.values()
    monkeypatch.setattr(modules, "TURN_SECONDS", 0.2)
    with module._turn(), pytest.raises(TryLater, match="the token is busy"):
        signer.sign(MESSAGE)
    assert signer.sign(MESSAGE)


def test_a_key_is_looked_for_once_a_process(merchants: Hsm) -> None:
    """A triggerer reads its connections for each wait."""
    first = open_key(uri("merchants"))
    session, keys = session_on("merchants"), dict(next(iter(modules._MODULES.values()))._open)
    second = open_key(uri("merchants"))
    assert second.public_key is first.public_key
    assert session_on("merchants") is session
    assert dict(next(iter(modules._MODULES.values()))._open) == keys


def test_two_tokens_are_open_at_once_each_with_its_pin(merchants: Hsm) -> None:
    merchants.add_token("others", pin="Other-2718-pin")
    merchants.import_key(OTHER, "others", "merchant-2026", pin="Other-2718-pin")
    one, other = open_key(uri("merchants")), open_key(uri("others"), "Other-2718-pin")
    assert one.sign(MESSAGE) == pem_signer(KEY).sign(MESSAGE)
    session = session_on("merchants")
    assert other.sign(MESSAGE) == pem_signer(OTHER).sign(MESSAGE)
    one.sign(MESSAGE)
    assert session_on("merchants") is session


def test_what_is_not_there_or_not_one_is_told_with_what_is_there(merchants: Hsm) -> None:
    merchants.import_key(OTHER, "merchants", "merchant-2025", "0b")
    for text, pin, told in (
        (
            uri("nobody"),
            PIN,
            "no token has token=nobody: correct merchant_private_key_uri, or put the token in; .*=merchants",
        ),
        (uri("merchants"), PIN, "2 private keys have any private key: add id .* object=merchant-2026, id=0a1b"),
        (uri("merchants", "x"), PIN, "no private key has object=x.* has: .*object=merchant-2025, id=0b"),
        (
            uri("merchants", "x"),
            "",
            "no PIN is given, and keys are seen only with one: fill in merchant_private_key_pin",
        ),
    ):
        with pytest.raises(InvalidCredentials, match=told):
            open_key(text, pin)


def test_a_key_of_another_kind_is_refused_with_what_to_do(merchants: Hsm) -> None:
    path = merchants.folder / "ec.pem"
    key = generate_ec_key(SECP256R1())
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    merchants._run(
        "softhsm2-util", "--import", str(path), "--token", "merchants", "--label", "ec", "--id", "0e", "--pin", PIN
    )  # fmt: skip
    with pytest.raises(
        InvalidCredentials, match=r"the key ec \(id 0e\) is a key of the kind EC, .*no mechanism for SM2"
    ):
        open_key(uri("merchants", "ec"))
    merchants.tool("merchants", "--keypairgen", "--key-type", "rsa:1024", "--label", "short", "--id", "0f")
    with pytest.raises(InvalidCredentials, match=r"the key short \(id 0f\) has 1024 bits"):
        open_key(uri("merchants", "short"))


def test_a_module_that_is_none_is_told_as_that(tmp_path: Path) -> None:
    library = next(path for path in Path("/usr/lib").rglob("libm.so.6"))
    with pytest.raises(InvalidCredentials, match="cannot be loaded: it is no PKCS#11 module for this machine"):
        open_key(uri("merchants", module=str(library)))


def test_without_the_package_it_is_told_what_to_install() -> None:
    code = f"""
import sys
sys.modules["pkcs11"] = None
from airflow_provider_wxbank.wechatpay.signers.choice import signer_of
try:
    signer_of({uri("merchants")!r}, {{"merchant_serial_no": "1"}})
except Exception as failure:
    print(type(failure).__name__, failure)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert re.match(r"InvalidCredentials .*pip install 'airflow-provider-wxbank\[pkcs11\]'", done.stdout), done
