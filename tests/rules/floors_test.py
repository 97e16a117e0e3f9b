"""floors.py finds what it is there to find."""

import pathlib
import tempfile
import unittest

import floors

GOOD = {
    "src/base/ids.h": "",
    "numa/topology.h": '#include "src/base/ids.h"\n',
    "src/os/kernel.h": '#include <sys/mman.h>\n#include "numa/topology.h"\n',
    "src/heap/span.h": '#include "src/base/ids.h"\n',
    "src/heap/page_heap.h": '#include "src/heap/span.h"\n #  include "src/os/kernel.h"\n',
    "src/api/numaheap.h": "",
    "src/api/malloc.cc": '#include "src/heap/page_heap.h"\n'
                         '#include "exporters/page/page_plugin.h"\n',
    "exporters/page/page_plugin.h": '#include "src/api/numaheap.h"\n',
    "exporters/page/page.cc": '#include "exporters/page/page_plugin.h"\n',
}


class FloorsTest(unittest.TestCase):
    def check(self, changes):
        with tempfile.TemporaryDirectory() as root:
            for path, text in (GOOD | changes).items():
                file = pathlib.Path(root, path)
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text)
            return floors.check(pathlib.Path(root))

    def expect(self, changes, *wrong):
        self.assertEqual(self.check(changes)[0], list(wrong))

    def test_good_tree(self):
        self.assertEqual(self.check({}), ([], 9))

    def test_upward(self):
        self.expect({"src/base/lock.h": '#include "src/os/kernel.h"\n'},
                    "src/base/lock.h: includes src/os/kernel.h, which is not under it")
        self.expect({"numa/hwloc.cc": '#include "src/os/kernel.h"\n'},
                    "numa/hwloc.cc: includes src/os/kernel.h, which is not under it")
        self.expect({"src/heap/node_heap.h": '#include "src/api/numaheap.h"\n'},
                    "src/heap/node_heap.h: includes src/api/numaheap.h, which is not under it")

    def test_a_subfolder_stands_on_its_floor(self):
        self.expect({"src/settings/toml/toml.cc": '#include "src/os/kernel.h"\n'})
        self.expect({"src/settings/toml/toml.cc": '#include "src/heap/span.h"\n'},
                    "src/settings/toml/toml.cc: includes src/heap/span.h, which is not under it")

    def test_exporters_stand_outside(self):
        self.expect({"exporters/page/page.cc": '#include "src/heap/span.h"\n'},
                    "exporters/page/page.cc: includes src/heap/span.h, which is not under it")
        self.expect({"exporters/text/text.cc": '#include "exporters/page/page_plugin.h"\n'},
                    "exporters/text/text.cc: includes exporters/page/page_plugin.h, "
                    "which is not under it")
        self.expect({"src/heap/span.cc": '#include "exporters/page/page_plugin.h"\n'},
                    "src/heap/span.cc: includes exporters/page/page_plugin.h, "
                    "which is not under it")
        self.expect({"exporters/page/text.h": "",
                     "src/api/fork.cc": '#include "exporters/page/text.h"\n'},
                    "src/api/fork.cc: includes exporters/page/text.h, which is not under it")

    def test_circle(self):
        self.expect({"src/heap/span.h": '#include "src/heap/map.h"\n',
                     "src/heap/map.h": '#include "src/heap/page_heap.h"\n'},
                    "circle: src/heap/page_heap.h -> src/heap/span.h -> src/heap/map.h "
                    "-> src/heap/page_heap.h")
        self.expect({"src/base/ids.h": '#include "src/base/ids.h"\n'},
                    "circle: src/base/ids.h -> src/base/ids.h")

    def test_paths(self):
        self.expect({"src/heap/span.cc": '#include "span.h"\n'},
                    'src/heap/span.cc: "span.h" is no path from the project root')
        self.expect({"src/heap/span.cc": '#include "src/heap/gone.h"\n'},
                    'src/heap/span.cc: "src/heap/gone.h" is no path from the project root')
        self.expect({"src/heap/span.cc": '#include "absl/base/attributes.h"\n'})
        self.expect({"src/attic/old.h": ""}, "src/attic/old.h: belongs to no floor")


if __name__ == "__main__":
    unittest.main()
