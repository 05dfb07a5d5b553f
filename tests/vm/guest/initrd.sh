#!/bin/busybox sh
# shellcheck shell=dash
# The initrd's only program: loads what the root disk needs, and hands over to systemd.
busybox=/bin/busybox
$busybox mount -t devtmpfs dev /dev
$busybox mount -t proc proc /proc
$busybox mount -t sysfs sys /sys
for module in /modules/*.ko; do
    $busybox insmod "$module"
done
tries=0
until [ -b /dev/vda ] || [ $tries = 50 ]; do
    $busybox sleep 0.1
    tries=$((tries + 1))
done
$busybox mount -t ext4 -o rw /dev/vda /root || {
    echo 'initrd: there is no root disk'
    $busybox poweroff -f
}
$busybox mount --move /dev /root/dev
$busybox umount /proc /sys
exec $busybox switch_root /root /sbin/init
