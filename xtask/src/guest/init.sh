#!/bin/busybox sh
# First process of the guest: makes the namespaces, mounts them and runs the job that the kernel's
# command line names. Lines that begin with "@guest " are read by `cargo xtask guest`.
/bin/busybox --install -s /bin
export PATH=/bin:/guest HOME=/tmp TERM=dumb RUST_BACKTRACE=1
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mkdir -p /tmp /mnt/ext4 /mnt/xfs /run
mount -t tmpfs tmp /tmp
ip link set lo up 2>/dev/null

say() { echo "@guest $*"; }
now() { cut -d' ' -f1 /proc/uptime; }
argument() { tr ' ' '\n' </proc/cmdline | sed -n "s/^limpid\.$1=//p"; }
since() { awk -v a="$1" -v b="$(now)" 'BEGIN { printf "%.1f", b - a }'; }

# step NAME COMMAND...: runs it with all output kept, and reports one line.
step() {
    name=$1; shift
    report "$name" timeout -k 5 "$LIMIT" "$@"
}

# report NAME COMMAND...: as step, for functions of these scripts, which have no time limit.
report() {
    name=$1; shift
    begun=$(now)
    echo "--- $name: $*"
    "$@" </dev/null >/tmp/output 2>&1
    code=$?
    cat /tmp/output
    grep -a '^skipped' /tmp/output | sort -u | while read -r line; do say "note $name: $line"; done
    if [ $code = 0 ]; then say "ok $(since "$begun") s $name"
    else say "failed $(since "$begun") s $name (exit code $code)"; fi
    return $code
}

# Namespaces keep their place and mode in the labels of the image, so a later guest finds them.
namespaces() {
    # With labels the region can hold several.
    ndctl disable-region all && ndctl init-labels -f nmem0 && ndctl enable-region all &&
    ndctl create-namespace -f -m fsdax -M mem -s 640M -n ext4 >/dev/null &&
    ndctl create-namespace -f -m fsdax -M mem -s 640M -n xfs >/dev/null &&
    ndctl create-namespace -f -m devdax -M mem -a 4096 -s 384M -n small >/dev/null &&
    ndctl create-namespace -f -m devdax -M mem -a 2M -s 384M -n large >/dev/null
}

# device NAME: the device of a namespace, without /dev.
device() {
    ndctl list -N | tr -d ' ",' | awk -F: -v want="$1" '
        /^[[{]/ { dev = "" }
        $1 == "blockdev" || $1 == "chardev" { dev = $2 }
        $1 == "name" { name = $2 }
        /^}/ || /^\]/ { if (name == want) print dev; name = "" }'
}

file_systems() {
    if [ "$1" = fresh ]; then
        mkfs.ext4 -q -F -b 4096 -E stride=512,stripe_width=512 "/dev/$(device ext4)" || return 1
        mkfs.xfs -q -f -m reflink=0 -d su=2m,sw=1 "/dev/$(device xfs)" || return 1
    fi
    mount -t ext4 -o dax=always "/dev/$(device ext4)" /mnt/ext4 &&
    mount -t xfs -o dax=always "/dev/$(device xfs)" /mnt/xfs
}

LIMIT=$(argument limit)
for module in nfit nd_pmem dax_pmem device_dax ext4 xfs; do modprobe $module; done
[ -n "$(argument fresh)" ] && state=fresh || state=old
if [ $state = fresh ]; then report "namespaces" namespaces; fi
report "file systems with dax=always" file_systems $state
SMALL=/dev/$(device small)
LARGE=/dev/$(device large)
export SMALL LARGE
uname -r | sed 's/^/@guest kernel /'
. "/guest/$(argument job).sh"
say end
umount /mnt/ext4 /mnt/xfs 2>/dev/null
sync
poweroff -f
