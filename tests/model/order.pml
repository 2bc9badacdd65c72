/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The order protocol of treekvd, model-checked: one writer (and, after a
 * SIGKILL at any point, its successor), the daemon, a reader, one head of one
 * layer. run.sh checks the parts below in several sizes, and that each mutant
 * (-DMUT_...) fails for its own reason.
 *
 * Parts, picked at compile time:
 *
 *   ROWS          slots, orders, rows and head. The content of a row is its
 *                 token's number; rows that no commit will cover hold JUNK.
 *   READER        with ROWS: a reader makes one attempt, starting anywhere, on
 *                 one rank of its choice; that is every attempt and every rank.
 *   BELLS         the eventfd, armed and waiting, and when the daemon sleeps.
 *                 Without it the daemon compacts whenever live > budget, which
 *                 is a superset of what the bells let it do.
 *   DAEMON_DIES   with BELLS: the daemon is killed anywhere, once; what was in
 *                 the spare buffer stays torn, rings go nowhere until the
 *                 writer has reconnected.
 *   SCORES        by itself: the two scores, the note and the packed commit.
 *
 * Properties:
 *
 *   live_slot_written    a slot that is live under the published order and
 *                        commit is written to
 *   live_row_wrong       a live rank's row is not its token's: lost, moved or
 *                        overwritten
 *   reader_deceived      a reader accepts a row that is not the rank's
 *   used_buffer_written  the daemon writes the buffer that a writer uses
 *   doorbell_lost        everything rests (writer between steps, daemon
 *                        asleep, no ring under way) above the low-water mark,
 *                        and not because the writer has yet to adopt
 *   score_wrong          the committed score is not that of the committed tail
 *   invalid end state    a stalled writer that nobody will release
 *
 * Memory. In ROWS and BELLS each side's stores wait in a queue, from which they
 * reach memory in order and at any later time, while its loads go straight to
 * memory: x86-TSO. Release stores cost nothing there; a full barrier waits for
 * the queue to drain, and so does the kernel when a process dies. Pairs:
 *
 *   writer                              daemon
 *   commit, full barrier, load armed    armed = 1, full barrier, load commit
 *   seen, full barrier, load waiting    waiting = 1, full barrier, load seen
 *   full barrier, ring (in a stall)     bell, load commit
 *   generation (acquire), order         order, generation (release)
 *   old order, seen (release)           seen (acquire), spare buffer
 *
 *   writer                              reader
 *   head, rows                          rows, head
 *   rows, commit (release)              commit (acquire), rows
 *
 * The commit barrier is spent only from ring_at on, which is why a stall, that
 * rings whatever armed says, needs one of its own: its step may not have been
 * rung for, and the ring must not overtake the commit.
 *
 * With READER memory is sequential. Its pairs need nothing beyond TSO's order,
 * and what a queue adds there, a writer that goes on under an old generation
 * while its commits lag, the writer has leave to do (it adopts when it likes).
 * The spare buffer is written past the queue: no load of the daemon's comes
 * between it and the generation, and readers find it torn (NONE) meanwhile.
 *
 * A ring is never a barrier here (on x86 the system call is one in effect).
 *
 * Sizes: CAPACITY 4 or 5, BUDGET 2, steps of 1 or 2 tokens of which 0 to 2 are
 * committed, up to TOKENS tokens; run.sh has each part's.
 *
 * What three mutants taught: the writer may not ring just once per generation
 * (RING_ONCE: the daemon publishes and arms before the step that is under way
 * commits), nor only for the order in use (NEWER_IS_ENOUGH: that step may reach
 * the mark of the one just published), and it must wait for a new epoch beside a new generation in a stall
 * (EPOCH_UNWATCHED: its ring may have gone to a daemon that is dead).
 *
 * Left out: several layers and heads (free is the least, generation one word
 * for all), prefill (prefill.pml has it), the contents of the policy (it evicts
 * any of the two oldest, k times), deadlines, lies, freeze and fork, memory
 * weaker than TSO, counters that wrap (64 bit). Taken for granted: FUTEX_WAIT
 * compares and sleeps at once; a successor attaches after the daemon has seen its
 * predecessor's pidfd, and that makes the daemon look at the cache.
 */
