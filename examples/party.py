r"""Two players form a party. Neither polls: each waits for what the other does. Needs only the Python standard library.

    rallypoint serve &
    python3 examples/party.py http://127.0.0.1:7700 \
        "$(rallypoint token --player 11111111-1111-4111-8111-111111111111)" \
        "$(rallypoint token --player 22222222-2222-4222-8222-222222222222)"
"""

import base64
import json
import sys

from push import Api, NoAnswer, Refused, in_background, once

CLIENT = {"client_version": "1.0.0", "client_settings": {"platform": "Steam", "input": "gamepad"}}


def player_of(token):
    """The UUID of the player whose token this is."""
    try:
        claims = token.split(".")[1]
        return json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["sub"]
    except (IndexError, KeyError, ValueError):
        sys.exit("this is no player's token: get one from `rallypoint token --player UUID`")


def main(server, *tokens):
    bob_uuid = [player_of(token) for token in tokens][1]
    alice, bob = (Api(server, token) for token in tokens)
    # With `once`, the request is repeated if the answer is lost, and makes one party nevertheless.
    _, _, made = alice.call("POST", "/session/v1/session", {"session_type": "party", **CLIENT}, once())
    party_id = made["session_id"]
    party = f"/session/v1/session/{party_id}"
    print("alice made a party")

    # A thread waits for each of these. The first entry of a document is what is so now.
    lists = in_background(bob.watch("/session/v1/player/me/session"))
    parties = in_background(alice.watch(party))
    print("bob waits for an invite; he has", len(next_of(lists)["sessions"]))
    print("alice waits for bob; her party has", len(players(next_of(parties))))

    told = in_background(bob.notifications())

    alice.call("POST", f"/session/v2/session/{party_id}/player/{bob_uuid}:invite", {})
    invites = next_of(lists)["sessions"]["party"]["pending_invites"]
    print("bob was invited by:", invites[party_id]["inviting_player_uuid"])
    while (notification := next_of(told)).get("rh_url") != party:
        pass  # of sessions of before
    print("bob was told:", notification["message"])
    bob.call("POST", f"{party}/player/me", {**CLIENT, "team_id": 0})
    while "member" not in (statuses := [player["status"] for player in players(next_of(parties))]):
        pass  # she sees the invite as well
    print("alice sees the change:", statuses)
    # The PATCH replaces all custom data. So it must not be made on what another change has replaced meanwhile.
    changed = alice.change(party, lambda session: {"custom_data": {**session["custom_data"], "map": "Dunes"}})
    print("alice chooses the map:", changed["custom_data"]["map"])

    alice.call("DELETE", party)
    try:
        while True:
            next_of(parties)
    except Refused as end:
        print("the party is over:", end.error_code)


def players(session):
    return session["teams"][0]["players"]


def next_of(arrived):
    """Waits for what comes next. A game loop would look with `get_nowait` instead."""
    document = arrived.get()
    if isinstance(document, Exception):
        raise document
    return document


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    try:
        main(*sys.argv[1:])
    except (NoAnswer, Refused) as error:
        sys.exit(str(error))
