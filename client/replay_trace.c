// SPDX-License-Identifier: BSD-2-Clause
/*
 * A trace holds, for each step t, layer and kv head, the t + 1 attention
 * weights of the original positions 0 ... t. It is quadratic in the number of
 * steps, so it is read once, front to back, in the sequence in which it was
 * recorded.
 *
 * The file may be anything. Its size is checked against its header before the
 * first weight is read, and a file that shrinks meanwhile reads as torn.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "client/replay_impl.h"

#define TRACE_MAGIC	  "TKVTRC1" /* and its NUL */
#define TRACE_MAGIC_SIZE  8
#define TRACE_HEADER_SIZE 20
#define TRACE_BUFFER	  (1 << 20)

/* Return: false when it does not fit 64 bits, which no file's size does. */
static bool trace_size(const struct trace *trace, uint64_t *ret)
{
	uint64_t size = (uint64_t)trace->layers * trace->kv_heads;

	if (__builtin_mul_overflow(size, trace->steps, &size) ||
	    __builtin_mul_overflow(size, (uint64_t)trace->steps + 1, &size) ||
	    __builtin_mul_overflow(size, UINT64_C(2), &size) ||
	    __builtin_add_overflow(size, UINT64_C(20), &size))
		return false;
	*ret = size;
	return true;
}

static enum replay_status check_bound(const struct trace *trace,
				      const char *field, uint32_t value,
				      uint32_t min, uint32_t max)
{
	if (value >= min && value <= max)
		return REPLAY_OK;
	return replay_complain(
		REPLAY_REFUSED,
		"%s is no trace: its header says %u %s, but %u to %u "
		"are possible",
		trace->path, value, field, min, max);
}

static enum replay_status check_size(const struct trace *trace, uint64_t size)
{
	uint64_t expected;

	if (!trace_size(trace, &expected))
		return replay_complain(
			REPLAY_REFUSED,
			"%s is no trace: %u layers, %u kv heads and %u "
			"steps, as its header says, fit no file; it "
			"has %" PRIu64 " bytes",
			trace->path, trace->layers, trace->kv_heads,
			trace->steps, size);
	if (size == expected)
		return REPLAY_OK;
	return replay_complain(
		REPLAY_REFUSED,
		"%s is %s: %u layers, %u kv heads and %u steps, as its "
		"header says, take %" PRIu64 " bytes, but it has %" PRIu64,
		trace->path, size < expected ? "cut short" : "too long",
		trace->layers, trace->kv_heads, trace->steps, expected, size);
}

/* Reads and checks the header; what it says is only used afterwards. */
static enum replay_status trace_check(struct trace *trace, uint64_t size)
{
	uint8_t header[TRACE_HEADER_SIZE];
	enum replay_status r;

	if (size < sizeof(header) ||
	    fread(header, 1, sizeof(header), trace->file) != sizeof(header))
		return replay_complain(
			REPLAY_REFUSED,
			"%s is cut short or no trace: a header takes "
			"%d bytes, but it has %" PRIu64,
			trace->path, TRACE_HEADER_SIZE, size);
	if (memcmp(header, TRACE_MAGIC, TRACE_MAGIC_SIZE))
		return replay_complain(REPLAY_REFUSED,
				       "%s is no trace: it does not begin with "
				       "'" TRACE_MAGIC "' and a zero byte",
				       trace->path);
	memcpy(&trace->layers, header + 8, sizeof(uint32_t));
	memcpy(&trace->kv_heads, header + 12, sizeof(uint32_t));
	memcpy(&trace->steps, header + 16, sizeof(uint32_t));
	r = check_size(trace, size);
	if (!r)
		r = check_bound(trace, "layers", trace->layers, 1,
				SHM_LAYERS_MAX);
	if (!r)
		r = check_bound(trace, "kv heads", trace->kv_heads, 1,
				SHM_KV_HEADS_MAX);
	return r;
}

enum replay_status trace_open(struct trace *trace)
{
	struct stat st;

	trace->file = fopen(trace->path, "rbe");
	if (!trace->file || fstat(fileno(trace->file), &st))
		return replay_complain(REPLAY_REFUSED,
				       "cannot open the trace %s: %s",
				       trace->path, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return replay_complain(
			REPLAY_REFUSED,
			"%s is no trace: it is not a regular file",
			trace->path);
	setvbuf(trace->file, NULL, _IOFBF, TRACE_BUFFER);
	return trace_check(trace, st.st_size);
}

enum replay_status trace_read(struct trace *trace, float *to, uint32_t n)
{
	if (fread(to, sizeof(*to), n, trace->file) == n)
		return REPLAY_OK;
	if (ferror(trace->file))
		return replay_complain(REPLAY_REFUSED,
				       "cannot read the trace %s: %s",
				       trace->path, strerror(errno));
	return replay_complain(REPLAY_REFUSED,
			       "%s became shorter while it was read",
			       trace->path);
}

void trace_close(struct trace *trace)
{
	if (trace->file)
		fclose(trace->file);
}