#ifndef CAPACITY
#define CAPACITY 4
#endif
#ifndef BUDGET
#define BUDGET 2
#endif
#ifndef LOW
#define LOW 1 /* tokens above the budget from which the writer rings */
#endif
#ifndef STEP
#define STEP 2 /* tokens a step appends at most */
#endif
#ifndef START
#define START BUDGET /* tokens held to begin with, at most the budget */
#endif
#ifndef TOKENS
#define TOKENS 6 /* the tail at which the writer is done */
#endif

#define NONE 255
#define JUNK 99

#ifndef SCORES

/* Index: the daemon's. */
byte n_live[2];
byte base_tail[2];
byte generation;
bit armed;
bit waiting;
#ifdef ROWS
byte order[2 * CAPACITY];
#endif

/* Rows: the writer's. */
byte commit = START;
byte seen;
#ifdef ROWS
byte head = START;
byte row[CAPACITY];
#endif

bit bell; /* the eventfd: not 0 */

/* Beyond shared memory: what the properties and the killers need. */
byte used = NONE; /* the generation whose buffer the writer uses */
bit idle; /* the writer is between steps */
bit asleep; /* the daemon waits for the bell */
byte killed; /* 1: the writer is to die, 2: it has */
byte scan;
#ifdef ROWS
byte token[2 * BUDGET]; /* of the survivors */
#endif
#ifdef DAEMON_DIES
byte epoch;
byte w_epoch; /* the daemon that the writer is connected to */
byte daemon_killed;
#endif

bool live_slot_written;
bool live_row_wrong;
bool reader_deceived;
bool used_buffer_written;
bool doorbell_lost;

#define LIVE(b, t) (n_live[b] + (t) - base_tail[b])
#define END(b) (base_tail[b] + CAPACITY - n_live[b])
#define RING_AT(b) (base_tail[b] + BUDGET + LOW - n_live[b])
#define ENTRY(b, i) order[(b) * CAPACITY + (i)]
#define TOKEN(b, i) token[(b) * BUDGET + (i)]
#define NUMBER(b, i)                                                    \
	(i < n_live[b] -> TOKEN(b, i) : base_tail[b] + i - n_live[b])

#ifdef DAEMON_DIES
#define ring() if :: w_epoch == epoch -> bell = 1 :: else fi
#define CONNECTED (w_epoch == epoch)
#else
#define ring() bell = 1
#define CONNECTED true
#endif
#if defined(DAEMON_DIES) && !defined(MUT_EPOCH_UNWATCHED)
#define EPOCH_CHANGED (w_epoch != epoch)
#else
#define EPOCH_CHANGED false
#endif

/* Whenever commit or generation changes in memory. */
#ifdef ROWS
inline check_live()
{
	do
	:: scan < LIVE(generation & 1, commit) ->
		live_row_wrong = live_row_wrong ||
			row[ENTRY(generation & 1, scan)] !=
				NUMBER(generation & 1, scan);
		scan++
	:: else -> break
	od;
	scan = 0;
	assert(!live_row_wrong)
}

inline apply_row(slot_, content_)
{
	do
	:: scan < LIVE(generation & 1, commit) ->
		live_slot_written = live_slot_written ||
			ENTRY(generation & 1, scan) == slot_;
		scan++
	:: else -> break
	od;
	scan = 0;
	assert(!live_slot_written);
	row[slot_] = content_
}
#else
#define check_live()
#endif

