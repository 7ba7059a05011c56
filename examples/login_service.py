r"""A login of your own for Rallypoint: it answers `POST /users/v1/login` as published clients and servers expect, and signs
the tokens with its own RSA key. docs/LOGIN.md says how to put it behind the same address as Rallypoint. Needs the Python
package `cryptography` (`pip install cryptography`).

    echo 'a long password' | python3 examples/login_service.py DIRECTORY add-player alice
    python3 examples/login_service.py DIRECTORY serve 7800

DIRECTORY keeps the key (login-key.pem), its public part for `jwks_file` of Rallypoint (jwks.json), the players with the
hashes of their passwords (players.json), and the id and the secret of the client with which game servers log in
(client-id, client-secret). Replace `player_of` by a look-up in your accounts, or by a question to the platform whose
ticket the player sends.
"""

import base64
import hashlib
import hmac
import json
import os
import secrets
import sys
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

ISSUER, AUDIENCE, KID, TTL_S = "login-service", "rallypoint", "login-1", 3600
BODY_BYTES_MAX, REFRESH_TOKENS_MAX = 16_384, 100_000
STUDIO = uuid.UUID("5b4d1c1e-2a54-4a0c-9d3f-0f6c2d7e8a91")  # make your own: your players' ids follow from it
PLAYER_PERMISSIONS = """session:create session:read:self session:update:self session:delete:active
    session:update-player:self session:update-player:as-leader session:read-player:self session:read:platform
    session:update:platform session:read:config session:promote:self session:read:browser session:update:browser
    session:shortcode:active session:read:permission:active session:give:permission:active
    session:remove:permission:active session:instance:health session-audit:update:self session-audit:read:self
    session-player-audit:read:self session:vivox:login session:vivox:join session:vivox:join_muted
    session:vivox:mute:self session:voip:epic:join notification:player:self:read
    notification:player:self:write""".split()
SERVER_PERMISSIONS = ["session:*", "session-audit:update:all", "notification:player:*"]
DISABLED = {  # the codes of the grants that this service does not take; any other text is no grant
    "anon": "anon_disabled", "steam": "steam_disabled", "epic": "epic_disabled", "xboxlive": "xbox_disabled",
    "ps4_v1": "ps4_v1_disabled", "ps4_v3": "ps4_v3_disabled", "ps5_v3": "ps5_v3_disabled",
    "nintendo_switch": "nintendo_disabled", "google": "google_disabled", "apple": "apple_disabled",
    "android_device": "android_device_disabled", "ios_device": "ios_device_disabled",
    "rallyhere": "developer_api_disabled",
}


class Refused(Exception):
    """The login is refused, with this published code."""


