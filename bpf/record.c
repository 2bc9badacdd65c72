// SPDX-License-Identifier: BSD-2-Clause
/*
 * A thousand caches make a sample of a hundred and some kilobytes, of which a
 * second changes little: each frame is compressed with the sample before it as
 * the prefix that the compressor may refer to. Every KEY_EVERY-th goes without,
 * so that a sample can be reached through so many frames at most.
 *
 * A file is anybody's: sizes are bounded before memory is taken, offsets are
 * looked up once and read with pread(2), so that a file that shrinks meanwhile
 * is an error and no signal, and what comes out of a frame goes through its
 * checksum, the protobuf parser and sample_check(). A recorder that was killed
 * leaves half a frame at the end: all before it is shown.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <zstd.h>

#include "bpf/record.h"
#include "bpf/sample.h"

#define MAGIC	   "TKVTOP"
#define VERSION	   1
#define HEADER	   16
#define FRAME	   12
#define FRAMES_MAX (1U << 26)
#define MEMORY_MAX ((size_t)256 << 20) /* of a sample */
#define KEY_EVERY  64
#define LEVEL	   3
#define FLAG_KEY   1U
#define FLAGS	   FLAG_KEY

struct bytes {
	uint8_t *at;
	size_t size;
};

struct record_writer {
	int fd;
	char *path;
	uint64_t frames;
	off_t end; /* of what is whole */
	ZSTD_CCtx *zstd;
	struct bytes last;
};

struct frame {
	off_t at; /* of what is compressed */
	uint32_t packed;
	uint32_t size;
	uint32_t flags;
};

struct record_reader {
	int fd;
	char *path;
	struct frame *frame;
	size_t frames;
	ZSTD_DCtx *zstd;
	struct bytes last; /* the sample read last, packed */
	size_t last_is; /* its number; SIZE_MAX: there is none */
};

__attribute__((format(printf, 3, 4))) static int
fail(struct record_error *why, int error, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(why->text, sizeof(why->text), format, args);
	va_end(args);
	return error;
}

static int no_memory(struct record_error *why)
{
	return fail(why, -ENOMEM, "no memory for a sample");
}

static void put32(uint8_t *to, uint32_t value)
{
	memcpy(to, &value, sizeof(value));
}

static uint32_t get32(const uint8_t *from)
{
	uint32_t value;

	memcpy(&value, from, sizeof(value));
	return value;
}

/* ---- writing ---- */