#ifdef READER
#define full_barrier(stores) true
#define drained(stores) true
#define store_head(n) head = n
#define store_row(slot, content) d_step { apply_row(slot, content) }
#define store_commit(n) d_step { commit = n; check_live() }
#define store_seen(n) seen = n
#define store_generation(n) d_step { generation = n; check_live() }
#else
#define full_barrier(stores) empty(stores)
#define drained(stores) empty(stores)
#define store_head(n) stores_w!HEAD(n, 0)
#define store_row(slot, content) stores_w!ROW(slot, content)
#define store_commit(n) stores_w!COMMIT(n, 0)
#define store_seen(n) stores_w!SEEN(n, 0)
#define store_generation(n) stores_d!GENERATION(n)
#define store_armed(n) stores_d!ARMED(n)
#define store_waiting(n) stores_d!WAITING(n)

mtype = { HEAD, ROW, COMMIT, SEEN, GENERATION, ARMED, WAITING };

chan stores_w = [4] of { mtype, byte, byte };
chan stores_d = [3] of { mtype, byte };

proctype memory()
{
	mtype word;
	byte a, b;

end_memory:
	do
	:: d_step {
		stores_w?word(a, b);
		if
#ifdef ROWS
		:: word == HEAD -> head = a
		:: word == ROW -> apply_row(a, b)
#endif
		:: word == COMMIT ->
			commit = a;
			check_live()
		:: word == SEEN -> seen = a
		fi;
		word = 0;
		a = 0;
		b = 0
	   }
	:: d_step {
		stores_d?word(a);
		if
		:: word == GENERATION ->
			generation = a;
			check_live()
		:: word == ARMED -> armed = a
		:: word == WAITING -> waiting = a
		fi;
		word = 0;
		a = 0
	   }
	od
}
#endif

proctype writer()
{
	byte tail, top, n, m, j, newest, at, content;
#ifdef MUT_RING_ONCE
	bit rung;
#endif

attach:
	{
		atomic {
			tail = commit;
#ifdef ROWS
			top = head;
#endif
#ifdef MUT_HEAD_FORGOTTEN
			top = tail;
#endif
#ifdef DAEMON_DIES
			w_epoch = epoch;
#endif
			idle = 1
		};
progress_step:
		atomic { /* of n tokens, m of which will be committed */
			if
			:: tail >= TOKENS -> goto done
			:: tail < TOKENS
			fi;
			idle = 0;
			select(n : 1 .. STEP);
			select(m : 0 .. n);
			if
			:: tail + m > TOKENS -> m = TOKENS - tail
			:: else
			fi
		};
adopt:
#ifdef DAEMON_DIES
		atomic { /* reconnect: the daemon answers, so it is awake */
			if
			:: EPOCH_CHANGED -> w_epoch = epoch; bell = 1
			:: else
			fi
		};
#endif
		atomic {
			if
			:: generation == used -> goto room
#ifdef READER
			:: used != NONE -> goto room
#endif
			:: generation != used -> newest = generation
			fi;
#ifdef MUT_SEEN_EARLY
			store_seen(newest)
		};
		atomic {
			used = newest;
			newest = 0
		};
#else
			used = newest;
			newest = 0
		};
		store_seen(used);
#endif
#ifdef MUT_RING_ONCE
		rung = 0;
#endif
#ifdef BELLS
#ifndef MUT_NO_SEEN_BARRIER
		full_barrier(stores_w);
#endif
		atomic {
			if
			:: waiting -> ring()
			:: else
			fi
		};
#endif
room:
		atomic {
			if
#ifndef MUT_NO_STALL
			:: tail + n > END(used & 1)
#endif
			:: else -> goto write
			fi
		};
		/* A stall. */
#ifdef BELLS
#ifndef MUT_NO_STALL_BARRIER
		full_barrier(stores_w);
#endif
#ifndef MUT_NO_STALL_RING
		ring();
#endif
#endif
		(generation != used || EPOCH_CHANGED);
		goto adopt;
write:
		atomic {
			if
			:: tail + n > top -> top = tail + n
#ifdef MUT_HEAD_FALLS
			:: tail + n <= top -> top = tail + n
#endif
			:: else
			fi;
#if defined(ROWS) && !defined(MUT_HEAD_AFTER_ROWS)
			store_head(top)
#endif
		};
#ifdef MUT_COMMIT_BEFORE_ROWS
		store_commit(tail + m);
#endif
#ifdef ROWS
		do
		:: atomic {
			j < n ->
			at = LIVE(used & 1, tail) + j;
			at = ENTRY(used & 1, at % CAPACITY);
			content = (j < m -> tail + j : JUNK);
			store_row(at, content);
			at = 0;
			content = 0;
			j++
		   }
		:: atomic { j >= n -> break }
		od;
#endif
#ifdef MUT_HEAD_AFTER_ROWS
		store_head(top);
#endif
		atomic {
#ifndef MUT_COMMIT_BEFORE_ROWS
			store_commit(tail + m);
#endif
			tail = tail + m;
			j = 0;
			n = 0;
			m = 0;
#ifdef BELLS
			if
			:: tail < RING_AT(used & 1) -> goto rested
			:: else
			fi
#endif
		};
#ifdef BELLS
#ifndef MUT_NO_COMMIT_BARRIER
		full_barrier(stores_w);
#endif
		atomic {
			if
#ifdef MUT_RING_ONCE
			:: armed && !rung -> rung = 1
#else
			:: armed
#endif
			:: else -> goto rested
			fi
		};
		atomic { /* below the mark of an order not yet adopted: no ring */
			newest = generation;
			if
#ifdef MUT_NEWER_IS_ENOUGH
			:: newest == used -> ring()
#else
			:: tail >= RING_AT(newest & 1) -> ring()
#endif
			:: else
			fi;
			newest = 0
		};
rested:
#endif
		idle = 1;
		goto progress_step
	} unless {
		killed == 1
	};
	atomic {
		killed = 2;
		idle = 0;
		used = NONE;
		tail = 0;
		top = 0;
		n = 0;
		m = 0;
		j = 0;
		newest = 0;
		at = 0;
		content = 0
	};
	atomic {
		drained(stores_w);
#if defined(BELLS) && !defined(MUT_DEATH_UNNOTICED)
		bell = 1 /* the pidfd, in truth */
#endif
	};
	goto attach;
