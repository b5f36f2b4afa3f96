/* SPDX-License-Identifier: Apache-2.0 */
/*
 * proto/describe/describe.c - writes the tables of proto/descriptors.h; runs at build.
 *
 *     protoc --include_imports --descriptor_set_out=SET …      describe SET OUT.c
 *
 * A descriptor set is a list of files, each a message of its own. Every file becomes an array of
 * bytes as it is; only names are read from it, with a subset of the descriptor messages
 * (index.proto), so that the build needs no library of descriptors.
 *
 * A program of the build, so it gives up at the first mistake: status 1 and a line on stderr.
 */
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "describe/index.pb-c.h"

#define FILES_MAX      UINT16_MAX
#define NAME_BYTES_MAX 512

struct symbol {
    char name[NAME_BYTES_MAX];
    size_t file_idx;
};

struct tables {
    size_t n_files;
    Describe__File **files;          /* [n_files] owned */
    const ProtobufCBinaryData *data; /* [n_files] borrowed from the set */
    struct symbol *symbols;          /* [n_symbols] owned */
    size_t n_symbols, symbol_room;
};

static int fail(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("describe: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    return -1;
}

/* ---- symbols ---- */

/* "scope.name", or the name alone in a file without a package. */
static int add_symbol(struct tables *t, size_t file_idx, const char *scope, const char *name,
                      char out[NAME_BYTES_MAX])
{
    char full[NAME_BYTES_MAX];
    int n = snprintf(full, sizeof full, "%s%s%s", scope, *scope ? "." : "", name);
    if (n < 0 || n >= NAME_BYTES_MAX)
        return fail("%s.%s: a name of more than %d bytes", scope, name, NAME_BYTES_MAX - 1);
    if (t->n_symbols == t->symbol_room) {
        size_t room = t->symbol_room ? 2 * t->symbol_room : 256;
        struct symbol *symbols = realloc(t->symbols, room * sizeof *symbols);
        if (!symbols)
            return fail("no memory for %zu names", room);
        t->symbols = symbols;
        t->symbol_room = room;
    }
    struct symbol *symbol = &t->symbols[t->n_symbols++];
    memcpy(symbol->name, full, sizeof full);
    symbol->file_idx = file_idx;
    if (out)
        memcpy(out, full, sizeof full);
    return 0;
}

static int add_named(struct tables *t, size_t file_idx, const char *scope, Describe__Named **named,
                     size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (add_symbol(t, file_idx, scope, named[i]->name, NULL) != 0)
            return -1;
    return 0;
}

/* Values of an enum are named beside it, not inside: they share its scope. */
static int add_enums(struct tables *t, size_t file_idx, const char *scope, Describe__Group **enums,
                     size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (add_symbol(t, file_idx, scope, enums[i]->name, NULL) != 0 ||
            add_named(t, file_idx, scope, enums[i]->member, enums[i]->n_member) != 0)
            return -1;
    return 0;
}

static int add_messages(struct tables *t, size_t file_idx, const char *scope,
                        Describe__Message **messages, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const Describe__Message *m = messages[i];
        char name[NAME_BYTES_MAX];
        if (add_symbol(t, file_idx, scope, m->name, name) != 0 ||
            add_named(t, file_idx, name, m->field, m->n_field) != 0 ||
            add_named(t, file_idx, name, m->oneof_group, m->n_oneof_group) != 0 ||
            add_named(t, file_idx, name, m->extension, m->n_extension) != 0 ||
            add_enums(t, file_idx, name, m->enumeration, m->n_enumeration) != 0 ||
            add_messages(t, file_idx, name, m->nested, m->n_nested) != 0)
            return -1;
    }
    return 0;
}

static int add_services(struct tables *t, size_t file_idx, const Describe__File *file)
{
    for (size_t i = 0; i < file->n_service; i++) {
        const Describe__Group *service = file->service[i];
        char name[NAME_BYTES_MAX];
        if (add_symbol(t, file_idx, file->package, service->name, name) != 0 ||
            add_named(t, file_idx, name, service->member, service->n_member) != 0)
            return -1;
    }
    return 0;
}

static int compare_symbols(const void *a, const void *b)
{
    return strcmp(((const struct symbol *)a)->name, ((const struct symbol *)b)->name);
}

/* ---- reading ---- */

static uint8_t *read_whole(const char *path, size_t *len)
{
    FILE *file = fopen(path, "rb");
    long size = file && fseek(file, 0, SEEK_END) == 0 ? ftell(file) : -1;
    uint8_t *data = size >= 0 ? malloc((size_t)size + 1) : NULL;
    if (data) {
        rewind(file);
        *len = fread(data, 1, (size_t)size, file);
    }
    if (file)
        fclose(file);
    return data;
}

