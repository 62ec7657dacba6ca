/* A complete sink in C: runs as JSON lines in one file, each exactly once.
 *
 *   cc -std=c11 -O2 -shared -fPIC -I ../../crates/litmus-core/include -o jsonl.so jsonl_sink.c
 *   litmus-host --plugin ./jsonl.so --set path=runs.jsonl
 *
 * The file: a first line with the file's identity; then for each run one line a row,
 *   {"run_id":"…","table":"measurements","row":{"measurement_name":"v33","measurement_value":3.3, …}}
 * and a line that makes the rows before it count:
 *   {"end":{"run_id":"…","sha256":"…","rank":"…","older":"…","rows":12}}
 * Rows without their end are not there, and are cut off by whoever writes next. Of several ends of a run the last one counts.
 * Columns that are null are left out; numbers that are not finite are the texts "NaN", "Infinity", "-Infinity"; times are
 * microseconds since 1970, UTC.
 */
#define _GNU_SOURCE
#include "litmus_sink.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define ID_LENGTH 36
#define SHA_LENGTH 64
#define FIRST "{\"incarnation\":\""
#define END "{\"end\":{\"run_id\":\""

/* ---- Text that grows ---- */

struct text {
    char *chars;
    size_t length, room;
    int failed; /* no memory: looked at once, at the end */
};

static void add(struct text *text, const char *chars, size_t length) {
    if (text->length + length + 1 > text->room) {
        size_t room = (text->length + length + 1) * 2;
        char *grown = text->failed ? NULL : realloc(text->chars, room);
        if (grown == NULL) {
            text->failed = 1;
            return;
        }
        text->chars = grown;
        text->room = room;
    }
    memcpy(text->chars + text->length, chars, length);
    text->length += length;
    text->chars[text->length] = '\0';
}

static void puts_to(struct text *text, const char *chars) { add(text, chars, strlen(chars)); }

/* A JSON string. */
static void quote(struct text *text, const char *chars, size_t length) {
    size_t from = 0;
    puts_to(text, "\"");
    for (size_t at = 0; at < length; at++) {
        unsigned char byte = (unsigned char)chars[at];
        char escaped[8];
        if (byte >= 0x20 && byte != '"' && byte != '\\') continue;
        add(text, chars + from, at - from);
        from = at + 1;
        snprintf(escaped, sizeof escaped, byte < 0x20 ? "\\u%04x" : "\\%c", byte);
        puts_to(text, escaped);
    }
    add(text, chars + from, length - from);
    puts_to(text, "\"");
}

static struct litmus_str lend(const char *chars) {
    struct litmus_str lent = {chars, strlen(chars)};
    return lent;
}

static struct litmus_str lend_text(const struct text *text) {
    struct litmus_str lent = {text->chars, text->length};
    return lent;
}

/* ---- What the file holds ---- */

struct held {
    char run_id[ID_LENGTH + 1], sha256[SHA_LENGTH + 1];
    char *rank, *older; /* sha256s of revisions known to be older, with a space after each */
};

struct sink {
    const struct litmus_host *host; /* lives as long as the process */
    char *path;
    int sync;
    char incarnation[ID_LENGTH + 1];
    struct held *held;
    size_t held_n, held_room;
    off_t known; /* of the file, as far as `held` tells: the end of a line that counts */
    struct stat file;
};

static void forget(struct sink *sink) {
    for (size_t at = 0; at < sink->held_n; at++) {
        free(sink->held[at].rank);
        free(sink->held[at].older);
    }
    sink->held_n = 0;
    sink->known = 0;
}

static struct held *find(struct sink *sink, struct litmus_str run_id) {
    for (size_t at = sink->held_n; at-- > 0;)
        if (run_id.len == ID_LENGTH && memcmp(sink->held[at].run_id, run_id.ptr, ID_LENGTH) == 0) return &sink->held[at];
    return NULL;
}

/* The text between `before` and the next quote; NULL where it is not there. */
static char *between(const char *line, const char *before) {
    const char *from = strstr(line, before);
    const char *to = from == NULL ? NULL : strchr(from + strlen(before), '"');
    return to == NULL ? NULL : strndup(from + strlen(before), (size_t)(to - from) - strlen(before));
}

