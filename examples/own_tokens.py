r"""Prints a player's token, signed with your own key and valid for one hour. Creates the key (signing-key.pem) if it does
not exist, and writes the public key to jwks.json. After the player's UUID you can name permissions; without them, the
token gets a few basic ones. Needs the Python package `cryptography` (`pip install cryptography`).

    TOKEN=$(python3 examples/own_tokens.py 11111111-1111-4111-8111-111111111111)
    printf '[auth]\njwks_file = "jwks.json"\nissuer = "own-tokens"\naudience = "rallypoint"\n' > rallypoint.toml
    rallypoint serve --config rallypoint.toml --data-dir "$(mktemp -d)" &
    curl -i -w '\n' --retry 10 --retry-delay 1 --retry-connrefused -H "Authorization: Bearer $TOKEN" \
        http://127.0.0.1:7700/session/v1/player/me/session
"""

import base64
import json
import os
import sys
import time
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding, NoEncryption, PrivateFormat, PublicFormat, load_pem_private_key)

KEY, JWKS, KID = Path("signing-key.pem"), Path("jwks.json"), "own-1"


def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def signing_key():
    if KEY.exists():
        return load_pem_private_key(KEY.read_bytes(), password=None)
    key = Ed25519PrivateKey.generate()
    # Anyone who can read this file can sign a token for any player, so only its owner may read it, from the start.
    with os.fdopen(os.open(KEY, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return key


if len(sys.argv) < 2:
    sys.exit(__doc__)
key = signing_key()
public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
jwk = {"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": KID, "x": base64url(public)}
JWKS.write_text(json.dumps({"keys": [jwk]}) + "\n")

header = {"alg": "EdDSA", "typ": "JWT", "kid": KID}
claims = {
    "iss": "own-tokens",
    "aud": "rallypoint",
    "exp": int(time.time()) + 3600,
    "sub": sys.argv[1],
    # docs/API.md lists the permissions that each operation needs.
    "permissions": sys.argv[2:] or ["session:create", "session:read:self", "session:read-player:self",
                                    "session:update-player:self"],
}
signed = ".".join(base64url(json.dumps(part).encode()) for part in (header, claims))
print(f"{signed}.{base64url(key.sign(signed.encode()))}")
