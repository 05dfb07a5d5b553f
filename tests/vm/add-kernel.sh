#!/bin/sh
# Adds Debian's kernel to the root directory that mmdebstrap has just filled, while apt still has
# its lists: add-kernel.sh ROOT PACKAGE.
#
# Unpacked, not installed: its scripts would make an initrd of their own.
set -eu
root=$1 package=$2

# shellcheck disable=SC2016 # the shell in the root expands it
chroot "$root" sh -eu -c '
    cd /tmp
    image=$(apt-cache depends "$1" | sed -n "s/^ *Depends: \(linux-image-.*\)/\1/p" | head -n 1)
    apt-get -q download "$image"
    # dpkg-deb --extract would put a directory in the place of the link /lib.
    dpkg-deb --fsys-tarfile linux-image-*.deb | tar -x --keep-directory-symlink -C /
    rm linux-image-*.deb
    depmod "$(ls /lib/modules)"
' sh "$package"