static int write_all(int fd, const uint8_t *bytes, size_t size, off_t at)
{
	while (size) {
		ssize_t n = pwrite(fd, bytes, size, at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? -errno : -EIO;
		bytes += n;
		size -= (size_t)n;
		at += n;
	}
	return 0;
}

int record_create(struct record_writer **ret, const char *path,
		  struct record_error *why)
{
	uint8_t header[HEADER] = MAGIC;
	struct record_writer *writer = calloc(1, sizeof(*writer));
	int r;

	if (!writer)
		return no_memory(why);
	writer->fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (writer->fd < 0) {
		r = -errno;
		fail(why, r, "cannot begin a record at %s: %s%s", path,
		     strerror(-r),
		     r == -EEXIST ? "; give another name, or remove it" : "");
		free(writer);
		return r;
	}
	header[6] = VERSION;
	writer->path = strdup(path);
	writer->zstd = ZSTD_createCCtx();
	r = writer->path && writer->zstd ? 0 : -ENOMEM;
	if (!r)
		r = write_all(writer->fd, header, HEADER, 0);
	if (r) {
		record_close(writer);
		return fail(why, r, "cannot write to %s: %s", path,
			    strerror(-r));
	}
	writer->end = HEADER;
	*ret = writer;
	return 0;
}

/* Return: the size of the compressed bytes at to + FRAME, or 0. */
static size_t compress_sample(struct record_writer *writer, uint8_t *to,
			      size_t room, const struct bytes *sample, bool key)
{
	ZSTD_CCtx *zstd = writer->zstd;
	size_t n;

	ZSTD_CCtx_reset(zstd, ZSTD_reset_session_and_parameters);
	ZSTD_CCtx_setParameter(zstd, ZSTD_c_compressionLevel, LEVEL);
	ZSTD_CCtx_setParameter(zstd, ZSTD_c_checksumFlag, 1);
	if (!key && ZSTD_isError(ZSTD_CCtx_refPrefix(zstd, writer->last.at,
						     writer->last.size)))
		return 0;
	n = ZSTD_compress2(zstd, to + FRAME, room - FRAME, sample->at,
			   sample->size);
	return ZSTD_isError(n) ? 0 : n;
}

static int append(struct record_writer *writer, const struct bytes *sample,
		  struct record_error *why)
{
	bool key = writer->frames % KEY_EVERY == 0;
	size_t room = FRAME + ZSTD_compressBound(sample->size), n;
	uint8_t *to = malloc(room);
	int r;

	if (!to)
		return no_memory(why);
	n = compress_sample(writer, to, room, sample, key);
	if (!n) {
		free(to);
		return no_memory(why);
	}
	put32(to, (uint32_t)n);
	put32(to + 4, (uint32_t)sample->size);
	put32(to + 8, key ? FLAG_KEY : 0);
	r = write_all(writer->fd, to, FRAME + n, writer->end);
	free(to);
	if (r) {
		/* Half a frame must not stand before the next one. */
		(void)!ftruncate(writer->fd, writer->end);
		return fail(why, r, "the record %s ends here: %s", writer->path,
			    strerror(-r));
	}
	writer->end += (off_t)(FRAME + n);
	writer->frames++;
	return 0;
}

int record_append(struct record_writer *writer, const Treekv__Sample *sample,
		  struct record_error *why)
{
	struct bytes bytes = { .size = treekv__sample__get_packed_size(
				       sample) };
	int r;

	if (bytes.size > RECORD_SAMPLE_MAX)
		return fail(why, -EFBIG,
			    "a sample of %zu bytes is too large for a record",
			    bytes.size);
	bytes.at = malloc(bytes.size + 1);
	if (!bytes.at)
		return no_memory(why);
	treekv__sample__pack(sample, bytes.at);
	r = append(writer, &bytes, why);
	if (r) {
		free(bytes.at);
		return r;
	}
	free(writer->last.at);
	writer->last = bytes;
	return 0;
}

struct record_writer *record_close(struct record_writer *writer)
{
	if (!writer)
		return NULL;
	close(writer->fd);
	ZSTD_freeCCtx(writer->zstd);
	free(writer->last.at);
	free(writer->path);
	free(writer);
	return NULL;
}

/* ---- reading ---- */

/* Return: 0, -ENODATA it ends before, or a negative errno. */
static int read_all(int fd, uint8_t *to, size_t size, off_t at)
{
	while (size) {
		ssize_t n = pread(fd, to, size, at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? -errno : -ENODATA;
		to += n;
		size -= (size_t)n;
		at += n;
	}
	return 0;
}

static int read_header(struct record_reader *reader, struct record_error *why)
{
	static const uint8_t zeros[HEADER];
	uint8_t header[HEADER];
	int r = read_all(reader->fd, header, HEADER, 0);

	if (r && r != -ENODATA)
		return fail(why, r, "cannot read %s: %s", reader->path,
			    strerror(-r));
	if (r || memcmp(header, MAGIC, sizeof(MAGIC) - 1))
		return fail(why, -EBADMSG,
			    "%s is no record of treekv-top; 'treekv-top "
			    "--record FILE' makes one",
			    reader->path);
	if (header[6] != VERSION || header[7])
		return fail(why, -EPROTO,
			    "%s is a record of version %u, this treekv-top "
			    "reads version %d: use the one that made it",
			    reader->path, header[6] + 256U * header[7],
			    VERSION);
	if (memcmp(header + 8, zeros, HEADER - 8))
		return fail(why, -EBADMSG, "the header of %s is damaged",
			    reader->path);
	return 0;
}

static int add_frame(struct record_reader *reader, const struct frame *frame)
{
	size_t n = reader->frames;
	struct frame *more;

	if (!(n & (n - 1))) {
		more = realloc(reader->frame, (n ? 2 * n : 1) * sizeof(*more));
		if (!more)
			return -ENOMEM;
		reader->frame = more;
	}
	reader->frame[reader->frames++] = *frame;
	return 0;
}

static bool frame_is_sound(const struct frame *frame, size_t number)
{
	return frame->packed && frame->size &&
	       frame->size <= RECORD_SAMPLE_MAX &&
	       frame->packed <= ZSTD_compressBound(RECORD_SAMPLE_MAX) &&
	       !(frame->flags & ~FLAGS) &&
	       (number || frame->flags & FLAG_KEY) && number < FRAMES_MAX;
}

/* Finds all frames that are whole. */
static int scan(struct record_reader *reader, struct record_error *why)
{
	off_t at = HEADER, end = lseek(reader->fd, 0, SEEK_END);
	struct frame frame;
	uint8_t head[FRAME];
	int r = end < 0 ? -errno : 0;

	while (!r && at + FRAME <= end) {
		r = read_all(reader->fd, head, FRAME, at);
		if (r)
			break;
		frame = (struct frame){ at + FRAME, get32(head),
					get32(head + 4), get32(head + 8) };
		if (!frame_is_sound(&frame, reader->frames))
			return fail(why, -EBADMSG,
				    "%s is damaged at byte %lld, after %zu "
				    "samples",
				    reader->path, (long long)at,
				    reader->frames);
		if (frame.packed > end - frame.at)
			break;
		r = add_frame(reader, &frame);
		at = frame.at + frame.packed;
	}
	if (r)
		return fail(why, r, "cannot read %s: %s", reader->path,
			    strerror(-r));
	if (!reader->frames)
		return fail(why, -ENODATA, "the record %s has no sample",
			    reader->path);
	if (at != end)
		fail(why, 0,
		     "the record %s ends within a sample; the %zu before it "
		     "are whole",
		     reader->path, reader->frames);
	return 0;
}

int record_open(struct record_reader **ret, const char *path,
		struct record_error *why)
{
	struct record_reader *reader = calloc(1, sizeof(*reader));
	int r;

	why->text[0] = '\0';
	if (!reader)
		return no_memory(why);
	reader->last_is = SIZE_MAX;
	reader->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (reader->fd < 0) {
		r = -errno;
		free(reader);
		return fail(why, r, "cannot open the record %s: %s", path,
			    strerror(-r));
	}
	reader->path = strdup(path);
	reader->zstd = ZSTD_createDCtx();
	r = reader->path && reader->zstd ? 0 : no_memory(why);
	if (!r)
		r = read_header(reader, why);
	if (!r)
		r = scan(reader, why);
	if (r)
		record_free(reader);
	else
		*ret = reader;
	return r;
}

size_t record_samples(const struct record_reader *reader)
{
	return reader->frames;
}

/* What a sample unpacks to is bounded: tiny messages take much memory. */
struct budget {
	size_t left;
};

static void *budget_alloc(void *data, size_t size)
{
	struct budget *budget = data;

	if (size > budget->left)
		return NULL;
	budget->left -= size;
	return malloc(size);
}

static void budget_free(void *data, void *pointer)
{
	(void)data;
	free(pointer);
}

/* NULL: it is none, or too large. Freed as any other. */
static Treekv__Sample *unpack(const struct bytes *from)
{
	struct budget budget = { MEMORY_MAX };
	ProtobufCAllocator allocator = { budget_alloc, budget_free, &budget };

	return treekv__sample__unpack(&allocator, from->size, from->at);
}

static int damaged(const struct record_reader *reader, size_t i,
		   struct record_error *why, const char *what)
{
	return fail(why, -EBADMSG, "sample %zu of %s is damaged: %s", i + 1,
		    reader->path, what);
}

static int decompress(struct record_reader *reader, size_t i, struct bytes *to,
		      const uint8_t *packed, struct record_error *why)
{
	const struct frame *frame = &reader->frame[i];
	size_t n = 0;

	ZSTD_DCtx_reset(reader->zstd, ZSTD_reset_session_and_parameters);
	if (!(frame->flags & FLAG_KEY))
		n = ZSTD_DCtx_refPrefix(reader->zstd, reader->last.at,
					reader->last.size);
	if (!ZSTD_isError(n))
		n = ZSTD_decompressDCtx(reader->zstd, to->at, to->size, packed,
					frame->packed);
	if (ZSTD_isError(n))
		return damaged(reader, i, why, ZSTD_getErrorName(n));
	if (n != frame->size)
		return damaged(reader, i, why, "its size is another");
	return 0;
}

/* The packed sample i, those that it is made from being there. */
static int load(struct record_reader *reader, size_t i,
		struct record_error *why)
{
	const struct frame *frame = &reader->frame[i];
	struct bytes to = { malloc(frame->size), frame->size };
	uint8_t *packed = malloc(frame->packed);
	int r = to.at && packed ? 0 : no_memory(why);

	if (!r) {
		r = read_all(reader->fd, packed, frame->packed, frame->at);
		if (r)
			fail(why, r, "cannot read sample %zu of %s: %s", i + 1,
			     reader->path, strerror(-r));
	}
	if (!r)
		r = decompress(reader, i, &to, packed, why);
	free(packed);
	if (r) {
		free(to.at);
		return r;
	}
	free(reader->last.at);
	reader->last = to;
	reader->last_is = i;
	return 0;
}

int record_read(struct record_reader *reader, size_t i, Treekv__Sample **ret,
		struct record_error *why)
{
	Treekv__Sample *sample;
	const char *what;
	size_t from = i;
	int r = 0;

	while (from != reader->last_is &&
	       !(reader->frame[from].flags & FLAG_KEY))
		from--;
	from += from == reader->last_is;
	for (; !r && from <= i; from++)
		r = load(reader, from, why);
	if (r)
		return r;
	sample = unpack(&reader->last);
	if (!sample)
		return damaged(reader, i, why,
			       "it is no sample, or too large a one");
	if (sample_check(sample, &what)) {
		sample_free(sample);
		return damaged(reader, i, why, what);
	}
	*ret = sample;
	return 0;
}

struct record_reader *record_free(struct record_reader *reader)
{
	if (!reader)
		return NULL;
	close(reader->fd);
	ZSTD_freeDCtx(reader->zstd);
	free(reader->last.at);
	free(reader->frame);
	free(reader->path);
	free(reader);
	return NULL;
}
