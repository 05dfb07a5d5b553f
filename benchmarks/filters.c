/*
 * What a filter costs: each call under it, and loading it.
 *
 *   filters calls|load ROUNDS SUBJECT...
 *
 * A subject is a list of files, separated by commas, each with an array of struct sock_filter, in the order in which
 * they are loaded; "-" is no filter. In each round every subject takes a turn, in a new order, in a process of its own.
 * A line of the output is a subject's place and its nanoseconds: one figure for loading, and one for each call of
 * getppid, read, fstat and openat, the least of many short runs (what else the machine does can only add to it).
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MAX_SUBJECTS = 32, MAX_FILTERS = 8, CALLS = 4, RUNS = 40, REPEAT = 1000 };

/* As in linux/filter.h, which musl doesn't bring. */
struct sock_filter {
	uint16_t code;
	uint8_t jt, jf;
	uint32_t k;
};

struct sock_fprog {
	unsigned short len;
	struct sock_filter *filter;
};

enum { SET_MODE_FILTER = 1 };

struct subject {
	struct sock_fprog filters[MAX_FILTERS];
	int count;
};

static void fail(const char *what)
{
	fprintf(stderr, "filters: %s: %s\n", what, strerror(errno));
	exit(1);
}

static struct sock_fprog read_filter(const char *path)
{
	struct sock_fprog program = {0};
	struct stat status;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || fstat(fd, &status) < 0)
		fail(path);
	program.len = (unsigned short)((size_t)status.st_size / sizeof(struct sock_filter));
	program.filter = malloc((size_t)status.st_size + 1);
	if (!program.filter || read(fd, program.filter, (size_t)status.st_size) != status.st_size)
		fail(path);
	close(fd);
	return program;
}

static struct subject read_subject(char *list)
{
	struct subject subject = {.count = 0};

	if (strcmp(list, "-") == 0)
		return subject;
	for (char *path = strtok(list, ","); path; path = strtok(NULL, ",")) {
		if (subject.count == MAX_FILTERS) {
			errno = E2BIG;
			fail(path);
		}
		subject.filters[subject.count++] = read_filter(path);
	}
	return subject;
}

static uint64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static uint64_t load(const struct subject *subject)
{
	uint64_t start;

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		fail("no_new_privs");
	start = now();
	for (int place = 0; place < subject->count; place++)
		if (syscall(SYS_seccomp, SET_MODE_FILTER, 0, &subject->filters[place]))
			_exit(2);
	return now() - start;
}

#if defined(__x86_64__)
static inline long raw(long number, long one, const void *two, long three)
{
	long result;

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(number), "D"(one), "S"(two), "d"(three)
			 : "rcx", "r11", "memory");
	return result;
}
#else
static inline long raw(long number, long one, const void *two, long three)
{
	return syscall(number, one, two, three);
}
#endif

static void repeat(int call, int fd)
{
	struct stat status;
	char byte;
	const struct {
		long number, one, three;
		const void *two;
	} calls[CALLS] = {
		{SYS_getppid, 0, 0, NULL},
		{SYS_read, fd, 1, &byte},
		{SYS_fstat, fd, 0, &status},
		{SYS_openat, AT_FDCWD, O_RDONLY, "/not there"},
	};
	const long number = calls[call].number, one = calls[call].one, three = calls[call].three;
	const void *two = calls[call].two;

	for (int time = 0; time < REPEAT; time++)
		raw(number, one, two, three);
}

static double cost(int call, int fd)
{
	double least = 0;

	repeat(call, fd);
	for (int run = 0; run < RUNS; run++) {
		uint64_t start = now();
		double took;

		repeat(call, fd);
		took = (double)(now() - start) / REPEAT;
		if (run == 0 || took < least)
			least = took;
	}
	return least;
}

static void measure(const struct subject *subject, int index, int loading)
{
	char line[160];
	int length, fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	uint64_t took = load(subject);

	length = snprintf(line, sizeof(line), "%d", index);
	if (loading)
		length += snprintf(line + length, sizeof(line) - (size_t)length, " %llu", (unsigned long long)took);
	for (int call = 0; !loading && call < CALLS; call++)
		length += snprintf(line + length, sizeof(line) - (size_t)length, " %.2f", cost(call, fd));
	line[length++] = '\n';
	if (write(1, line, (size_t)length) != length)
		_exit(3);
	_exit(0);
}

int main(int argc, char **argv)
{
	static struct subject subjects[MAX_SUBJECTS];
	int order[MAX_SUBJECTS], count = argc - 3, status;
	int loading;

	if (argc < 4 || count > MAX_SUBJECTS) {
		fputs("usage: filters calls|load ROUNDS SUBJECT...\n", stderr);
		return 1;
	}
	loading = strcmp(argv[1], "load") == 0;
	for (int place = 0; place < count; place++) {
		subjects[place] = read_subject(argv[place + 3]);
		order[place] = place;
	}
	srand((unsigned)getpid());
	for (int round = atoi(argv[2]); round > 0; round--) {
		for (int place = count - 1; place > 0; place--) {
			int other = rand() % (place + 1), kept = order[place];

			order[place] = order[other];
			order[other] = kept;
		}
		for (int place = 0; place < count; place++) {
			pid_t child = fork();

			if (child < 0)
				fail("fork");
			if (child == 0)
				measure(&subjects[order[place]], order[place], loading);
			if (waitpid(child, &status, 0) != child || status != 0) {
				fprintf(stderr, "filters: subject %d ended with status %#x\n", order[place], status);
				return 1;
			}
		}
	}
	return 0;
}
