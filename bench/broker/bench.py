#!/usr/bin/env python3
"""Runs mqload scenarios against MQTT brokers and reports what each one costs.

    bench.py --mqload ./mqload --brokers brokers.json [--scenarios A,B,...] [--names x,y] [--reps 3]
             [--broker-cpus 0] [--client-cpus 1] [--time 1.0] [--out results.jsonl]

brokers.json is a list of {"name", "cmd": [...], "port"} with, optionally, "cwd", "env", "args"
(extra mqload arguments), "scale" (a factor on message counts, for slow brokers), "skip" (scenario
letters) and "cpus" (overrides --broker-cpus).  A command runs in the foreground; its whole process
tree is measured.

Every run starts a fresh broker, warms it up, measures one scenario and stops it.  Brokers
alternate within a repetition.  The main figure is the broker's CPU time per message, which other
work on the machine disturbs far less than throughput.  A relative path in "cmd" is taken from the
file's folder.
"""

import argparse
import contextlib
import json
import os
import resource
import signal
import socket
import statistics
import subprocess
import sys
import time

TICK = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")

# letter: (what it is, message count at scale 1, mqload arguments)
SCENARIOS = {
    "A": ("1>1 q0 64B", 1500000, "--pubs 1 --subs 1"),
    "B": ("10>10 q0 64B", 1500000, "--pubs 10 --subs 10 --topics 10"),
    "C": ("fan-in 50>1 q0", 1500000, "--pubs 50 --subs 1 --topics 50 --wildcard"),
    "D": ("fan-out 1>100 q0", 20000, "--pubs 1 --subs 100"),
    "E": ("10>10 q1", 500000, "--pubs 10 --subs 10 --topics 10 --qos 1"),
    "F": ("10>10 q2", 250000, "--pubs 10 --subs 10 --topics 10 --qos 2"),
    "G": ("fan-out 1>100 q1", 8000, "--pubs 1 --subs 100 --qos 1"),
    "H": ("idle 10k conns", 10000, "--scenario idle --hold 3"),
    "I": ("connect churn", 20000, "--scenario connect --pubs 20"),
    "J1": ("1>1 q0 1KB", 500000, "--pubs 1 --subs 1 --size 1024"),
    "J64": ("1>1 q0 64KB", 20000, "--pubs 1 --subs 1 --size 65536"),
    "K": ("retained 100k q1", 100000, "--scenario retained --subs 3 --qos 1"),
    "L": ("10>10 q1 5k/s", 20000, "--pubs 10 --subs 10 --topics 10 --qos 1 --rate 5000"),
    "M": ("10>10 q0 20k/s", 80000, "--pubs 10 --subs 10 --topics 10 --rate 20000"),
    "N": ("10>10 q1 w=1", 60000, "--pubs 10 --subs 10 --topics 10 --qos 1 --window 1"),
}
FIXED = ("H", "L", "M")  # a broker's "scale" does not apply to these
FRESH = ("H", "K")  # no warm-up: these read memory or fill the broker


def tree(pid):
    """The process and its descendants."""
    parents = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat") as f:
                    parents[int(name)] = int(f.read().rsplit(")", 1)[1].split()[1])
            except OSError:
                pass
    found, grew = {pid}, True
    while grew:
        more = {p for p, up in parents.items() if up in found} - found
        grew = bool(more)
        found |= more
    return found


def usage(pid):
    """User and system CPU seconds, resident and proportional bytes of a process tree."""
    user = system = rss = pss = 0
    for p in tree(pid):
        try:
            with open(f"/proc/{p}/stat") as f:
                field = f.read().rsplit(")", 1)[1].split()
            user += int(field[11]) + (int(field[13]) if p == pid else 0)
            system += int(field[12]) + (int(field[14]) if p == pid else 0)
            rss += int(field[21]) * PAGE
            with open(f"/proc/{p}/smaps_rollup") as f:
                pss += sum(int(line.split()[1]) * 1024 for line in f if line.startswith("Pss:"))
        except OSError:
            pass
    return user / TICK, system / TICK, rss, pss


