// SPDX-License-Identifier: BSD-2-Clause
/*
 * Requests by the input's bytes. Values come from tables that make it likely
 * that two requests speak of the same thing; any field may be odd all the same.
 */
#include <stdint.h>
#include <string.h>

#include "tests/fuzz/session.h"

#define IDS_MAX	    64
#define BUDGETS_MAX 4
#define EDGES_MAX   8
#define SETS_MAX    4
#define PEERS_MANY  64U /* connections that one may have at the least */
#define OWNERS	    250 /* first bytes from here on: who may do what */

/* What a request points into, until it has been packed. */
static struct {
	uint8_t model[SHM_MODEL_SIZE + 1];
	uint32_t budget[BUDGETS_MAX];
	uint32_t ids[IDS_MAX];
	uint64_t edge[EDGES_MAX];
	uint32_t live[BUDGETS_MAX];
	uint32_t walk[BUDGETS_MAX];
	Treekv__Spec spec;
	char name[SHM_NAME_MAX + 2];
	char parent[SHM_NAME_MAX + 2];
} room;

/* Spelt out are names of a group, or of another user. */
static char *make_name(struct input *input, char to[SHM_NAME_MAX + 2])
{
	static const char *const spelt[] = { "@0/a",	 "@65534/a", "~0/a",
					     "~65534/a", "@/a",	     "~1x/a" };
	static const char *const names[] = { "a", "b", "c", "d",  "a",
					     "b", "",  "e", "/x", "\xff" };
	uint8_t first = input_8(input), which = first % 12;

	if (first >= OWNERS) {
		strcpy(to, spelt[first - OWNERS]);
	} else if (which < 10) {
		strcpy(to, names[which]);
	} else {
		memset(to, 'n', SHM_NAME_MAX + 1);
		to[SHM_NAME_MAX + which - 10] = '\0';
	}
	return to;
}

static uint32_t odd_32(struct input *input, uint32_t value, bool odd)
{
	return odd ? input_32(input) : value;
}

/* The second byte says which field is odd, if any. */
static Treekv__Spec *make_spec(struct input *input)
{
	static const uint32_t rows[] = { 4, 64, 1024, 4096 };
	static const uint32_t budgets[] = { 8, 16, 40, 200 };
	uint8_t shape = input_8(input), odd = input_8(input);
	uint8_t policy = input_8(input), kept = input_8(input);
	Treekv__Spec *spec = &room.spec;

	treekv__spec__init(spec);
	memset(room.model, odd == 1 ? 'o' : 'm', sizeof(room.model));
	spec->model.data = room.model;
	spec->model.len = SHM_MODEL_SIZE + (odd == 2) - (odd == 3);
	spec->layers = odd_32(input, shape % 2 + 1U, odd == 4);
	spec->kv_heads = odd_32(input, shape / 2 % 2 + 1U, odd == 5);
	spec->k_row = odd_32(input, rows[shape / 4 % 4], odd == 6);
	spec->v_row = odd_32(input, rows[shape / 16 % 4], odd == 7);
	spec->dtype = (Treekv__Dtype)odd_32(input, 1, odd == 8);
	spec->policy = (Treekv__Policy)odd_32(input, policy % 7 + 1U, odd == 9);
	spec->positions = (Treekv__Positions)odd_32(input, policy / 8 % 2 + 1U,
						    odd == 10);
	for (uint32_t i = 0; i < BUDGETS_MAX; i++)
		room.budget[i] = budgets[(policy / 16 + i * (shape / 64)) % 4];
	room.budget[0] = odd_32(input, room.budget[0], odd == 11);
	spec->budget = room.budget;
	spec->n_budget = odd == 12  ? BUDGETS_MAX :
			 shape & 64 ? 1 :
				      spec->layers;
	if (spec->n_budget > BUDGETS_MAX)
		spec->n_budget = 1;
	spec->sinks = odd_32(input, kept % 4, odd == 13);
	spec->recent = odd_32(input, kept / 4 % 4, odd == 14);
	spec->slack = odd_32(input, kept / 16 % 4 * 8 + 1U, odd == 15);
	spec->ids = odd_32(input, kept & 64 ? IDS_MAX : 0, odd == 16);
	return spec;
}

/* What session.c's writers say their tokens are. */
static ProtobufCBinaryData make_ids(struct input *input)
{
	ProtobufCBinaryData ids = { .data = (uint8_t *)room.ids };
	uint8_t n = input_8(input), other = input_8(input);

	for (uint32_t i = 0; i < IDS_MAX; i++)
		room.ids[i] = i % 5;
	room.ids[other % IDS_MAX] += other / IDS_MAX;
	ids.len = n % (IDS_MAX + 1) * sizeof(uint32_t);
	if (n > 250)
		ids.len = n; /* no whole number of them, perhaps */
	return ids;
}

