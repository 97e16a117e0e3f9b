"""The profile of a program whose allocations are known: stacks, nodes and totals.

Totals are estimates of n samples; bounds are six standard deviations of what their number varies
by, so that chance fails a test once in 10^8 runs.
"""

import os
import shutil
import subprocess
import tempfile
import unittest

import pprof

SUBJECT = os.environ["NUMAHEAP_PROFILE_SUBJECT"]
OPTIONS = os.environ.get("NUMAHEAP_OPTIONS", "")
TWO_NODES = "numa:2" in OPTIONS
INTERVAL = 16 << 10
BLOCKS = 40_000

# Function: (objects allocated, of how many bytes, how many are live at the end).
EXPECTED = {
    "SmallLive": (2 * BLOCKS, 1000, BLOCKS),
    "SmallFreed": (BLOCKS, 300, 0),
    "HalfFreed": (BLOCKS, 500, BLOCKS // 2),
    "LargeFreed": (1000, 400_000, 0),
    "Zeroed": (BLOCKS // 4, 1000, 0),
    "Aligned": (BLOCKS // 4, 1000, 0),
    "Moved": (BLOCKS // 4, 2000, 0),
    "OnNode": (BLOCKS // 4, 1000, 0),
    "Interleaved": (BLOCKS // 4, 1000, 0),
}


def symbols():
    """{name: (address, end)} of the subject's functions."""
    lines = subprocess.run(["nm", "-S", SUBJECT], check=True, stdout=subprocess.PIPE,
                           text=True).stdout.splitlines()
    fields = [line.split() for line in lines]
    return {f[3]: (int(f[0], 16), int(f[0], 16) + int(f[1], 16)) for f in fields if len(f) == 4}


def run(path, *more, options=f"profile.sample_interval={INTERVAL}"):
    environment = os.environ | {"NUMAHEAP_OPTIONS": f"{OPTIONS},{options}"}
    return subprocess.run([SUBJECT, path, *more], env=environment, check=True, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=100).stdout


class ProfileTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.TemporaryDirectory()
        cls.path = f"{cls.directory.name}/profile.pb.gz"
        cls.output = run(cls.path)
        cls.profile = pprof.Profile(cls.path)
        cls.symbols = symbols()

    @classmethod
    def tearDownClass(cls):
        cls.directory.cleanup()

    def name_of(self, address):
        return next((name for name, (start, end) in self.symbols.items()
                     if start <= address < end), None)

    def samples_of(self, function):
        return [sample for sample in self.profile.samples
                if sample[0] and self.name_of(sample[0][0]) == function]

    def expect_about(self, value, expected, variance, what):
        self.assertLessEqual(abs(value - expected), 6 * variance ** 0.5 + 1, what)

    def test_says_what_it_holds(self):
        self.assertEqual(self.output, "to a full device: ENOSPC\nresult: 0\n")
        self.assertEqual(self.profile.types,
                         [("alloc_objects", "count"), ("alloc_space", "bytes"),
                          ("inuse_objects", "count"), ("inuse_space", "bytes")])
        self.assertEqual(self.profile.default_type, "inuse_space")
        self.assertEqual(self.profile.period, ("space", "bytes", INTERVAL))
        self.assertGreater(self.profile.time_ns, 10 ** 18)

    def test_totals(self):
        for function, (objects, size, live) in EXPECTED.items():
            samples = self.samples_of(function)
            alloc, space, inuse, inuse_space = (
                sum(values[i] for _, values, _ in samples) for i in range(4))
            # Each object is in with probability p and counts 1/p then: variance (1 - p) / p each.
            p = 1 - 2.718281828459045 ** (-size / INTERVAL)
            each = (1 - p) / p
            with self.subTest(function):
                self.expect_about(alloc, objects, objects * each, "allocated")
                self.expect_about(space, objects * size, objects * each * size ** 2, "bytes")
                self.expect_about(inuse, live, live * each, "live")
                self.expect_about(inuse_space, live * size, live * each * size ** 2, "live bytes")
                self.assertGreater(alloc, 0)

    def test_what_is_freed_goes_to_nothing(self):
        for function, (_, _, live) in EXPECTED.items():
            if live == 0:
                for _, values, _ in self.samples_of(function):
                    self.assertEqual(values[2:], [0, 0], function)

    def test_stacks(self):
        for function in EXPECTED:
            samples = self.samples_of(function)
            self.assertTrue(samples, function)
            for stack, _, _ in samples:
                names = [self.name_of(address) for address in stack]
                self.assertEqual(names[:4], [function, "Inner", "Outer", "main"], function)

    def test_nodes(self):
        nodes = {"interleaved", "0"} | ({"1"} if TWO_NODES else set())
        self.assertLessEqual({labels["node"] for _, _, labels in self.profile.samples}, nodes)
        for function, node in (("OnNode", "0"), ("Interleaved", "interleaved")):
            self.assertEqual({labels["node"] for _, _, labels in self.samples_of(function)}, {node})

    def test_mappings(self):
        files = {file: build_id for _, _, file, build_id in self.profile.mappings.values()}
        self.assertIn(os.path.realpath(SUBJECT), files)
        notes = subprocess.run(["readelf", "-n", SUBJECT], check=True, stdout=subprocess.PIPE,
                               text=True).stdout
        build_id = [line.split()[-1] for line in notes.splitlines() if "Build ID:" in line]
        self.assertEqual([files[os.path.realpath(SUBJECT)]], build_id or [""])

    def test_one_bucket_for_a_stack_and_node(self):
        keys = [(tuple(stack), labels["node"]) for stack, _, labels in self.profile.samples]
        self.assertEqual(len(keys), len(set(keys)))

    def test_pprof_reads_it(self):
        tool = shutil.which("pprof")
        if tool is None:
            self.skipTest("no pprof here")
        text = subprocess.run([tool, "-raw", self.path], check=True, stdout=subprocess.PIPE,
                              text=True).stdout
        self.assertIn("inuse_space/bytes", text)
        self.assertIn("node:[0]", text)


class ConcurrentProfileTest(unittest.TestCase):
    def test_with_busy_threads(self):
        with tempfile.TemporaryDirectory() as directory:
            path = f"{directory}/profile.pb.gz"
            run(path, "3", options="profile.sample_interval=1KiB")
            self.assertTrue(pprof.Profile(path).samples)


class NoProfileTest(unittest.TestCase):
    def test_off_by_default(self):
        with tempfile.TemporaryDirectory() as directory:
            path = f"{directory}/profile.pb.gz"
            self.assertEqual(run(path, options=""),
                             "to a full device: ENODATA\nresult: ENODATA\n")
            self.assertEqual(os.path.getsize(path), 0)


if __name__ == "__main__":
    unittest.main()
