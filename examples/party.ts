// Two players form a party. Neither polls: each waits for what the other does. Runs without a build step on Node
// 22.18 or later, on Bun, and on Deno (`deno run --allow-net`):
//
//   rallypoint serve &
//   node examples/party.ts http://127.0.0.1:7700 \
//     "$(rallypoint token --player 11111111-1111-4111-8111-111111111111)" \
//     "$(rallypoint token --player 22222222-2222-4222-8222-222222222222)"

import process from "node:process";
import { Api, NoAnswer, Refused, once } from "./push.ts";

const client = { client_version: "1.0.0", client_settings: { platform: "Steam", input: "gamepad" } };

function fail(message: string): never {
  console.error(message);
  process.exit(1);
}

/** The UUID of the player whose token this is. */
function playerOf(token: string): string {
  try {
    const { sub } = JSON.parse(Buffer.from(token.split(".")[1], "base64url").toString());
    if (sub) return sub;
  } catch {
    // Not a JWT: reported below.
  }
  fail("this is no player's token: get one from `rallypoint token --player UUID`");
}

async function main(server: string, tokens: string[]) {
  const [, bobUuid] = tokens.map(playerOf);
  const [alice, bob] = tokens.map((token) => new Api(server, token));
  // With `once`, the request is repeated if the answer is lost, and makes one party nevertheless.
  const made = await alice.call("POST", "/session/v1/session", { session_type: "party", ...client }, once());
  const id = made.body.session_id;
  const party = `/session/v1/session/${id}`;
  console.log("alice made a party");

  // The first value is what is so now; each further `next` waits for a change.
  const lists = bob.watch("/session/v1/player/me/session");
  const parties = alice.watch(party);
  console.log("bob waits for an invite; he has", Object.keys((await lists.next()).value.sessions).length);
  console.log("alice waits for bob; her party has", players((await parties.next()).value).length);
  const told = bob.notifications();
  const invited = lists.next();
  const joined = parties.next();

  await alice.call("POST", `/session/v2/session/${id}/player/${bobUuid}:invite`, {});
  const invites = (await invited).value.sessions.party.pending_invites;
  console.log("bob was invited by:", invites[id].inviting_player_uuid);
  let notification = (await told.next()).value;
  while (notification.rh_url !== party) notification = (await told.next()).value; // of sessions of before
  console.log("bob was told:", notification.message);
  await bob.call("POST", `${party}/player/me`, { ...client, team_id: 0 });
  let session = (await joined).value;
  // She sees the invite as well.
  while (!statuses(session).includes("member")) session = (await parties.next()).value;
  console.log("alice sees the change:", statuses(session));
  // The PATCH replaces all custom data. So it must not be made on what another change has replaced meanwhile.
  const changed = await alice.change(party, ({ custom_data }) => ({ custom_data: { ...custom_data, map: "Dunes" } }));
  console.log("alice chooses the map:", changed.custom_data.map);

  const ended = parties.next();
  await alice.call("DELETE", party);
  try {
    await ended;
    for await (const _ of parties);
  } catch (end) {
    if (!(end instanceof Refused)) throw end;
    console.log("the party is over:", end.errorCode);
  }
}

function players(session: any): any[] {
  return session.teams[0].players;
}

function statuses(session: any): string[] {
  return players(session).map((player) => player.status);
}

const [server, ...tokens] = process.argv.slice(2);
if (tokens.length !== 2) fail("usage: node examples/party.ts URL TOKEN TOKEN");
try {
  await main(server, tokens);
} catch (error) {
  if (error instanceof Refused || error instanceof NoAnswer) fail(error.message);
  throw error;
}
