#!/usr/bin/env bash
# inotify_curl.sh URL TOKEN_FILE DROP...: every file that is closed or moved into a DROP goes to REDCap, then to its done/.
# What a careful page of shell does: exit codes are looked at, nothing is replaced, the token is on no command line.
set -u
url=$1 token=$2
shift 2
for drop; do mkdir -p "$drop/done" "$drop/failed"; done
inotifywait -m -e close_write,moved_to --format '%w%f' "$@" | while IFS= read -r path; do
  [ -f "$path" ] || continue
  drop=${path%/*} name=${path##*/}
  if curl -sS --fail -o /dev/null -F "token=<$token" -F content=file -F action=import -F "record=${name%%_*}" \
    -F field=consent_pdf -F returnFormat=json -F "file=@$path" "$url"; then
    mv -n -- "$path" "$drop/done/$name"
  else
    mv -n -- "$path" "$drop/failed/$name"
  fi
done