done:
	skip
}

proctype kill_writer()
{
	killed = 1
}

#define check_grace(now)                                                \
	used_buffer_written = (used != NONE && (used & 1) != now);      \
	assert(!used_buffer_written)

#ifdef ROWS
/* Both go on at entry i. */
inline put_free(tail__, current)
{
	from = LIVE(current, tail__);
	do
	:: from < CAPACITY ->
		ENTRY(1 - current, i) = ENTRY(current, from);
		from++;
		i++
	:: else -> break
	od;
	from = 0
}

inline put_freed(current)
{
	from = 0;
	do
	:: from < freed ->
		ENTRY(1 - current, i) = gone[from];
		from++;
		i++
	:: else -> break
	od;
	from = 0
}

/* Fill the spare buffer from the current one, now, for a tail of tail_. */
inline compact(tail_, now)
{
	d_step {
		check_grace(now);
		do
		:: i < CAPACITY -> ENTRY(1 - now, i) = NONE; i++
		:: else -> break
		od;
		i = 0
	};
	atomic {
		d_step {
			check_grace(now);
			left = LIVE(now, tail_);
			do
			:: i < left ->
				slot[i] = ENTRY(now, i);
				number[i] = NUMBER(now, i);
				i++
			:: else -> break
			od;
			i = 0
		};
		do
		:: left > BUDGET ->
			if
			:: i = 0
			:: i = 1
			fi;
			d_step {
				gone[freed] = slot[i];
				freed++;
				left--;
				do
				:: i < left ->
					slot[i] = slot[i + 1];
					number[i] = number[i + 1];
					i++
				:: else -> break
				od;
				i = 0
			}
		:: else -> break
		od;
		d_step {
			i = 0;
			do
			:: i < left ->
				ENTRY(1 - now, i) = slot[i];
				TOKEN(1 - now, i) = number[i];
				i++
			:: else -> break
			od;
#ifdef MUT_FREED_FIRST
			put_freed(now);
			put_free(tail_, now);
#else
			put_free(tail_, now);
			put_freed(now);
#endif
			n_live[1 - now] = left;
			base_tail[1 - now] = tail_;
			i = 0;
			do
			:: i < CAPACITY ->
				slot[i] = 0;
				number[i] = 0;
				gone[i] = 0;
				i++
			:: else -> break
			od;
			i = 0;
			left = 0;
			freed = 0
		}
	}
}
#else
inline compact(tail_, now)
{
	d_step {
		check_grace(now);
		n_live[1 - now] = BUDGET;
		base_tail[1 - now] = tail_
	}
}
#endif