/* One that somebody holds, or held, or one that nobody can. */
static uint64_t make_lease(struct session *s)
{
	uint8_t which = input_8(&s->input);

	if (which >= 240)
		return input_64(&s->input);
	return s->held[which % SESSION_HELD].lease;
}

static uint64_t make_cache(struct session *s)
{
	uint8_t which = input_8(&s->input);

	if (which >= 240)
		return input_64(&s->input);
	return s->held[which % SESSION_HELD].cache;
}

static void make_create(struct session *s, Treekv__Request *to, uint8_t bits)
{
	static Treekv__Create m;

	treekv__create__init(&m);
	m.name = make_name(&s->input, room.name);
	m.spec = make_spec(&s->input);
	m.has_attach_existing = true;
	m.attach_existing = bits & 1;
	m.has_ephemeral = true;
	m.ephemeral = bits & 2;
	m.has_nonce = bits & 4;
	m.nonce = bits / 64;
	m.has_progress = true;
	m.progress = bits & 8;
	m.has_ttl = bits & 16;
	m.ttl = bits & 32 ? input_64(&s->input) : 1;
	to->create = &m;
}

static void make_attach(struct session *s, Treekv__Request *to, uint8_t bits)
{
	static Treekv__Attach m;

	treekv__attach__init(&m);
	m.name = make_name(&s->input, room.name);
	m.spec = bits & 1 ? make_spec(&s->input) : NULL;
	m.has_renew = bits & 2;
	m.renew = bits & 2 ? make_lease(s) : 0;
	m.has_nonce = bits & 4;
	m.nonce = bits / 64;
	m.has_progress = true;
	m.progress = bits & 8;
	m.has_read = true;
	m.read = bits & 16;
	to->attach = &m;
}

static void make_fork(struct session *s, Treekv__Request *to, uint8_t bits)
{
	static Treekv__Fork m;

	treekv__fork__init(&m);
	m.name = make_name(&s->input, room.name);
	m.parent = bits & 1 ? NULL : make_name(&s->input, room.parent);
	m.spec = bits & 2 ? make_spec(&s->input) : NULL;
	m.has_tokens = bits & 4;
	m.tokens = bits & 4 ? input_8(&s->input) : 0;
	m.has_evict_prefix = true;
	m.evict_prefix = bits & 8;
	m.has_ephemeral = true;
	m.ephemeral = bits & 16;
	m.has_nonce = bits & 32;
	m.nonce = bits / 64;
	m.has_ids = bits & 1;
	if (bits & 1)
		m.ids = make_ids(&s->input);
	m.has_compacted = true;
	m.compacted = bits & 64;
	to->fork = &m;
}

static void make_lookup(struct session *s, Treekv__Request *to, uint8_t bits)
{
	static Treekv__Lookup m;

	treekv__lookup__init(&m);
	m.spec = make_spec(&s->input);
	m.ids = make_ids(&s->input);
	m.has_compacted = true;
	m.compacted = bits & 1;
	to->lookup = &m;
}

static void make_prefill(struct session *s, Treekv__Request *to, uint8_t bits)
{
	static Treekv__Prefill m;

	treekv__prefill__init(&m);
	m.lease = make_lease(s);
	m.tail = bits & 1 ? input_64(&s->input) : input_8(&s->input);
	m.live = room.live;
	m.walk = room.walk;
	m.n_live = m.n_walk = bits / 2 % (BUDGETS_MAX + 1);
	for (size_t l = 0; l < m.n_live; l++) {
		room.live[l] = input_8(&s->input);
		room.walk[l] = input_8(&s->input) % 8;
	}
	to->prefill = &m;
}

static void make_kept(struct session *s, Treekv__Request *to, uint8_t bits)
{
	static Treekv__Kept m;

	treekv__kept__init(&m);
	m.cache = make_cache(s);
	m.edge = room.edge;
	m.n_edge = bits % (EDGES_MAX + 1);
	for (size_t i = 0; i < m.n_edge; i++)
		room.edge[i] = (i ? room.edge[i - 1] : 0) + input_8(&s->input);
	m.has_groups = bits & 16;
	m.groups = bits / 32;
	to->kept = &m;
}

static void make_break(struct session *s, Treekv__Request *to, uint8_t bits)
{
	static Treekv__Break m;

	treekv__break__init(&m);
	m.name = make_name(&s->input, room.name);
	m.has_cache = bits & 1;
	m.cache = bits & 1 ? make_cache(s) : 0;
	to->break_lease = &m;
}