/* Takes in an end line; false where it is none. */
static int take_end(struct sink *sink, const char *line) {
    char *run_id = between(line, END), *sha256 = between(line, "\"sha256\":\"");
    char *rank = between(line, "\"rank\":\""), *older = between(line, "\"older\":\"");
    int whole = run_id && sha256 && rank && older && strlen(run_id) == ID_LENGTH && strlen(sha256) == SHA_LENGTH;
    if (whole) {
        struct held *held = find(sink, lend(run_id));
        if (held == NULL) {
            if (sink->held_n == sink->held_room) {
                size_t room = sink->held_room * 2 + 64;
                struct held *grown = realloc(sink->held, room * sizeof *grown);
                if (grown == NULL) abort();
                sink->held = grown;
                sink->held_room = room;
            }
            held = &sink->held[sink->held_n++];
            memset(held, 0, sizeof *held);
        }
        free(held->rank);
        free(held->older);
        memcpy(held->run_id, run_id, ID_LENGTH + 1);
        memcpy(held->sha256, sha256, SHA_LENGTH + 1);
        held->rank = rank;
        held->older = older;
        rank = older = NULL;
    }
    free(run_id);
    free(sha256);
    free(rank);
    free(older);
    return whole;
}

/* ---- Errors ---- */

static uint32_t fail(const struct litmus_err_out *err, uint32_t status, const char *what, const char *why) {
    char message[4600];
    snprintf(message, sizeof message, "%s: %s", what, why);
    err->write(err->ctx, LITMUS_NO_TIME, lend(message));
    return status;
}

static uint32_t cannot_use(const struct litmus_err_out *err, const struct sink *sink) {
    return fail(err, LITMUS_TRANSIENT, sink->path, strerror(errno));
}

/* Takes what the host says of a table that it cannot open. */
struct heard {
    char message[1024];
};

static void hear(void *ctx, uint64_t retry_after_ms, struct litmus_str message) {
    struct heard *heard = ctx;
    (void)retry_after_ms;
    snprintf(heard->message, sizeof heard->message, "%.*s", (int)(message.len > 1000 ? 1000 : message.len), message.ptr);
}

/* ---- describe ---- */

static uint32_t jsonl_describe(const struct litmus_text_out *out) {
    static const char text[] =
        "{\"name\":\"jsonl\",\"version\":\"1.0.0\","
        "\"capabilities\":{\"dedup\":true,\"audit\":false,\"moves_file\":false,\"dry_run\":true,\"grade_max\":\"committed\","
        "\"max_concurrent_delivers\":1,\"batch_bytes\":4194304,\"batch_runs\":64},"
        "\"config_schema\":{\"type\":\"object\",\"additionalProperties\":false,\"required\":[\"path\"],\"properties\":{"
        "\"path\":{\"type\":\"string\",\"description\":\"The file of JSON lines; made where it is missing.\"},"
        "\"durability\":{\"type\":\"string\",\"enum\":[\"sync\",\"none\"],\"default\":\"sync\","
        "\"description\":\"Whether each run is on the disk before it is reported.\"}}}}";
    out->write(out->ctx, lend(text));
    return 0;
}

/* ---- open: the configuration is a JSON object of texts ---- */

static const char *skip(const char *at) { return at + strspn(at, " \t\r\n"); }

