// Two players form a party and poll it with ETags. Runs without a build step on Node 22.18 or
// later, on Bun, and on Deno (`deno run --allow-net`):
//
//   rallypoint serve &
//   node examples/party.ts http://127.0.0.1:7700 \
//     "$(rallypoint token --player 11111111-1111-4111-8111-111111111111)" \
//     "$(rallypoint token --player 22222222-2222-4222-8222-222222222222)"

import process from "node:process";

type Answer = { status: number; body: any };
const client = { client_version: "1.0.0", client_settings: { platform: "Steam", input: "gamepad" } };

function fail(message: string): never {
  console.error(message);
  process.exit(1);
}

/** The message of an error response. Programs should compare its error_code instead. */
function why(text: string): string {
  let failure: any;
  try {
    failure = JSON.parse(text);
  } catch {
    return text;
  }
  if (!failure.error_code) return text;
  const hint = failure.auth_success ? "" : "; get a token that this server takes";
  return `${failure.desc} (${failure.error_code})${hint}`;
}

/** The UUID of the player whose token this is. */
function named(token: string): string {
  try {
    const { sub } = JSON.parse(Buffer.from(token.split(".")[1], "base64url").toString());
    if (sub) return sub;
  } catch {
    // Not a JWT: reported below.
  }
  fail("this is no player's token: get one from `rallypoint token --player UUID`");
}

function player(server: string, token: string) {
  const uuid = named(token);
  // ETag and body of the last response by path, used when the server answers 304.
  const seen = new Map<string, { etag: string; body: any }>();

  async function call(method: string, path: string, body?: unknown): Promise<Answer> {
    const headers: Record<string, string> = { authorization: `Bearer ${token}` };
    const known = method === "GET" ? seen.get(path) : undefined;
    if (known) headers["if-none-match"] = known.etag;
    if (body !== undefined) headers["content-type"] = "application/json";
    const signal = AbortSignal.timeout(30_000);
    const request = { method, headers, body: JSON.stringify(body), signal };
    let answer: Response, text: string;
    try {
      answer = await fetch(`${server}/session${path}`, request);
      text = await answer.text();
    } catch (error: any) {
      fail(`${server} does not answer: ${error.cause?.message || error.message}; is the server running?`);
    }
    if (answer.status === 304) return { status: 304, body: known?.body };
    if (!answer.ok) fail(`${method} ${path}: ${answer.status} ${why(text)}`);
    const value = text ? JSON.parse(text) : undefined;
    const etag = answer.headers.get("etag");
    if (method === "GET" && etag) seen.set(path, { etag, body: value });
    return { status: answer.status, body: value };
  }
  return { uuid, call };
}

const [server, ...tokens] = process.argv.slice(2);
if (tokens.length !== 2) fail("usage: node examples/party.ts URL TOKEN TOKEN");
const [alice, bob] = tokens.map((token) => player(server, token));
const made = await alice.call("POST", "/v1/session", { session_type: "party", ...client });
const id = made.body.session_id;
const party = `/v1/session/${id}`;
console.log("alice made a party:", (await alice.call("GET", party)).status);
console.log("nothing new for alice:", (await alice.call("GET", party)).status);
await alice.call("POST", `/v2/session/${id}/player/${bob.uuid}:invite`, {});
const list = await bob.call("GET", "/v1/player/me/session");
console.log("bob was invited by:", list.body.sessions.party.pending_invites[id].inviting_player_uuid);
await bob.call("POST", `${party}/player/me`, { ...client, team_id: 0 });
const { status, body } = await alice.call("GET", party);
console.log("alice sees the change:", status, body.teams[0].players.map((entry: any) => entry.status));
await bob.call("DELETE", `${party}/player/me?reason=bye`);
await alice.call("DELETE", party);
console.log("the party is over");