static void make_drop(struct session *s, Treekv__Request *to, uint8_t bits)
{
	static Treekv__Drop m;

	treekv__drop__init(&m);
	m.name = make_name(&s->input, room.name);
	m.has_cache = bits & 1;
	m.cache = bits & 1 ? make_cache(s) : 0;
	m.has_keep_snapshot = true;
	m.keep_snapshot = bits & 2;
	to->drop = &m;
}

static void make_snapshot(struct session *s, Treekv__Request *to, uint8_t bits)
{
	static Treekv__Snapshot m;

	treekv__snapshot__init(&m);
	m.name = bits & 1 ? NULL : make_name(&s->input, room.name);
	m.has_all = true;
	m.all = bits & 2;
	m.has_progress = true;
	m.progress = bits & 4;
	m.has_cache = bits & 8;
	m.cache = bits & 8 ? make_cache(s) : 0;
	to->snapshot = &m;
}

static void make_restore(struct session *s, Treekv__Request *to, uint8_t bits)
{
	static Treekv__Restore m;

	treekv__restore__init(&m);
	m.name = bits & 1 ? NULL : make_name(&s->input, room.name);
	m.has_all = true;
	m.all = bits & 2;
	m.has_progress = true;
	m.progress = bits & 4;
	to->restore = &m;
}

/* Those with no more than a name and a word or two. */
static void make_small(struct session *s, Treekv__Request *to, uint8_t bits)
{
	static Treekv__Detach detach;
	static Treekv__Freeze freeze;
	static Treekv__Park park;
	static Treekv__Keep keep;
	static Treekv__Inspect inspect;

	treekv__detach__init(&detach);
	treekv__freeze__init(&freeze);
	treekv__park__init(&park);
	treekv__keep__init(&keep);
	treekv__inspect__init(&inspect);
	freeze.name = park.name = keep.name = inspect.name =
		make_name(&s->input, room.name);
	freeze.has_lease = bits & 1;
	detach.has_nonce = bits & 2;
	detach.nonce = bits / 64;
	park.has_progress = true;
	park.progress = bits & 2;
	keep.has_pinned = bits & 4;
	keep.pinned = bits & 8;
	keep.has_ttl = bits & 16;
	keep.ttl = bits & 32 ? input_64(&s->input) : bits & 1;
	inspect.has_cache = bits & 1;
	if (bits & 1)
		detach.lease = freeze.lease = make_lease(s);
	if (bits & 1)
		inspect.cache = make_cache(s);
	switch (bits / 4 % 5) {
	case 0:
		to->body_case = TREEKV__REQUEST__BODY_DETACH;
		to->detach = &detach;
		break;
	case 1:
		to->body_case = TREEKV__REQUEST__BODY_FREEZE;
		to->freeze = &freeze;
		break;
	case 2:
		to->body_case = TREEKV__REQUEST__BODY_PARK;
		to->park = &park;
		break;
	case 3:
		to->body_case = TREEKV__REQUEST__BODY_KEEP;
		to->keep = &keep;
		break;
	default:
		to->body_case = TREEKV__REQUEST__BODY_INSPECT;
		to->inspect = &inspect;
	}
}

static uint32_t make_id(struct input *input)
{
	uint8_t which = input_8(input);

	return which < 100 ? 0 : which < 200 ? SESSION_OTHER : input_32(input);
}

static void make_chmod(struct session *s, Treekv__Request *to, uint8_t bits)
{
	static const uint32_t modes[] = { 0600, 0660, 0640, 0644,
					  0666, 0000, 0400, 0777 };
	static Treekv__Chmod m;

	treekv__chmod__init(&m);
	m.name = make_name(&s->input, room.name);
	m.mode = bits < 240 ? modes[bits % 8] : input_32(&s->input);
	to->chmod = &m;
}

static void make_chown(struct session *s, Treekv__Request *to, uint8_t bits)
{
	static Treekv__Chown m;

	treekv__chown__init(&m);
	m.name = make_name(&s->input, room.name);
	m.has_uid = bits & 1;
	m.uid = bits & 1 ? make_id(&s->input) : 0;
	m.has_gid = bits & 2;
	m.gid = bits & 2 ? make_id(&s->input) : 0;
	to->chown = &m;
}

/* Peers are not turned away: session.c would take that for a mistake. */
static uint64_t make_limit(struct input *input, uint8_t kind)
{
	uint8_t how = input_8(input);

	if (how >= 240)
		return input_64(input) | PEERS_MANY;
	return kind == 0 ? how * UINT64_C(65536) :
	       kind == 1 ? how % 8U :
			   PEERS_MANY + how;
}