/* Reads a JSON string at `*at`, and moves past it; NULL where there is none. Escapes beyond ASCII are kept out of paths. */
static char *read_string(const char **at) {
    struct text text = {0};
    const char *p = *at;
    if (*p++ != '"') return NULL;
    for (; *p != '"'; p++) {
        if (*p == '\0') goto broken;
        if (*p != '\\') {
            add(&text, p, 1);
            continue;
        }
        p++;
        if (*p == 'u') {
            char digits[5] = {0};
            strncpy(digits, p + 1, 4);
            long code = strlen(digits) == 4 ? strtol(digits, NULL, 16) : 0;
            char byte = (char)code;
            if (code < 1 || code > 127) goto broken;
            add(&text, &byte, 1);
            p += 4;
        } else {
            static const char escapes[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
            const char *found = *p == '\0' ? NULL : strchr(escapes, *p);
            if (found == NULL) goto broken;
            add(&text, &meant[found - escapes], 1);
        }
    }
    add(&text, "", 0);
    if (text.failed) goto broken;
    *at = p + 1;
    return text.chars;
broken:
    free(text.chars);
    return NULL;
}

static uint32_t configure(struct sink *sink, const char *json, const struct litmus_err_out *err) {
    char message[256];
    const char *at = skip(json);
    if (*at++ != '{') return fail(err, LITMUS_CONFIG, "the configuration", "it is no table");
    for (at = skip(at); *at != '}' && *at != '\0'; at = skip(at + strspn(at, ","))) {
        char *key = read_string(&at), *value = NULL;
        uint32_t status = 0;
        at = skip(at);
        if (key == NULL || *at++ != ':') {
            free(key);
            return fail(err, LITMUS_CONFIG, "the configuration", "it is no JSON");
        }
        at = skip(at);
        snprintf(message, sizeof message, "\"%.200s\"", key);
        if (strcmp(key, "path") != 0 && strcmp(key, "durability") != 0) {
            status = fail(err, LITMUS_CONFIG, message, "unknown key; the keys are path and durability");
        } else if ((value = read_string(&at)) == NULL) {
            status = fail(err, LITMUS_CONFIG, message, "a text was expected");
        } else if (strcmp(key, "path") == 0) {
            free(sink->path);
            sink->path = value;
            value = NULL;
        } else if (strcmp(value, "sync") == 0 || strcmp(value, "none") == 0) {
            sink->sync = strcmp(value, "sync") == 0;
        } else {
            status = fail(err, LITMUS_CONFIG, message, "\"sync\" or \"none\" was expected");
        }
        free(key);
        free(value);
        if (status != 0) return status;
        at = skip(at);
    }
    if (sink->path == NULL || sink->path[0] == '\0')
        return fail(err, LITMUS_CONFIG, "missing key \"path\"", "write path = \"runs.jsonl\"");
    return 0;
}

static void end_sink(struct sink *sink) {
    forget(sink);
    free(sink->held);
    free(sink->path);
    free(sink);
}

/* ---- The file ---- */

/* Waits for the file's lock, and asks whether to go on; -1 with errno, ECANCELED where the host has had enough. */
static int lock_file(const struct sink *sink, const struct litmus_call *call) {
    int fd = open(sink->path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    while (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) != 0) {
        struct timespec wait = {0, 5000000};
        int error = errno;
        if (error != EWOULDBLOCK && error != EINTR) {
            close(fd);
            errno = error;
            return -1;
        }
        if (call->is_cancelled(call->ctx)) {
            close(fd);
            errno = ECANCELED;
            return -1;
        }
        nanosleep(&wait, NULL);
    }
    return fd;
}

static int write_all(int fd, const char *chars, size_t length) {
    while (length > 0) {
        ssize_t n = write(fd, chars, length);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return -1;
        chars += n;
        length -= (size_t)n;
    }
    return 0;
}

/* A random UUID, as text. */
static int new_identity(char out[ID_LENGTH + 1]) {
    unsigned char b[16];
    if (getrandom(b, sizeof b, 0) != (ssize_t)sizeof b) return -1;
    b[6] = (unsigned char)((b[6] & 0x0f) | 0x40);
    b[8] = (unsigned char)((b[8] & 0x3f) | 0x80);
    snprintf(out, ID_LENGTH + 1, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0], b[1], b[2], b[3],
             b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]);
    return 0;
}

