# shellcheck shell=bash
# CREATE INDEX with a progress bar that a second session draws from
# pg_stat_progress_create_index.  Sourced by start.sh.

bar_width=32

draw_bar() {  # draw_bar PHASE DONE TOTAL SECONDS
  local filled=0 percent=0 bar
  if [ "$3" -gt 0 ]; then
    percent=$((100 * $2 / $3))
    [ "$percent" -le 100 ] || percent=100
    filled=$((bar_width * percent / 100))
  fi
  printf -v bar '%*s' "$filled" ''
  printf '  [%-*s] %3d %%  %-34.34s %5d s' "$bar_width" "${bar// /#}" "$percent" "$1" "$4"
}

build_index() {  # build_index TABLE COLUMN INDEX
  local table=$1 column=$2 index=$3 start=$SECONDS started builder last=-10 phase finished total milliseconds
  started=$(date +%s%N)
  query -c "CREATE INDEX $index ON $table USING semantic ($column)" &
  builder=$!
  while kill -0 "$builder" 2>/dev/null; do
    # How far, in rows where the phase counts rows, else in blocks of the table.
    phase=''
    IFS='|' read -r phase finished total < <(query -At -c "
      SELECT phase,
             CASE WHEN tuples_total > 0 THEN tuples_done ELSE blocks_done END,
             CASE WHEN tuples_total > 0 THEN tuples_total ELSE blocks_total END
      FROM pg_stat_progress_create_index WHERE relid = '$table'::regclass LIMIT 1") || true
    phase=${phase#building index: }
    if [ -n "$phase" ] && [ -t 1 ]; then
      printf '\r%s' "$(draw_bar "$phase" "$finished" "$total" $((SECONDS - start)))"
    elif [ -n "$phase" ] && [ $((SECONDS - last)) -ge 10 ]; then  # no terminal: a line now and then
      printf '%s\n' "$(draw_bar "$phase" "$finished" "$total" $((SECONDS - start)))"
      last=$SECONDS
    fi
    sleep 0.3
  done
  wait "$builder"
  milliseconds=$((($(date +%s%N) - started) / 1000000))
  if [ -t 1 ]; then printf '\r%*s\r' 90 ''; fi
  query -At -c "SELECT format('%s: %s rows in %s s', '$index', (SELECT count(*) FROM $table), round($milliseconds / 1000.0, 1))"
}
