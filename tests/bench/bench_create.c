// SPDX-License-Identifier: BSD-2-Clause
/*
 * bench_create SOCKET: what a new cache of 64 MiB costs where caches come and
 * go: made, used, dropped, and the next one made. Ours: create, and a byte of
 * every huge page looked at, which must be zero. Theirs: mmap in huge pages and
 * memset, as a process would by itself.
 *
 * The daemon keeps cleared memory ready and makes more when some is taken. The
 * first row waits until it has, as where caches are made less often than the
 * machine can clear memory; the second does not.
 */
#include "bench.h"
#include "client/conn.h"

enum {
	LAYERS = 16,
	HEADS = 8,
	ROW = 256, /* head_dim 128, bf16 */
	BUDGET = 928,
	SLACK = 64,
	SAMPLES = 15,
	WAIT_MS = 20000,
};

static const struct treekv_spec spec = {
	.model = "bench",
	.layers = LAYERS,
	.kv_heads = HEADS,
	.k_row = ROW,
	.v_row = ROW,
	.dtype = TREEKV_BF16,
	.policy = TREEKV_POLICY_TREEKV,
	.positions = TREEKV_POSITIONS_RANK,
	.budget = BUDGET,
	.sinks = 4,
	.recent = BUDGET / 2 - 4,
	.slack = SLACK,
};

static uint64_t metric(struct treekv *kv, const char *name)
{
	Treekv__Request request = TREEKV__REQUEST__INIT;
	Treekv__Stats body = TREEKV__STATS__INIT;
	Treekv__Reply *reply;
	uint64_t value = 0;

	request.body_case = TREEKV__REQUEST__BODY_STATS;
	request.stats = &body;
	bench_check(conn_call(kv, &request, &reply, NULL, NULL), "stats");
	for (size_t i = 0; i < reply->stats->n_metric; i++)
		if (!strcmp(reply->stats->metric[i]->name, name))
			value = reply->stats->metric[i]->value;
	treekv__reply__free_unpacked(reply, NULL);
	return value;
}

static void await(struct treekv *kv, const char *name, uint64_t least,
		  uint64_t most)
{
	uint64_t end = bench_ns() + (uint64_t)WAIT_MS * 1000000, value;

	do {
		value = metric(kv, name);
	} while ((value < least || value > most) && bench_ns() < end);
	if (value < least || value > most)
		bench_die(name, "it does not become what it should be");
}

static uint64_t look_at(const volatile uint8_t *at, size_t size)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < size; i += BENCH_HUGE_PAGE)
		sum += at[i];
	return sum;
}

/* Returns the cache's bytes. */
static size_t create(struct treekv *kv, double *us)
{
	uint64_t begin = bench_ns(), sum = 0;
	struct treekv_counters counters;
	struct treekv_cache *cache;
	struct treekv_view view;

	bench_check(treekv_open(&cache, kv, NULL, &spec,
				TREEKV_CREATE | TREEKV_EPHEMERAL),
		    "create");
	for (uint32_t l = 0; l < LAYERS; l++) {
		bench_check(treekv_view(cache, l, 0, &view), "view");
		sum += look_at(view.k, HEADS * view.slots * (size_t)ROW);
		sum += look_at(view.v, HEADS * view.slots * (size_t)ROW);
	}
	*us = (double)(bench_ns() - begin) / 1000;
	if (sum)
		bench_die("a new cache", "it is not zero");
	treekv_counters(cache, &counters);
	treekv_detach(cache);
	return counters.bytes;
}

static double clear(size_t size)
{
	uint64_t begin = bench_ns(), end;
	void *at = mmap(NULL, size, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);

	if (at == MAP_FAILED)
		bench_die("private memory", "no huge pages left");
	memset(at, 0, size);
	__asm__ volatile("" : : "r"(at) : "memory");
	end = bench_ns();
	munmap(at, size);
	return (double)(end - begin) / 1000;
}

static void run(const char *name, struct treekv *kv, int wait)
{
	struct bench_row *row = bench_row_new(name);
	size_t size;
	double us;

	for (int i = -1; i < SAMPLES; i++) {
		await(kv, "caches", 0, 0);
		size = create(kv, &us);
		size = (size + BENCH_HUGE_PAGE - 1) & -BENCH_HUGE_PAGE;
		if (i >= 0)
			bench_ours(row, us);
		if (wait)
			await(kv, "ready_bytes", 3 * size / 2, UINT64_MAX);
		us = clear(size);
		if (i >= 0)
			bench_theirs(row, us);
	}
	bench_row_end(row);
}

int main(int argc, char **argv)
{
	struct treekv *kv;

	if (argc < 2)
		bench_die(argv[0], "needs SOCKET");
	bench_check(treekv_connect(&kv, argv[1]), "connect");
	run("create", kv, 1);
	run("create.rush", kv, 0);
	treekv_close(kv);
	return 0;
}
