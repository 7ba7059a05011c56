"""A dedicated server without a game: it makes the calls of the published plugin, in its order.

Needs only the Python standard library, from version 3.9 on. Its command line is that of a server with the plugin.
Options with two dashes are its own. `plugin_calls.py` has those that it shares with the client.

It makes its own session (reserved mode), with no allocator:

    rallypoint serve &
    python3 examples/dedicated_server.py -Port=7777 -rhbootstrapmode=Reserved -rh.ForceNoGHA -rh.sessiontype=game \\
        -rh.publichost=127.0.0.1 -rh.publicport=7777 -rh.url=http://127.0.0.1:7700 \\
        -rh.clientid=@rallypoint-data/client-id -rh.clientsecret=@rallypoint-data/client-secret

Or an allocator starts it and tells it its session by a file (allocated mode). This is the command of the allocator:

    ["python3", "/path/to/examples/dedicated_server.py", "-Port={port}", "-rhbootstrapmode=Allocated",
     "-ghaprovider=Multiplay", "-rhmultiplayfile={allocation_file}", "-rh.url={base_url}",
     "-rh.clientid={client_id}", "-rh.clientsecret=@{client_secret_file}"]

It exits with 0 after a match, and with 5 if it cannot start one. SIGTERM ends it only while it has no session.
A player who sends `hello TOKEN` to its port gets the same text back if the token is that of the session's instance.

    --match-seconds=S        closes this long after players could join (default: 60)
    --players=N              and not before so many players have connected (default: 0)
    --version=TEXT           the version that it names (default: 1.0.0)
    --exit-at=STEP           exits with 5 instead of this step: login, allocation, pending or joinable
    --hang-at=STEP           never gets beyond that step. At `joinable` it goes on to report its health.
    --no-health-after=S      reports its health no longer than this, from its first report on
    --ignore-term            goes on after SIGTERM, and prints how its health report is answered then
    --ignore-end             goes on after its instance or its session has ended
    --fork-child             starts a child process that only SIGKILL ends
"""

import ipaddress
import json
import random
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid

from plugin_calls import AGREEMENTS, Options, Pace, Repeated, Service, Steps, basic, common_settings

ENGINE_OPTIONS = {
    "port", "rhbootstrapmode", "rh.bootstrapmode", "ghaprovider", "rhmultiplayfile", "rh.clientid", "rh.clientsecret",
    "rh.forcenogha", "rh.sessiontype", "rh.sessionregion", "rh.publichost", "rh.publicport",
}
OWN_OPTIONS = {
    "match-seconds", "players", "version", "exit-at", "hang-at", "no-health-after", "ignore-term", "ignore-end",
    "fork-child",
}
BOOT_FAILED = 5  # the exit status
LOOKUPS_MAX = 9  # requests for the session of the allocation
POLL_S = 60  # pause between two reads of the session, give or take a tenth
TOKEN_KEY = "rh.SessionSecurityToken"


class BootFailed(Exception):
    """The server cannot start a match."""