def pinned(cpus, command):
    return ["taskset", "-c", cpus, *command] if cpus else command


class Broker:
    def __init__(self, spec, folder, cpus):
        self.spec = spec
        command = [
            os.path.join(folder, w) if os.path.exists(os.path.join(folder, w)) else w
            for w in spec["cmd"]
        ]
        _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.log = open(os.path.join(folder, spec["name"] + ".log"), "ab")  # noqa: SIM115 (stop closes it)
        self.proc = subprocess.Popen(
            pinned(spec.get("cpus", cpus), command),
            cwd=spec.get("cwd", folder),
            env={**os.environ, **spec.get("env", {})},
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
            start_new_session=True,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard)),
        )
        deadline = time.time() + 60
        while True:
            if self.proc.poll() is not None:
                raise RuntimeError(f"{spec['name']} ended with {self.proc.returncode}")
            try:
                socket.create_connection(("127.0.0.1", spec["port"]), 1).close()
                break
            except OSError:
                if time.time() > deadline:
                    self.stop()
                    raise RuntimeError(f"{spec['name']} does not listen") from None
                time.sleep(0.05)
        time.sleep(spec.get("settle", 0.2))

    def stop(self):
        mine = tree(self.proc.pid)
        self.proc.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.proc.wait(10)
        for p in mine:
            try:
                if os.getsid(p) == self.proc.pid:
                    os.kill(p, signal.SIGKILL)
            except OSError:
                pass
        self.proc.wait()
        self.log.close()


