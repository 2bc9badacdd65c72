# SPDX-License-Identifier: BSD-2-Clause
#
# What treekvd serves over HTTP, read and asked for by hand.
#
# metrics.py http SOCKET            requests of all kinds, also hostile ones
# metrics.py table STATUS TEXT OPEN each metric of 'treekvctl status --json' is
#                                   in both formats once, with the same value
# metrics.py names TEXT FILE...     queries in rules and dashboards name only
#                                   what is there
# metrics.py tenants TEXT N POOL    so many users are named, the sum is POOL
# metrics.py scraped PORT STATUS DASHBOARD
#                                   a Prometheus on that port has it all

import json
import re
import socket
import sys
import threading
import time
import urllib.parse
import urllib.request

DEADLINE = 30
failed = False


def case(name, wrong=None):
    global failed
    print(f"not ok - {name}: {wrong}" if wrong else f"ok - {name}", flush=True)
    failed = failed or bool(wrong)


# ---- the formats, by their own rules ----

def parse(text):
    """Families in order: name, type, unit, samples; checks what both share."""
    families, seen, family = [], set(), None
    for line in text.splitlines():
        if line == "# EOF":
            continue
        word = line.split(" ", 3)
        if word[0] == "#" and word[1] == "HELP":
            assert word[2] not in seen, f"{word[2]} twice"
            assert word[3].strip(), f"{word[2]} has no help"
            seen.add(word[2])
            family = {"name": word[2], "type": None, "unit": None,
                      "samples": []}
            families.append(family)
        elif word[0] == "#":
            assert word[2] == family["name"], line
            assert family[word[1].lower()] is None, line
            family[word[1].lower()] = word[3]
        else:
            name, labels, value = re.fullmatch(
                r"([a-z_]+)(?:\{(.*)\})? (\S+)", line).groups()
            assert name.startswith(family["name"]), line
            assert (name, labels) not in seen, f"{line} twice"
            seen.add((name, labels))
            family["samples"].append((name, labels or "", float(value)))
    for family in families:
        assert family["type"] and family["samples"], family
        check_family(family)
    return families


def check_family(family):
    name, kind = family["name"], family["type"]
    names = {s[0] for s in family["samples"]}
    assert name.startswith("treekvd_"), name
    if kind == "histogram":
        assert names == {name + s for s in ("_bucket", "_sum", "_count")}
        check_histogram(family)
    elif kind == "counter":
        assert names == {name.removesuffix("_total") + "_total"}, names
    elif kind == "info":
        assert names == {name + "_info"}, names
    else:
        assert kind == "gauge" and names == {name}, names
        assert not name.endswith("_total"), name
    if family["unit"]:
        assert name.endswith("_" + family["unit"]), name


def check_histogram(family):
    series = {}
    for name, labels, value in family["samples"]:
        rest = re.sub(r',?le="[^"]*"', "", labels)
        le = re.search(r'le="([^"]*)"', labels)
        one = series.setdefault(rest, {"le": []})
        if le:
            one["le"].append((float(le[1]), value))
        else:
            one[name.rsplit("_", 1)[1]] = value
    for one in series.values():
        bounds = [le for le, _ in one["le"]]
        counts = [n for _, n in one["le"]]
        assert bounds == sorted(set(bounds)) and bounds[-1] == float("inf")
        assert counts == sorted(counts), one
        assert counts[-1] == one["count"], one