static int read_files(struct tables *t, const Describe__FileSet *set)
{
    if (set->n_file == 0 || set->n_file > FILES_MAX)
        return fail("%zu files, expected 1 to %d", set->n_file, FILES_MAX);
    t->data = set->file;
    t->files = calloc(set->n_file, sizeof(Describe__File *));
    if (!t->files)
        return fail("no memory for %zu files", set->n_file);
    for (size_t i = 0; i < set->n_file; i++) {
        Describe__File *file = describe__file__unpack(NULL, set->file[i].len, set->file[i].data);
        if (!file)
            return fail("file %zu of the set is no file descriptor", i);
        t->files[t->n_files++] = file;
        if (add_messages(t, i, file->package, file->message, file->n_message) != 0 ||
            add_enums(t, i, file->package, file->enumeration, file->n_enumeration) != 0 ||
            add_named(t, i, file->package, file->extension, file->n_extension) != 0 ||
            add_services(t, i, file) != 0)
            return -1;
    }
    qsort(t->symbols, t->n_symbols, sizeof *t->symbols, compare_symbols);
    return 0;
}

/* ---- writing ---- */

static int write_imports(FILE *out, const struct tables *t, size_t file_idx)
{
    const Describe__File *file = t->files[file_idx];
    if (file->n_dependency == 0)
        return 0;
    fprintf(out, "static const uint16_t imports_%zu[] = {", file_idx);
    for (size_t d = 0; d < file->n_dependency; d++) {
        size_t i = 0;
        while (i < t->n_files && strcmp(t->files[i]->name, file->dependency[d]) != 0)
            i++;
        if (i == t->n_files)
            return fail("%s imports %s, which is not in the set", file->name, file->dependency[d]);
        fprintf(out, "%zu, ", i);
    }
    fputs("};\n", out);
    return 0;
}

static void write_data(FILE *out, const struct tables *t, size_t file_idx)
{
    const ProtobufCBinaryData *data = &t->data[file_idx];
    fprintf(out, "static const uint8_t data_%zu[] = {", file_idx);
    for (size_t i = 0; i < data->len; i++)
        fprintf(out, "%s%u,", i % 24 == 0 ? "\n    " : "", data->data[i]);
    fputs("\n};\n", out);
}

static int write_tables(FILE *out, const struct tables *t)
{
    fputs("/* Made by proto/describe/describe.c. */\n#include \"proto/descriptors.h\"\n\n", out);
    for (size_t i = 0; i < t->n_files; i++) {
        write_data(out, t, i);
        if (write_imports(out, t, i) != 0)
            return -1;
    }
    fputs("\nconst struct proto_file proto_files[] = {\n", out);
    for (size_t i = 0; i < t->n_files; i++) {
        fprintf(out, "    {\"%s\", data_%zu, sizeof data_%zu, ", t->files[i]->name, i, i);
        if (t->files[i]->n_dependency)
            fprintf(out, "imports_%zu, %zu},\n", i, t->files[i]->n_dependency);
        else
            fputs("NULL, 0},\n", out);
    }
    fprintf(out, "};\nconst size_t proto_n_files = %zu;\n", t->n_files);
    fputs("\nconst struct proto_symbol proto_symbols[] = {\n", out);
    for (size_t i = 0; i < t->n_symbols; i++)
        fprintf(out, "    {\"%s\", %zu},\n", t->symbols[i].name, t->symbols[i].file_idx);
    fprintf(out, "};\nconst size_t proto_n_symbols = %zu;\n", t->n_symbols);
    return 0;
}

static int write_file(const char *path, const struct tables *t)
{
    FILE *out = fopen(path, "w");
    if (!out)
        return fail("cannot write %s", path);
    int rc = write_tables(out, t);
    if (fclose(out) != 0)
        rc = fail("cannot write %s", path);
    return rc;
}

static void free_tables(struct tables *t)
{
    for (size_t i = 0; i < t->n_files; i++)
        describe__file__free_unpacked(t->files[i], NULL);
    free(t->files);
    free(t->symbols);
}

int main(int argc, char **argv)
{
    struct tables tables = {0};
    size_t len = 0;
    int rc = -1;
    if (argc != 3)
        return fail("usage: describe SET OUT.c") != 0;
    uint8_t *data = read_whole(argv[1], &len);
    Describe__FileSet *set = data ? describe__file_set__unpack(NULL, len, data) : NULL;
    if (!set)
        fail("%s is no descriptor set", argv[1]);
    else if (read_files(&tables, set) == 0)
        rc = write_file(argv[2], &tables);
    free_tables(&tables);
    if (set)
        describe__file_set__free_unpacked(set, NULL);
    free(data);
    return rc != 0;
}
