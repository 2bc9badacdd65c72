# SPDX-License-Identifier: BSD-2-Clause
"""Steps, views and evictions: what a token costs."""

from setting import Topic, both

STEP_HUGE = 180  # a cache of 142 MiB and as much private memory
SCAN_HUGE = 120


def measure_step(setting):
    with setting.daemon("require") as daemon:
        return setting.program("step", daemon.socket)


def measure_step_small(setting):
    with setting.daemon() as daemon:
        rows = setting.program("step", daemon.socket)
    return both(rows, {"step.small": "step",
                       "step.small.in-place": "step.in-place"})


def measure_scan(setting):
    with setting.daemon(setting.pages) as daemon:
        return setting.program("scan", daemon.socket)


TOPICS = [
    Topic(("step", "step.in-place", "batch.step", "stalls.step"),
          measure_step, huge=STEP_HUGE, must=True),
    Topic(("step.small", "step.small.*"), measure_step_small),
    Topic(("scan.*",), measure_scan, huge=SCAN_HUGE),
    Topic(("evict.*",), lambda setting: setting.program("evict")),
    Topic(("park.*",), lambda setting: setting.program("park"), slow=True),
]
