/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the files of the control plane do for each other; for nobody else.
 * control.c dispatches requests, creation.c, attach.c, leave.c, takeover.c,
 * persist.c and prefill.c carry them out, start.c begins and ends it all.
 */
#ifndef TREEKVD_CONTROL_IMPL_H
#define TREEKVD_CONTROL_IMPL_H

#include "daemon/control.h"

#define CONTROL_REASON_SIZE 512

struct fork_plan;
struct lease;
struct room_try;

/* How somebody wants to attach. */
struct control_wish {
	const Treekv__Spec *spec; /* it must have that fingerprint, or NULL */
	uint64_t nonce; /* of the request, or 0 */
	bool progress; /* of a restore: he wants to be told of it */
	bool read; /* no lease */
	const struct room_try *try; /* of an attach that may have to wait */
};

/* ---- control.c ---- */

extern const struct conn_ops control_ops;

/* conn_refuse(), counted and logged. */
__attribute__((format(printf, 4, 5))) void
control_refuse(struct conn *conn, uint64_t id, int error, const char *format,
	       ...);

/* An answer that says no more than that it is done. */
void control_done(struct conn *conn, uint64_t id);

/* access_check() of the peer. */
int control_check(const struct conn *conn, const struct access_what *what,
		  enum access_right right);

/* Is the peer in that group? */
bool control_in_group(const struct conn *conn, gid_t gid);

/* No mode that a cache can have: he is told. Return: 0 it is one, -EINVAL. */
int control_refuse_mode(struct conn *conn, uint64_t id, uint32_t mode);

/* Why he may not, in words: of a cache that he may know of. */
void control_describe_denial(char *text, size_t size, const char *name,
			     const struct access_what *what,
			     enum access_right right);

/*
 * @cache, which may be NULL, if the peer has that right to it; else NULL, and he
 * has been told, in one way of what is not there and of what he may not know of.
 */
struct cache *control_permit(struct conn *conn, uint64_t id, const char *name,
			     struct cache *cache, enum access_right right);

/*
 * The cache of that name, as the peer says it. NULL when there is none, or none
 * that he has that right to: then he has been told, and not which of the two.
 */
struct cache *control_get(struct conn *conn, uint64_t id, const char *name,
			  enum access_right right);

/*
 * The same for what an operator asks: where he sees all caches and says no more
 * than NAME, that is anybody's, if there is only one.
 */
struct cache *control_find(struct conn *conn, uint64_t id, const char *name,
			   enum access_right right);

/* The same by its number where @by_number, whosoever has one of that name. */
struct cache *control_pick(struct conn *conn, uint64_t id, const char *name,
			   bool by_number, uint64_t number,
			   enum access_right right);

/* The cache of that number, if it is the peer's to read; NULL. */
struct cache *control_numbered(const struct conn *conn, uint64_t number);

/* There is none, and the peer is told so. */
void control_refuse_absent(struct conn *conn, uint64_t id, const char *name);

/* What a name stands for, whoever may know of it: not to be told as it is. */
struct cache *control_locate(const struct conn *conn, const char *text,
			     bool anywhere);

/* ---- creation.c ---- */

/* Return: false when there is no room for it yet; else it is answered. */
bool creation_attempt(struct conn *conn, uint64_t id,
		      const Treekv__Create *request,
		      const struct room_try *try);

/* Whoever waits on this connection for a cache to be made has hung up. */
void creation_closed(struct conn *conn);

/* The daemon ends before a cache is made; the loop delivers nothing any more. */
void creation_abandon(struct cache *cache);

/*
 * Is there room for one more of that name? Return: 0; -EDQUOT its owner may have
 * no more; -ENOSPC and it lacks @bytes.
 */
int control_room(const struct name *name, struct shm_spec *spec,
		 const uint32_t *budgets, const struct layout_fork *fork,
		 uint64_t *bytes, char *why, size_t size);

#define CREATION_NAME_SIZE 64

/*
 * The name of a cache to be made: @wanted, or one made up in @room. Return: 0, or
 * -EINVAL it cannot be, and the peer was told.
 */
