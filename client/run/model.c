// SPDX-License-Identifier: BSD-2-Clause
/*
 * A model file is hostile: its header is copied and bounded, the bounds make
 * the sizes of all tensors fit into 64 bits, and the file must have exactly the
 * size that they add up to before a tensor is touched. After that the numbers
 * in it can be wrong, but no address can.
 *
 * The model's id is a hash of shape and weights. The name of the file is not
 * part of it, nor are the RoPE tables that v0 files carry and nobody reads.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "client/run/embedded.h"
#include "client/run/kernel.h"
#include "client/run/model.h"

#define V2_MAGIC  UINT32_C(0x616b3432) /* "ak42" */
#define V2_HEADER 256

struct shape { /* v0's header, and a part of v2's */
	int32_t dim;
	int32_t hidden;
	int32_t layers;
	int32_t heads;
	int32_t kv_heads;
	int32_t vocab; /* v0: negative when the classifier is separate */
	int32_t seq_len;
};

struct file {
	const char *path;
	const char *bytes;
	size_t size;
	size_t at;
	XXH3_state_t *hash;
	uint64_t hashed;
};

static int refuse(const struct file *file, const char *field, int64_t value,
		  const char *want)
{
	fprintf(stderr, "treekv-run: model %s: %s is %lld, but must be %s\n",
		file->path, field, (long long)value, want);
	return -EINVAL;
}

int file_map(void **ret, size_t *size, const char *path)
{
	struct stat st;
	void *map;
	int fd, r = 0;

	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0) {
		r = -errno;
		goto out;
	}
	if (!S_ISREG(st.st_mode) || st.st_size == 0) {
		fprintf(stderr, "treekv-run: %s is %s\n", path,
			S_ISREG(st.st_mode) ? "empty" : "no regular file");
		close(fd);
		return -EINVAL;
	}
	map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (map == MAP_FAILED) {
		r = -errno;
		goto out;
	}
	*ret = map;
	*size = (size_t)st.st_size;
out:
	if (fd >= 0)
		close(fd);
	if (r < 0)
		fprintf(stderr, "treekv-run: cannot read %s: %s\n", path,
			strerror(-r));
	return r;
}

struct bound {
	const char *name;
	int32_t value;
	int32_t max;
};

/* The largest tensor is 2^8 layers x 2^16 x 2^18 floats: 2^44 bytes. */
static int shape_check(const struct file *file, const struct shape *s)
{
	const struct bound bounds[] = {
		{ "dim", s->dim, 1 << 16 },
		{ "hidden_dim", s->hidden, 1 << 18 },
		{ "n_layers", s->layers, 1 << 8 },
		{ "n_heads", s->heads, 1 << 9 },
		{ "n_kv_heads", s->kv_heads, 1 << 9 },
		{ "vocab_size", s->vocab, 1 << 22 },
		{ "seq_len", s->seq_len, 1 << 24 },
	};
	char want[64];

	for (size_t i = 0; i < sizeof(bounds) / sizeof(*bounds); i++) {
		snprintf(want, sizeof(want), "1 to %d", bounds[i].max);
		if (bounds[i].value < 1 || bounds[i].value > bounds[i].max)
			return refuse(file, bounds[i].name, bounds[i].value,
				      want);
	}
	if (s->dim % s->heads || s->dim / s->heads % 2)
		return refuse(file, "dim", s->dim,
			      "an even multiple of n_heads");
	if (s->dim / s->heads > KERNEL_HEAD_DIM_MAX)
		return refuse(file, "dim / n_heads", s->dim / s->heads,
			      "512 at most");
	if (s->heads % s->kv_heads)
		return refuse(file, "n_heads", s->heads,
			      "a multiple of n_kv_heads");
	return 0;
}

static int group_check(const struct file *file, const struct shape *s,
		       int32_t group)
{
	if (group < KERNEL_LANES_MAX || group % KERNEL_LANES_MAX)
		return refuse(file, "group_size", group, "a multiple of 16");
	if (s->dim % group)
		return refuse(file, "dim", s->dim, "a multiple of group_size");
	if (s->hidden % group)
		return refuse(file, "hidden_dim", s->hidden,
			      "a multiple of group_size");
	return 0;
}

