# One round of crashes: checks what the guest before left behind when it was killed, and then has
# a program work on each medium until this guest is killed. Read by init.sh.
checked() { # LABEL POOL
    count=$(argument "acked_$1")
    [ -z "$count" ] && return
    step "$1: all of $count operations survived the crash" \
        acknowledged check "$2" "$(argument seed)" "$count"
}

checked ext4 /mnt/ext4/crash
checked xfs /mnt/xfs/crash
checked small "$SMALL"
checked large "$LARGE"
next=$(argument next)
if [ -n "$next" ]; then
    # With their output on the console, where the host reads it.
    acknowledged write ext4 /mnt/ext4/crash "$next" &
    acknowledged write xfs /mnt/xfs/crash "$next" &
    acknowledged write small "$SMALL" "$next" &
    acknowledged write large "$LARGE" "$next" &
    wait
    say "failed 0 s the programs stopped by themselves"
fi
