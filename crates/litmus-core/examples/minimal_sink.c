/* The smallest useful sink in C: appends "run_id sha256 measurements" to the file that its configuration names.
 *
 *   cc -std=c11 -shared -fPIC -I include -o minimal.so minimal_sink.c
 *   litmus-host --plugin ./minimal.so --set path=runs.txt
 */
#include "litmus_sink.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct minimal {
    const struct litmus_host *host; /* lives as long as the process */
    char path[4096];
};

static struct litmus_str text(const char *chars) {
    struct litmus_str lent = {chars, strlen(chars)};
    return lent;
}

static uint32_t fail(const struct litmus_err_out *err, uint32_t status, const char *why) {
    err->write(err->ctx, LITMUS_NO_TIME, text(why));
    return status;
}

static uint32_t minimal_describe(const struct litmus_text_out *out) {
    out->write(out->ctx, text("{\"name\":\"minimal\",\"version\":\"1.0\",\"capabilities\":{\"dedup\":false,\"audit\":false,"
                              "\"moves_file\":false,\"dry_run\":false,\"grade_max\":\"sent\",\"max_concurrent_delivers\":1,"
                              "\"batch_bytes\":1048576,\"batch_runs\":16},"));
    out->write(out->ctx, text("\"config_schema\":{\"type\":\"object\",\"required\":[\"path\"],\"properties\":"
                              "{\"path\":{\"type\":\"string\"}}}}"));
    return 0;
}

/* A real plugin uses a JSON parser: this one does not undo escapes. */
static uint32_t minimal_open(const struct litmus_host *host, struct litmus_str config, uint32_t flags,
                             const struct litmus_call *call, void **inst, const struct litmus_text_out *out,
                             const struct litmus_err_out *err) {
    (void)flags, (void)call;
    static const char key[] = "\"path\":\"";
    struct minimal *sink = calloc(1, sizeof *sink);
    if (sink == NULL) return fail(err, LITMUS_TRANSIENT, "out of memory");
    sink->host = host;
    for (size_t at = 0; at + sizeof key - 1 < config.len; at++) {
        if (memcmp(config.ptr + at, key, sizeof key - 1) != 0) continue;
        size_t from = at + sizeof key - 1, n = 0;
        while (from + n < config.len && config.ptr[from + n] != '"' && n + 1 < sizeof sink->path) {
            sink->path[n] = config.ptr[from + n];
            n++;
        }
    }
    if (sink->path[0] == '\0') {
        free(sink);
        return fail(err, LITMUS_CONFIG, "missing key \"path\"");
    }
    out->write(out->ctx, text("{\"destination\":\"minimal://"));
    out->write(out->ctx, text(sink->path));
    out->write(out->ctx, text("\",\"incarnation\":null}"));
    *inst = sink;
    return 0;
}

static uint32_t minimal_check(void *inst, const struct litmus_call *call, const struct litmus_text_out *out,
                              const struct litmus_err_out *err) {
    (void)inst, (void)call, (void)err;
    out->write(out->ctx, text("{\"notes\":[\"appends to a file\"]}"));
    return 0;
}

/* Rows of the run's measurements, or -1. The stream and the arrays are ours to release. */
static int64_t count_measurements(const struct litmus_run *run, const struct litmus_err_out *err) {
    struct ArrowArrayStream stream;
    int64_t rows = 0;
    if (run->open_table(run->ctx, LITMUS_TABLE_MEASUREMENTS, &stream, err) != 0) return -1;
    for (;;) {
        struct ArrowArray array;
        if (stream.get_next(&stream, &array) != 0) {
            rows = -1;
            break;
        }
        if (array.release == NULL) break; /* the end */
        rows += array.length;
        array.release(&array);
    }
    stream.release(&stream);
    return rows;
}

static uint32_t minimal_deliver(void *inst, const struct litmus_call *call, const struct litmus_run *const *runs, size_t n,
                                const struct litmus_err_out *err) {
    struct minimal *sink = inst;
    char line[64];
    FILE *file = fopen(sink->path, "a");
    if (file == NULL) return fail(err, LITMUS_TRANSIENT, "the file cannot be opened");
    for (size_t at = 0; at < n; at++) {
        const struct litmus_run *run = runs[at];
        if (call->is_cancelled(call->ctx)) break; /* what is not reported is tried again */
        int64_t rows = count_measurements(run, err);
        if (rows < 0) {
            call->report(call->ctx, at, LITMUS_DATA, LITMUS_NO_TIME, text("the run cannot be read"), text(""));
            continue;
        }
        fprintf(file, "%.*s ", (int)run->run_id.len, run->run_id.ptr);
        for (size_t byte = 0; byte < sizeof run->sha256; byte++) fprintf(file, "%02x", run->sha256[byte]);
        fprintf(file, " %lld\n", (long long)rows);
        if (fflush(file) != 0) {
            fclose(file);
            return fail(err, LITMUS_TRANSIENT, "the file cannot be written");
        }
        call->report(call->ctx, at, LITMUS_DELIVERED, LITMUS_NO_TIME, text(""), text("{\"grade\":\"sent\"}"));
    }
    fclose(file);
    snprintf(line, sizeof line, "%zu runs", n);
    sink->host->log(sink->host->ctx, 3, text("minimal"), text(line));
    return 0;
}

static uint32_t minimal_close(void *inst, const struct litmus_call *call, const struct litmus_err_out *err) {
    (void)call, (void)err;
    free(inst);
    return 0;
}

const struct litmus_tag litmus_sink_abi = {
    .magic = {'L', 'I', 'T', 'M', 'S', 'I', 'N', 'K'},
    .size = sizeof(struct litmus_tag),
    .abi_major = LITMUS_ABI_MAJOR,
    .abi_minor = LITMUS_ABI_MINOR,
    .name = "minimal",
    .version = "1.0",
    .built_with = "cc",
};

const struct litmus_sink litmus_sink = {
    .size = sizeof(struct litmus_sink),
    .abi_minor = LITMUS_ABI_MINOR,
    .describe = minimal_describe,
    .open = minimal_open,
    .check = minimal_check,
    .deliver = minimal_deliver,
    .close = minimal_close,
};