class DedicatedServer:
    def __init__(self, options):
        self.options, self.pace, self.steps = options, Pace(options), Steps(options)
        body = {"grant_type": "client_credentials", "include_refresh": False, **AGREEMENTS}
        credentials = basic(options.secret("rh.clientid"), options.secret("rh.clientsecret"))
        self.service = Service(options, self.pace, body, credentials)
        self.repeated = Repeated(self.pace)
        self.version = options.text("version", "1.0.0")
        self.match_id = str(uuid.uuid4())
        self.security_token = secrets.token_hex(16)
        self.allocation_id = None  # in the reserved mode there is none
        self.session_id = self.session = self.etag = None
        self.leaves_because = ""
        self.stop_requested = False
        self.greeted = set()

    # The start of a match. Every failure ends the process.

    def run(self):
        self.set_signals()
        if self.options.has("fork-child"):
            # It inherits all that a child of a game server would.
            code = "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nwhile True: time.sleep(60)"
            child = subprocess.Popen([sys.executable, "-c", code], close_fds=False)
            print("child", child.pid, flush=True)
        common_settings(self.service, self.repeated)
        self.fault("login")
        failure = self.service.login()
        if failure:
            raise BootFailed(f"login: {failure}")
        self.steps.done("logged-in")
        mode = self.options.text("rhbootstrapmode") or self.options.text("rh.bootstrapmode")
        if mode.lower() == "reserved":
            host, port = self.reserve()
        else:
            host, port = self.wait_for_allocation()
        self.load_map()
        self.open_for_players(host, port)
        self.play()

    def wait_for_allocation(self):
        """Waits until the file names a session, and finds that session. Returns where players connect."""
        self.fault("allocation")
        if self.options.text("ghaprovider") != "Multiplay":
            raise BootFailed("-ghaprovider=Multiplay is the only provider that this program knows")
        path = self.options.text("rhmultiplayfile")
        while True:
            try:
                with open(path, encoding="utf-8") as file:
                    allocation = json.load(file)
            except (OSError, ValueError) as error:
                raise BootFailed(f"{path}: {error}") from None
            if allocation.get("SessionId"):
                break
            self.exit_if_stopped()
            self.pace.wait(1)
        self.allocation_id = allocation["AllocationUUID"]
        self.steps.done("allocated", self.allocation_id)
        self.look_up_allocation()
        self.check_template()
        self.first_poll()
        return allocation["ConnectionIP"], int(allocation["ConnectionPort"])

    def look_up_allocation(self):
        path = f"/session/v1/session/allocation/{self.allocation_id}"
        for _ in range(LOOKUPS_MAX):
            self.exit_if_stopped()
            answer = self.service.call("GET", path)
            if answer.status == 200:
                instance = answer.body.get("instance")
                if instance is None or instance.get("allocation_id", self.allocation_id) != self.allocation_id:
                    raise BootFailed("the session by allocation has another allocation")
                if "allocation_id" in instance:
                    self.note(answer)
                    self.steps.done("found-session", self.session_id)
                    return
            elif answer.status != 404:
                raise BootFailed(f"session by allocation: {answer}")
            self.pace.wait(1)
        raise BootFailed(f"no session by allocation after {LOOKUPS_MAX} requests")

    def reserve(self):
        """Makes a session and its instance. Returns where players connect."""
        text = self.options.text
        host, port = text("rh.publichost"), int(text("rh.publicport", text("port", "7777")))
        if not host or not self.options.has("rh.forcenogha"):
            raise BootFailed("the reserved mode needs -rh.publichost=HOST and -rh.ForceNoGHA")
        body = {
            "session_type": text("rh.sessiontype"),
            "client_version": self.version,
            "client_settings": {"platform": "Basic", "input": "keyboardandmouse"},
        }
        if text("rh.sessionregion"):
            body["region_id"] = text("rh.sessionregion")
        made = self.must(self.service.call("POST", "/session/v1/session", body), "create a session")
        self.session_id = made["session_id"]
        self.steps.done("created-session", self.session_id)
        self.note(self.service.call("GET", f"{self.path()}?refresh_ttl=true"))
        self.check_template()
        current_map = self.options.words[0] if self.options.words else "/Game/Maps/Arena"
        startup = {"map": current_map, "misc_params": ""}
        body = {"instance_startup_params": startup, "host_type": "preallocated"}
        self.must(self.service.call("POST", f"{self.path()}/instance", body), "request an instance")
        self.steps.done("requested-instance")
        self.first_poll()
        return host, port

    def check_template(self):
        """The plugin takes the session only with the template of its type."""
        session_type = self.session["type"]
        template = self.must(self.service.call("GET", f"/session/v1/template/{session_type}"), "read the template")
        if template.get("session_type") != session_type:
            raise BootFailed("the template has another session type")

    def first_poll(self):
        self.poll()
        if self.leaves_because:
            raise BootFailed(self.leaves_because)
        instance = self.session["instance"]
        if not instance.get("instance_startup_params", {}).get("map"):
            raise BootFailed("the instance names no map")
        self.instance_id = instance["instance_id"]

    def load_map(self):
        self.fault("pending")
        # Players reach the port as soon as the map listens.
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self.socket.bind(("0.0.0.0", int(self.options.number("port", 7777))))
        except OSError as error:
            raise BootFailed(f"the game port: {error}") from None
        threading.Thread(target=self.greet_players, daemon=True).start()
        self.must(self.change_instance({"join_status": "pending", "version": self.version}), "set `pending`")
        self.steps.done("pending")
        self.repeated.add(POLL_S, self.poll)
        self.audit("instance_joined")
        self.service.call("PATCH", f"/match/v1/match/{self.match_id}", {"state": "pending"})
        settings = self.service.call("GET", "/session/v1/instance/health/config")
        self.health_ends = self.pace.now() + self.options.number("no-health-after", float("inf"))
        self.repeated.add(settings.body.get("cadence_seconds", 10), self.report_health)

    def open_for_players(self, host, port):
        if self.options.text("exit-at") == "joinable":
            raise BootFailed("--exit-at=joinable")
        # With --hang-at=joinable the map never loads.
        while self.options.text("hang-at") == "joinable" and not self.has_to_leave():
            self.pause()
        if self.has_to_leave():
            return
        join_params = {**connect_strings(host, port), "custom_data": {TOKEN_KEY: self.security_token}}
        change = {"join_status": "joinable", "version": self.version, "match_id": self.match_id}
        answer = self.change_instance({**change, "join_params": join_params})
        # The server also leaves if it cannot read what it has just said.
        if answer.status != 200 or self.read_session().status not in (200, 304):
            self.leaves_because = self.leaves_because or f"cannot set `joinable`: {answer}"
            return
        self.steps.done("joinable", f"{host}:{port}")

    # The match, and its end.

    def play(self):
        ends_at = self.pace.now() + self.options.number("match-seconds", 60)
        players_min = self.options.number("players", 0)
        while not self.has_to_leave() and (self.pace.now() < ends_at or len(self.greeted) < players_min):
            self.pause()
        self.leave()

    def has_to_leave(self):
        return bool(self.leaves_because) and not self.options.has("ignore-end")

    def pause(self):
        self.pace.tick()
        self.repeated.run()
        if self.stop_requested and self.options.has("ignore-term"):
            self.stop_requested = False
            self.steps.done("ignored-sigterm", f"health {self.health()}")

    def leave(self):
        if self.is_ours(self.session):
            self.change_instance({"join_status": "closed"})
            self.service.call("PATCH", f"/match/v1/match/{self.match_id}", {"state": "closed"})
            self.audit("instance_left")
        if self.service.player:
            self.service.call("DELETE", f"{self.path()}/player/me")
        self.steps.done("closed", self.leaves_because)

    def read_session(self):
        answer = self.service.call("GET", f"{self.path()}?refresh_ttl=true", etag=self.etag)
        if answer.status == 200:
            self.note(answer)
        return answer

    def poll(self):
        """Reads the session, and notes why the server has to leave, if it has to."""
        answer = self.read_session()
        if answer.status == 404 and answer.error_code == "session_not_found":
            self.session, self.leaves_because = None, "the session is gone"
        elif not self.is_ours(self.session):
            self.leaves_because = "the session has no instance for this server"
        return POLL_S * random.uniform(0.9, 1.1)

    def report_health(self):
        if self.pace.now() < self.health_ends and not self.leaves_because and self.health().status == 404:
            self.repeated.soon(self.poll)

    def health(self):
        body = {"instance_id": self.instance_id, "instance_health": "healthy"}
        return self.service.call("POST", f"{self.path()}/instance/health", body)

    def is_ours(self, session):
        instance = (session or {}).get("instance")
        is_open = bool(instance) and instance["join_status"] != "closed"
        return is_open and self.allocation_id in (None, instance.get("allocation_id"))

    # Helpers.

    def path(self):
        return f"/session/v1/session/{self.session_id}"

    def note(self, answer):
        """Notes the session of an answer. Its ETag serves for the next read, whichever operation answered."""
        self.session, self.etag = self.must(answer, "read the session"), answer.etag
        self.session_id = self.session["session_id"]

    def must(self, answer, what):
        if answer.status != 200:
            raise BootFailed(f"cannot {what}: {answer}")
        return answer.body

    def change_instance(self, change):
        if self.allocation_id:
            change = {"allocation_id": self.allocation_id, **change}
        return self.service.call("PATCH", f"{self.path()}/instance", change)

    def audit(self, event_name):
        self.service.call("POST", "/session/v1/audit", {"event_name": event_name, "session_id": self.session_id})

    def greet_players(self):
        expected = f"hello {self.security_token}".encode()
        while True:
            datagram, sender = self.socket.recvfrom(2048)
            if datagram == expected:
                self.greeted.add(sender)
                self.socket.sendto(expected, sender)

    def fault(self, step):
        if self.options.text("exit-at") == step:
            raise BootFailed(f"--exit-at={step}")
        while self.options.text("hang-at") == step:
            time.sleep(60)

    def set_signals(self):
        def stop(*_):
            self.stop_requested = True

        signal.signal(signal.SIGTERM, stop)

    def exit_if_stopped(self):
        if self.stop_requested and not self.options.has("ignore-term"):
            print("stopped without a session", flush=True)
            sys.exit(0)


def connect_strings(host, port):
    """Private IPv4 addresses go into one of the two texts, everything else into the other."""
    address = f"unreal://{host}:{port}"
    try:
        ip = ipaddress.ip_address(host)
        is_private = any(ip in ipaddress.ip_network(net) for net in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"))
    except ValueError:
        is_private = False
    return {"public_conn_str": "" if is_private else address, "private_conn_str": address if is_private else ""}


if __name__ == "__main__":
    server = DedicatedServer(Options(sys.argv[1:], ENGINE_OPTIONS | OWN_OPTIONS, __doc__))
    try:
        server.run()
    except BootFailed as failed:
        print(f"boot failed: {failed}", file=sys.stderr, flush=True)
        sys.exit(BOOT_FAILED)
