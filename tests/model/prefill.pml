/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How a prompt becomes the content of an empty cache, model-checked: one writer
 * (and, after a SIGKILL or a detach at any point, its successors), the daemon
 * (which may be killed anywhere, once), one head of one layer. run.sh checks
 * that each mutant (-DMUT_...) fails for its own reason.
 *
 * The prompt has the tokens 0, 1 and 2, of which 0 and 2 stay, in the slots 0
 * and 1. A writer of an empty cache either takes it in as a whole or decodes;
 * afterwards he decodes. A row's content is its token's number. What a reader,
 * a snapshot or a successor would find is checked after every store: under the
 * published order and the commit as it stands under it (shm_commit_under()),
 * every live row must be its token's, the note that of the tail, and the tail
 * must not fall.
 *
 * A request may be lost with its connection (the daemon dies) or be heard after
 * the writer has stopped waiting; who is not answered asks again, or detaches.
 * The control thread hears a request, checks the lease and holds the cache; the
 * worker then checks what is there and publishes. A cache that is held changes
 * no hands.
 *
 * Memory is sequential: between the writer's rows and the daemon's publication,
 * and between that and the answer, there is a message, and the decoding steps
 * are order.pml's matter. Left out: several heads and layers (generation is one
 * word for all), compaction (nothing exceeds the budget), lies.
 *
 *   content_wrong      a row, or the note, is not what the tail says
 *   tail_falls
 *   torn               the published order is not whole
 */
#define P	  3 /* tokens of the prompt */
#define N	  2 /* that stay */
#define CAPACITY  4
#define TAIL_MAX  4 /* one step beyond the prompt */
#define LEASES	  3
#define UNWRITTEN 99

/* Index: the daemon's. */
byte generation = 1;
byte n_live[2];
byte base_tail[2];
byte prefill[2];
bit prefill_parity[2];
byte lease; /* 0: nobody's */

/* Rows: the writer's. */
byte commit;
bit parity;
byte seen;
byte note[2];
byte row[CAPACITY];

chan request = [2] of { byte };
byte answered; /* the lease whose request was answered with success */
byte refused;
bit held; /* a prefill is under way */
byte leases; /* given so far */
byte last_tail;
byte killed; /* the lease whose holder is to die */
bit daemon_died;

bool content_wrong;
bool tail_falls;
bool torn;

#ifdef MUT_WORD_ALONE
#define TAIL(g) commit
#define PARITY(g) parity
#else
#define TAIL(g) (commit < prefill[(g) & 1] -> prefill[(g) & 1] : commit)
#define PARITY(g)                                                       \
	(commit < prefill[(g) & 1] -> prefill_parity[(g) & 1] : parity)
#endif
#define LIVE(g) (n_live[(g) & 1] + TAIL(g) - base_tail[(g) & 1])

/* The token that the row of a rank ought to be. */
#define TOKEN(g, i)                                                     \
	(prefill[(g) & 1] == 0 -> i : (i == 0 -> 0 : (i == 1 -> 2 : i + 1)))

byte at;

inline look()
{
	torn = torn || TAIL(generation) < base_tail[generation & 1];
	assert(!torn);
	tail_falls = tail_falls || TAIL(generation) < last_tail;
	assert(!tail_falls);
	last_tail = TAIL(generation);
	at = 0;
	do
	:: at < LIVE(generation) ->
		content_wrong = content_wrong ||
			row[at] != TOKEN(generation, at);
		at++
	:: else -> break
	od;
	content_wrong = content_wrong ||
		note[PARITY(generation)] != TAIL(generation);
	at = 0;
	assert(!content_wrong)
}

