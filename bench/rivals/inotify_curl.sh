#!/usr/bin/env bash
# inotify_curl.sh DROP URL TOKEN_FILE: every file that is closed or moved into DROP goes to REDCap, then to DROP/done.
# What a careful page of shell does: exit codes are looked at, nothing is replaced, the token is on no command line.
set -u
drop=$1 url=$2 token=$3
mkdir -p "$drop/done" "$drop/failed"
inotifywait -m -e close_write,moved_to --format '%f' "$drop" | while IFS= read -r name; do
  [ -f "$drop/$name" ] || continue
  if curl -sS --fail -o /dev/null -F "token=<$token" -F content=file -F action=import -F "record=${name%%_*}" \
    -F field=consent_pdf -F returnFormat=json -F "file=@$drop/$name" "$url"; then
    mv -n -- "$drop/$name" "$drop/done/$name"
  else
    mv -n -- "$drop/$name" "$drop/failed/$name"
  fi
done
