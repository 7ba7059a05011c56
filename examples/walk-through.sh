#!/usr/bin/env bash
# Two players form a party, link an Xbox session to it, and end it, with curl. Start a server first: rallypoint serve
#
#   examples/walk-through.sh [http://127.0.0.1:7700] [DATA_DIR]
set -euo pipefail
server=${1:-http://127.0.0.1:7700}/session
data_dir=${2:-./rallypoint-data}
alice_uuid=11111111-1111-4111-8111-111111111111
bob_uuid=22222222-2222-4222-8222-222222222222
rallypoint=${RALLYPOINT:-rallypoint}
alice=$("$rallypoint" token --player $alice_uuid --platform XboxLive --data-dir "$data_dir")
bob=$("$rallypoint" token --player $bob_uuid --platform XboxLive --data-dir "$data_dir")
client='"client_version":"1.0.0","client_settings":{"platform":"XboxLive","input":"gamepad"}'

fail() { echo "error: $1" >&2; exit 1; }
ask() { # TOKEN METHOD PATH [BODY]: prints the response body; exits if the request fails or gets no response
  local answer status
  answer=$(curl -sS -X "$2" -H "Authorization: Bearer $1" -H 'Content-Type: application/json' ${4:+-d "$4"} \
    -w '\n%{http_code}' "$server$3") || fail "$server does not answer; is the server running?"
  status=${answer##*$'\n'}
  [[ $status == 2* ]] || fail "$2 $3: $status ${answer%$'\n'*}"
  echo "${answer%$'\n'*}"
}
call() { # TOKEN METHOD PATH [BODY]: prints the request, and the body, status and ETag of the response
  echo "> $2 $3"
  curl -sS -X "$2" -H "Authorization: Bearer $1" -H 'Content-Type: application/json' ${4:+-d "$4"} \
    -w '\n< %{http_code} %header{etag}\n' "$server$3"
}

echo '# Alice creates a party.'
made=$(ask "$alice" POST /v1/session "{\"session_type\":\"party\",$client}")
id=$(sed 's/.*"session_id":"\([^"]*\)".*/\1/' <<<"$made")
echo "  $id"
echo '# She invites Bob. He reads the invite in his list and accepts it.'
call "$alice" POST "/v2/session/$id/player/$bob_uuid:invite" '{}'
call "$bob" GET /v1/player/me/session
call "$bob" POST "/v1/session/$id/player/me" "{$client,\"team_id\":0}"
echo '# She links her Xbox session. Bob reads it twice, the second time with its ETag.'
platform_session=/v1/platform/XboxLive/platform-session/d2Fsay10aHJvdWdo
call "$alice" POST "$platform_session/session/$id"
etag=$(curl -sSf -o /dev/null -H "Authorization: Bearer $bob" -w '%header{etag}' "$server$platform_session")
curl -sS -H "Authorization: Bearer $bob" -H "If-None-Match: $etag" -w '< %{http_code} for %header{etag}\n' \
  "$server$platform_session"
echo '# She makes Bob the leader and leaves. Bob ends the party.'
call "$alice" POST "/v2/session/$id/player/$bob_uuid:promote"
call "$alice" DELETE "/v1/session/$id/player/me?reason=bedtime"
call "$bob" DELETE "/v1/session/$id"
