// Waits for changes instead of polling. Copy this file: it uses nothing but fetch, so it runs in a browser, on Node,
// Deno and Bun.
//
//   const api = new Api("http://127.0.0.1:7700", token);
//   // At once, and after each change:
//   for await (const session of api.watch("/session/v1/session/1f0c…")) show(session);

export type Answer = { status: number; headers: Headers; body: any };

const NO_ANSWER = 0; // stands for the status if the connection failed
const TRY_AGAIN = new Set([NO_ANSWER, 429, 502, 503, 504]);
// The same request is under way; too many others listen for this player.
const TRY_AGAIN_CODES = new Set(["idempotency_key_in_use", "too_many_listening_to_single_client"]);
const TRIES = 4; // of a request that is not a wait
const EDITS = 8; // of one document that others change as well
const PAUSE_S_MAX = 60; // the caller decides about longer pauses that the server asks for

/** An error response. Programs compare its `errorCode`; the message is for people. */
export class Refused extends Error {
  status: number;
  headers: Headers;
  errorCode?: string;
  body: any;

  constructor(what: string, { status, headers, body }: Answer) {
    const text = typeof body === "string" ? body : JSON.stringify(body);
    const why = body?.error_code ? `${body.desc} (${body.error_code})` : text;
    const hint = body?.auth_success === false ? "; get a token that this server takes" : "";
    super(`${what}: ${status} ${why}${hint}`);
    this.status = status;
    this.headers = headers;
    this.errorCode = body?.error_code;
    this.body = body;
  }
}

/** The server cannot be reached. */
export class NoAnswer extends Error {}

/** The API on behalf of one caller. Replace `token` before it expires. */
export class Api {
  server: string;
  token: string;
  waitS = 25; // how long the server may hold a request; proxies and mobile networks cut longer ones
  pollMs = 5_000; // pause between polls, where the server does not hold requests
  retryMs = 250; // first pause after a failure; it doubles, up to 30 s
  sleep = (ms: number) => new Promise<void>((resumed) => setTimeout(resumed, ms));

  constructor(server: string, token: string) {
    this.server = server;
    this.token = token;
  }

  /**
   * Sends a request. It is repeated if it gets no answer, and a repeat does no harm: a GET, and a change with `once()`
   * or with `if-match`.
   */
  async call(method: string, path: string, body?: unknown, headers: Record<string, string> = {}): Promise<Answer> {
    const mayRepeat = method === "GET" || "idempotency-key" in headers || "if-match" in headers;
    let answer = await this.send(method, path, body, headers);
    for (let tried = 1; mustTryAgain(answer) && mayRepeat && tried < TRIES; tried++) {
      await this.pause(answer, tried);
      answer = await this.send(method, path, body, headers);
    }
    if (answer.status === NO_ANSWER) {
      throw new NoAnswer(`${this.server} does not answer: ${answer.body}; is the server running?`);
    }
    if (answer.status >= 400) throw new Refused(`${method} ${path}`, answer);
    return answer;
  }

  /**
   * Changes a document without overwriting what others have changed meanwhile. `edit` gets the document and returns the
   * body of the PATCH. If the document is another one by then, `edit` gets that one, up to 8 times.
   */
  async change(path: string, edit: (document: any) => unknown): Promise<any> {
    let { headers, body } = await this.call("GET", path);
    for (let edited = 1; ; edited++) {
      // With a key for each body, a 412 says for sure that this edit was not made, also if an answer was lost.
      const conditions = { "if-match": headers.get("etag")!, ...once() };
      try {
        return (await this.call("PATCH", path, edit(body), conditions)).body;
      } catch (refused) {
        if (!(refused instanceof Refused) || refused.status !== 412) throw refused;
        if (!refused.body?.current || edited === EDITS) throw refused;
        headers = refused.headers;
        body = refused.body.current;
      }
    }
  }