static void make_quota(struct session *s, Treekv__Request *to, uint8_t bits)
{
	static char kinds[][12] = { "bytes", "caches", "connections",
				    "requests", "hours" };
	static Treekv__QuotaSet set[SETS_MAX], *list[SETS_MAX];
	static Treekv__Quota m;

	treekv__quota__init(&m);
	m.has_uid = bits & 1;
	m.uid = bits & 1 ? make_id(&s->input) : 0;
	m.has_gid = bits & 2;
	m.gid = bits & 2 ? make_id(&s->input) : 0;
	m.set = list;
	m.n_set = bits / 4 % (SETS_MAX + 1);
	for (size_t i = 0; i < m.n_set; i++) {
		uint8_t kind = input_8(&s->input);

		list[i] = &set[i];
		treekv__quota_set__init(list[i]);
		set[i].kind = kinds[kind % 5];
		set[i].has_limit = kind & 8;
		set[i].limit = kind & 8 ? make_limit(&s->input, kind % 5) : 0;
		set[i].has_unlimited = set[i].unlimited = kind & 16;
	}
	to->quota = &m;
}

static void make_owner(struct session *s, Treekv__Request *to, uint8_t which,
		       uint8_t bits)
{
	static const struct {
		Treekv__Request__BodyCase body;
		void (*make)(struct session *s, Treekv__Request *to,
			     uint8_t bits);
	} kinds[] = {
		{ TREEKV__REQUEST__BODY_CHMOD, make_chmod },
		{ TREEKV__REQUEST__BODY_CHOWN, make_chown },
		{ TREEKV__REQUEST__BODY_QUOTA, make_quota },
	};

	to->body_case = kinds[which % 3].body;
	kinds[which % 3].make(s, to, bits);
}

static void make_report(Treekv__Request *to, uint8_t bits)
{
	static Treekv__List list;
	static Treekv__Stats stats;
	static Treekv__Workers workers;
	static Treekv__Clients clients;
	static Treekv__Events events;

	treekv__list__init(&list);
	treekv__stats__init(&stats);
	treekv__workers__init(&workers);
	treekv__clients__init(&clients);
	treekv__events__init(&events);
	list.has_latency = true;
	list.latency = bits & 1;
	events.has_last = bits & 1;
	events.last = bits / 8;
	events.has_follow = true;
	events.follow = bits & 2;
	to->list = &list;
	switch (bits / 4 % 5) {
	case 0:
		to->body_case = TREEKV__REQUEST__BODY_LIST;
		break;
	case 1:
		to->body_case = TREEKV__REQUEST__BODY_STATS;
		to->stats = &stats;
		break;
	case 2:
		to->body_case = TREEKV__REQUEST__BODY_WORKERS;
		to->workers = &workers;
		break;
	case 3:
		to->body_case = TREEKV__REQUEST__BODY_CLIENTS;
		to->clients = &clients;
		break;
	default:
		to->body_case = TREEKV__REQUEST__BODY_EVENTS;
		to->events = &events;
	}
}

size_t request_make(struct session *s, uint8_t *to, size_t size,
		    Treekv__Request__BodyCase *body)
{
	static const struct {
		Treekv__Request__BodyCase body;
		void (*make)(struct session *s, Treekv__Request *to,
			     uint8_t bits);
	} kinds[] = {
		{ TREEKV__REQUEST__BODY_CREATE, make_create },
		{ TREEKV__REQUEST__BODY_ATTACH, make_attach },
		{ TREEKV__REQUEST__BODY_FORK, make_fork },
		{ TREEKV__REQUEST__BODY_LOOKUP, make_lookup },
		{ TREEKV__REQUEST__BODY_PREFILL, make_prefill },
		{ TREEKV__REQUEST__BODY_KEPT, make_kept },
		{ TREEKV__REQUEST__BODY_BREAK_LEASE, make_break },
		{ TREEKV__REQUEST__BODY_DROP, make_drop },
		{ TREEKV__REQUEST__BODY_SNAPSHOT, make_snapshot },
		{ TREEKV__REQUEST__BODY_RESTORE, make_restore },
		{ TREEKV__REQUEST__BODY_KEEP, make_small },
		{ TREEKV__REQUEST__BODY_KEEP, make_small },
	};
	Treekv__Request request = TREEKV__REQUEST__INIT;
	uint8_t first = input_8(&s->input), bits = input_8(&s->input);
	uint8_t kind = first % 13;

	request.id = s->next;
	if (first >= OWNERS) {
		make_owner(s, &request, first - OWNERS, bits);
	} else if (kind < 12) {
		request.body_case = kinds[kind].body;
		kinds[kind].make(s, &request, bits);
	} else {
		make_report(&request, bits);
	}
	*body = request.body_case;
	if (treekv__request__get_packed_size(&request) > size)
		return 0;
	return treekv__request__pack(&request, to);
}
