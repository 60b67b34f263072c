#!/usr/bin/env bash
# The API with curl alone. A server must be running: make serve
#   examples/curl.sh [URL]          KEY=… examples/curl.sh URL   where the server asks for a key
set -euo pipefail
url=${1:-http://127.0.0.1:8000}
auth=(-H "Authorization: Bearer ${KEY:-none}")

call() { # call ROUTE BODY [CURL OPTIONS]: any status but 2xx ends the script
  local route=$1 body=$2
  shift 2
  echo "== POST $route"
  curl --silent --show-error --fail-with-body "${auth[@]}" "$@" "$url$route" -d "$body"
  echo
}

# Two pairs, each with its score.
call /v1/score '{"pairs": [
  {"id": "good", "prompt": "What is 2+2?", "response": "2+2 is 4."},
  {"id": "rude", "prompt": "What is 2+2?", "response": "Figure it out yourself, you fool."}]}'

# A conversation; a pair that cannot be scored does not spoil the other.
call /v1/score '{"pairs": [
  {"prompt": [{"role": "user", "content": "Hi"}], "response": "Hello! What can I do for you?"},
  {"prompt": "", "response": "An answer to nothing."}]}'

# Best first.
call /v1/rank '{"prompt": "Name a primary colour.", "responses": ["Potato.", "Red.", "asdf qwer zxcv"], "return_responses": true}'

# Each result as it finishes, then a line of totals.
call /v1/score '{"pairs": [
  {"prompt": "Name a primary colour.", "response": "Red."},
  {"prompt": "Name a primary colour.", "response": "Blue."}]}' --no-buffer -H 'Accept: application/x-ndjson'

# What the model read, and its value at each token of the response.
call /v1/score '{"pairs": [{"prompt": "Hi", "response": "Hello!"}], "explain": true}'
