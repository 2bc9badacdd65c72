// SPDX-License-Identifier: BSD-2-Clause
/*
 * What must be so, whatever the clients do: each request is answered once, in
 * order, unless its connection ends; a cache that nobody holds any more can be
 * dropped; and then the daemon has no descriptor, no lease and no byte of the
 * pool left. Input that is no request may end its connection, not more.
 */
#include <dirent.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include "daemon/control.h"
#include "daemon/snapshot_format.h"
#include "proto/barrier.h"
#include "tests/fuzz/session.h"
#include "tests/unit/plane_clear.h"

#define BODY_MAX   4096
#define FILES_DEEP 720 /* bytes: the header of a snapshot's file */
#define FILE_MAX   (1 << 20)

#define must(so)                                                         \
	do {                                                             \
		if (!(so)) {                                             \
			fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, \
				__LINE__, #so);                          \
			abort();                                         \
		}                                                        \
	} while (0)

/* With FUZZ_TELL set, what an input does is told, so that one can read it. */
__attribute__((format(printf, 1, 2))) static void tell(const char *format, ...)
{
	va_list args;

	if (!getenv("FUZZ_TELL"))
		return;
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
}

void session_begin(struct session *s, struct input input)
{
	*s = (struct session){ .input = input, .next = 1 };
	for (int i = 0; i < SESSION_PEERS; i++)
		s->peer[i].fd = -1;
}

/* ---- what is held ---- */

static void let_go(struct held *held)
{
	if (!held->rows)
		return;
	munmap(held->rows, held->rows_size);
	munmap((void *)(uintptr_t)held->index, held->index_size);
	if (held->bell >= 0)
		close(held->bell);
	*held = (struct held){ .bell = -1 };
}

static void take_hold(struct session *s, const Treekv__Attached *attached,
		      struct plane_reply *reply)
{
	struct held *held = &s->held[s->turn++ % SESSION_HELD];
	bool writer = attached->lease;
	void *rows, *index;

	must(reply->n_fds == 2U + writer + !!attached->parent_size);
	let_go(held);
	rows = mmap(NULL, attached->rows_size,
		    PROT_READ | (writer ? PROT_WRITE : 0), MAP_SHARED,
		    reply->fds[0], 0);
	index = mmap(NULL, attached->index_size, PROT_READ, MAP_SHARED,
		     reply->fds[1], 0);
	must(rows != MAP_FAILED && index != MAP_FAILED);
	*held = (struct held){
		.rows = rows,
		.index = index,
		.rows_size = attached->rows_size,
		.index_size = attached->index_size,
		.cache = attached->cache,
		.lease = attached->lease,
		.bell = -1,
	};
	if (writer) {
		held->bell = reply->fds[reply->n_fds - 1];
		reply->fds[reply->n_fds - 1] = -1;
	}
}

/* ---- connections ---- */

static void hang_up(struct peer *peer)
{
	if (peer->fd >= 0)
		close(peer->fd);
	*peer = (struct peer){ .fd = -1, .process = peer->process };
}

static void expect(struct peer *peer, uint64_t id)
{
	peer->asked[peer->n_asked++] = id;
}

/* Further events have the number of a request that has been answered. */
static bool is_event(const struct peer *peer, const Treekv__Reply *reply)
{
	return peer->follows &&
	       reply->body_case == TREEKV__REPLY__BODY_EVENTS &&
	       !(peer->n_asked && peer->asked[0] == reply->id);
}

static void note_answer(struct peer *peer, const Treekv__Reply *reply)
{
	tell("  %d answers %llu: %d %s", peer->fd,
	     (unsigned long long)reply->id, reply->error,
	     reply->text ? reply->text : "");
	must(!reply->error || (reply->text && *reply->text));
	if (peer->raw || is_event(peer, reply))
		return;
	must(peer->n_asked && peer->asked[0] == reply->id);
	if (reply->body_case == TREEKV__REPLY__BODY_PROGRESS)
		return;
	peer->n_asked--;
	memmove(peer->asked, peer->asked + 1,
		peer->n_asked * sizeof(*peer->asked));
}

static void take_reply(struct session *s, struct peer *peer)
{
	struct plane_reply got;

	if (!plane_read(peer->fd, &got)) {
		must(peer->raw);
		hang_up(peer);
		return;
	}
	note_answer(peer, got.reply);
	if (got.reply->body_case == TREEKV__REPLY__BODY_ATTACHED)
		take_hold(s, got.reply->attached, &got);
	plane_reply_free(&got);
}

static void hear_out(struct session *s, struct peer *peer)
{
	while (peer->fd >= 0 && peer->n_asked && !peer->raw)
		take_reply(s, peer);
	while (peer->fd >= 0 && plane_readable(peer->fd))
		take_reply(s, peer);
}

static void greet(struct peer *peer)
{
	Treekv__Request request = TREEKV__REQUEST__INIT;
	Treekv__Hello hello = TREEKV__HELLO__INIT;
	static char program[] = "fuzz";

	hello.version_min = hello.version_max = TREEKV_PROTOCOL;
	hello.program = program;
	request.body_case = TREEKV__REQUEST__BODY_HELLO;
	request.hello = &hello;
	plane_send(peer->fd, &request);
	expect(peer, 0);
}

