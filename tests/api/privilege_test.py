"""A set-uid program, which has more rights than who starts it, reads neither settings file nor
environment. Needs root, to make one."""

import os
import shutil
import stat

from preload import LIBRARY, expect_equal, scratch
from subject import STATIC_PATH, Subject, skip

OWNER, CALLER = "12345", "23456"  # nobody's
LOCKED = 2  # NUMAHEAP_CACHE_LOCKED


def main():
    if os.geteuid() != 0:
        skip("needs root")
    with scratch() as directory:
        os.chmod(directory, 0o755)
        if os.statvfs(directory).f_flag & os.ST_NOSUID:
            skip(f"{directory} is mounted without set-uid programs")
        program = shutil.copy(STATIC_PATH, f"{directory}/subject")
        for plugin in ("toml", "numa"):  # it looks for them beside itself
            shutil.copy(f"{os.path.dirname(LIBRARY)}/libnumaheap-{plugin}.so", directory)
        config = f"{directory}/numaheap.toml"
        with open(config, "w") as file:
            file.write('on_error = "abort"\n[topology]\nsynthetic = "numa:2 pu:1"\nfoo = 1\n')
        os.chmod(config, 0o644)
        command = ("setpriv", "--reuid", CALLER, "--regid", CALLER, "--clear-groups", program)
        options = "cache.mode=locked,on_error=continue,bar=1"

        os.chown(program, int(OWNER), int(OWNER))
        os.chmod(program, 0o755)
        with Subject(command=command) as subject:
            by_default = subject.snapshot()

        # As an ordinary program it reads both, so that what follows can fail.
        with Subject(options, command, NUMAHEAP_CONFIG=config) as subject:
            snapshot = subject.snapshot()
        expect_equal((snapshot["cache_mode"], snapshot["node_count"]), (LOCKED, 2), "mode, nodes")
        expect_equal([line.split(": ")[1] for line in subject.stderr().splitlines()],
                     [f"{config}:4:1", "NUMAHEAP_OPTIONS:1:37"], "mistakes")

        os.chmod(program, 0o755 | stat.S_ISUID)
        with Subject(options, command, NUMAHEAP_CONFIG=config) as subject:
            snapshot = subject.snapshot()
            with open(f"/proc/{subject.pid}/status") as status:
                uids = next(line.split()[1:3] for line in status if line.startswith("Uid:"))
            expect_equal(uids, [CALLER, OWNER], "user ids, real and effective")
            for what in ("cache_mode", "placement_mode", "node_count"):
                expect_equal(snapshot[what], by_default[what], f"{what} of the set-uid program")
        expect_equal(subject.stderr(), "", "stderr of the set-uid program")


main()