/* Takes in what the locked file holds beyond what is known, and cuts off rows without their end. With `fd` at its end: 0. */
static int take_in(struct sink *sink, int fd) {
    struct stat stat;
    struct text line = {0};
    char buffer[1 << 16];
    off_t at;
    ssize_t n;
    if (fstat(fd, &stat) != 0) return -1;
    /* Another file in its place, or a shorter one: nothing is known of it. */
    if (stat.st_ino != sink->file.st_ino || stat.st_dev != sink->file.st_dev || stat.st_size < sink->known) forget(sink);
    sink->file = stat;
    at = sink->known;
    while ((n = pread(fd, buffer, sizeof buffer, at)) > 0) {
        const char *from = buffer, *end = buffer + n, *stop;
        while ((stop = memchr(from, '\n', (size_t)(end - from))) != NULL) {
            add(&line, from, (size_t)(stop - from));
            at += stop - from + 1;
            from = stop + 1;
            if (line.failed) break;
            if (strncmp(line.chars, FIRST, strlen(FIRST)) == 0 && line.length >= strlen(FIRST) + ID_LENGTH) {
                memcpy(sink->incarnation, line.chars + strlen(FIRST), ID_LENGTH);
                sink->known = at;
            } else if (strncmp(line.chars, END, strlen(END)) == 0 && take_end(sink, line.chars)) {
                sink->known = at;
            }
            line.length = 0;
        }
        add(&line, from, (size_t)(end - from));
        at += end - from;
        if (line.failed) {
            errno = ENOMEM;
            n = -1;
            break;
        }
    }
    free(line.chars);
    if (n < 0) return -1;
    if (sink->known == 0) {
        char first[80];
        if (new_identity(sink->incarnation) != 0 || ftruncate(fd, 0) != 0 || lseek(fd, 0, SEEK_SET) < 0) return -1;
        snprintf(first, sizeof first, FIRST "%s\"}\n", sink->incarnation);
        if (write_all(fd, first, strlen(first)) != 0) return -1;
        sink->known = (off_t)strlen(first);
        if (fsync(fd) != 0) return -1;
    } else if (ftruncate(fd, sink->known) != 0) {
        return -1;
    }
    return lseek(fd, sink->known, SEEK_SET) < 0 ? -1 : 0;
}

static uint32_t jsonl_open(const struct litmus_host *host, struct litmus_str config, uint32_t flags,
                           const struct litmus_call *call, void **inst, const struct litmus_text_out *out,
                           const struct litmus_err_out *err) {
    struct sink *sink = calloc(1, sizeof *sink);
    char *json = strndup(config.ptr, config.len);
    uint32_t status = sink && json ? 0 : fail(err, LITMUS_TRANSIENT, "open", "out of memory");
    if (status == 0) {
        sink->host = host;
        sink->sync = 1;
        status = configure(sink, json, err);
    }
    if (status == 0 && (flags & LITMUS_OPEN_OFFLINE) == 0) {
        int fd = lock_file(sink, call);
        if (fd < 0) status = errno == ECANCELED ? LITMUS_CANCELLED : cannot_use(err, sink);
        else if (take_in(sink, fd) != 0) status = cannot_use(err, sink);
        if (fd >= 0) close(fd);
    }
    free(json);
    if (status != 0) {
        if (sink != NULL) end_sink(sink);
        return status;
    }
    struct text answer = {0}, id = {0};
    puts_to(&id, "jsonl://");
    puts_to(&id, sink->path);
    puts_to(&answer, "{\"destination\":");
    quote(&answer, id.chars, id.length);
    puts_to(&answer, ",\"incarnation\":");
    if (sink->incarnation[0] == '\0') puts_to(&answer, "null");
    else quote(&answer, sink->incarnation, ID_LENGTH);
    puts_to(&answer, "}");
    out->write(out->ctx, lend_text(&answer));
    free(answer.chars);
    free(id.chars);
    *inst = sink;
    return 0;
}

static uint32_t jsonl_check(void *inst, const struct litmus_call *call, const struct litmus_text_out *out,
                            const struct litmus_err_out *err) {
    struct sink *sink = inst;
    struct text answer = {0};
    struct stat stat_;
    char first[sizeof FIRST + ID_LENGTH] = {0};
    int fd = open(sink->path, O_RDONLY | O_CLOEXEC);
    (void)call;
    if (fd < 0 && errno != ENOENT) return cannot_use(err, sink);
    puts_to(&answer, "{\"incarnation\":");
    if (fd >= 0 && fstat(fd, &stat_) == 0 && pread(fd, first, sizeof first - 1, 0) == (ssize_t)sizeof first - 1 &&
        strncmp(first, FIRST, strlen(FIRST)) == 0)
        quote(&answer, first + strlen(FIRST), ID_LENGTH);
    else
        puts_to(&answer, "null");
    puts_to(&answer, fd >= 0 ? ",\"notes\":[\"appends to the file\"]}" : ",\"notes\":[\"would make the file\"]}");
    if (fd >= 0) close(fd);
    out->write(out->ctx, lend_text(&answer));
    free(answer.chars);
    return 0;
}

