"""fast_path.py counts what it is meant to count, on real disassembly, and rejects the rest."""

import os
import re
import subprocess
import tempfile
import unittest

import fast_path

ASSEMBLER = os.environ.get("CXX", "g++")


class FastPathTest(unittest.TestCase):
    def path(self, source):
        with tempfile.TemporaryDirectory() as directory:
            library = f"{directory}/library.so"
            subprocess.run(
                [ASSEMBLER, "-shared", "-nostdlib", "-x", "assembler", "-", "-o", library],
                check=True, text=True,
                input=f".globl f\n.type f, @function\nf:\n{source}\n.size f, .-f\n"
                      ".globl other\n.type other, @function\nother: ret\n.size other, .-other\n")
            address, size = fast_path.functions(library)["f"]
            return fast_path.fast_path(
                fast_path.parse(fast_path.disassemble(library, address, size)), address)

    def expect_bad(self, source, why):
        with self.assertRaisesRegex(fast_path.BadPath, re.escape(why)):
            self.path(source)

    def test_falls_through_conditional_jumps(self):
        self.assertEqual(
            len(self.path("test %rdi,%rdi; je 1f; mov %fs:0,%rax; ret; 1: call other; ret")), 4)

    def test_follows_jumps_inside(self):
        self.assertEqual(len(self.path("jmp 1f; nop; nop; 1: mov %rdi,%rax; ret")), 3)

    def test_plain_xchg_of_registers_is_not_locked(self):
        self.assertEqual(len(self.path("xchg %rax,%rdi; cmpxchg %rdi,(%rsi); ret")), 3)

    def test_locked(self):
        self.expect_bad("lock incq (%rdi); ret", "is locked: lock incq (%rdi)")
        self.expect_bad("xchg %rax,(%rdi); ret", "is locked: xchg")

    def test_calls(self):
        self.expect_bad("call other@PLT; ret", "goes out of line: call")
        self.expect_bad("call *(%rdi); ret", "goes out of line: call")
        self.expect_bad("syscall; ret", "goes out of line: syscall")

    def test_tail_calls_and_loops(self):
        self.expect_bad("nop; jmp other@PLT", "leaves the function")
        self.expect_bad("jmp *%rax", "jumps to what only the run knows")
        self.expect_bad("1: nop; jmp 1b", "leaves the function")


if __name__ == "__main__":
    unittest.main()