proctype daemon()
{
	byte g, t;
#ifdef ROWS
	byte i, left, freed, from;
	byte slot[CAPACITY], number[CAPACITY], gone[CAPACITY];
#endif

	{
#ifdef BELLS
		goto arm;
look:
		atomic {
			t = commit;
			if
			:: LIVE(g & 1, t) <= BUDGET -> t = 0; goto arm
			:: else
			fi
		};
#ifndef MUT_NO_GRACE
		atomic {
			if
			:: seen == g -> goto publish
			:: else
			fi
		};
		store_waiting(1);
#ifndef MUT_NO_WAITING_BARRIER
		full_barrier(stores_d);
#endif
		atomic {
			if
			:: seen == g -> goto granted
			:: else -> asleep = 1; t = 0
			fi
		};
end_waiting:
		atomic { bell -> bell = 0; asleep = 0 };
		store_waiting(0);
		goto look;
granted:
		store_waiting(0);
#endif
publish:
		compact(t, (g & 1));
		atomic {
			g++;
			t = 0;
			store_generation(g)
		};
arm:
		store_armed(1);
#ifndef MUT_NO_ARMED_BARRIER
		full_barrier(stores_d);
#endif
		atomic {
			if
			:: commit >= RING_AT(g & 1) -> goto disarm
			:: else -> asleep = 1
			fi
		};
end_armed:
		atomic { bell -> bell = 0; asleep = 0 };
disarm:
		store_armed(0);
		goto look
#else
		t = 0;
end_look:
		atomic { LIVE(g & 1, commit) > BUDGET -> t = commit };
#ifndef MUT_NO_GRACE
end_grace:
		seen == g;
#endif
		compact(t, (g & 1));
		atomic {
			g++;
			t = 0;
			store_generation(g)
		};
		goto end_look
#endif
	}
#ifdef DAEMON_DIES
	unless {
		daemon_killed == 1
	};
	atomic {
		daemon_killed = 2;
		asleep = 0;
		g = 0;
		t = 0
	};
	drained(stores_d);
	atomic {
		epoch++;
		bell = 0;
		g = generation
	};
	goto look
#endif
}

#ifdef DAEMON_DIES
proctype kill_daemon()
{
	daemon_killed = 1
}
#endif

#ifdef READER
proctype reader()
{
	byte g, base, live, slot, number, rank, t, value;

	atomic {
		g = generation;
		select(rank : 0 .. CAPACITY - 1)
	};
	atomic {
		base = base_tail[g & 1];
		live = n_live[g & 1]
	};
	t = commit;
	atomic {
		slot = ENTRY(g & 1, rank);
		number = (rank < live -> TOKEN(g & 1, rank) :
					 base + rank - live)
	};
#ifndef MUT_READER_NO_RECHECK
	atomic {
		if
		:: generation == g
		:: else -> goto over
		fi
	};
#endif
	atomic {
		if
		:: t < base || t > base + CAPACITY - live -> goto over
		:: else
		fi;
		if
		:: rank >= live + t - base -> goto over
		:: else
		fi
	};
	atomic {
		if
		:: slot < CAPACITY -> value = row[slot]
		:: else -> value = NONE
		fi
	};
	atomic {
#ifndef MUT_READER_NO_HEAD_CHECK
		if
		:: head > base + CAPACITY - live -> goto over
		:: else
		fi;
#endif
		reader_deceived = (value != number);
		assert(!reader_deceived)
	};
over:
	atomic {
		g = 0;
		base = 0;
		live = 0;
		slot = 0;
		number = 0;
		rank = 0;
		t = 0;
		value = 0
	}
}
#endif