static void connect_peer(struct peer *peer, uint8_t how)
{
	if (peer->process) {
		plane_kill(peer->process);
		peer->process = 0;
	}
	hang_up(peer);
	if (how % 3 == 0)
		peer->fd = plane_connect();
	else
		peer->fd = plane_connect_from(&peer->process,
					      how % 3 == 1 ? 0 : SESSION_OTHER);
	must(peer->fd >= 0);
	if (how & 128)
		peer->raw = true; /* says nothing of itself */
	else
		greet(peer);
}

static struct peer *choose_peer(struct session *s)
{
	struct peer *peer = &s->peer[input_8(&s->input) % SESSION_PEERS];

	if (peer->fd < 0)
		connect_peer(peer, peer->process ? 1 : 0);
	return peer;
}

static void ask(struct session *s, bool wait)
{
	uint8_t frame[FRAME_HEADER + BODY_MAX];
	struct peer *peer = choose_peer(s);
	Treekv__Request__BodyCase body;
	size_t size;

	if (peer->n_asked == SESSION_ASKED && !peer->raw)
		hear_out(s, peer);
	size = request_make(s, frame + FRAME_HEADER, BODY_MAX, &body);
	if (!size || peer->fd < 0)
		return;
	tell("request %llu to %d: body %d%s", (unsigned long long)s->next,
	     peer->fd, body, wait ? "" : " and more");
	frame_header(frame, (uint32_t)size);
	plane_write(peer->fd, frame, FRAME_HEADER + size);
	if (!peer->raw)
		expect(peer, s->next);
	s->broken |= body == TREEKV__REQUEST__BODY_BREAK_LEASE;
	s->anew |= body == TREEKV__REQUEST__BODY_QUOTA;
	if (body == TREEKV__REQUEST__BODY_EVENTS)
		peer->follows = s->next;
	s->next++;
	if (wait)
		hear_out(s, peer);
}

static void send_raw(struct session *s, uint8_t how)
{
	uint8_t bytes[FRAME_HEADER + 256];
	struct peer *peer = choose_peer(s);
	uint8_t n = input_8(&s->input);

	input_bytes(&s->input, bytes + FRAME_HEADER, n);
	frame_header(bytes, how & 1 ? n : input_32(&s->input));
	peer->raw = true;
	plane_write(peer->fd, bytes, FRAME_HEADER + n);
	plane_settle();
	hear_out(s, peer);
}

/* ---- writers ---- */

static struct held *choose_writer(struct session *s)
{
	struct held *held = &s->held[input_8(&s->input) % SESSION_HELD];

	return held->rows && held->lease ? held : NULL;
}

static void ring(const struct held *held)
{
	if (held->bell >= 0)
		eventfd_write(held->bell, 1);
}

/* As many tokens as there is room for, @n at most; their ids are known. */
static void step(const struct held *held, uint64_t n)
{
	const struct shm_index *index = held->index;
	uint64_t generation = shm_load_acquire(&index->generation);
	const struct shm_buffer *b =
		(const void *)((const char *)index +
			       index->buffer[generation & 1]);
	uint64_t word = shm_commit_under(held->rows->commit, b->prefill);
	uint64_t tail = shm_commit_tail(word);
	uint32_t *ids = (uint32_t *)(void *)((char *)held->rows + index->ids);

	if (tail < b->base_tail || tail - b->base_tail > b->free)
		return;
	if (n > b->free - (tail - b->base_tail))
		n = b->free - (tail - b->base_tail);
	for (uint64_t t = tail; t < tail + n && t < index->spec.ids; t++)
		ids[t] = t % 5;
	shm_store_release(&held->rows->seen, generation);
	if (held->rows->head < tail + n)
		shm_store_release(&held->rows->head, tail + n);
	shm_store_release(&held->rows->commit,
			  shm_commit_pack(tail + n, !(word & 1)));
}

static void lie(const struct held *held, struct input *input)
{
	uint8_t which = input_8(input), how = input_8(input);
	uint64_t value = input_64(input), *word;
	uint64_t *const words[] = { &held->rows->commit, &held->rows->head,
				    &held->rows->seen };

	if (which == 255) { /* zeros, and no memory */
		madvise(held->rows, held->rows_size, MADV_REMOVE);
		return;
	}
	if (which < 192)
		word = words[which % 3];
	else
		word = (uint64_t *)held->rows +
		       (which < 224 ? input_16(input) : input_32(input)) %
			       (held->rows_size / 8);
	if (how & 1)
		value = *word + (uint64_t)(int64_t)(int8_t)value;
	shm_store_release(word, value);
}

/* ---- the folder ---- */

