/* A plugin of ABI minor 0 that uses all there was of it. Frozen: `cargo test` builds it against the header beside it, which is
 * frozen too, and every host of this major has to load it and find it well. Never change it; docs/abi.md says why.
 *
 * It keeps "run_id sha256 rows" lines in the file that its configuration names, and can do everything a sink can do.
 */
#define _XOPEN_SOURCE 700
#include "litmus_sink.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct frozen {
    const struct litmus_host *host;
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

static uint32_t frozen_describe(const struct litmus_text_out *out) {
    out->write(out->ctx, text("{\"name\":\"frozen\",\"version\":\"1.0.0\",\"capabilities\":{\"dedup\":true,\"audit\":true,"
                              "\"moves_file\":true,\"dry_run\":true,\"grade_max\":\"committed\",\"max_concurrent_delivers\":1,"
                              "\"batch_bytes\":1048576,\"batch_runs\":16},"));
    out->write(out->ctx, text("\"config_schema\":{\"type\":\"object\",\"additionalProperties\":false,\"required\":[\"path\"],"
                              "\"properties\":{\"path\":{\"type\":\"string\",\"description\":\"The file.\"}}}}"));
    return 0;
}

static uint32_t frozen_open(const struct litmus_host *host, struct litmus_str config, uint32_t flags,
                            const struct litmus_call *call, void **inst, const struct litmus_text_out *out,
                            const struct litmus_err_out *err) {
    static const char key[] = "\"path\":\"";
    struct frozen *sink = calloc(1, sizeof *sink);
    if (sink == NULL) return fail(err, LITMUS_TRANSIENT, "out of memory");
    if (host->size < sizeof(struct litmus_host) || call->size < sizeof(struct litmus_call)) {
        free(sink);
        return fail(err, LITMUS_UNSUPPORTED, "the host's structs are shorter than those of minor 0");
    }
    sink->host = host;
    for (size_t at = 0; at + sizeof key - 1 < config.len; at++) {
        size_t from = at + sizeof key - 1, n = 0;
        if (memcmp(config.ptr + at, key, sizeof key - 1) != 0) continue;
        for (; from + n < config.len && config.ptr[from + n] != '"' && n + 1 < sizeof sink->path; n++)
            sink->path[n] = config.ptr[from + n];
    }
    if (sink->path[0] == '\0') {
        free(sink);
        return fail(err, LITMUS_CONFIG, "missing key \"path\"");
    }
    out->write(out->ctx, text("{\"destination\":\"frozen://"));
    out->write(out->ctx, text(sink->path));
    out->write(out->ctx, text(flags & LITMUS_OPEN_OFFLINE ? "\",\"incarnation\":null}"
                                                          : "\",\"incarnation\":\"00000000-0000-4000-8000-000000000000\"}"));
    *inst = sink;
    return 0;
}

static uint32_t frozen_check(void *inst, const struct litmus_call *call, const struct litmus_text_out *out,
                             const struct litmus_err_out *err) {
    (void)inst, (void)err;
    if (call->is_cancelled(call->ctx)) return LITMUS_CANCELLED;
    out->write(out->ctx, text("{\"incarnation\":\"00000000-0000-4000-8000-000000000000\",\"notes\":[\"minor 0\"]}"));
    return 0;
}

/* The line of a run, into `line`; false where there is none. */
static int find(const struct frozen *sink, struct litmus_str run_id, char *line, size_t room) {
    FILE *file = fopen(sink->path, "r");
    int found = 0;
    while (file != NULL && !found && fgets(line, (int)room, file) != NULL)
        found = strlen(line) > run_id.len && memcmp(line, run_id.ptr, run_id.len) == 0;
    if (file != NULL) fclose(file);
    return found;
}

/* Rows of all five tables, read to their end; -1 with the host's reason told. */
static int64_t count(const struct litmus_run *run, const struct litmus_err_out *err) {
    int64_t rows = 0;
    for (uint32_t table = LITMUS_TABLE_RUNS; table <= LITMUS_TABLE_INSTRUMENTS; table++) {
        struct ArrowArrayStream stream;
        struct ArrowSchema schema;
        if (run->open_table(run->ctx, table, &stream, err) != 0) return -1;
        if (stream.get_schema(&stream, &schema) != 0) rows = -1;
        else schema.release(&schema);
        while (rows >= 0) {
            struct ArrowArray array;
            if (stream.get_next(&stream, &array) != 0) rows = -1;
            else if (array.release == NULL) break;
            else {
                rows += array.length;
                array.release(&array);
            }
        }
        stream.release(&stream);
        if (rows < 0) return -1;
    }
    return rows;
}