def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def number(value):
    return base64url(value.to_bytes((value.bit_length() + 7) // 8, "big"))


def keep(path, make):
    """The content of a file that only its owner can read. The first start makes it."""
    if not path.exists():
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(make())
    return path.read_bytes()


def replace(path, content, mode):
    """Writes a file beside and renames it: who reads it meanwhile reads the old content or the new one."""
    beside = path.with_suffix(".new")
    with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w") as file:
        json.dump(content, file, indent=1)
    os.replace(beside, path)


def password_hash(password, salt):
    return hashlib.scrypt(password.encode(), salt=bytes.fromhex(salt), n=2**14, r=8, p=1).hex()


def new_key():
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


class Login:
    def __init__(self, directory):
        self.players_file = directory / "players.json"
        self.key = serialization.load_pem_private_key(keep(directory / "login-key.pem", new_key), None)
        self.client = tuple(
            keep(directory / name, lambda text=text: text.encode()).decode().strip()
            for name, text in [("client-id", "game-server"), ("client-secret", secrets.token_urlsafe(32))]
        )
        self.refresh_tokens = {}  # a restart forgets them: players then log in again

    def players(self):
        return json.loads(self.players_file.read_text()) if self.players_file.exists() else {}

    def add_player(self, name, password):
        salt = secrets.token_hex(16)
        players = self.players() | {name: {"salt": salt, "hash": password_hash(password, salt)}}
        replace(self.players_file, players, 0o600)

    def player_of(self, grant_type, token):
        """The name of the player who proves to be themselves with this token."""
        if grant_type == "refresh":
            if not token or token not in self.refresh_tokens:
                raise Refused("refresh_token_not_found" if token else "refresh_token_empty")
            name = self.refresh_tokens[token]
            if name not in self.players():
                raise Refused("refresh_token_invalid_user")
            return name
        if grant_type != "basic":
            raise Refused(DISABLED[grant_type])
        name, _, password = token.partition(":")
        known = self.players().get(name, {"salt": "00", "hash": ""})  # an unknown name takes as long as a known one
        if not hmac.compare_digest(password_hash(password, known["salt"]), known["hash"]):
            raise Refused("basic_auth_credentials_not_found")
        return name

    def sign(self, claims):
        now = int(time.time())
        claims |= {"iss": ISSUER, "aud": AUDIENCE, "iat": now, "exp": now + TTL_S}
        parts = [{"alg": "RS256", "typ": "JWT", "kid": KID}, claims]
        signed = ".".join(base64url(json.dumps(part).encode()) for part in parts)
        return f"{signed}.{base64url(self.key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))}"

    def log_in(self, body, basic):
        """The answer to a login. What is absent is left out: published clients cannot read a null."""
        ids = {name: str(uuid.uuid5(STUDIO, name)) for name in
               ("publisher_uuid", "tenant_uuid", "config_elector_uuid", "client_uuid")}
        common = {"token_type": "Bearer", "expires_in": TTL_S, "restrictions": [], "client_id": "game", **ids}
        if body["grant_type"] == "client_credentials":
            given = basic.partition(":")[::2]
            if not all(hmac.compare_digest(*pair) for pair in zip(map(str.encode, given), map(str.encode, self.client))):
                raise Refused("client_credentials_invalid")
            token = self.sign({"permissions": SERVER_PERMISSIONS, "client_id": given[0]})
            return common | {"access_token": token, "permissions": SERVER_PERMISSIONS, "client_id": given[0]}
        name = self.player_of(body["grant_type"], body.get("portal_access_token", ""))
        player, person = (str(uuid.uuid5(STUDIO, kind + name)) for kind in ("player:", "person:"))
        claims = {"sub": player, "name": name, "platform": "Basic", "permissions": PLAYER_PERMISSIONS}
        answer = common | {
            "access_token": self.sign(claims), "permissions": PLAYER_PERMISSIONS, "active_player_uuid": player,
            "person_id": person, "platform": "Basic", "portal_user_id": name, "display_name": name,
        }
        if body["grant_type"] == "refresh":
            answer["refresh_token"] = body["portal_access_token"]
        elif body.get("include_refresh"):
            answer["refresh_token"] = secrets.token_urlsafe(32)
            self.refresh_tokens[answer["refresh_token"]] = name
            if len(self.refresh_tokens) > REFRESH_TOKENS_MAX:
                self.refresh_tokens.pop(next(iter(self.refresh_tokens)))
        return answer

    def jwk_set(self):
        public = self.key.public_key().public_numbers()
        return {"keys": [{"kid": KID, "kty": "RSA", "n": number(public.n), "e": number(public.e)}]}


class Handler(BaseHTTPRequestHandler):
    protocol_version, timeout = "HTTP/1.1", 30

    def answer(self, status, body):
        body = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def refuse(self, status, code):
        self.answer(status, {"auth_success": False, "error_code": code, "desc": code.replace("_", " ")})

    def basic(self):
        """The client's id and secret. Clients use both alphabets of base64, and may leave out the padding."""
        scheme, _, encoded = self.headers.get("Authorization", "").partition(" ")
        encoded = encoded.strip().replace("-", "+").replace("_", "/").rstrip("=")
        padded = encoded + "=" * (-len(encoded) % 4)
        return base64.b64decode(padded).decode().rstrip("\r\n") if scheme.lower() == "basic" else ""

    def do_GET(self):
        if self.path == "/users/v1/publickeys":
            self.answer(200, self.server.login.jwk_set())
        else:
            self.refuse(404, "path_not_found")

    def do_POST(self):
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > BODY_BYTES_MAX:
            self.close_connection = True
            return self.refuse(413, "body_too_large")
        text, login = self.rfile.read(int(length)), self.server.login
        try:
            body = json.loads(text)
            if self.path == "/users/v1/login":
                self.answer(200, login.log_in(body, self.basic()))
            elif self.path == "/users/v1/logout":
                login.refresh_tokens.pop(body["refresh_token"], None)
                self.answer(200, {})
            else:
                self.refuse(404, "path_not_found")
        except Refused as refused:
            self.refuse(403, str(refused))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            detail = {"loc": ["body"], "msg": type(error).__name__, "type": "value_error"}
            self.answer(422, {"detail": [detail]})


def main(directory, command, argument):
    directory = Path(directory)
    directory.mkdir(mode=0o700, exist_ok=True)
    login = Login(directory)
    if command == "add-player":
        return login.add_player(argument, sys.stdin.readline().rstrip("\r\n"))
    replace(directory / "jwks.json", login.jwk_set(), 0o644)
    server = ThreadingHTTPServer(("127.0.0.1", int(argument)), Handler)
    server.login = login
    print(f"listening on http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    if len(sys.argv) != 4 or sys.argv[2] not in ("add-player", "serve"):
        sys.exit(__doc__)
    main(*sys.argv[1:])