static int read_v2(struct model *m, struct shape *shape, struct file *file)
{
	int32_t version, group;
	uint8_t shared;
	int r;

	if (file->size < V2_HEADER)
		return refuse(file, "the size", (int64_t)file->size,
			      "256 bytes at least, the header");
	memcpy(&version, file->bytes + 4, sizeof(version));
	if (version != 2)
		return refuse(file, "the version", version,
			      "2 (Q8_0; export with --version 2)");
	memcpy(shape, file->bytes + 8, sizeof(*shape));
	memcpy(&shared, file->bytes + 36, sizeof(shared));
	memcpy(&group, file->bytes + 37, sizeof(group));
	if (shared > 1)
		return refuse(file, "shared_classifier", shared, "0 or 1");
	r = shape_check(file, shape);
	if (!r)
		r = group_check(file, shape, group);
	if (r < 0)
		return r;
	m->group = (uint32_t)group;
	m->shared = shared;
	file->at = V2_HEADER;
	return 0;
}

static int read_v0(struct model *m, struct shape *shape, struct file *file)
{
	if (file->size < sizeof(*shape))
		return refuse(file, "the size", (int64_t)file->size,
			      "28 bytes at least, the header");
	memcpy(shape, file->bytes, sizeof(*shape));
	m->shared = shape->vocab > 0;
	if (shape->vocab < 0 && shape->vocab != INT32_MIN)
		shape->vocab = -shape->vocab;
	file->at = sizeof(*shape);
	return shape_check(file, shape);
}

static int read_header(struct model *m, struct file *file)
{
	struct shape shape;
	uint32_t magic = 0;
	int r;

	if (file->size >= sizeof(magic))
		memcpy(&magic, file->bytes, sizeof(magic));
	if (magic == V2_MAGIC)
		r = read_v2(m, &shape, file);
	else
		r = read_v0(m, &shape, file);
	if (r < 0)
		return r;
	m->dim = (uint32_t)shape.dim;
	m->hidden = (uint32_t)shape.hidden;
	m->layers = (uint32_t)shape.layers;
	m->heads = (uint32_t)shape.heads;
	m->kv_heads = (uint32_t)shape.kv_heads;
	m->vocab = (uint32_t)shape.vocab;
	m->seq_len = (uint32_t)shape.seq_len;
	m->head_dim = m->dim / m->heads;
	m->kv_dim = m->head_dim * m->kv_heads;
	return 0;
}

static uint64_t tensor_bytes(const struct model *m, uint64_t values)
{
	return m->group ? values + values / m->group * sizeof(float) :
			  values * sizeof(float);
}

static int size_check(const struct model *m, const struct file *file)
{
	uint64_t dim = m->dim, hidden = m->hidden, layers = m->layers;
	uint64_t matrices =
		2 * dim * dim + 2 * dim * m->kv_dim + 3 * dim * hidden;
	uint64_t table = (uint64_t)m->vocab * dim * (m->shared ? 1 : 2);
	uint64_t want = file->at + (2 * layers + 1) * dim * sizeof(float) +
			tensor_bytes(m, layers * matrices + table);
	char text[64];

	if (!m->group) /* two tables for RoPE */
		want += (uint64_t)m->seq_len * m->head_dim * sizeof(float);
	if (file->size == want)
		return 0;
	snprintf(text, sizeof(text), "%llu, as its header has it",
		 (unsigned long long)want);
	return refuse(file, "the size in bytes", (int64_t)file->size, text);
}

static const void *take(struct file *file, uint64_t bytes)
{
	const void *at = file->bytes + file->at;

	XXH3_128bits_update(file->hash, at, bytes);
	file->at += bytes;
	file->hashed += bytes;
	return at;
}

static const float *take_floats(struct file *file, uint64_t values)
{
	return take(file, values * sizeof(float));
}

static void take_tensor(struct model *m, struct file *file, struct tensor *t,
			uint32_t rows, uint32_t cols)
{
	uint64_t values = (uint64_t)rows * cols;

	t->rows = rows;
	t->cols = cols;
	t->group = m->group;
	if (m->group) {
		t->q8 = take(file, values);
		t->scale = take_floats(file, values / m->group);
	} else {
		t->f32 = take_floats(file, values);
	}
}

