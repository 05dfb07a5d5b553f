/* libFuzzer on what the launcher reads of its command line by itself: `sbx run` and `sbx exec`.  The input is the words,
 * each ended by a NUL; whatever is taken points into them, and the name of a sandbox is one. */
int launcher_main(int argc, char **argv, char **environment);
#define main launcher_main
#define parse parse_run
#include "../../csrc/launcher.c"
#undef main
#undef parse
#define parse parse_exec
#include "../../csrc/join.c"
#undef parse

#define WORDS_MAX 256

static char *words[WORDS_MAX + 1];
static volatile size_t seen;

static void follow(const char *text) {
        if (text != NULL)
                seen += strlen(text);
}

static void follow_all(char *const *list) {
        for (; list != NULL && *list != NULL; list++)
                follow(*list);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
        struct request request;
        struct wish wish;
        size_t count = 0;
        char *text = malloc(size + 1); /* of this very size: a byte too far is found */
        if (text == NULL)
                return 0;
        memcpy(text, bytes, size);
        text[size] = 0;
        words[count++] = "sbx";
        for (size_t at = 0; at < size && count < WORDS_MAX; at += strlen(text + at) + 1)
                words[count++] = text + at;
        words[count] = NULL;
        if (parse_run(words, &request) == 0) {
                follow(request.profile);
                follow(request.name);
                follow(request.report);
                if (request.set_count > MAX_SETS || (request.profile == NULL && request.plan_fd < 0))
                        abort();
                for (unsigned i = 0; i < request.set_count; i++)
                        follow(request.sets[i]);
                follow_all(request.command);
        }
        if (parse_exec(words + 1, &wish) == 0) {
                if (!record_is_name(wish.name) || wish.variable_count > VARIABLES_MAX || *wish.command == NULL)
                        abort();
                follow(wish.cwd);
                for (uint32_t i = 0; i < wish.variable_count; i++)
                        follow(wish.variables[i]);
                follow_all(wish.command);
        }
        free(text);
        return 0;
}