def table(status, text, open_text):
    status = json.load(open(status))
    text, open_text = open(text).read(), open(open_text).read()
    case("OpenMetrics ends with # EOF, and the other does not",
         None if open_text.endswith("\n# EOF\n") and "# EOF" not in text
         else open_text[-50:])
    plain, opened = parse(text), parse(open_text)
    both = [dict(((s[0], s[1]), s[2]) for f in families for s in f["samples"]
                 if s[0].removeprefix("treekvd_") not in MOVING)
            for families in (plain, opened)]
    case("both have the same samples",
         None if both[0] == both[1] else both[0].items() ^ both[1].items())
    for families, form in (plain, "text"), (opened, "OpenMetrics"):
        at = {s[0]: s[2] for f in families for s in f["samples"] if not s[1]}
        wrong = [n for n, v in status["metrics"].items() if not is_told(at, n,
                                                                        v)]
        case(f"{form}: each of the {len(status['metrics'])} metrics is there, "
             "with its value", wrong)
        kinds = [f["type"] for f in families]
        case(f"{form}: and nothing is untyped",
             None if set(kinds) <= {"counter", "gauge", "histogram", "info"}
             else kinds)
    counts = {(s[0], s[1]): s[2] for f in plain for s in f["samples"]}
    wrong = [h["name"] for h in status["histograms"]
             if h["name"] != "request_stats" and
             counts[name_of(h)] != h["count"]]
    case("each histogram is there, with as many values", wrong)


# Those that move by being looked at.
MOVING = ("uptime_seconds", "http_requests_total", "connections",
          "requests_total", "heap_allocated_bytes", "heap_resident_bytes",
          "huge_pages_free")


def is_told(at, name, value):
    seconds = name.replace("_nanoseconds", "_seconds")
    if "treekvd_" + seconds not in at:
        return False
    if seconds != name:
        value /= 1e9
    return name in MOVING or abs(at["treekvd_" + seconds] - value) < 1e-6


def name_of(histogram):
    name = histogram["name"]
    if name.startswith("request_"):
        return ("treekvd_request_seconds_count",
                f'type="{name.removeprefix("request_")}"')
    return f"treekvd_{name}_seconds_count", ""


def names(text, files):
    there = {s[0] for f in parse(open(text).read()) for s in f["samples"]}
    for file in files:
        used = set(re.findall(r"\btreekvd_[a-z_]+", queries(file)))
        case(f"{file.rsplit('/', 1)[1]} names {len(used)} metrics, and all "
             "exist", sorted(used - there) or (not used and "none"))


def queries(file):
    """Of rules, the expressions; of a dashboard, those and its variables."""
    text = open(file).read()
    if not file.endswith(".json"):
        return "\n".join(re.findall(r"expr:(.*?)\n +(?:for|labels):", text,
                                    re.S))
    return "\n".join(expressions(json.loads(text))) + "\n".join(
        v.get("definition", "") for v in
        json.loads(text)["templating"]["list"])


def expressions(dashboard):
    return [t["expr"] for p in dashboard["panels"]
            for t in p.get("targets", [])]


def tenants(text, most, pool):
    families = {f["name"]: f["samples"] for f in parse(open(text).read())}
    for name in "caches", "pool_used_bytes", "leases":
        samples = families["treekvd_tenant_" + name]
        case(f"{name}: {most} users are named, the others are one",
             None if len(samples) == most + 1 and
             samples[-1][1] == 'uid="other"' else samples)
    used = families["treekvd_tenant_pool_used_bytes"]
    values = [s[2] for s in used[:-1]]
    case("those who take the most come first",
         None if values == sorted(values, reverse=True) and
         values[-1] >= 0 else used)
    case("all of them take what the pool has given",
         None if sum(s[2] for s in used) == pool else used)


# ---- HTTP ----

def connect(path):
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(DEADLINE)
    s.connect(path)
    return s