proctype writer()
{
	byte mine, tail, in_use, i;
	bit half;

attach:
	{
		atomic {
			if
			:: leases == LEASES -> goto done
			:: leases < LEASES
			fi
		};
		if
		:: lease = 0 /* his end is noticed */
		:: skip /* only when the next one comes */
		fi;
		atomic {
#ifndef MUT_HANDED_ON
			!held;
#endif
			leases++;
			lease = leases;
			mine = leases
		};
		/* adopt */
		atomic {
			in_use = generation;
			tail = TAIL(in_use);
			half = PARITY(in_use)
		};
		d_step {
			commit = tail;
			parity = half;
			look()
		};
		seen = in_use;
		if
		:: tail == 0 -> goto prompt
		:: else -> goto decode
		:: tail == 0 -> goto decode
		fi;
prompt:
		skip;
		d_step { row[0] = 0; look() };
		d_step { row[1] = 2; look() };
		d_step { note[1 - half] = P; look() };
#ifdef MUT_COMMIT_FIRST
		d_step { commit = P; parity = 1 - half; look() };
#endif
ask:
		skip;
		atomic {
			if
			:: nfull(request) -> request!mine
			:: full(request)
			fi
		};
		if
		:: atomic { answered == mine -> answered = 0 }
		:: atomic { refused == mine -> goto detach }
		:: goto ask /* the connection was cut, or he is impatient */
		:: goto detach
#ifdef MUT_STEP_UNANSWERED
		:: goto decode
#endif
		fi;
		atomic {
			in_use = generation;
			tail = TAIL(in_use);
			half = PARITY(in_use);
			assert(tail == P)
		};
		d_step {
			commit = tail;
			parity = half;
			look()
		};
		seen = in_use;
decode:
		do
		:: tail < TAIL_MAX ->
			i = n_live[in_use & 1] + tail - base_tail[in_use & 1];
			if
			:: i >= CAPACITY -> break
			:: i < CAPACITY
			fi;
			d_step {
				row[i] = UNWRITTEN;
				look()
			};
			d_step {
				row[i] = TOKEN(in_use, i);
				look()
			};
			d_step { note[1 - half] = tail + 1; look() };
			d_step {
				tail++;
				half = 1 - half;
				commit = tail;
				parity = half;
				i = 0;
				look()
			}
		:: tail >= TAIL_MAX -> break
		:: break
		od;
detach:
		lease = 0
	} unless {
		killed != 0 && killed == mine
	};
	atomic {
		killed = 0;
		answered = 0;
		refused = 0;
		tail = 0;
		in_use = 0;
		half = 0;
		i = 0;
		mine = 0;
		goto attach
	};
done:
	skip
}

/* SIGKILL, to any writer, at any time; the pidfd tells the daemon. */
proctype killer()
{
end_killer:
	do
	:: atomic { lease != 0 && killed == 0 -> killed = lease }
	od
}

proctype daemon()
{
	byte from, now;

end_serve:
	{
end_idle:
		do
		:: atomic {
			request?from;
			if
#ifndef MUT_LEASE_UNCHECKED
			:: from != lease -> refused = from; from = 0; goto end_serve
			:: from == lease -> held = 1
#else
			:: held = 1
#endif
			fi
		   };
			now = generation;
			if
			:: atomic {
				TAIL(now) == P && prefill[now & 1] == P ->
				held = 0;
				answered = from
			   }
			:: atomic {
				TAIL(now) != 0 || seen != now ->
				held = 0;
				refused = from
			   }
			:: TAIL(now) == 0 && seen == now ->
				d_step { n_live[1 - (now & 1)] = N };
				d_step { base_tail[1 - (now & 1)] = P };
				d_step { prefill[1 - (now & 1)] = P };
#ifdef MUT_SAME_PARITY
				prefill_parity[1 - (now & 1)] = parity;
#else
				prefill_parity[1 - (now & 1)] = 1 - parity;
#endif
				d_step { generation = now + 1; look() };
				atomic { held = 0; answered = from }
			fi;
			from = 0;
			now = 0
		od
	} unless {
		daemon_died == 1
	};
	/* The next one: connections are gone, memory and leases are not. */
	atomic {
		do
		:: nempty(request) -> request?from
		:: empty(request) -> break
		od;
		from = 0;
		now = 0;
		held = 0;
		daemon_died = 0;
		goto end_serve
	}
}

proctype kill_daemon()
{
	daemon_died = 1
}

init
{
	atomic {
		row[0] = UNWRITTEN;
		row[1] = UNWRITTEN;
		row[2] = UNWRITTEN;
		row[3] = UNWRITTEN;
		run writer();
		run daemon();
		run killer();
		run kill_daemon()
	}
}
