"""A player without a game: it makes the calls of the published plugin, in its order, and joins a match by UDP.

Needs only the Python standard library, from version 3.9 on. Its command line is that of a client with the plugin.
Options with two dashes are its own. `plugin_calls.py` has those that it shares with the server.

    python3 examples/game_client.py -rh.url=http://127.0.0.1:7700 -OSS=Anon -AUTH_LOGIN=player-1 --session-type=game \\
        --request-instance=/Game/Maps/Arena

The player logs in, joins an open session of the type or creates one, and waits until its instance is joinable. Then the
player says `hello TOKEN` to the server that hosts it. Start it several times, with other names, for a match of several
players. With `-OSS=Basic -AUTH_LOGIN=NAME -AUTH_PASSWORD=@FILE` the player has a password.

    --session-type=TYPE      the type of the session (default: party)
    --session=ID             joins this session, also by its short code
    --queue=ID               joins this matchmaking queue with the session, and then the match that it is invited to
    --request-instance=MAP   the leader asks for a dedicated server with this map
    --poll-seconds=S         pause between two reads of the session (default: 60, as in the plugin)
    --lobby-seconds=S        stays this long without a match, and then leaves
    --stay-seconds=S         leaves the match after this time (default: 0, stays until it is over)
    --version=TEXT           the version that it names (default: 1.0.0)

It exits with 0 if it could play, or stay in the lobby, and with 1 if it could not.
"""

import socket
import sys
import threading

from plugin_calls import AGREEMENTS, Options, Pace, Repeated, Service, Steps, common_settings

ENGINE_OPTIONS = {"oss", "auth_login", "auth_password"}
OWN_OPTIONS = {
    "session-type", "session", "queue", "request-instance", "poll-seconds", "lobby-seconds", "stay-seconds",
    "version",
}
NOTIFICATION_PAUSES_S = (2, 6, 14, 30)  # after each failure in a row
GREETINGS_MAX = 20  # datagrams get lost
TOKEN_KEY = "rh.SessionSecurityToken"


class Failed(Exception):
    """The player cannot play."""


