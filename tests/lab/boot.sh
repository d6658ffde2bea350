#!/bin/sh
# Process 1 of a host, in new namespaces: builds what the host sees, says "built", then sleeps until the power is cut.
# usage: boot.sh DIR HOST
#   DIR/visible, DIR/HOST/shared   directories, one a line: bound read-only, bound as they are
#   DIR/HOST/etc              what this host has of its own in /etc and /proc; it sees it as /run/lab
#   DIR/HOST/disk             its disk, which outlives a boot: /tmp /var/tmp /root /home
set -eu
dir=$1 host=$2
own=$dir/$host root=$dir/$host/root
private='/tmp /var/tmp /root /home'

read_only() { mount --bind "$1" "$root$1" && mount -o remount,bind,ro "$root$1"; }

hostname "$host"
read_only /
# Other file systems come along, but for those that a host has anew. One that root may not enter (FUSE) stays away.
while read -r _ target _; do
    case $target in
    / | /proc* | /sys* | /dev* | /run* | /tmp* | /var/tmp* | /root* | /home* | "$dir"*) ;;
    *) read_only "$(printf %b "$target")" 2>/dev/null || : ;;
    esac
done </proc/mounts
mount -t proc proc "$root/proc"
mount --rbind /sys "$root/sys"
mount --rbind /dev "$root/dev"
mount -t tmpfs shm "$root/dev/shm"
mount -t tmpfs -o mode=755 run "$root/run"
mkdir "$root/run/lab" "$root/run/sshd" "$root/run/old"
mount --bind "$own/etc" "$root/run/lab"

rm -rf "$own/disk/tmp" # as at any boot
for path in $private; do
    mkdir -p "$own/disk$path"
    mount --bind "$own/disk$path" "$root$path"
done
chmod 1777 "$own/disk/tmp" "$own/disk/var/tmp"
chmod 700 "$own/disk/root"

while IFS= read -r path; do
    mkdir -p "$root$path"
    read_only "$path"
done <"$dir/visible"
while IFS= read -r path; do
    mkdir -p "$root$path"
    mount --bind "$path" "$root$path"
done <"$own/shared"
[ ! -d "$root$dir" ] || mount -t tmpfs hidden "$root$dir"

for file in hosts hostname machine-id shadow; do
    [ ! -e "$root/etc/$file" ] || mount --bind "$own/etc/$file" "$root/etc/$file"
done
for file in stat loadavg meminfo; do
    mount --bind "$own/etc/$file" "$root/proc/$file"
done
mount --bind "$own/etc/boot_id" "$root/proc/sys/kernel/random/boot_id"

cd "$root"
pivot_root . run/old
cd /
umount -l /run/old
rmdir /run/old
echo built
# Whoever ignores CHLD need not wait for the orphans that process 1 inherits: the kernel buries them.
exec env --ignore-signal=CHLD sleep infinity </dev/null >/dev/null 2>&1
