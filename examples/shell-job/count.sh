#!/usr/bin/env bash
# Counts to $1, one a second. Asked to leave (SIGTERM), it saves and exits with 75: "start me again".
set -euo pipefail
total=$1 count=0

if [ -n "${LAUNCH_RESUME_FROM:-}" ]; then
    count=$(cat "$LAUNCH_RESUME_FROM")
    echo "going on from $count"
fi

save() {
    # Beside, then renamed: nobody ever sees half a checkpoint.
    echo "$count" >"$LAUNCH_CHECKPOINT_DIR/.count.tmp"
    mv "$LAUNCH_CHECKPOINT_DIR/.count.tmp" "$LAUNCH_CHECKPOINT_DIR/count-$(printf %06d "$count").txt"
}

leave() {
    save
    echo "saved at $count"
    exit 75
}
trap leave TERM

while [ "$count" -lt "$total" ]; do
    sleep 1 &
    wait $!
    count=$((count + 1))
    echo "count $count of $total"
    echo "{\"step\": $count, \"total\": $total}" >>"$LAUNCH_METRICS_FILE"
    [ $((count % 5)) -ne 0 ] || save
done
echo "counted to $total" >"$LAUNCH_OUTPUT_DIR/result.txt"