#ifdef BELLS
proctype rest()
{
end_rest:
	atomic {
		idle && asleep && !bell && CONNECTED &&
		empty(stores_w) && empty(stores_d) &&
		commit >= RING_AT(generation & 1) &&
		!(waiting && seen != generation) ->
		doorbell_lost = true;
		assert(!doorbell_lost)
	}
}
#endif

init {
	byte i;

	atomic {
		n_live[0] = START;
		base_tail[0] = START;
#ifdef ROWS
		do
		:: i < CAPACITY ->
			order[i] = i;
			row[i] = (i < START -> i : JUNK);
			i++
		:: else -> break
		od;
		i = 0;
		do
		:: i < START -> token[i] = i; i++
		:: else -> break
		od;
		i = 0;
#endif
#ifndef READER
		run memory();
#endif
		run writer();
		run kill_writer();
		run daemon();
#ifdef DAEMON_DIES
		run kill_daemon();
#endif
#ifdef READER
		run reader();
#endif
#ifdef BELLS
		run rest()
#endif
	}
}

#else /* SCORES */

#define SLOTS 2
#define COMMIT(tail, parity) ((tail) * 2 + (parity))

byte score[2 * SLOTS]; /* tokens observed; JUNK while being written */
byte note[2]; /* the tail it speaks of */
byte commit;
#ifdef MUT_COMMIT_SPLIT
bit parity;
#define PARITY parity
#else
#define PARITY (commit & 1)
#endif
byte killed;
bool score_wrong;

#define SCORE(p, slot) score[(p) * SLOTS + (slot)]
#ifdef MUT_SCORE_IN_PLACE
#define TARGET(p) (p)
#else
#define TARGET(p) (1 - (p))
#endif

proctype writer()
{
	byte tail, m, slot, value;
	bit p;

attach:
	{
		slot = 0;
step:
		atomic {
			tail = commit / 2;
			p = PARITY;
			if
			:: tail >= TOKENS -> goto done
			:: else
			fi;
			select(m : 0 .. STEP)
		};
		/* Slot 0 is observed, the others' head is not: carried over. */
		do
		:: slot < SLOTS ->
#ifdef MUT_NOT_CARRIED
			if
			:: slot > 0 -> break
			:: else
			fi;
#endif
			value = SCORE(p, slot) + (slot == 0 -> m : 0);
			SCORE(TARGET(p), slot) = JUNK;
			SCORE(TARGET(p), slot) = value;
			slot++
		:: slot >= SLOTS -> break
		od;
		slot = 0;
		value = 0;
		note[TARGET(p)] = JUNK;
		note[TARGET(p)] = tail + m;
#ifdef MUT_COMMIT_SPLIT
		commit = COMMIT(tail + m, 0);
		parity = 1 - p;
#else
		commit = COMMIT(tail + m, 1 - p);
#endif
		goto step
	} unless {
		killed == 1
	};
	atomic {
		killed = 2;
		value = 0
	};
	goto attach;
done:
	skip
}

proctype kill_writer()
{
	killed = 1
}

proctype check()
{
end_check:
	atomic {
		SCORE(PARITY, 0) != commit / 2 || SCORE(PARITY, 1) != START ||
		note[PARITY] != commit / 2 ->
		score_wrong = true;
		assert(!score_wrong)
	}
}

init {
	atomic {
		score[0] = START; /* of parity 0; the other one is stale */
		score[1] = START;
		note[0] = START;
		commit = COMMIT(START, 0);
		run writer();
		run kill_writer();
		run check()
	}
}
#endif
