r"""Waits for changes instead of polling. Copy this file: it needs only the Python standard library.

    api = Api("http://127.0.0.1:7700", token)
    for session in api.watch("/session/v1/session/1f0c…"):   # at once, and then after each change
        show(session)

In a game, a thread of its own waits: `in_background(api.watch(…))` is a queue that the game loop looks into.
"""

import http.client
import json
import queue
import random
import threading
import time
import urllib.error
import urllib.request
import uuid

NO_ANSWER = 0  # stands for the status if the connection failed
TRY_AGAIN = {NO_ANSWER, 429, 502, 503, 504}
# The same request is under way; too many others listen for this player.
TRY_AGAIN_CODES = {"idempotency_key_in_use", "too_many_listening_to_single_client"}
TRIES = 4  # of a request that is not a wait
EDITS = 8  # of one document that others change as well
PAUSE_S_MAX = 60  # the caller decides about longer pauses that the server asks for


class Refused(Exception):
    """An error response. Programs compare its `error_code`; the message is for people."""

    def __init__(self, what, status, headers, body):
        self.status, self.headers, self.body = status, headers, body if isinstance(body, dict) else {}
        self.error_code = self.body.get("error_code")
        why = f"{self.body.get('desc')} ({self.error_code})" if self.error_code else str(body)
        hint = "; get a token that this server takes" if self.body.get("auth_success") is False else ""
        super().__init__(f"{what}: {status} {why}{hint}")


class NoAnswer(Exception):
    """The server cannot be reached."""


class Api:
    """The API on behalf of one caller. Replace `token` before it expires."""

    def __init__(self, server, token, wait_s=25, poll_s=5, retry_s=0.25):
        self.server, self.token = server, token
        self.wait_s = wait_s  # how long the server may hold a request; proxies and mobile networks cut longer ones
        self.poll_s = poll_s  # pause between polls, where the server does not hold requests
        self.retry_s = retry_s  # first pause after a failure; it doubles, up to 30 s

    def call(self, method, path, body=None, headers=None):
        """Sends a request: its status, headers and body. It is repeated if it gets no answer, and a repeat does no
        harm: a GET, and a change with `once()` or with `If-Match`."""
        may_repeat = method == "GET" or {"Idempotency-Key", "If-Match"} & set(headers or {})
        for tried in range(1, TRIES + 1):
            status, headers_received, value = self._send(method, path, body, headers)
            if not must_try_again(status, headers_received, value) or not may_repeat or tried == TRIES:
                break
            self._pause(headers_received, tried)
        if status == NO_ANSWER:
            raise NoAnswer(f"{self.server} does not answer: {value}; is the server running?")
        if status >= 400:
            raise Refused(f"{method} {path}", status, headers_received, value)
        return status, headers_received, value

    def change(self, path, edit):
        """Changes a document without overwriting what others have changed meanwhile. `edit` gets the document and
        returns the body of the PATCH. If the document is another one by then, `edit` gets that one, up to 8 times."""
        _, headers, document = self.call("GET", path)
        for edited in range(1, EDITS + 1):
            # With a key for each body, a 412 says for sure that this edit was not made, also if an answer was lost.
            conditions = {"If-Match": headers["ETag"], **once()}
            try:
                return self.call("PATCH", path, edit(document), conditions)[2]
            except Refused as refused:
                if refused.status != 412 or "current" not in refused.body or edited == EDITS:
                    raise
                headers, document = refused.headers, refused.body["current"]

    def notifications(self):
        """Yields what happens to the sessions of the player, and the messages to the player.

        `rh_url` says what to read, and `etag` which version of it there is; `message` says what has happened. Starts
        with the sessions as they are.
        """
        cursor, failures = "", 0
        while True:
            query = f"exclude_before={cursor}&offset_reset_strategy=earliest&deadline={self.wait_s}"
            path = f"/notification/v1/player/me/stream/notification/lp?{query}"
            status, headers, answer = self._send("GET", path, None, None)
            if must_try_again(status, headers, answer):
                failures += 1
                self._pause(headers, failures)
                continue
            if status != 200:
                raise Refused(f"GET {path}", status, headers, answer)
            failures = 0
            yield from answer["notifications"]
            cursor = answer["cursor"]

    def watch(self, path):
        """Yields the document at a path, and then each newer version of it, until the server refuses it.

        The server holds each request until the document has changed. Raises `Refused`, for example with
        `session_not_found` when the session has ended.
        """
        etag, failures = None, 0
        while True:
            waiting = {"If-None-Match": etag, "Prefer": f"wait={self.wait_s}"} if etag else {}
            status, headers, document = self._send("GET", path, None, waiting)
            if must_try_again(status, headers, document):
                failures += 1
                self._pause(headers, failures)
                continue
            failures = 0
            if status == 304:
                # Without this header the request was not held: poll, with a pause.
                if "Preference-Applied" not in headers:
                    time.sleep(self.poll_s)
                continue
            if status != 200:
                raise Refused(f"GET {path}", status, headers, document)
            etag = headers["ETag"]
            if not etag:
                raise ValueError(f"{path} has no ETag, so nobody can wait for it")
            yield document

    def _send(self, method, path, body, headers):
        """Sends a request once, and returns an answer of any status."""
        headers = {"Authorization": f"Bearer {self.token}", **(headers or {})}
        if body is not None:
            headers["Content-Type"] = "application/json"
            body = json.dumps(body).encode()
        request = urllib.request.Request(self.server + path, body, headers, method=method)
        try:
            try:
                answer = urllib.request.urlopen(request, timeout=self.wait_s + 20)
            except urllib.error.HTTPError as error:
                answer = error
            with answer:
                return answer.code, answer.headers, parsed(answer.read(), answer.code)
        except (OSError, http.client.HTTPException) as error:  # also in the middle of an answer
            return NO_ANSWER, {}, getattr(error, "reason", error)

    def _pause(self, headers, failures):
        """Pauses for as long as the server asks, else longer after each failure. The random part keeps clients from
        coming back together."""
        pause_s = asked_pause_s(headers)
        if pause_s is None:
            pause_s = min(self.retry_s * 2 ** min(failures - 1, 10), 30)
        time.sleep(pause_s * random.uniform(1, 1.5))


def once():
    """The header of a change that is made once, however often it is sent. Each change needs a new one."""
    return {"Idempotency-Key": f'"{uuid.uuid4()}"'}


def must_try_again(status, headers, body):
    """Whether the same request may be answered otherwise in a moment."""
    error_code = body.get("error_code") if isinstance(body, dict) else None
    pause_s = asked_pause_s(headers) or 0
    return (status in TRY_AGAIN or error_code in TRY_AGAIN_CODES) and pause_s <= PAUSE_S_MAX


def asked_pause_s(headers):
    """The pause that the server asks for, in seconds."""
    asked = headers.get("Retry-After", "")
    return int(asked) if asked.isdecimal() else None


def parsed(text, status):
    """JSON, or the text of an error, which may be a proxy's. Another answer without JSON counts as none."""
    try:
        return json.loads(text) if text else None
    except ValueError:
        if status < 400:
            raise http.client.HTTPException("the answer is no JSON") from None
        return text.decode(errors="replace")


def in_background(documents):
    """A queue that a thread fills with what `watch` or `notifications` yields. The last entry is the exception that
    ends it."""
    arrived = queue.Queue()

    def fill():
        try:
            for document in documents:
                arrived.put(document)
        except Exception as error:
            arrived.put(error)

    threading.Thread(target=fill, daemon=True).start()
    return arrived
