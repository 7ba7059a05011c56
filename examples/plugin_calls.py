"""How the published plugin calls a service. `dedicated_server.py` and `game_client.py` share this.

Needs only the Python standard library, from version 3.9 on.

- It logs in and sends the access token with each request. It logs in again after a 401, or a 403 with
  `auth_success` false, and repeats the request once.
- It remembers the ETag of an answer and sends exactly that text in `if-none-match`.
- If there is no answer, or a 429 or 503, it repeats the request, at most 6 times within 60 seconds. It does not repeat
  a login.

These options are for both programs. Names can have one or two dashes, and any case:

    -rh.url=URL          the service, with its port: http://127.0.0.1:7700
    --token=TOKEN        uses this access token and does not log in
    --time-scale=FACTOR  every pause of the plugin takes this share of its time; 1 is the plugin's own pace
    --step               waits for a line on standard input after each step
    --trace              prints each request and the status of its answer on standard error
"""

import base64
import http.client
import json
import os
import sys
import time
import urllib.error
import urllib.request

RETRIED = (0, 429, 503)  # 0: there was no answer
RETRY_PAUSES_S = (1, 2, 4, 8, 16, 29)
ANSWER_S = 30  # how long it waits for an answer
AGREEMENTS = {"accept_eula": True, "accept_tos": True, "accept_privacy_policy": True}


class Options:
    """A command line as the engine reads it. Unknown options with one dash are the engine's, and are ignored."""

    def __init__(self, arguments, known, usage):
        self.values, self.words = {}, []
        for argument in arguments:
            name, _, value = argument.lstrip("-").partition("=")
            if argument in ("-h", "--help"):
                sys.exit(usage)
            elif not argument.startswith("-"):
                self.words.append(argument)
            elif name.lower() in known or name.lower() in ("rh.url", "token", "time-scale", "step", "trace"):
                self.values[name.lower()] = value
            elif argument.startswith("--"):
                sys.exit(f"unknown option {argument}; --help lists them")

    def text(self, name, default=""):
        return self.values.get(name) or default

    def number(self, name, default):
        return float(self.text(name, default))

    def has(self, name):
        return name in self.values

    def secret(self, name):
        """`@NAME` is the content of the file NAME, else the value of the environment variable NAME."""
        value = self.text(name)
        if not value.startswith("@"):
            return value
        if os.path.isfile(value[1:]):
            # The plugin sends what the file has, also a line break at its end.
            with open(value[1:], encoding="utf-8", newline="") as file:
                return file.read()
        return os.environ.get(value[1:], "")


class Pace:
    """The plugin's time. All pauses are in its seconds."""

    def __init__(self, options):
        self.scale = options.number("time-scale", 1)

    def now(self):
        return time.monotonic() / self.scale

    def wait(self, seconds):
        time.sleep(max(0, seconds) * self.scale)

    def tick(self):
        """A short pause between two looks at what is due: 0.05 real seconds, but at most half a second of the plugin."""
        self.wait(min(0.05 / self.scale, 0.5))


class Steps:
    """Prints what the program has done, for people and for tests."""

    def __init__(self, options):
        self.waits = options.has("step")

    def done(self, name, detail=""):
        print(f"{name} {detail}".rstrip(), flush=True)
        if self.waits:
            sys.stdin.readline()


class Answer:
    """An answer; `status` is 0 if there was none."""

    def __init__(self, status, text=b"", headers=None):
        self.status = status
        self.etag = headers and headers.get("ETag")
        self.retry_after = int((headers and headers.get("Retry-After")) or 0)
        try:
            self.body = json.loads(text)
        except ValueError:
            self.body = {}
        fields = self.body if isinstance(self.body, dict) else {}
        self.error_code = fields.get("error_code", "")
        self.token_refused = status == 401 or status == 403 and fields.get("auth_success") is False

    def __str__(self):
        return f"{self.status} {self.error_code}".rstrip() if self.status else "no answer"