int creation_name(struct conn *conn, uint64_t id, const char *wanted,
		  uint64_t nonce, char room[CREATION_NAME_SIZE],
		  struct name *ret);

/* A user makes caches in his own space and in those of his groups. */
bool creation_may(const struct conn *conn, uint64_t space);

/*
 * A name is promised to what is on its way to another owner, or is still its
 * old one. Return: true: it is, and the peer was told.
 */
bool creation_refuse_given(struct conn *conn, uint64_t id,
			   const struct name *name);

void creation_refuse_taken(struct conn *conn, uint64_t id, const char *name,
			   bool on_disk);

/* How a cache is made. */
struct creation_wish {
	struct fork_plan *fork; /* from malloc(); NULL: it is none */
	uint64_t space; /* of its name */
	bool has_mode; /* else as is usual there */
	uint32_t mode;
	uint64_t nonce; /* of the request, or 0 */
	uint64_t ttl;
	bool ephemeral;
	bool anonymous;
};

/**
 * creation_begin - make a cache the peer's, known, kept, and attach him
 * @cache: by cache_new()
 * @wish: on success its fork is the creation's, which frees it
 *
 * Return: 0, and it is answered or will be; -ENOMEM, and the cache is gone.
 */
int creation_begin(struct conn *conn, uint64_t id, struct cache *cache,
		   const struct creation_wish *wish);

/*
 * There is one of that name. If it is what this very request made when it was
 * asked before, it is answered as then; there is no try in @wish. Return: false:
 * it is not.
 */
bool creation_again(struct conn *conn, uint64_t id, struct cache *cache,
		    const struct control_wish *wish);

struct worker *control_least_loaded(void);

/* ---- attach.c ---- */

/* As creation_attempt(). */
bool attach_attempt(struct conn *conn, uint64_t id,
		    const Treekv__Attach *request, const struct room_try *try);
void attach_on_detach(struct conn *conn, uint64_t id,
		      const Treekv__Detach *request);

/*
 * The cache of that name, whoever may know of it, once those are gone that
 * ended; NULL.
 */
struct cache *control_look_up(uint64_t space, const char *name);

/*
 * A lease for the peer. @nonce is that of his request, or 0, here and below.
 * Return: 0; or a negative errno, and he was refused or is gone.
 */
int control_grant(struct conn *conn, uint64_t id, struct cache *cache,
		  bool created, uint64_t nonce);

/*
 * Takes up the lease that the index of an adopted cache records. If its holder
 * can be watched just as little as be ruled out, the cache is barred, to be
 * asked about again whenever somebody wants it.
 */
void control_resume_lease(struct cache *cache);

/* The lease of that number, if the peer holds it; else refuses: NULL. */
struct lease *control_own_lease(struct conn *conn, uint64_t id,
				uint64_t number);

/* Does the peer hold that lease, and live? */
bool control_is_holder(const struct lease *lease, const struct conn *conn);

/*
 * Answers an attach to a cache that is there. Return: false when there is no
 * room for what it takes yet; never where the wish has no try.
 */
bool control_attach(struct conn *conn, uint64_t id, struct cache *cache,
		    const struct control_wish *wish);

/*
 * The same for who has waited for a lease: he may have lost the right to it, or
 * the cache its name. There is no try in @wish.
 */
void control_attach_late(struct conn *conn, uint64_t id, struct cache *cache,
			 const struct control_wish *wish);

/* ---- leave.c ---- */

/* Frees the name; and lets the cache go if nothing holds it any more. */
void control_drop(struct cache *cache);
void control_leave(struct cache *cache);

/*
 * Answers a drop: once the memory is given back, if nothing holds it; else now.
 * And whoever waits for that on this connection has hung up.
 */
void leave_on_dropped(struct conn *conn, uint64_t id,
		      const struct cache *cache);
void leave_closed(struct conn *conn);

/* Ends a lease whose holder has not asked for it. */
void control_end_lease(struct lease *lease);

/* A lease's callbacks. */
void control_writer_died(struct lease *lease);
void control_lease_over(struct lease *lease);

#endif /* TREEKVD_CONTROL_IMPL_H */