class GameClient:
    def __init__(self, options):
        self.options, self.pace, self.steps = options, Pace(options), Steps(options)
        name, platform = options.text("auth_login"), options.text("oss", "Anon")
        password = options.secret("auth_password").rstrip("\r\n")
        body = {
            "grant_type": platform.lower(),
            "portal_access_token": f"{name}:{password}" if platform == "Basic" else name,
            "portal_display_name": name,
            "include_refresh": True,
            **AGREEMENTS,
        }
        self.service = Service(options, self.pace, body)
        self.repeated = Repeated(self.pace)
        self.platform, self.version = platform, options.text("version", "1.0.0")
        self.session_id = self.session = None
        self.party_id, self.invites = None, {}
        self.etags = {}
        self.is_notified = threading.Event()
        self.has_requested = False

    def run(self):
        common_settings(self.service, self.repeated)
        failure = self.service.login()
        if failure:
            raise Failed(f"login: {failure}")
        self.steps.done("logged-in", self.service.player)
        self.start_background_calls()
        self.enter_session()
        if self.options.text("queue"):
            self.find_match(self.options.text("queue"))
        if self.options.has("lobby-seconds"):
            self.stay(self.options.number("lobby-seconds", 0))
        else:
            self.play()
        self.leave()
        if self.service.refresh_token:
            self.service.send("POST", "/users/v1/logout", {"refresh_token": self.service.refresh_token}, {})

    def start_background_calls(self):
        """What the plugin calls for each player. It goes on without the answers."""
        player = self.service.player
        page = "page=0&limit=10000"
        friends = f"/friends/v2/player/{player}/friend?{page}"
        blocked = f"/friends/v2/player/{player}/block?{page}"
        self.repeated.add(30, lambda: self.tell("PATCH", "/presence/v1/player/me/presence", {"status": "online"}))
        for path in (friends, blocked):
            self.read_every(120, path)
        self.repeated.add(60, self.read_invites)
        threading.Thread(target=self.listen, daemon=True).start()
        self.tell("POST", f"/inventory/v2/player/{player}/session", {})

    def listen(self):
        """Listens for notifications: the service holds each request until there is one, and 25 real seconds at most."""
        path = f"/notification/v1/player/{self.service.player}/stream/notification/lp"
        cursor, failures = "", 0
        while True:
            query = f"exclude_before={cursor}&offset_reset_strategy=latest&deadline=25"
            answer = self.service.send("GET", f"{path}?{query}", None, self.service.authorization())
            if answer.status == 200:
                failures = 0
                notifications = answer.body["notifications"]
                if notifications:
                    cursor = notifications[-1]["notification_id"]
                    self.is_notified.set()
            else:
                self.pace.wait(NOTIFICATION_PAUSES_S[min(failures, len(NOTIFICATION_PAUSES_S) - 1)])
                failures += 1

    def tell(self, method, path, body):
        self.service.call(method, path, body)

    def read_every(self, pause_s, path):
        def read():
            self.ask(path)

        self.repeated.add(pause_s, read)

    def ask(self, path):
        answer = self.service.call("GET", path, etag=self.etags.get(path))
        self.etags[path] = answer.etag or self.etags.get(path)
        return answer

    def read_invites(self):
        """The sessions that the player is invited to."""
        answer = self.ask("/session/v1/player/me/session")
        if answer.status == 200:
            lists = answer.body["sessions"].values()
            self.invites = {invite: of_type["type"] for of_type in lists for invite in of_type["pending_invites"]}

    # The session.

    def client(self):
        return {
            "client_version": self.version,
            "client_settings": {"platform": self.platform, "input": "keyboardandmouse"},
        }

    def join(self, session_id):
        self.session_id = session_id
        return self.service.call("POST", f"{self.path()}/player/me", {**self.client(), "team_id": 0})

    def enter_session(self):
        client = self.client()
        if self.options.text("session"):
            answer = self.join(self.options.text("session"))
        else:
            session_type = self.options.text("session-type", "party")
            body = {"session_type": session_type, **client, "player": {**client, "team_id": 0}}
            answer = self.service.call("POST", "/session/v1/session", body)
            self.session_id = answer.body.get("session_id") if answer.status == 200 else None
        if answer.status != 200:
            raise Failed(f"cannot enter a session: {answer}")
        self.poll()
        if not self.session:
            raise Failed("the session is gone")
        # A short code in `--session` names the session only here.
        self.session_id = self.session["session_id"]
        self.steps.done("in-session", self.session_id)
        self.service.call("GET", f"/session/v1/template/{self.session['type']}")
        self.repeated.add(self.options.number("poll-seconds", 60), self.poll)

    def find_match(self, queue):
        """The party queues. The player joins the match that the server invites to; the party stays as it is."""
        answer = self.service.call("POST", f"{self.path()}/queue", {"queue_id": queue})
        if answer.status != 200:
            raise Failed(f"cannot join the queue {queue}: {answer}")
        self.steps.done("queued", answer.body["ticket_id"])
        while not self.invites:
            self.pause()
        self.party_id = self.session_id
        answer = self.join(next(iter(self.invites)))
        if answer.status != 200:
            raise Failed(f"cannot join the match: {answer}")
        self.poll()
        if not self.session:
            raise Failed("the match is gone")
        sides = [[player["player_uuid"] for player in team["players"]] for team in self.session["teams"]]
        side = next(side for side, players in enumerate(sides) if self.service.player in players)
        self.steps.done("in-match", f"{self.session_id} side {side}")

    def poll(self):
        answer = self.ask(f"{self.path()}?refresh_ttl=true")
        if answer.status == 200:
            self.session = answer.body
            # The plugin drops a session without the player, whatever the reason.
            players = [player["player_uuid"] for team in answer.body["teams"] for player in team["players"]]
            if self.service.player not in players:
                self.session = None
        elif answer.status == 404 and answer.error_code == "session_not_found":
            self.session = None

    def instance(self):
        """The instance of the session, unless it is closed."""
        instance = (self.session or {}).get("instance")
        return instance if instance and instance["join_status"] != "closed" else None

    def request_instance(self):
        game_map = self.options.text("request-instance")
        leaders = [
            player["player_uuid"]
            for team in self.session["teams"] for player in team["players"] if player["status"] == "leader"
        ]
        if not game_map or self.has_requested or self.service.player not in leaders:
            return
        self.has_requested = True
        startup = {"map": game_map, "misc_params": "?listen"}
        body = {"instance_startup_params": startup, "host_type": "dedicated"}
        answer = self.service.call("POST", f"{self.path()}/instance", body)
        if answer.status != 200:
            raise Failed(f"cannot request an instance: {answer}")
        self.session["instance"] = answer.body
        self.steps.done("requested-instance")

    # The match.

    def play(self):
        """Waits for the match, joins it, and stays until it is over."""
        while not self.connect_string():
            if not self.session:
                raise Failed("the session is gone")
            if self.has_requested and self.instance() is None and self.session.get("instance"):
                raise Failed(f"the instance was closed: {self.session['instance']['custom_data']}")
            if not self.instance():
                self.request_instance()
            self.pause()
        address = self.connect_string()
        self.say_hello(address, self.instance()["join_params"].get("custom_data", {}).get(TOKEN_KEY, ""))
        self.tell("POST", "/session/v1/audit", {"event_name": "instance_joined", "session_id": self.session_id})
        self.steps.done("playing", address)
        ends_at = self.pace.now() + (self.options.number("stay-seconds", 0) or float("inf"))
        while self.instance() and self.pace.now() < ends_at:
            self.pause()
        self.tell("POST", "/session/v1/audit", {"event_name": "instance_left", "session_id": self.session_id})

    def connect_string(self):
        """Where to connect, as soon as the instance is joinable. The public text is used if it is not empty."""
        instance = self.instance() or {}
        params = instance.get("join_params") or {}
        if instance.get("join_status") != "joinable":
            return ""
        return params.get("public_conn_str") or params.get("private_conn_str") or ""

    def say_hello(self, address, token):
        host, _, port = address.rpartition("://")[2].rpartition(":")
        greeting = f"hello {token}".encode()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as game:
            game.settimeout(0.5)
            for _ in range(GREETINGS_MAX):
                game.sendto(greeting, (host, int(port)))
                try:
                    if game.recv(2048) == greeting:
                        return
                except OSError:
                    pass
        raise Failed(f"the server at {address} does not answer")

    def stay(self, seconds):
        ends_at = self.pace.now() + seconds
        while self.session and self.pace.now() < ends_at:
            self.pause()

    def leave(self):
        if self.session:
            self.service.call("DELETE", f"{self.path()}/player/me")
        if self.party_id:
            self.service.call("DELETE", f"/session/v1/session/{self.party_id}/player/me")
        self.steps.done("left", "" if self.session else "the session is gone")

    def pause(self):
        self.pace.tick()
        if self.is_notified.is_set():
            self.is_notified.clear()
            self.repeated.soon(self.poll)
            self.repeated.soon(self.read_invites)
        self.repeated.run()

    def path(self):
        return f"/session/v1/session/{self.session_id}"


if __name__ == "__main__":
    player = GameClient(Options(sys.argv[1:], ENGINE_OPTIONS | OWN_OPTIONS, __doc__))
    try:
        player.run()
    except Failed as failed:
        print(f"failed: {failed}", file=sys.stderr, flush=True)
        sys.exit(1)