/* A hash keeps nobody out who can compute one. */
static void seal_again(int fd)
{
	static uint8_t bytes[FILE_MAX];
	ssize_t n = pread(fd, bytes, sizeof(bytes), 0);
	struct snapshot_header header;

	if (n < (ssize_t)SNAPSHOT_PAGE || n == sizeof(bytes))
		return;
	memcpy(&header, bytes, sizeof(header));
	for (int i = 0; i < SNAPSHOT_SECTIONS; i++) {
		struct snapshot_part *part = &header.part[i];

		if (part->at <= (uint64_t)n && part->size <= n - part->at)
			part->hash =
				snapshot_hash(bytes + part->at, part->size);
	}
	snapshot_seal(bytes, &header);
	must(pwrite(fd, bytes, SNAPSHOT_PAGE, 0) == SNAPSHOT_PAGE);
}

/* Some bytes of a snapshot's file are others, or missing. */
static void spoil(struct session *s, const char *folder, const char *name,
		  uint8_t how)
{
	char path[512];
	uint64_t value = input_64(&s->input);
	off_t at = input_16(&s->input);
	int fd;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return;
	if (how & 1 ? ftruncate(fd, at) :
		      pwrite(fd, &value, sizeof(value),
			     how & 2 ? at % FILES_DEEP : at) < 0)
		abort();
	if (how & 8)
		seal_again(fd);
	tell("  %s at %lld", path, (long long)at);
	close(fd);
}

static void spoil_file(struct session *s, uint8_t how)
{
	char path[128], name[256] = "";
	uint8_t which = input_8(&s->input);
	struct dirent *entry;
	DIR *folder;

	snprintf(path, sizeof(path), "%s/state/snapshots/%d", plane_folder(),
		 how & 4 ? SESSION_OTHER : 0);
	folder = opendir(path);
	if (!folder)
		return;
	for (uint8_t i = 0; (entry = readdir(folder));)
		if (entry->d_name[0] != '.' && i++ <= which % 4)
			snprintf(name, sizeof(name), "%s", entry->d_name);
	closedir(folder);
	if (*name)
		spoil(s, path, name, how);
}

/* ---- the daemon's end ---- */

/* What it left is not what it was, before the next one looks at it. */
static void spoil_kept(struct session *s, uint8_t n)
{
	unsigned int kept;
	struct plane_kept *at = plane_kept(&kept);

	while (kept && n--) {
		int fd = at[input_8(&s->input) % kept].fd;
		uint64_t value = input_64(&s->input);
		off_t where = input_16(&s->input);

		/* Some are sealed, one is a socket. */
		if (pwrite(fd, &value, sizeof(value), where) > 0)
			tell("  %llx at %lld of %d", (unsigned long long)value,
			     (long long)where, fd);
	}
}

static void restart(struct session *s, uint8_t how)
{
	const char *why = NULL;

	for (int i = 0; i < SESSION_PEERS; i++)
		hang_up(&s->peer[i]);
	plane_pause();
	spoil_kept(s, how % 4);
	must(!plane_resume(&why));
	tell("  adopted %u, quarantined %u, damaged %u, given up %u",
	     treekvd.adopted.sound, treekvd.adopted.quarantined,
	     treekvd.adopted.damaged, treekvd.adopted.unpaired);
	s->anew = true;
}

void session_act(struct session *s)
{
	uint8_t what = input_8(&s->input), how = what / 16;
	struct held *held;

	tell("act %u, %u", what % 16, how);
	switch (what % 16) {
	case 0:
		connect_peer(&s->peer[how % SESSION_PEERS], input_8(&s->input));
		return;
	case 1:
		hang_up(&s->peer[how % SESSION_PEERS]);
		return;
	case 2:
		send_raw(s, how);
		return;
	case 3:
		let_go(&s->held[how % SESSION_HELD]);
		return;
	case 4:
		if (how == 7)
			restart(s, input_8(&s->input));
		else
			spoil_file(s, how);
		return;
	case 5:
		plane_settle();
		return;
	case 6:
	case 7:
		held = choose_writer(s);
		if (held)
			lie(held, &s->input);
		if (held && how & 1)
			ring(held);
		return;
	case 8:
	case 9:
	case 10:
		held = choose_writer(s);
		if (held)
			step(held, input_8(&s->input));
		if (held && how & 1)
			ring(held);
		return;
	case 11:
		ask(s, false);
		return;
	default:
		ask(s, true);
	}
}

/* ---- the end ---- */

void session_end(struct session *s)
{
	for (int i = 0; i < SESSION_PEERS; i++) {
		hang_up(&s->peer[i]);
		if (s->peer[i].process)
			plane_kill(s->peer[i].process);
	}
	for (int i = 0; i < SESSION_HELD; i++)
		let_go(&s->held[i]);
	plane_clear(SESSION_OTHER);
	plane_clear(0);
	tell("%u caches and %llu bytes left", treekvd.store.caches,
	     (unsigned long long)treekvd.store.used);
	plane_await_end();
	/* Whose lease was broken has the rows as long as he lives: we do. */
	must(!treekvd.store.used || s->broken);
	s->anew |= treekvd.store.used != 0;
}
