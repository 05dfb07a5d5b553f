/* The payload of a launch with a fault: if it runs at all it tells what it has become, a line for each thing, so that
 * a layer that is missing shows.  It ends with 7, which sbx never does by itself. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/socket.h>
#include <unistd.h>

static const char *const fields[] = { "Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp",
                                      "Seccomp_filters", "SigBlk", "SigIgn", "SigCgt", "Cpus_allowed", "Umask" };

static void tell_status(void) {
        char line[4096];
        FILE *file = fopen("/proc/self/status", "re");
        while (file != NULL && fgets(line, sizeof line, file) != NULL)
                for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
                        size_t n = strlen(fields[i]);
                        if (strncmp(line, fields[i], n) == 0 && line[n] == ':')
                                printf("status %s", line);
                }
        if (file != NULL)
                fclose(file);
}

/* Ids and device numbers are new each time. */
static void tell_mounts(void) {
        char line[4096];
        int at = 0;
        FILE *file = fopen("/proc/self/mountinfo", "re");
        while (file != NULL && fgets(line, sizeof line, file) != NULL)
                if (sscanf(line, "%*d %*d %*d:%*d %n", &at) >= 0)
                        printf("mount %s", line + at);
        if (file != NULL)
                fclose(file);
}

static void tell_links(const char *what, const char *directory) {
        char path[512], target[4096];
        DIR *entries = opendir(directory);
        for (struct dirent *entry; entries != NULL && (entry = readdir(entries)) != NULL;) {
                snprintf(path, sizeof path, "%s/%s", directory, entry->d_name);
                ssize_t n = readlink(path, target, sizeof target - 1);
                if (n < 0)
                        continue;
                target[n] = 0;
                printf("%s %s %s\n", what, entry->d_name, target);
        }
        if (entries != NULL)
                closedir(entries);
}

/* Standard input is a file of the host's that anyone may write to, on a mount that is not the sandbox's: to open it
 * anew for writing is denied by Landlock alone. */
static void tell_attempts(void) {
        int fd = open("/proc/self/fd/0", O_WRONLY | O_CLOEXEC);
        printf("landlock %d\n", fd < 0 ? errno : 0);
        printf("write %d\n", mkdir("/sbx-witness", 0700) < 0 ? errno : 0);
        printf("filter %d\n", socket(AF_APPLETALK, SOCK_DGRAM, 0) < 0 ? errno : 0);
}

int main(int argc, char **argv) {
        extern char **environ;
        char text[4096] = "";
        static char buffer[1 << 16];
        int death = 0;
        (void) argc;
        /* At once, and then all of it at once: who is killed meanwhile has told that it ran. */
        if (write(1, "began\n", 6) != 6)
                return 8;
        setvbuf(stdout, buffer, _IOFBF, sizeof buffer);
        tell_status();
        tell_mounts();
        tell_links("namespace", "/proc/self/ns");
        tell_links("descriptor", "/proc/self/fd");
        tell_attempts();
        for (int i = 0; i < RLIM_NLIMITS; i++) {
                struct rlimit limit = { 0 };
                getrlimit((__rlimit_resource_t) i, &limit);
                printf("rlimit %d %lld %lld\n", i, (long long) limit.rlim_cur, (long long) limit.rlim_max);
        }
        for (char **e = environ; *e != NULL; e++)
                printf("variable %s\n", *e);
        for (char **a = argv; *a != NULL; a++)
                printf("argument %s\n", *a);
        prctl(PR_GET_PDEATHSIG, &death);
        printf("death_signal %d\nsecurebits %d\ndumpable %d\n", death, prctl(PR_GET_SECUREBITS), prctl(PR_GET_DUMPABLE));
        gethostname(text, sizeof text - 1);
        printf("host %s\n", text);
        printf("cwd %s\n", getcwd(text, sizeof text) == NULL ? "?" : text);
        printf("session %d\n", getsid(0) == getpid());
        FILE *secret = fopen("/run/secrets/key", "re");
        printf("secret %s\n", secret != NULL && fgets(text, sizeof text, secret) != NULL ? text : "none");
        fflush(stdout);
        raise(SIGURG); /* nobody heeds it but who traces this process */
        return 7;
}
