# SPDX-License-Identifier: BSD-2-Clause
"""Round trips, attaching, creating: what a client waits for."""

import contextlib
import os

from setting import Topic

ATTACH_HUGE = 300  # 256 MiB to attach to, and as much without a daemon


def measure_request(setting):
    with setting.daemon() as daemon, setting.redis() as redis:
        return setting.program("request", daemon.socket, redis or "")


def measure_lookup(setting):
    with setting.daemon() as daemon, setting.redis() as redis:
        return setting.program("lookup", daemon.socket, redis or "")


@contextlib.contextmanager
def apart(daemon):
    """A processor for its control thread, the others for what runs here."""
    all_of_them = os.sched_getaffinity(0)
    one = max(all_of_them)
    if len(all_of_them) > 1:
        os.sched_setaffinity(daemon.pid, {one})
        os.sched_setaffinity(0, all_of_them - {one})
    try:
        yield
    finally:
        os.sched_setaffinity(0, all_of_them)


def measure_awake(setting):
    with setting.daemon("never", "--busy-poll", "200") as daemon, \
            apart(daemon):
        rows = setting.program("lookup", daemon.socket)
    row = rows["lookup.whole"]
    alone = {"ours": row["ours"], "theirs": []}
    return {"lookup.awake": row, "lookup.awake.us": alone}


def measure_attach(setting, label, pages, size):
    file = setting.disk / "attach"
    with setting.daemon(pages) as daemon, setting.redis() as redis, \
            setting.memcached() as memcached:
        try:
            return setting.program("attach", daemon.socket, label, size,
                                   redis or "", memcached or "", file)
        finally:
            file.unlink(missing_ok=True)


def measure_create(setting):
    with setting.daemon("require", "--ready", "1G") as daemon:
        return setting.program("create", daemon.socket)


TOPICS = [
    Topic(("machine.*",), lambda setting: setting.program("machine"), huge=1),
    Topic(("request.*",), measure_request),
    Topic(("lookup.whole", "lookup.whole.*", "lookup.part", "lookup.miss"),
          measure_lookup),
    Topic(("lookup.awake", "lookup.awake.us"), measure_awake),
    Topic(("attach.64", "attach.64.*"),
          lambda setting: measure_attach(setting, "attach.64", "require", 64),
          huge=ATTACH_HUGE, must=True),
    Topic(("attach.256", "attach.256.*"),
          lambda setting: measure_attach(setting, "attach.256", "require",
                                         256),
          huge=ATTACH_HUGE, must=True, slow=True, limit=400),
    Topic(("attach.small", "attach.small.*"),
          lambda setting: measure_attach(setting, "attach.small", "never",
                                         64)),
    Topic(("create", "create.*"), measure_create, huge=ATTACH_HUGE, must=True),
]
