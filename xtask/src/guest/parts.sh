# What the jobs `suite` and `short` are made of; read by them. init.sh has `step`.
# The media have one writer each.
export RUST_TEST_THREADS=1

tests() { # LABEL TEST...: whole test programs
    label=$1; shift
    for test; do
        step "$label ${test##*/}" "$test" --nocapture
    done
}

media() {
    truncate -s 64M /mnt/ext4/medium /mnt/xfs/medium
    export LIMPID_TEST_MEDIA=/mnt/ext4/medium:/mnt/xfs/medium:$SMALL:$LARGE
    step "media are told apart" /guest/tests/pmem-opening --exact real_persistent_media --nocapture
    unset LIMPID_TEST_MEDIA
    rm -f /mnt/ext4/medium /mnt/xfs/medium
}

on() { # LABEL MEDIUM FOLDER TEST...: tests with their pools on a medium, and files in a folder
    label=$1 medium=$2 folder=$3; shift 3
    export LIMPID_TEST_MEDIA=$medium TMPDIR=$folder
    tests "$label" "$@"
    unset LIMPID_TEST_MEDIA TMPDIR
    rm -f /mnt/ext4/medium /mnt/xfs/medium
}

made() { # LABEL POOL KIND [SIZE]: a pool that info tells the truth about
    step "$1 mkfs" limpid mkfs --force "$2" $4
    step "$1 is $3 and survives power loss" sh -c "limpid info --json '$2' | tr -d ' \n' |
        grep '\"durability\":\"power\".*\"medium\":\"$3\"'"
}

copied() { # LABEL POOL
    step "$1 cp -r there and back" sh -c "limpid cp -r /guest '$2:/copy' && rm -rf /tmp/back &&
        limpid cp -r '$2:/copy' /tmp/back && diff -r /guest /tmp/back"
    rm -rf /tmp/back
}

# The tour writes 8 bytes into a hole that is mapped: that block cannot be a unit of its own.
refused() { # LABEL POOL
    step "$1 tour is refused with the reason" sh -c "! limpid tour --seconds 1 '$2' >/tmp/tour 2>&1 &&
        tail -n 1 /tmp/tour | grep 'maps whole units of 2097152 bytes only'"
}

command_line() {
    made ext4 /mnt/ext4/pool fsdax "--size 256MiB"
    made xfs /mnt/xfs/pool fsdax "--size 256MiB"
    made "devdax of 4 KiB" "$SMALL" devdax
    made "devdax of 2 MiB" "$LARGE" devdax
    for pool in /mnt/ext4/pool /mnt/xfs/pool "$SMALL"; do
        step "$pool tour" limpid tour --seconds 1 "$pool"
    done
    refused "$LARGE" "$LARGE"
    for pool in /mnt/ext4/pool "$LARGE"; do copied "$pool" "$pool"; done
    rm -f /mnt/ext4/pool /mnt/xfs/pool
}
