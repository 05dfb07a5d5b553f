/* Runs libseccomp's simulator, compiled with its main() under another name, once for each line of
 * standard input. A line has the words that follow those of the command; each run is a process of
 * its own, since the simulator ends with its answer. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MOST_WORDS = 32 };

int simulator_main(int argc, char *argv[]);

static int simulate(int given, char *words[], char *line)
{
	char *argv[MOST_WORDS + 1] = { NULL };
	int argc = 0;

	for (; argc < given; argc++)
		argv[argc] = words[argc];
	for (char *word = strtok(line, " \n"); word && argc < MOST_WORDS; word = strtok(NULL, " \n"))
		argv[argc++] = word;
	return simulator_main(argc, argv);
}

int main(int argc, char *argv[])
{
	char line[4096];

	while (argc < MOST_WORDS && fgets(line, sizeof(line), stdin)) {
		int status;
		pid_t child = fork();

		if (child == 0)
			exit(simulate(argc, argv, line));
		if (child < 0 || waitpid(child, &status, 0) != child || status != 0)
			return EXIT_FAILURE;
	}
	return EXIT_SUCCESS;
}