static uint32_t frozen_deliver(void *inst, const struct litmus_call *call, const struct litmus_run *const *runs, size_t n,
                               const struct litmus_err_out *err) {
    struct frozen *sink = inst;
    char line[256], message[64], magic[4];
    for (size_t at = 0; at < n; at++) {
        const struct litmus_run *run = runs[at];
        if (call->is_cancelled(call->ctx)) return fail(err, LITMUS_CANCELLED, "cancelled by the host");
        if (run->size < sizeof(struct litmus_run)) return fail(err, LITMUS_UNSUPPORTED, "a run shorter than that of minor 0");
        if (run->run_id.len != 36 || run->rank.len == 0 || run->summary_json.len < 2 || run->attachments_json.len < 2) {
            call->report(call->ctx, at, LITMUS_DATA, LITMUS_NO_TIME, text("a run without its texts"), text(""));
            continue;
        }
        if (run->sealed_fd >= 0 && (pread(run->sealed_fd, magic, 4, 0) != 4 || memcmp(magic, "PAR1", 4) != 0)) {
            call->report(call->ctx, at, LITMUS_DATA, LITMUS_NO_TIME, text("no sealed file"), text(""));
            continue;
        }
        if (find(sink, run->run_id, line, sizeof line) && (run->flags & LITMUS_RUN_FORCE) == 0) {
            call->report(call->ctx, at, LITMUS_ALREADY_PRESENT, LITMUS_NO_TIME, text(""), text("{}"));
            continue;
        }
        if (call->flags & LITMUS_CALL_DRY_RUN) {
            call->report(call->ctx, at, LITMUS_DELIVERED, LITMUS_NO_TIME, text(""), text("{\"planned\":[\"append a line\"]}"));
            continue;
        }
        int64_t rows = count(run, err);
        FILE *file = rows < 0 ? NULL : fopen(sink->path, "a");
        if (file == NULL) {
            call->report(call->ctx, at, rows < 0 ? LITMUS_DATA : LITMUS_TRANSIENT, 50, text("not now"), text(""));
            continue;
        }
        fprintf(file, "%.*s ", (int)run->run_id.len, run->run_id.ptr);
        for (size_t byte = 0; byte < sizeof run->sha256; byte++) fprintf(file, "%02x", run->sha256[byte]);
        fprintf(file, " %lld\n", (long long)rows);
        fclose(file);
        call->report(call->ctx, at, LITMUS_DELIVERED, LITMUS_NO_TIME, text(""), text("{\"grade\":\"committed\"}"));
    }
    snprintf(message, sizeof message, "%zu runs, attempt %u", n, call->attempt);
    sink->host->log(sink->host->ctx, 3, text("frozen"), text(message));
    return 0;
}

static uint32_t frozen_audit(void *inst, const struct litmus_call *call, const struct litmus_str *run_ids, size_t n,
                             const struct litmus_audit_out *out, const struct litmus_err_out *err) {
    char line[256], answer[512];
    for (size_t at = 0; at < n; at++) {
        if (call->is_cancelled(call->ctx)) return fail(err, LITMUS_CANCELLED, "cancelled by the host");
        int length = (int)run_ids[at].len;
        if (find(inst, run_ids[at], line, sizeof line))
            snprintf(answer, sizeof answer, "{\"run_id\":\"%.*s\",\"sha256\":\"%.64s\"}", length, run_ids[at].ptr, line + length + 1);
        else
            snprintf(answer, sizeof answer, "{\"run_id\":\"%.*s\",\"sha256\":null}", length, run_ids[at].ptr);
        if (length > 0 && run_ids[at].ptr[0] == 'f') out->report(out->ctx, at, LITMUS_TRANSIENT, text("not this one, not now"));
        else out->report(out->ctx, at, 0, text(answer));
    }
    return 0;
}

static uint32_t frozen_flush(void *inst, const struct litmus_call *call, const struct litmus_err_out *err) {
    (void)inst, (void)err;
    return call->is_cancelled(call->ctx) ? LITMUS_CANCELLED : 0;
}

static uint32_t frozen_close(void *inst, const struct litmus_call *call, const struct litmus_err_out *err) {
    (void)call, (void)err;
    free(inst);
    return 0;
}

const struct litmus_tag litmus_sink_abi = {
    .magic = {'L', 'I', 'T', 'M', 'S', 'I', 'N', 'K'},
    .size = sizeof(struct litmus_tag),
    .abi_major = LITMUS_ABI_MAJOR,
    .abi_minor = LITMUS_ABI_MINOR,
    .name = "frozen",
    .version = "1.0.0",
    .built_with = "cc",
};

const struct litmus_sink litmus_sink = {
    .size = sizeof(struct litmus_sink),
    .abi_minor = LITMUS_ABI_MINOR,
    .describe = frozen_describe,
    .open = frozen_open,
    .check = frozen_check,
    .deliver = frozen_deliver,
    .audit = frozen_audit,
    .flush = frozen_flush,
    .close = frozen_close,
};
