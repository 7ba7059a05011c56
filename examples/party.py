r"""Two players form a party and poll it with ETags. Needs only the Python standard library.

    rallypoint serve &
    python3 examples/party.py http://127.0.0.1:7700 \
        "$(rallypoint token --player 11111111-1111-4111-8111-111111111111)" \
        "$(rallypoint token --player 22222222-2222-4222-8222-222222222222)"
"""

import base64
import json
import sys
import urllib.error
import urllib.request

CLIENT = {"client_version": "1.0.0", "client_settings": {"platform": "Steam", "input": "gamepad"}}


class Player:
    def __init__(self, server, token):
        self.server, self.token = server, token
        try:
            claims = token.split(".")[1]
            self.uuid = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["sub"]
        except (IndexError, KeyError, ValueError):
            sys.exit("this is no player's token: get one from `rallypoint token --player UUID`")
        self.seen = {}  # path -> (etag, body) of the last response, used when the server answers 304

    def call(self, method, path, body=None):
        request = urllib.request.Request(f"{self.server}/session{path}", method=method)
        request.add_header("Authorization", f"Bearer {self.token}")
        if method == "GET" and path in self.seen:
            request.add_header("If-None-Match", self.seen[path][0])
        if body is not None:
            request.add_header("Content-Type", "application/json")
            request.data = json.dumps(body).encode()
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                text = answer.read()
                value = json.loads(text) if text else None
                if method == "GET" and answer.headers["ETag"]:
                    self.seen[path] = (answer.headers["ETag"], value)
                return answer.status, value
        except urllib.error.HTTPError as error:
            if error.code == 304:
                return 304, self.seen[path][1]
            sys.exit(f"{method} {path}: {error.code} {why(error.read())}")
        except OSError as error:
            sys.exit(f"{self.server} does not answer: {getattr(error, 'reason', error)}; is the server running?")


def why(text):
    """The message of an error response. Programs should compare its error_code instead."""
    try:
        failure = json.loads(text)
    except ValueError:
        return text.decode(errors="replace")
    if "error_code" not in failure:
        return json.dumps(failure)
    hint = "" if failure["auth_success"] else "; get a token that this server takes"
    return f"{failure['desc']} ({failure['error_code']}){hint}"


if len(sys.argv) != 4:
    sys.exit(__doc__)
alice, bob = (Player(sys.argv[1], token) for token in sys.argv[2:4])
_, made = alice.call("POST", "/v1/session", {"session_type": "party", **CLIENT})
party = f"/v1/session/{made['session_id']}"
print("alice made a party:", alice.call("GET", party)[0])
print("nothing new for alice:", alice.call("GET", party)[0])
alice.call("POST", f"/v2/session/{made['session_id']}/player/{bob.uuid}:invite", {})
invites = bob.call("GET", "/v1/player/me/session")[1]["sessions"]["party"]["pending_invites"]
print("bob was invited by:", invites[made["session_id"]]["inviting_player_uuid"])
bob.call("POST", f"{party}/player/me", {**CLIENT, "team_id": 0})
status, session = alice.call("GET", party)
print("alice sees the change:", status, [player["status"] for player in session["teams"][0]["players"]])
bob.call("DELETE", f"{party}/player/me?reason=bye")
alice.call("DELETE", party)
print("the party is over")
