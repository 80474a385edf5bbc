# The suite: what limpid's crates do on real DAX media. Read by init.sh, which has `step`.
export RUST_TEST_THREADS=1
[ -n "$(argument ops)" ] && export LIMPID_OPS="$(argument ops)"

tests() { # PREFIX LABEL: all tests of a crate
    for test in /guest/tests/"$1"-*; do
        step "$2 ${test##*/}" "$test" --nocapture
    done
}

pmem() {
    truncate -s 64M /mnt/ext4/medium /mnt/xfs/medium
    export LIMPID_TEST_MEDIA=/mnt/ext4/medium:/mnt/xfs/medium:$SMALL:$LARGE
    step "media are told apart" /guest/tests/pmem-opening --exact real_persistent_media --nocapture
    unset LIMPID_TEST_MEDIA
    TMPDIR=/mnt/ext4 tests pmem "ext4"
    rm -f /mnt/ext4/medium /mnt/xfs/medium
}

mmu() {
    export LIMPID_TEST_MEDIA=$2
    tests mmu "$1"
    unset LIMPID_TEST_MEDIA
    rm -f /mnt/ext4/medium
}

whole() { # LABEL MEDIUM FOLDER: the tests of the whole system
    export LIMPID_TEST_MEDIA=$2 TMPDIR=$3
    tests limpid "$1"
    unset LIMPID_TEST_MEDIA TMPDIR
    rm -f /mnt/ext4/medium /mnt/xfs/medium
}

command_line() { # LABEL POOL KIND
    step "$1 mkfs" limpid mkfs --force "$2" $4
    step "$1 info" limpid info "$2"
    step "$1 is $3 and survives power loss" sh -c "limpid info --json '$2' | tr -d ' \n' |
        grep '\"durability\":\"power\".*\"medium\":\"$3\"'"
    step "$1 tour" limpid tour --seconds 2 "$2"
    step "$1 cp" sh -c "limpid cp -r /guest '$2:/copy' && rm -rf /tmp/back &&
        limpid cp -r '$2:/copy' /tmp/back && diff -r /guest /tmp/back"
    rm -rf /tmp/back
}

pmem
command_line ext4 /mnt/ext4/pool fsdax "--size 256MiB"
command_line xfs /mnt/xfs/pool fsdax "--size 256MiB"
command_line "devdax (4 KiB)" "$SMALL" devdax
command_line "devdax (2 MiB)" "$LARGE" devdax
rm -f /mnt/ext4/pool /mnt/xfs/pool
mmu ext4 /mnt/ext4/medium
whole ext4 /mnt/ext4/medium /mnt/ext4
whole xfs /mnt/xfs/medium /mnt/xfs
whole "devdax (4 KiB)" "$SMALL" /tmp
