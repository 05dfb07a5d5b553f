/* What the payload writes to its standard output and error, where the profile wants it kept: service.log. */
#pragma once
#include "service.h"

#define LINE_MAX_BYTES 16384u /* a longer one is kept in pieces */

enum stream { STREAM_STDOUT = 0, STREAM_STDERR = 1 };
extern const char *const stream_names[2];

/* A piece of a line: `ends` where the line does.  -EAGAIN: not now; the piece has to be given again. */
struct sink;
typedef int sink_write(struct sink *k, enum stream stream, const char *text, size_t size, int ends);

/* Where lines go.  `lost` counts those that couldn't be kept. */
struct sink {
        sink_write *write;
        void (*flush)(struct sink *k);
        void (*close)(struct sink *k);
        uint64_t lost;
};

/* log_file.c: in files below the directory for logs, with bounded size.  journal.c: in systemd's journal. */
int log_file_open(char *const *environment, const char *name, uint64_t size, uint64_t files, struct sink **ret);
int journal_open(const char *name, struct sink **ret);

int output_reader(const struct output *o, enum stream stream);
int output_attend(struct output *o, struct service *v);
/* Takes what is there at the end, the last line without its newline included. */
void output_end(struct output *o);
void output_free(struct output *o);
