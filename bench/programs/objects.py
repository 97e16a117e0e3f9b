"""objects.py COUNT: makes, changes, sorts, writes and parses COUNT records, and checks them."""

import json
import sys


def records(count):
    return [{"id": i, "name": f"name-{i * 7919 % 100003}", "tags": [str(i % k) for k in (3, 7, 31)],
             "size": i % 1000 * 1.5} for i in range(count)]


def main():
    count = int(sys.argv[1])
    made = records(count)
    by_name = {}
    for record in made:
        by_name.setdefault(record["name"], []).append(record)
    for group in by_name.values():
        group.sort(key=lambda record: -record["id"])
    text = json.dumps(list(by_name.values()))
    parsed = [record for group in json.loads(text) for record in group]
    parsed.sort(key=lambda record: record["id"])
    if parsed != made or len(by_name) > 100003:
        sys.exit("the records changed")
    words = {word for record in parsed for word in (record["name"], *record["tags"])}
    joined = " ".join(sorted(words))
    if len(joined.split()) != len(words):
        sys.exit("words were lost")


main()