def measure(opt, spec, letter):
    _what, count, args = SCENARIOS[letter]
    if letter != "H":
        count = max(200, int(count * opt.time * (1 if letter in FIXED else spec.get("scale", 1))))
    args = args.split() + spec.get("args", [])

    def load(n, extra):
        size = ["--pubs", str(n)] if letter == "H" else ["--count", str(n)]
        return pinned(
            opt.client_cpus,
            [opt.mqload, "--port", str(spec["port"]), "--json", *args, *size, *extra],
        )

    broker = Broker(spec, opt.folder, opt.broker_cpus)
    try:
        if letter not in FRESH:
            subprocess.run(load(max(100, count // 20), []), capture_output=True, timeout=120)
            time.sleep(0.3)
        user0, sys0, rss0, pss0 = usage(broker.proc.pid)
        client = subprocess.Popen(
            load(count, []), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        held = None
        if letter == "H" and client.stdout.readline().startswith("HELD"):
            time.sleep(1)
            held = usage(broker.proc.pid)
        try:
            out, err = client.communicate(timeout=opt.limit)
        except subprocess.TimeoutExpired:
            client.kill()
            out, err = client.communicate()
        user1, sys1, rss1, pss1 = held or usage(broker.proc.pid)
        lines = [line for line in out.splitlines() if line.startswith("{")]
        result = (
            json.loads(lines[-1]) if lines else {"failed": (err or "time limit").strip()[-200:]}
        )
        if err.strip():
            result["stderr"] = err.strip()[-200:]
        units = result.get("connected") if letter == "H" else result.get("received", 0)
        if letter == "K":
            units += result.get("topics", 0)
        cpu = user1 - user0 + sys1 - sys0
        result.update(
            broker=spec["name"],
            letter=letter,
            cpu_s=cpu,
            rss=rss1,
            pss=pss1,
            sys_part=(sys1 - sys0) / cpu if cpu else None,
            cpu_us=cpu * 1e6 / units if units else None,
        )
        if letter == "H" and units:
            result["rss_per_conn"] = (rss1 - rss0) / units
            result["pss_per_conn"] = (pss1 - pss0) / units
        return result
    finally:
        broker.stop()


def median(rows, key):
    values = [r[key] for r in rows if r.get(key) is not None]
    return statistics.median(values) if values else None


def table(results, names, letters):
    def show(v, digits=0):
        return "-" if v is None else f"{v:,.{digits}f}"

    head = (
        "scenario",
        "broker",
        "msgs/s",
        "CPU us/msg",
        "kernel",
        "p50 us",
        "p99 us",
        "lost",
        "other",
        "RSS MB",
    )
    rows = []
    for letter in letters:
        for name in names:
            runs = [r for r in results if r["letter"] == letter and r["broker"] == name]
            if not runs:
                continue
            rate = next(
                (
                    median(runs, k)
                    for k in ("msgs_per_s", "conns_per_s", "deliver_per_s")
                    if median(runs, k) is not None
                ),
                None,
            )
            bad = {
                k: sum(r.get(k, 0) for r in runs)
                for k in ("dups", "out_of_order", "unacked", "bad", "errors", "closed")
            }
            other = [f"{k}={v:.0f}" for k, v in bad.items() if v]
            other += [f"failed: {r['failed'][:60]}" for r in runs if "failed" in r][:1]
            if letter == "H":
                other.append(
                    f"RSS/conn={show(median(runs, 'rss_per_conn'))}"
                    f" PSS/conn={show(median(runs, 'pss_per_conn'))}"
                )
            if letter == "K":
                other.append(f"publish/s={show(median(runs, 'publish_per_s'))}")
            lost = sum(r.get("lost", 0) for r in runs)
            rss = median(runs, "rss")
            rows.append(
                (
                    f"{letter} {SCENARIOS[letter][0]}",
                    name,
                    show(rate),
                    show(median(runs, "cpu_us"), 2),
                    show(median(runs, "sys_part"), 2),
                    show(median(runs, "p50_us")),
                    show(median(runs, "p99_us")),
                    show(lost),
                    " ".join(other),
                    show(rss / 1e6 if rss else None, 1),
                )
            )
    width = [max(len(r[i]) for r in [*rows, head]) for i in range(len(head))]
    for r in [head, *rows]:
        print(
            "  ".join(
                v.ljust(w) if i in (0, 1, 8) else v.rjust(w)
                for i, (v, w) in enumerate(zip(r, width, strict=False))
            ).rstrip()
        )


def main():
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("--mqload", required=True)
    p.add_argument("--brokers", required=True)
    p.add_argument("--scenarios", default=",".join(SCENARIOS))
    p.add_argument("--names", help="only these brokers")
    p.add_argument("--reps", type=int, default=3)
    p.add_argument("--broker-cpus", default="0", help="taskset list; empty: not pinned")
    p.add_argument("--client-cpus", default="1")
    p.add_argument("--time", type=float, default=1.0, help="a factor on all message counts")
    p.add_argument("--limit", type=float, default=120, help="seconds one run may take")
    p.add_argument("--out", help="append every run here, as JSON lines")
    p.add_argument("--table", action="store_true", help="only print the table of what --out holds")
    opt = p.parse_args()
    opt.mqload = os.path.abspath(opt.mqload)
    opt.folder = os.path.dirname(os.path.abspath(opt.brokers))
    with open(opt.brokers) as f:
        specs = json.load(f)
    if opt.names:
        specs = [s for s in specs if s["name"] in opt.names.split(",")]
    letters = opt.scenarios.split(",")
    results = []
    if opt.table:
        with open(opt.out) as f:
            results = [json.loads(line) for line in f]
    for rep in range(0 if opt.table else opt.reps):
        for letter in letters:
            for spec in specs:
                if letter in spec.get("skip", []):
                    continue
                try:
                    r = measure(opt, spec, letter)
                except (RuntimeError, ValueError, subprocess.TimeoutExpired) as e:
                    r = {"broker": spec["name"], "letter": letter, "failed": str(e)}
                results.append(r)
                rates = (r.get(k) for k in ("msgs_per_s", "conns_per_s", "deliver_per_s"))
                rate = next(filter(None, rates), 0)
                print(
                    f"rep {rep + 1} {letter:3} {spec['name']:20} {rate:>10,.0f}/s "
                    f"{r.get('cpu_us') or 0:8.2f} us  {r.get('failed', '')}",
                    file=sys.stderr,
                    flush=True,
                )
                if opt.out:
                    with open(opt.out, "a") as f:
                        f.write(json.dumps(r) + "\n")
    table(results, [s["name"] for s in specs], letters)


if __name__ == "__main__":
    main()
