"""CPython passes its own tests of what allocates much, every object from malloc."""

import sys

from preload import expect, run, scratch

MODULES = """
    test_array test_bytes test_collections test_deque test_dict test_gc test_json test_list
    test_memoryview test_pickle test_re test_set test_sort test_subprocess test_threading
    test_unicode test_weakref test_xml_etree_c test_zlib
""".split()


def main():
    with scratch() as directory:
        out = run(sys.executable, "-m", "test", "-j2", "--tempdir", directory, *MODULES,
                  env={"PYTHONMALLOC": "malloc", "PYTHONDONTWRITEBYTECODE": "1"}).decode()
    expect(f"All {len(MODULES)} tests OK." in out or "Tests result: SUCCESS" in out, out[-2000:])


main()
