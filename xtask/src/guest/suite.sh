# All that limpid's crates test, on each medium. Read by init.sh.
. /guest/parts.sh
media
command_line
for test in copies lock_release media_errors order; do
    TMPDIR=/mnt/ext4 tests ext4 /guest/tests/pmem-$test
done
on ext4 /mnt/ext4/medium /mnt/ext4 /guest/tests/mmu-*
export LIMPID_OPS=40000
on "devdax of 2 MiB" "$LARGE" /tmp /guest/tests/limpid-granularity
on ext4 /mnt/ext4/medium /mnt/ext4 /guest/tests/limpid-*
on xfs /mnt/xfs/medium /mnt/xfs /guest/tests/limpid-*
for test in model races reuse own_buffer seed threads; do
    on "devdax of 4 KiB" "$SMALL" /tmp /guest/tests/limpid-$test
done
