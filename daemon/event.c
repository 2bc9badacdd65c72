// SPDX-License-Identifier: BSD-2-Clause
#include "daemon/cache.h"
#include "daemon/conn.h"
#include "daemon/control.h"
#include "daemon/event.h"
#include "daemon/lease.h"
#include "daemon/log.h"

#define NUMBER(cache) ((unsigned long long)(cache)->id)

void event_created(const struct cache *cache, pid_t pid)
{
	treekvd.counters.creates++;
	log_info("cache created",
		 "name=%s cache=%llu pid=%d bytes=%llu huge=%d", cache->name,
		 NUMBER(cache), pid, (unsigned long long)cache_bytes(cache),
		 cache->huge);
}

void event_attached(const struct cache *cache, pid_t pid)
{
	treekvd.counters.attaches++;
	log_debug("attached", "name=%s cache=%llu pid=%d", cache->name,
		  NUMBER(cache), pid);
}

void event_detached(const struct lease *lease)
{
	treekvd.counters.detaches++;
	log_debug("detached", "name=%s cache=%llu pid=%d", lease->cache->name,
		  NUMBER(lease->cache), lease->pid);
}

void event_writer_died(const struct lease *lease)
{
	treekvd.counters.deaths++;
	log_info("writer died", "name=%s cache=%llu pid=%d", lease->cache->name,
		 NUMBER(lease->cache), lease->pid);
}

void event_lease_broken(const struct cache *cache, pid_t holder,
			uint32_t passes)
{
	log_info("lease broken", "name=%s cache=%llu holder=%d passes=%u",
		 cache->name, NUMBER(cache), holder, passes);
}

void event_dropped(const struct cache *cache, pid_t pid)
{
	treekvd.counters.drops++;
	log_info("cache dropped", "name=%s cache=%llu pid=%d held=%d",
		 cache->name, NUMBER(cache), pid, !!cache->lease);
}

void event_gone(const struct cache *cache)
{
	treekvd.counters.stalls_gone += cache_stalls(cache);
	log_info("cache gone", "name=%s cache=%llu bytes=%llu", cache->name,
		 NUMBER(cache), (unsigned long long)cache_bytes(cache));
}

void event_refused(const struct conn *conn, int error, const char *text)
{
	treekvd.counters.refusals++;
	log_info("refused", "pid=%d uid=%u error=%d text=\"%s\"",
		 conn_peer(conn)->pid, conn_peer(conn)->uid, error, text);
}

void event_quarantined(const struct cache *cache)
{
	log_error("cache quarantined", "name=%s cache=%llu reason=\"%s\"",
		  cache->name, NUMBER(cache),
		  compact_fault_text(cache->compaction.fault));
}