def read_response(s):
    """Status, headers and body of one response; None at the end."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = s.recv(65536)
        if not more:
            return None
        data += more
    head, body = data.split(b"\r\n\r\n", 1)
    lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines[1:])
    while len(body) < int(headers.get("content-length", 0)):
        more = s.recv(65536)
        if not more:
            break
        body += more
    return int(lines[0].split()[1]), headers, body.decode()


def get(path, *headers, url="/metrics", method="GET"):
    s = connect(path)
    s.sendall("\r\n".join([f"{method} {url} HTTP/1.1", "Host: x", *headers,
                           "Connection: close", "", ""]).encode())
    if method == "HEAD":
        data = b""
        while more := s.recv(65536):
            data += more
        return data
    response = read_response(s)
    s.close()
    return response


OPEN = "application/openmetrics-text; version=1.0.0; charset=utf-8"
TEXT = "text/plain; version=0.0.4; charset=utf-8"
# What Prometheus 2.42 sends; and what it and others might.
ACCEPTS = [
    ("application/openmetrics-text;version=1.0.0,application/openmetrics-text;"
     "version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1", OPEN),
    ("*/*", TEXT), ("text/plain", TEXT), ("", TEXT),
    ("application/openmetrics-text", OPEN),
    ("APPLICATION/OpenMetrics-Text ; Q=0.9 , text/plain ; q=0.5", OPEN),
    ("text/plain;q=0.9, application/openmetrics-text;q=0.2", TEXT),
    ("application/openmetrics-text;q=0", TEXT),
    ("application/openmetrics-text;q=-1", TEXT),
    ("application/openmetrics-textual", TEXT),
    (",,;;q=,application/openmetrics-text;q=", TEXT),
    (";" * 4000, TEXT),
]


def http(path):
    dripping = threading.Thread(target=drip, args=(path,))
    dripping.start()
    wrong = [(a[:60], r[1]["content-type"]) for a, t in ACCEPTS
             for r in [get(path, f"Accept: {a}")]
             if r[0] != 200 or r[1]["content-type"] != t or
             (t == OPEN) != r[2].endswith("# EOF\n")]
    case("the format is what Accept asks for", wrong)
    bare = get(path)
    case("without one it is the older one",
         None if bare[1]["content-type"] == TEXT else bare[1])
    head = get(path, method="HEAD")
    case("HEAD has the same head and no body",
         None if head.endswith(b"\r\n\r\n") and head.startswith(
             b"HTTP/1.1 200") and TEXT.encode() in head else head[:200])
    other = get(path, url="/other")
    case("elsewhere there is nothing, and it says where to look",
         None if other[0] == 404 and "/metrics" in other[2] else other)
    wrong = [(m, r[0]) for m in ("POST", "PUT", "DELETE", "OPTIONS", "BREW")
             for r in [get(path, method=m)] if r[0] != 405 or
             r[1].get("allow") != "get, head"]
    case("nothing but GET and HEAD", wrong)
    several = [threading.Thread(target=t, args=(path,))
               for t in (keep, bodies, nonsense)]
    for t in several:
        t.start()
    for t in several:
        t.join()
    crowd(path)
    dripping.join()


def keep(path):
    s = connect(path)
    asked = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
    s.sendall(asked)
    first = read_response(s)
    s.sendall(asked)
    second = read_response(s)
    case("a connection serves several requests",
         None if first[0] == second[0] == 200 else (first, second))
    case("and is closed when nothing more comes",
         None if not s.recv(1) else "it is open")
    s.close()


def bodies(path):
    s = connect(path)
    s.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 70000\r\n"
              b"\r\n" + b"x" * 70000)
    response = read_response(s)
    case("what a GET sends along is ignored",
         None if response[0] == 200 else response)
    s.close()
    s = connect(path)
    s.sendall(b"POST /metrics HTTP/1.1\r\nHost: x\r\n"
              b"Transfer-Encoding: chunked\r\n\r\n")
    response = read_response(s)
    case("a POST is refused before its body has come",
         None if response[0] == 405 else response)
    s.close()


def nonsense(path):
    cases = [b"\x00" * 5000, b"GET\r\n\r\n", b"GET /metrics HTTP/9.9\r\n\r\n",
             b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 30,
             b"GET /" + b"a" * 100000 + b" HTTP/1.1\r\n\r\n",
             b"GET /metrics HTTP/1.1\r\n" + b"H: " + b"h" * 60000,
             b"GET /metrics HTTP/1.1\r\n" + b"A: b\r\n" * 20000,
             b"GET /metrics HTTP/1.1\r\nContent-Length: -5\r\n\r\n"]
    for data in cases:
        s = connect(path)
        try:
            s.sendall(data)
            s.shutdown(socket.SHUT_WR)
            while s.recv(65536):
                pass
        except (BrokenPipeError, ConnectionResetError):
            pass
        s.close()
    for _ in range(50):
        s = connect(path)
        s.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        s.close()
    good = get(path)
    case("nonsense and vanishing clients harm nobody",
         None if good and good[0] == 200 else good)


def crowd(path):
    """More clients than are let in, who say half a word and wait."""
    idle = []
    for _ in range(40):
        s = connect(path)
        s.sendall(b"GET /metrics HT")
        idle.append(s)
    good = get(path)
    case("behind 40 idle clients the next one is served in the end",
         None if good and good[0] == 200 else good)
    for s in idle:
        s.close()
    results = []

    def scrape():
        results.append(get(path)[0])

    threads = [threading.Thread(target=scrape) for _ in range(60)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    case("60 at once are all served",
         None if results == [200] * 60 else results)


def drip(path):
    """A byte now and then would hold a place forever."""
    s = connect(path)
    s.sendall(b"GET /metrics HTTP/1.1\r\nX: ")
    until = time.monotonic() + 4 * DEADLINE
    shown_out = False
    while time.monotonic() < until and not shown_out:
        try:
            s.sendall(b"x")
            s.settimeout(1)
            shown_out = not s.recv(1)
        except TimeoutError:
            continue
        except (BrokenPipeError, ConnectionResetError):
            shown_out = True
    case("who only drips is shown out", None if shown_out else "he stays")


# ---- a real Prometheus ----

def api(port, what, **query):
    url = f"http://127.0.0.1:{port}/api/v1/{what}?" + \
        urllib.parse.urlencode(query)
    with urllib.request.urlopen(url, timeout=DEADLINE) as answer:
        return json.load(answer)["data"]


def wait_for(what):
    until = time.monotonic() + DEADLINE
    while time.monotonic() < until:
        try:
            value = what()
        except OSError:
            value = None
        if value:
            return value
        time.sleep(0.1)
    return None


def values(port, query):
    return {json.dumps(r["metric"], sort_keys=True): float(r["value"][1])
            for r in api(port, "query", query=query)["result"]}


def scraped(port, status, dashboard):
    status = json.load(open(status))
    target = wait_for(lambda: [t for t in api(port, "targets")["activeTargets"]
                               if t["health"] == "up"])
    targets = api(port, "targets")["activeTargets"]
    case("Prometheus finds its target up",
         None if target else [(t["health"], t["lastError"]) for t in targets])
    wrong = {}
    for name, value in status["metrics"].items():
        seconds = name.replace("_nanoseconds", "_seconds")
        got = list(values(port, "treekvd_" + seconds).values())
        at = {"treekvd_" + seconds: got[0]} if got else {}
        if not is_told(at, name, value):
            wrong[name] = (got, value)
    case("Prometheus has each metric with its value", wrong)
    kinds = api(port, "targets/metadata")
    kinds = {k["metric"]: k["type"] for k in kinds}
    case("and knows what kind it is",
         None if kinds.get("treekvd_caches") == "gauge" and
         kinds.get("treekvd_request_seconds") == "histogram" and
         "counter" in (kinds.get("treekvd_creates"),
                       kinds.get("treekvd_creates_total")) else kinds)
    rules = api(port, "rules")["groups"][0]["rules"]
    healthy = wait_for(lambda: all(r["health"] == "ok" for r in
                                   api(port, "rules")["groups"][0]["rules"]))
    case(f"each of the {len(rules)} alert rules is evaluated",
         None if healthy else rules)
    wrong = []
    for expr in expressions(json.load(open(dashboard))):
        expr = expr.replace("$instance", ".*").replace("$__rate_interval",
                                                       "1m")
        try:
            api(port, "query", query=expr)
        except urllib.error.HTTPError as error:
            wrong.append((expr, error.read().decode()))
    case("each of the dashboard's queries is one", wrong)


if sys.argv[1] == "http":
    http(sys.argv[2])
elif sys.argv[1] == "table":
    table(*sys.argv[2:])
elif sys.argv[1] == "names":
    names(sys.argv[2], sys.argv[3:])
elif sys.argv[1] == "tenants":
    tenants(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
elif sys.argv[1] == "scraped":
    scraped(int(sys.argv[2]), *sys.argv[3:])
sys.exit(failed)
