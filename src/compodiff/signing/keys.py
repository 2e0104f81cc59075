"""Ed25519 keys in PEM files, which the environment names: one to sign with, and those whose signatures are trusted.

openssl genpkey -algorithm ed25519 -out signing.pem
openssl pkey -in signing.pem -pubout -out signing.pub
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from compodiff.errors import InputInvalid

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

SIGNING, TRUSTED = "COMPODIFF_SIGNING_KEY", "COMPODIFF_TRUSTED_KEYS"
_PUBLIC = re.compile(b"-----BEGIN PUBLIC KEY-----.+?-----END PUBLIC KEY-----", re.DOTALL)


def find_signing_key() -> "Ed25519PrivateKey | None":
    """Return the private key of the file that COMPODIFF_SIGNING_KEY names; None where it names none.

    Raises:
        InputInvalid: it cannot be read, or is no Ed25519 key without a password.
    """
    if not (named := os.environ.get(SIGNING)):
        return None
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(Path(named).read_bytes(), password=None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise InputInvalid(f"{SIGNING}={named} is no private key: {_describe(error)}; {_HOW_TO_MAKE}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise InputInvalid(f"{SIGNING}={named} is no Ed25519 key; {_HOW_TO_MAKE}")
    return key


def read_trusted_keys() -> "list[Ed25519PublicKey]":
    """Return the public keys of the file that COMPODIFF_TRUSTED_KEYS names; none where it names none.

    Raises:
        InputInvalid: it cannot be read, or holds anything else, or nothing.
    """
    if not (named := os.environ.get(TRUSTED)):
        return []
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        keys = [load_pem_public_key(text) for text in _PUBLIC.findall(Path(named).read_bytes())]
    except (OSError, ValueError, UnsupportedAlgorithm) as error:
        raise InputInvalid(f"{TRUSTED}={named} cannot be read: {_describe(error)}") from error
    found = [key for key in keys if isinstance(key, Ed25519PublicKey)]
    if not found or len(found) < len(keys):
        raise InputInvalid(f"{TRUSTED}={named} must hold Ed25519 public keys as PEM, and nothing else; {_HOW_TO_MAKE}")
    return found


def is_signed(content: bytes, signature: bytes, keys: "Sequence[Ed25519PublicKey]") -> bool:
    """Return whether `signature` is one of these keys' over `content`."""
    from cryptography.exceptions import InvalidSignature

    for key in keys:
        try:
            key.verify(signature, content)
        except InvalidSignature:
            continue
        return True
    return False


_HOW_TO_MAKE = "docs/operating.md#signed-models says how keys are made"


def _describe(error: Exception) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__
