# SPDX-License-Identifier: Apache-2.0
"""Signs with a key on a PKCS#11 token, which it never leaves (extra ``pkcs11``)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_provider_wxbank.wechatpay.crypto.suites import PublicKey, UnusableKey
from airflow_provider_wxbank.wechatpay.errors import InvalidCredentials
from airflow_provider_wxbank.wechatpay.signers.pkcs11_uri import FIELD, PIN_FIELD, KeyUri, read_key_uri

if TYPE_CHECKING:
    from airflow_provider_wxbank.wechatpay.signers.modules import OpenToken


@dataclass(frozen=True, slots=True)
class TokenSigner:
    """Signs on a token, through its module; safe to use from many threads and after a fork.

    One signature at a time is made in a process. A token that was pulled and put back is found again.

    :param about: the key and its token, for a person.
    """

    serial_no: str
    public_key: PublicKey
    about: str
    uri: KeyUri = field(repr=False)

    def sign(self, message: bytes) -> bytes:
        """See :class:`.Signer`. What a token signs is verified: a faulty signature can give a key away."""
        from airflow_provider_wxbank.wechatpay.signers.modules import module

        def act(token: OpenToken) -> tuple[PublicKey, bytes]:
            found = _key_on(token, self.uri)
            return found.public_key, found.signing(found.key, message, self.uri.pin)

        public_key, signature = module(self.uri.module).use(self.uri, act)
        if public_key != self.public_key:
            raise InvalidCredentials(
                f"the token has another key at {self.uri.about_key} than before: compare merchant_serial_no with its "
                "certificate, and run it again"
            )
        if not self.public_key.verify(message, signature):
            raise InvalidCredentials(
                f"the token's signature with {self.uri.about_key} does not fit the public key there: the token has a "
                "fault, or the public key of this id belongs to another private key"
            )
        return signature


def signer(uri: str, values: Mapping[str, str]) -> TokenSigner:
    """The signer of a ``pkcs11:`` URI (RFC 7512); a :class:`~.choice.SignerOfUri`.

    The key is looked for once a session, and each wait of a process finds what the first one has found.

    :param uri: names token, key and module; see :func:`~.pkcs11_uri.read_key_uri`.
    :param values: ``merchant_serial_no``, and ``merchant_private_key_pin`` if the PIN is not in a file.
    """
    try:
        import pkcs11  # noqa: F401  # the modules that need it are imported below
    except ImportError:
        raise InvalidCredentials(
            f"{FIELD} with pkcs11: needs a package more: pip install 'airflow-provider-wxbank[pkcs11]'"
        ) from None
    from airflow_provider_wxbank.wechatpay.signers.modules import module

    key = read_key_uri(uri, values.get(PIN_FIELD, ""))
    found = module(key.module).use(key, lambda token: _key_on(token, key))
    return TokenSigner(values["merchant_serial_no"], found.public_key, found.about, key)


@dataclass(frozen=True, slots=True)
class _Found:
    """A key in an open session."""

    key: Any
    public_key: PublicKey
    signing: Any
    about: str


def _key_on(token: OpenToken, uri: KeyUri) -> _Found:
    """The key on an open token, which is looked for once."""
    wanted = uri.label, uri.id
    if wanted not in token.keys:
        token.keys[wanted] = _find(token.session, uri)
    found: _Found = token.keys[wanted]
    return found


def _find(session: Any, uri: KeyUri) -> _Found:
    from pkcs11 import Attribute, ObjectClass

    from airflow_provider_wxbank.wechatpay.crypto.token_keys import public_key_of, signing_of
    from airflow_provider_wxbank.wechatpay.signers.modules import about

    template: dict[Any, Any] = {Attribute.CLASS: ObjectClass.PRIVATE_KEY}
    if uri.label is not None:
        template[Attribute.LABEL] = uri.label
    if uri.id is not None:
        template[Attribute.ID] = uri.id
    keys = list(session.get_objects(template))
    if len(keys) != 1:
        raise InvalidCredentials(_not_one(session, uri, keys))
    (key,) = keys
    name = f"the key {key.label or '(without a label)'} (id {key.id.hex() or 'none'})"
    try:
        public_key, signing = public_key_of(session, key), signing_of(session.token.slot.get_mechanisms())
    except UnusableKey as failure:
        raise InvalidCredentials(f"{name} {failure}") from None
    told = about(session.token)
    where = f"token {told['token']} ({told['manufacturer']}, {told['model']}, serial {told['serial']})"
    return _Found(key, public_key, signing, f"{public_key.about}, {name.removeprefix('the ')} on {where}")


def _not_one(session: Any, uri: KeyUri, keys: list[Any]) -> str:
    from pkcs11 import Attribute, ObjectClass

    there = session.get_objects({Attribute.CLASS: ObjectClass.PRIVATE_KEY})
    names = "; ".join(f"object={key.label}, id={key.id.hex()}" for key in there) or "none"
    if keys:
        return f"{len(keys)} private keys have {uri.about_key}: add id to {FIELD}; the token has: {names}"
    login = "" if uri.pin else f" (no PIN is given, and keys are seen only with one: fill in {PIN_FIELD})"
    return f"no private key has {uri.about_key}: correct {FIELD}; the token has: {names}{login}"