/* ---- Rows: Arrow's C data interface, the types that litmus-host sends ---- */

static int is_valid(const struct ArrowArray *array, int64_t row) {
    const uint8_t *bits = array->n_buffers > 0 ? array->buffers[0] : NULL;
    int64_t at = row + array->offset;
    return bits == NULL || (bits[at >> 3] >> (at & 7) & 1);
}

/* One cell as JSON; `row` counts from the array's own start. False: a type that is not known. */
static int cell(struct text *line, const struct ArrowSchema *schema, const struct ArrowArray *array, int64_t row) {
    const char *format = schema->format;
    int64_t at = row + array->offset;
    char number[40];
    if (strcmp(format, "n") == 0 || !is_valid(array, row)) {
        puts_to(line, "null");
    } else if (strcmp(format, "u") == 0) {
        const int32_t *offsets = array->buffers[1];
        quote(line, (const char *)array->buffers[2] + offsets[at], (size_t)(offsets[at + 1] - offsets[at]));
    } else if (strcmp(format, "l") == 0 || strncmp(format, "tsu:", 4) == 0) {
        snprintf(number, sizeof number, "%lld", (long long)((const int64_t *)array->buffers[1])[at]);
        puts_to(line, number);
    } else if (strcmp(format, "g") == 0) {
        double value = ((const double *)array->buffers[1])[at];
        if (isnan(value)) puts_to(line, "\"NaN\"");
        else if (isinf(value)) puts_to(line, value > 0 ? "\"Infinity\"" : "\"-Infinity\"");
        else {
            snprintf(number, sizeof number, "%.17g", value);
            puts_to(line, number);
        }
    } else if (strcmp(format, "b") == 0) {
        const uint8_t *bits = array->buffers[1];
        puts_to(line, bits[at >> 3] >> (at & 7) & 1 ? "true" : "false");
    } else if (strcmp(format, "+l") == 0) {
        const int32_t *offsets = array->buffers[1];
        puts_to(line, "[");
        for (int32_t item = offsets[at]; item < offsets[at + 1]; item++) {
            if (item > offsets[at]) puts_to(line, ",");
            if (!cell(line, schema->children[0], array->children[0], item)) return 0;
        }
        puts_to(line, "]");
    } else {
        return 0;
    }
    return 1;
}

static const char *const TABLES[] = {"runs", "steps", "vectors", "measurements", "instruments"};

/* Writes one table's rows; what went wrong is told in `why`. The stream and the arrays are ours to release. */
static uint32_t write_table(const struct sink *sink, int fd, const struct litmus_call *call, const struct litmus_run *run,
                            uint32_t table, uint64_t *rows, struct heard *why) {
    struct ArrowArrayStream stream;
    struct ArrowSchema schema;
    const struct litmus_err_out err = {why, hear};
    struct text lines = {0};
    uint32_t status = run->open_table(run->ctx, table, &stream, &err);
    if (status != 0) return status;
    if (stream.get_schema(&stream, &schema) != 0) {
        stream.release(&stream);
        snprintf(why->message, sizeof why->message, "the table %s has no schema", TABLES[table]);
        return LITMUS_DATA;
    }
    while (status == 0) {
        struct ArrowArray batch;
        if (call->is_cancelled(call->ctx)) {
            status = LITMUS_CANCELLED;
            break;
        }
        if (stream.get_next(&stream, &batch) != 0) {
            const char *said = stream.get_last_error(&stream);
            snprintf(why->message, sizeof why->message, "the table %s: %s", TABLES[table], said ? said : "it breaks off");
            status = LITMUS_DATA;
            break;
        }
        if (batch.release == NULL) break; /* the end */
        for (int64_t row = 0; row < batch.length && status == 0; row++) {
            const char *separator = "";
            puts_to(&lines, "{\"run_id\":\"");
            add(&lines, run->run_id.ptr, run->run_id.len);
            puts_to(&lines, "\",\"table\":\"");
            puts_to(&lines, TABLES[table]);
            puts_to(&lines, "\",\"row\":{");
            for (int64_t column = 0; column < schema.n_children; column++) {
                const struct ArrowArray *array = batch.children[column];
                if (!is_valid(array, row + batch.offset)) continue;
                puts_to(&lines, separator);
                separator = ",";
                quote(&lines, schema.children[column]->name, strlen(schema.children[column]->name));
                puts_to(&lines, ":");
                if (!cell(&lines, schema.children[column], array, row + batch.offset)) {
                    snprintf(why->message, sizeof why->message, "column %s is of type %s, which this sink does not know",
                             schema.children[column]->name, schema.children[column]->format);
                    status = LITMUS_DATA;
                    break;
                }
            }
            puts_to(&lines, "}}\n");
            if (status == 0 && (lines.length > 1 << 16 || row + 1 == batch.length)) {
                if (lines.failed || write_all(fd, lines.chars, lines.length) != 0) {
                    snprintf(why->message, sizeof why->message, "%.900s: %s", sink->path, strerror(lines.failed ? ENOMEM : errno));
                    status = LITMUS_TRANSIENT;
                }
                lines.length = 0;
            }
        }
        *rows += (uint64_t)batch.length;
        batch.release(&batch);
    }
    free(lines.chars);
    schema.release(&schema);
    stream.release(&stream);
    return status;
}