class Service:
    """The service, for one caller."""

    def __init__(self, options, pace, login_body, basic=""):
        url = options.text("rh.url", "http://127.0.0.1:7700").rstrip("/")
        self.url = url if "://" in url else f"https://{url}"
        self.pace, self.login_body, self.basic = pace, login_body, basic
        self.has_trace = options.has("trace")
        self.token, self.refresh_token = options.text("token"), ""
        self.has_own_token = bool(self.token)
        self.player = player_of(self.token)
        self.opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def login(self):
        """Logs in, unless there is a token already. Returns why it failed, or an empty text."""
        if self.has_own_token:
            return ""
        headers = {"Authorization": f"Basic {self.basic}"} if self.basic else {}
        answer = self.send("POST", "/users/v1/login", self.login_body, headers)
        if answer.status != 200 or not answer.body.get("access_token"):
            return str(answer)
        self.token = answer.body["access_token"]
        self.player = answer.body.get("active_player_uuid", "")
        self.refresh_token = answer.body.get("refresh_token", "")
        if self.refresh_token:
            grant = {"grant_type": "refresh", "portal_access_token": self.refresh_token}
            self.login_body = {**grant, "include_refresh": True}
        return ""

    def call(self, method, path, body=None, etag=None):
        """Sends a request until there is an answer that needs no repetition."""
        for pause in (*RETRY_PAUSES_S, None):
            answer = self.call_once(method, path, body, etag)
            if answer.status not in RETRIED or pause is None:
                return answer
            self.pace.wait(max(pause, answer.retry_after))

    def call_once(self, method, path, body, etag):
        headers = {"if-none-match": etag} if etag else {}
        answer = self.send(method, path, body, {**headers, **self.authorization()})
        if answer.token_refused and not self.has_own_token and not self.login():
            answer = self.send(method, path, body, {**headers, **self.authorization()})
        return answer

    def authorization(self):
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    def send(self, method, path, body, headers):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        if data is not None:
            request.add_header("Content-Type", "application/json")
        try:
            try:
                response = self.opener.open(request, timeout=ANSWER_S)
            except urllib.error.HTTPError as error:
                response = error
            with response:
                answer = Answer(response.code, response.read(), response.headers)
        except (OSError, http.client.HTTPException):  # also in the middle of an answer
            answer = Answer(0)
        if self.has_trace:
            print(f"{method} {path} {answer}", file=sys.stderr, flush=True)
        return answer


class Repeated:
    """The calls that go on in the background: each is made again after its pause, whatever the answer was."""

    def __init__(self, pace):
        self.pace, self.calls = pace, []

    def add(self, pause_s, make):
        """Makes a call now, and again after each pause. A call may return another pause."""
        self.calls.append([self.pace.now() + (make() or pause_s), pause_s, make])

    def run(self):
        for call in self.calls:
            if call[0] <= self.pace.now():
                call[0] = self.pace.now() + (call[2]() or call[1])

    def soon(self, make):
        """Makes this call the next one."""
        for call in self.calls:
            if call[2] == make:
                call[0] = self.pace.now()


def player_of(token):
    """The player in an access token; empty for the token of a service."""
    try:
        claims = token.split(".")[1]
        return json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4))).get("sub", "")
    except (IndexError, ValueError):
        return ""


def basic(client_id, client_secret):
    """The client's credentials, in the alphabet of the plugin."""
    if not (client_id and client_secret):
        return ""
    return base64.urlsafe_b64encode(f"{client_id}:{client_secret}".encode()).decode()


def common_settings(service, repeated):
    """What client and server read of the configuration: at their start, and every 120 seconds."""
    seen = {"etag": None, "has_time": False}

    def read():
        answer = service.call("GET", "/config/v2/kv", etag=seen["etag"])
        seen["etag"] = answer.etag or seen["etag"]
        if answer.status in (200, 304) and not seen["has_time"]:
            seen["has_time"] = service.call("GET", "/config/v1/time/utc").status == 200

    repeated.add(120, read)
