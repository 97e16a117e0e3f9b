"""Idle memory comes back: a program that frees 300 MiB and then does nothing has less than a tenth of
it a while later."""

from preload import expect, wait_until
from subject import CPUS, MIB, Subject, status_kib

MIB_EACH = 150
SECONDS = 20


def resident(subject):
    return status_kib(subject.pid, "RssAnon") * 1024


def check(allocating, freeing):
    """Allocates on one CPU and frees on another, which with two nodes is another node's."""
    with Subject("scavenger.idle_after=500ms") as subject:
        before = resident(subject)
        subject.tell(f"small {MIB_EACH} {allocating}")
        subject.tell(f"large {MIB_EACH} {allocating}")
        full = resident(subject)
        expect(full - before > 0.9 * 2 * MIB_EACH * MIB, f"only {full - before} bytes were used")
        subject.tell(f"free {freeing}")
        limit = before + (full - before) // 10
        wait_until(lambda: resident(subject) <= limit,
                   f"idle memory comes back within {SECONDS} s", SECONDS)
        # It is the same memory that is used again.
        committed = subject.total("committed_bytes")
        subject.tell(f"small {MIB_EACH} {allocating}")
        subject.tell(f"large {MIB_EACH} {allocating}")
        more = subject.total("committed_bytes") - committed
        expect(more < 0.1 * committed, f"the heap grew by {more} bytes")


def check_interleaved():
    """A program that allocates by name alone has a scavenger, too."""
    with Subject("scavenger.idle_after=500ms") as subject:
        before = resident(subject)
        subject.tell(f"interleaved {MIB_EACH}")
        full = resident(subject)
        subject.tell("free")
        limit = before + (full - before) // 10
        wait_until(lambda: resident(subject) <= limit,
                   f"idle interleaved memory comes back within {SECONDS} s", SECONDS)


check(CPUS[0], CPUS[0])
check(CPUS[0], CPUS[-1])
check(CPUS[-1], CPUS[0])
check_interleaved()