/* ---- deliver ---- */

static void hex(const uint8_t bytes[32], char out[SHA_LENGTH + 1]) {
    for (int at = 0; at < 32; at++) snprintf(out + 2 * at, 3, "%02x", bytes[at]);
}

enum decision { WRITE, ALREADY_PRESENT, SUPERSEDED };

/* The one rule by which every sink settles two revisions of a run: docs/abi.md. */
static enum decision decide(const struct held *held, const struct litmus_run *run, const char sha256[SHA_LENGTH + 1]) {
    char other[SHA_LENGTH + 1];
    size_t length;
    if (held == NULL || (run->flags & LITMUS_RUN_FORCE) != 0) return WRITE;
    if (strcmp(held->sha256, sha256) == 0) return ALREADY_PRESENT;
    for (size_t at = 0; at < run->supersedes_n; at++) {
        hex(run->supersedes[at], other);
        if (strcmp(held->sha256, other) == 0) return WRITE;
    }
    if (strstr(held->older, sha256) != NULL) return SUPERSEDED;
    length = strlen(held->rank) < run->rank.len ? strlen(held->rank) : run->rank.len;
    int order = memcmp(run->rank.ptr, held->rank, length);
    return order > 0 || (order == 0 && run->rank.len > strlen(held->rank)) ? WRITE : SUPERSEDED;
}

/* The line that makes a run's rows count. What was older than an ancestor is older than this one. */
static void end_line(struct text *line, const struct held *before, const struct litmus_run *run, const char *sha256,
                     uint64_t rows) {
    char other[SHA_LENGTH + 1], number[64];
    int ancestor = 0;
    puts_to(line, END);
    add(line, run->run_id.ptr, run->run_id.len);
    puts_to(line, "\",\"sha256\":\"");
    puts_to(line, sha256);
    puts_to(line, "\",\"rank\":\"");
    add(line, run->rank.ptr, run->rank.len);
    puts_to(line, "\",\"older\":\"");
    for (size_t at = 0; at < run->supersedes_n; at++) {
        hex(run->supersedes[at], other);
        puts_to(line, other);
        puts_to(line, " ");
        ancestor |= before != NULL && strcmp(before->sha256, other) == 0;
    }
    if (ancestor) puts_to(line, before->older);
    snprintf(number, sizeof number, "\",\"rows\":%llu}}\n", (unsigned long long)rows);
    puts_to(line, number);
}

