/* Keys of the session keyring, whose numbers a payload could read.
 *
 *   keyring_probe add COMMAND...   puts a key into a keyring of its own and becomes the command
 *   keyring_probe                  prints what the key holds, or the error's name */
#include <errno.h>
#include <linux/keyctl.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(int argc, char **argv) {
        char held[32];
        if (argc > 2 && strcmp(argv[1], "add") == 0) {
                if (syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL) < 0 ||
                    syscall(SYS_add_key, "user", "sbx-test", "secret", 6, KEY_SPEC_SESSION_KEYRING) < 0)
                        return 2;
                execv(argv[2], argv + 2);
                return 2;
        }
        long key = syscall(SYS_keyctl, KEYCTL_SEARCH, KEY_SPEC_SESSION_KEYRING, "user", "sbx-test", 0);
        long size = key < 0 ? -1 : syscall(SYS_keyctl, KEYCTL_READ, key, held, sizeof held);
        if (size < 0)
                puts(strerrorname_np(errno));
        else
                printf("%.*s\n", (int) size, held);
        return 0;
}
