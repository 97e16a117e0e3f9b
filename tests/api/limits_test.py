"""Under a limit on address space (ulimit -v) a program runs in what there is, says how often the
reservation was halved, and gets ENOMEM beyond."""

from preload import expect, expect_equal
from subject import MIB, PATH, Subject


def check(limit_mib, least_mib):
    """`least_mib`: what at least must be usable."""
    limited = ("sh", "-c", f'ulimit -v {limit_mib << 10} && exec "$0"', PATH)
    with Subject(command=limited) as subject:
        subject.tell("count 1000 100")
        subject.tell("free")
        snapshot = subject.snapshot()
        expect(snapshot["reservation_halvings"] > 0, "the reservation was not halved")
        reserved = sum(n for key, n in snapshot.items() if key.endswith(".reserved_bytes"))
        expect(reserved < limit_mib * MIB, f"{reserved} bytes are reserved")
        amounts = []
        for _ in range(2):
            amounts.append(int(subject.tell("exhaust")))
            expect(amounts[-1] >= least_mib, f"only {amounts[-1]} MiB of {limit_mib}")
            subject.tell("free")
        subject.tell("count 1000 1000")
        subject.tell(f"large {least_mib // 2}")
        expect(subject.total("failed_growths") > 0, "no growth has failed")
        subject.tell("free")
    print(f"{limit_mib} MiB: {snapshot['reservation_halvings']} halvings, "
          f"{reserved // MIB} MiB reserved, {amounts} MiB usable")


def check_unlimited():
    with Subject() as subject:
        expect_equal(subject.snapshot()["reservation_halvings"], 0, "halvings without a limit")


check_unlimited()
check(1024, 200)
check(300, 30)
check(64, 4)