  /**
   * Yields what happens to the sessions of the player, and the messages to the player, until `stop` is aborted.
   *
   * `rh_url` says what to read, and `etag` which version of it there is; `message` says what has happened. Starts with
   * the sessions as they are.
   */
  async *notifications(stop?: AbortSignal): AsyncGenerator<any> {
    let cursor = "";
    for (let failures = 0; !stop?.aborted; ) {
      const query = `exclude_before=${cursor}&offset_reset_strategy=earliest&deadline=${this.waitS}`;
      const path = `/notification/v1/player/me/stream/notification/lp?${query}`;
      const answer = await this.send("GET", path, undefined, {}, stop);
      if (stop?.aborted) return;
      if (mustTryAgain(answer)) {
        await this.pause(answer, ++failures);
        continue;
      }
      if (answer.status !== 200) throw new Refused(`GET ${path}`, answer);
      failures = 0;
      yield* answer.body.notifications;
      cursor = answer.body.cursor;
    }
  }

  /**
   * Yields the document at a path, and then each newer version of it, until the server refuses it or `stop` is aborted.
   *
   * The server holds each request until the document has changed. Throws `Refused`, for example with
   * `session_not_found` when the session has ended.
   */
  async *watch(path: string, stop?: AbortSignal): AsyncGenerator<any> {
    let etag: string | null = null;
    for (let failures = 0; !stop?.aborted; ) {
      const waiting: Record<string, string> = etag ? { "if-none-match": etag, prefer: `wait=${this.waitS}` } : {};
      const answer = await this.send("GET", path, undefined, waiting, stop);
      if (stop?.aborted) return;
      if (mustTryAgain(answer)) {
        await this.pause(answer, ++failures);
        continue;
      }
      failures = 0;
      if (answer.status === 304) {
        // Without this header the request was not held: poll, with a pause.
        if (!answer.headers.has("preference-applied")) await this.sleep(this.pollMs);
        continue;
      }
      if (answer.status !== 200) throw new Refused(`GET ${path}`, answer);
      etag = answer.headers.get("etag");
      if (!etag) throw new Error(`${path} has no ETag, so nobody can wait for it`);
      yield answer.body;
    }
  }

  /** Sends a request once, and returns an answer of any status. */
  private async send(
    method: string, path: string, body: unknown, extra: Record<string, string>, stop?: AbortSignal,
  ): Promise<Answer> {
    const headers: Record<string, string> = { authorization: `Bearer ${this.token}`, ...extra };
    if (body !== undefined) headers["content-type"] = "application/json";
    const tooLong = AbortSignal.timeout((this.waitS + 20) * 1000);
    const signal = stop ? AbortSignal.any([tooLong, stop]) : tooLong;
    try {
      // The cache of a browser must not answer in place of the server.
      const request: RequestInit = { method, headers, body: JSON.stringify(body), signal, cache: "no-store" };
      const answer = await fetch(this.server + path, request);
      return { status: answer.status, headers: answer.headers, body: parsed(await answer.text(), answer.status) };
    } catch (error: any) {
      return { status: NO_ANSWER, headers: new Headers(), body: error.cause?.message || error.message };
    }
  }

  /**
   * Pauses for as long as the server asks, else longer after each failure. The random part keeps clients from coming
   * back together.
   */
  private async pause({ headers }: Answer, failures: number) {
    const askedS = askedPauseS(headers);
    const pauseMs = askedS === undefined ? Math.min(this.retryMs * 2 ** (failures - 1), 30_000) : askedS * 1000;
    await this.sleep(pauseMs * (1 + Math.random() / 2));
  }
}

/** The header of a change that is made once, however often it is sent. Each change needs a new one. */
export function once(): Record<string, string> {
  return { "idempotency-key": `"${crypto.randomUUID()}"` };
}

/** Whether the same request may be answered otherwise in a moment. */
function mustTryAgain({ status, headers, body }: Answer): boolean {
  return (TRY_AGAIN.has(status) || TRY_AGAIN_CODES.has(body?.error_code)) && (askedPauseS(headers) ?? 0) <= PAUSE_S_MAX;
}

/** The pause that the server asks for, in seconds. */
function askedPauseS(headers: Headers): number | undefined {
  const asked = headers.get("retry-after") ?? "";
  return /^\d+$/.test(asked) ? Number(asked) : undefined;
}

/** JSON, or the text of an error, which may be a proxy's. Another answer without JSON counts as none. */
function parsed(text: string, status: number): any {
  try {
    return text ? JSON.parse(text) : undefined;
  } catch (error) {
    if (status < 400) throw error;
    return text;
  }
}
