# The part of the suite that fits into CI with a machine made by software. Read by init.sh.
. /guest/parts.sh
media
command_line
on ext4 /mnt/ext4/medium /mnt/ext4 /guest/tests/mmu-poison /guest/tests/mmu-tracking
export LIMPID_OPS=1500
on "devdax of 2 MiB" "$LARGE" /tmp /guest/tests/limpid-granularity
on ext4 /mnt/ext4/medium /mnt/ext4 /guest/tests/limpid-seed /guest/tests/limpid-private \
    /guest/tests/limpid-model
