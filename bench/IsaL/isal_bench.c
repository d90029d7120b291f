/*
 * Erasure coding by ISA-L, measured as bench/Micro measures our own (Harness.cs and ErasureCodingBenchmarks.cs): the same names, the same layout
 * of the shards in memory, the same warm-up and samples, one thread. For every line of input that is a name
 *
 *     ErasureCoding.Encode.<k>+<m>.<shard bytes>          all parity shards of k data shards
 *     ErasureCoding.Reconstruct2.<k>+<m>.<shard bytes>    data shards 0 and 1 out of the k that follow
 *
 * one JSON line is written. MB/s are of data: k times the shard. scripts/rs-bench.sh builds and runs it.
 */
#define _POSIX_C_SOURCE 200809L
#include <isa-l.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MAX_SHARDS = 64, SAMPLES = 5 };
static const double WARMUP_SECONDS = 0.3, SAMPLE_SECONDS = 0.02;

static double seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static void fail(const char *what, const char *detail)
{
    fprintf(stderr, "%s: %s\n", what, detail);
    exit(1);
}

struct task {
    int k, rows, shard_bytes;
    unsigned char tables[32 * MAX_SHARDS * MAX_SHARDS];
    unsigned char *in[MAX_SHARDS], *out[MAX_SHARDS];
};

static double time_operations(struct task *task, long operations)
{
    double start = seconds_now();
    for (long i = 0; i < operations; i++)
        ec_encode_data(task->shard_bytes, task->k, task->rows, task->tables, task->in, task->out);
    return seconds_now() - start;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void measure(const char *name)
{
    char operation[32], end;
    int k, m, shard_bytes;
    if (sscanf(name, "ErasureCoding.%31[^.].%d+%d.%d%c", operation, &k, &m, &shard_bytes, &end) != 4 || k < 2 || m < 2 || k + m > MAX_SHARDS || shard_bytes < 1)
        fail("not a name of a benchmark", name);
    int reconstruct = strcmp(operation, "Reconstruct2") == 0;
    if (!reconstruct && strcmp(operation, "Encode") != 0)
        fail("not an operation", name);

    void *memory;
    if (posix_memalign(&memory, 4096, (size_t)(k + m) * (size_t)shard_bytes) != 0)
        fail("no memory", name);
    unsigned char *shards[MAX_SHARDS];
    for (int i = 0; i < k + m; i++)
        shards[i] = (unsigned char *)memory + (size_t)i * (size_t)shard_bytes;
    srand(1);
    for (size_t i = 0; i < (size_t)k * (size_t)shard_bytes; i++)
        ((unsigned char *)memory)[i] = (unsigned char)(rand() >> 7);

    static struct task task;
    static unsigned char matrix[MAX_SHARDS * MAX_SHARDS], chosen[MAX_SHARDS * MAX_SHARDS], inverse[MAX_SHARDS * MAX_SHARDS];
    gf_gen_cauchy1_matrix(matrix, k + m, k);
    task.k = k;
    task.rows = m;
    task.shard_bytes = shard_bytes;
    ec_init_tables(k, m, matrix + k * k, task.tables);
    memcpy(task.in, shards, (size_t)k * sizeof *shards);
    memcpy(task.out, shards + k, (size_t)m * sizeof *shards);
    time_operations(&task, 1);

    if (reconstruct) {
        /* Shards 2 to k + 1 are what is read. The first two rows of their inverse make shards 0 and 1. */
        memcpy(chosen, matrix + 2 * k, (size_t)k * (size_t)k);
        if (gf_invert_matrix(chosen, inverse, k) != 0)
            fail("the matrix is singular", name);
        unsigned char *before = malloc(2 * (size_t)shard_bytes);
        if (before == NULL)
            fail("no memory", name);
        memcpy(before, memory, 2 * (size_t)shard_bytes);
        memset(memory, 0, 2 * (size_t)shard_bytes);
        task.rows = 2;
        ec_init_tables(k, 2, inverse, task.tables);
        memcpy(task.in, shards + 2, (size_t)k * sizeof *shards);
        memcpy(task.out, shards, 2 * sizeof *shards);
        time_operations(&task, 1);
        if (memcmp(before, memory, 2 * (size_t)shard_bytes) != 0)
            fail("wrong bytes", name);
        free(before);
    }

    long operations = 1;
    for (double start = seconds_now(); seconds_now() - start < WARMUP_SECONDS;) {
        double each = time_operations(&task, operations) / (double)operations;
        long fitting = (long)(SAMPLE_SECONDS / (each > 1e-10 ? each : 1e-10));
        operations = fitting < 1 ? 1 : fitting > operations * 10 ? operations * 10 : fitting;
    }

    double samples[SAMPLES];
    for (int i = 0; i < SAMPLES; i++)
        samples[i] = time_operations(&task, operations) / (double)operations;
    qsort(samples, SAMPLES, sizeof *samples, compare);
    double median = samples[SAMPLES / 2];
    printf("{\"name\":\"%s\",\"nanoseconds_per_operation\":%.2f,\"nanoseconds_min\":%.2f,\"nanoseconds_max\":%.2f,\"mb_per_second\":%.1f}\n", name, median * 1e9,
           samples[0] * 1e9, samples[SAMPLES - 1] * 1e9, (double)k * shard_bytes / median / 1e6);
    fflush(stdout);
    free(memory);
}

int main(void)
{
    char line[128];
    while (fgets(line, sizeof line, stdin) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        measure(line);
    }

    return 0;
}