/* Appends a run; 0, or a status with what went wrong in `why`. Whatever was written without its end is cut off again. */
static uint32_t append(struct sink *sink, int fd, const struct litmus_call *call, const struct litmus_run *run,
                       const char *sha256, struct heard *why) {
    struct text line = {0};
    uint64_t rows = 0;
    uint32_t status = 0;
    for (uint32_t table = LITMUS_TABLE_RUNS; table <= LITMUS_TABLE_INSTRUMENTS && status == 0; table++)
        status = write_table(sink, fd, call, run, table, &rows, why);
    if (status == 0 && call->is_cancelled(call->ctx)) status = LITMUS_CANCELLED;
    if (status == 0) {
        end_line(&line, find(sink, run->run_id), run, sha256, rows);
        if (line.failed || write_all(fd, line.chars, line.length) != 0 || (sink->sync && fdatasync(fd) != 0)) {
            snprintf(why->message, sizeof why->message, "%.900s: %s", sink->path, strerror(line.failed ? ENOMEM : errno));
            status = LITMUS_TRANSIENT;
        }
    }
    if (status == 0) {
        off_t end = lseek(fd, 0, SEEK_CUR);
        take_end(sink, line.chars);
        sink->known = end;
    } else if (ftruncate(fd, sink->known) != 0 || lseek(fd, sink->known, SEEK_SET) < 0) {
        snprintf(why->message, sizeof why->message, "%.900s: %s", sink->path, strerror(errno));
        status = LITMUS_TRANSIENT;
    }
    free(line.chars);
    return status;
}

static uint32_t jsonl_deliver(void *inst, const struct litmus_call *call, const struct litmus_run *const *runs, size_t n,
                              const struct litmus_err_out *err) {
    struct sink *sink = inst;
    int dry = (call->flags & LITMUS_CALL_DRY_RUN) != 0;
    uint32_t status = 0;
    int fd;
    if (call->is_cancelled(call->ctx)) return fail(err, LITMUS_CANCELLED, sink->path, "cancelled by the host");
    fd = lock_file(sink, call);
    if (fd < 0) return errno == ECANCELED ? fail(err, LITMUS_CANCELLED, sink->path, "cancelled by the host") : cannot_use(err, sink);
    if (take_in(sink, fd) != 0) status = cannot_use(err, sink);
    for (size_t at = 0; at < n && status == 0; at++) {
        const struct litmus_run *run = runs[at];
        struct heard why = {{0}};
        char sha256[SHA_LENGTH + 1];
        uint32_t of_run;
        hex(run->sha256, sha256);
        switch (decide(find(sink, run->run_id), run, sha256)) {
        case ALREADY_PRESENT:
            call->report(call->ctx, at, LITMUS_ALREADY_PRESENT, LITMUS_NO_TIME, lend(""), lend("{}"));
            continue;
        case SUPERSEDED:
            call->report(call->ctx, at, LITMUS_SUPERSEDED, LITMUS_NO_TIME, lend(""), lend("{}"));
            continue;
        case WRITE:
            break;
        }
        if (dry) {
            call->report(call->ctx, at, LITMUS_DELIVERED, LITMUS_NO_TIME, lend(""), lend("{\"planned\":[\"append its rows\"]}"));
            continue;
        }
        of_run = append(sink, fd, call, run, sha256, &why);
        if (of_run == 0) {
            call->report(call->ctx, at, LITMUS_DELIVERED, LITMUS_NO_TIME, lend(""), lend("{\"grade\":\"committed\"}"));
        } else if (of_run == LITMUS_DATA) {
            /* The run's own fault: its neighbours go on. */
            call->report(call->ctx, at, of_run, LITMUS_NO_TIME, lend(why.message), lend(""));
        } else {
            status = fail(err, of_run, "deliver", of_run == LITMUS_CANCELLED ? "cancelled by the host" : why.message);
        }
    }
    close(fd);
    return status;
}

static uint32_t jsonl_close(void *inst, const struct litmus_call *call, const struct litmus_err_out *err) {
    (void)call, (void)err;
    end_sink(inst);
    return 0;
}

const struct litmus_tag litmus_sink_abi = {
    .magic = {'L', 'I', 'T', 'M', 'S', 'I', 'N', 'K'},
    .size = sizeof(struct litmus_tag),
    .abi_major = LITMUS_ABI_MAJOR,
    .abi_minor = LITMUS_ABI_MINOR,
    .name = "jsonl",
    .version = "1.0.0",
    .built_with = "cc",
};

const struct litmus_sink litmus_sink = {
    .size = sizeof(struct litmus_sink),
    .abi_minor = LITMUS_ABI_MINOR,
    .describe = jsonl_describe,
    .open = jsonl_open,
    .check = jsonl_check,
    .deliver = jsonl_deliver,
    .close = jsonl_close,
};
