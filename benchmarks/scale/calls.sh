#!/usr/bin/env bash
# Sends the same calls by curl. Reads the accounts from standard input; $1 is the number of concurrent calls.
set -euo pipefail
base=$THINGSPACE_BASE_URL

value() { sed -E "s/.*\"$1\": ?\"([^\"]+)\".*/\1/"; }

token=$(curl -sS --fail -u "$THINGSPACE_APP_KEY:$THINGSPACE_APP_SECRET" -d grant_type=client_credentials \
    "$base/ts/v1/oauth2/token" | value access_token)
session=$(curl -sS --fail -H "Authorization: Bearer $token" -H "Content-Type: application/json" \
    -d "{\"username\": \"$THINGSPACE_USERNAME\", \"password\": \"$THINGSPACE_PASSWORD\"}" \
    "$base/m2m/v1/session/login" | value sessionToken)
xargs -P "$1" -I{} curl -sS --fail -o /dev/null -X PUT -H "Authorization: Bearer $token" \
    -H "VZ-M2M-Token: $session" "$base/m2m/v1/sms/{}/startCallbacks"
