"""g++ -O2 makes the same object file of a large program as it does on glibc's malloc."""

from preload import expect, expect_equal, run, scratch

FUNCTIONS = 100


def source():
    for header in ("algorithm", "cstdio", "map", "string", "vector"):
        yield f"#include <{header}>\n"
    yield "template <int N> struct Tag { std::map<std::string, std::vector<long>> lists; };\n"
    for i in range(FUNCTIONS):
        yield f"""
long f{i}(long x) {{
  Tag<{i % 25}> tag;
  for (long k = 0; k < 20; ++k) tag.lists["k" + std::to_string(k * x % {i + 2})].push_back(k ^ {i});
  long sum = {i};
  for (auto& [name, list] : tag.lists) {{
    std::sort(list.begin(), list.end(), [](long a, long b) {{ return a % {i + 3} < b % {i + 3}; }});
    for (long v : list) sum = sum * 31 + v + static_cast<long>(name.size());
  }}
  switch (sum % 7) {{
    {" ".join(f"case {c}: sum += {i * c + 1}; break;" for c in range(7))}
  }}
  return sum;
}}
"""
    yield "int main() {\n  unsigned long sum = 0;\n"
    yield "".join(f"  sum = sum * 17 + f{i}({i + 1});\n" for i in range(FUNCTIONS))
    yield '  std::printf("%lu\\n", sum);\n}\n'


def main():
    with scratch() as directory:
        path = f"{directory}/large.cc"
        with open(path, "w") as file:
            file.writelines(source())
        objects = []
        for preload in (True, False):
            target = f"{directory}/{preload}.o"
            run("g++", "-std=c++17", "-O2", "-c", path, "-o", target, preload=preload)
            with open(target, "rb") as file:
                objects.append(file.read())
        expect(len(objects[0]) > 100000, "the object file is too small")
        expect(objects[0] == objects[1], "the object files differ")
        run("g++", f"{directory}/True.o", "-o", f"{directory}/large")
        expect_equal(run(f"{directory}/large"), run(f"{directory}/large", preload=False), "output")


main()
