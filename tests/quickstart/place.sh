# shellcheck shell=bash
# shellcheck disable=SC2154  # lib.sh sets repository
# Where the quickstart's server lives.  Sourced by start.sh and stop.sh.

state=$repository/$BUILD/quickstart   # everything, where the server's user can reach it
location_file=$state/location         # names the directory that is used

# The directory of an earlier run, or nothing.
recorded_place() {
  local place
  [ -r "$location_file" ] || return 0
  place=$(<"$location_file")
  # Only what a quickstart made is ever stopped or removed.
  if [ -e "$place/made-by-pg_semantic-quickstart" ]; then printf '%s\n' "$place"; fi
}

is_running() { as_server_user "$(pg_bin)/pg_ctl" status -D "$1/data" >/dev/null 2>&1; }

# A directory that the server's user can reach and whose socket path is short
# enough (107 bytes): build/quickstart/server, else one under /var/tmp.
choose_place() {
  local place=$state/server
  mkdir -p "$place"
  if is_root; then chown postgres "$place"; fi
  chmod 700 "$place"
  if [ ${#place} -gt 80 ] || ! (cd / && as_server_user test -w "$place"); then
    rmdir "$place"
    place=$(mktemp -d /var/tmp/pg_semantic-quickstart.XXXXXX)
    if is_root; then chown postgres "$place"; fi
  fi
  as_server_user touch "$place/made-by-pg_semantic-quickstart"
  printf '%s\n' "$place" >"$location_file"
  printf '%s\n' "$place"
}