static void take_v2(struct model *m, struct file *f)
{
	struct model_layer *layer = m->layer;
	uint32_t l;

	for (l = 0; l < m->layers; l++)
		layer[l].attention_norm = take_floats(f, m->dim);
	for (l = 0; l < m->layers; l++)
		layer[l].ffn_norm = take_floats(f, m->dim);
	m->final_norm = take_floats(f, m->dim);
	take_tensor(m, f, &m->embedding, m->vocab, m->dim);
	for (l = 0; l < m->layers; l++)
		take_tensor(m, f, &layer[l].wq, m->dim, m->dim);
	for (l = 0; l < m->layers; l++)
		take_tensor(m, f, &layer[l].wk, m->kv_dim, m->dim);
	for (l = 0; l < m->layers; l++)
		take_tensor(m, f, &layer[l].wv, m->kv_dim, m->dim);
	for (l = 0; l < m->layers; l++)
		take_tensor(m, f, &layer[l].wo, m->dim, m->dim);
	for (l = 0; l < m->layers; l++)
		take_tensor(m, f, &layer[l].w1, m->hidden, m->dim);
	for (l = 0; l < m->layers; l++)
		take_tensor(m, f, &layer[l].w2, m->dim, m->hidden);
	for (l = 0; l < m->layers; l++)
		take_tensor(m, f, &layer[l].w3, m->hidden, m->dim);
}

static void take_v0(struct model *m, struct file *f)
{
	struct model_layer *layer = m->layer;
	uint32_t l;

	take_tensor(m, f, &m->embedding, m->vocab, m->dim);
	for (l = 0; l < m->layers; l++)
		layer[l].attention_norm = take_floats(f, m->dim);
	for (l = 0; l < m->layers; l++)
		take_tensor(m, f, &layer[l].wq, m->dim, m->dim);
	for (l = 0; l < m->layers; l++)
		take_tensor(m, f, &layer[l].wk, m->kv_dim, m->dim);
	for (l = 0; l < m->layers; l++)
		take_tensor(m, f, &layer[l].wv, m->kv_dim, m->dim);
	for (l = 0; l < m->layers; l++)
		take_tensor(m, f, &layer[l].wo, m->dim, m->dim);
	for (l = 0; l < m->layers; l++)
		layer[l].ffn_norm = take_floats(f, m->dim);
	for (l = 0; l < m->layers; l++)
		take_tensor(m, f, &layer[l].w1, m->hidden, m->dim);
	for (l = 0; l < m->layers; l++)
		take_tensor(m, f, &layer[l].w2, m->dim, m->hidden);
	for (l = 0; l < m->layers; l++)
		take_tensor(m, f, &layer[l].w3, m->hidden, m->dim);
	m->final_norm = take_floats(f, m->dim);
	f->at += (uint64_t)m->seq_len * m->head_dim * sizeof(float);
}

static int read_weights(struct model *m, struct file *file)
{
	const uint32_t shape[] = {
		m->dim,	     m->hidden, m->layers,	   m->heads,
		m->kv_heads, m->vocab,	m->shared ? 1 : 0, m->group
	};
	XXH128_canonical_t digest;

	m->layer = calloc(m->layers, sizeof(*m->layer));
	file->hash = XXH3_createState();
	if (!m->layer || !file->hash) {
		XXH3_freeState(file->hash);
		fputs("treekv-run: out of memory\n", stderr);
		return -ENOMEM;
	}
	XXH3_128bits_reset(file->hash);
	XXH3_128bits_update(file->hash, shape, sizeof(shape));
	if (m->group)
		take_v2(m, file);
	else
		take_v0(m, file);
	m->classifier = m->embedding;
	if (!m->shared)
		take_tensor(m, file, &m->classifier, m->vocab, m->dim);
	XXH128_canonicalFromHash(&digest, XXH3_128bits_digest(file->hash));
	XXH3_freeState(file->hash);
	m->weight_bytes = file->hashed;
	memcpy(m->id, &digest, sizeof(digest));
	memcpy(m->id + sizeof(digest), &m->weight_bytes,
	       sizeof(m->weight_bytes));
	return 0;
}

int model_open(struct model **ret, const char *path)
{
	struct file file = {
		.path = path ? path : "(embedded)",
		.bytes = (const char *)embedded_model,
		/* cppcheck-suppress comparePointers ; the two ends of one */
		.size = (size_t)(embedded_model_end - embedded_model),
	};
	struct model *m;
	int r;

	m = calloc(1, sizeof(*m));
	if (!m) {
		fputs("treekv-run: out of memory\n", stderr);
		return -ENOMEM;
	}
	if (path) {
		r = file_map(&m->map, &m->map_size, path);
		if (r < 0)
			goto out;
		file.bytes = m->map;
		file.size = m->map_size;
	}
	r = read_header(m, &file);
	if (!r)
		r = size_check(m, &file);
	if (!r)
		r = read_weights(m, &file);
	if (r < 0)
		goto out;
	*ret = m;
	return 0;
out:
	model_free(m);
	return r;
}

struct model *model_free(struct model *m)
{
	if (!m)
		return NULL;
	if (m->map)
		munmap(m->map, m->map_size);
	free(m->layer);
	free(m);
	return NULL;
}
