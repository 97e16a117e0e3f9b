"""Reads pprof's files: as much of profile.proto as the tests look at."""

import gzip


def fields(message):
    """(number, value) of each field: an int, or bytes."""
    at = 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 0x7f) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(message):
        tag = varint()
        if tag & 7 == 0:
            yield tag >> 3, varint()
        elif tag & 7 == 2:
            size = varint()
            if at + size > len(message):
                raise ValueError("a field is cut off")
            yield tag >> 3, message[at:at + size]
            at += size
        else:
            raise ValueError(f"wire type {tag & 7}")


def packed(data):
    value = shift = 0
    for byte in data:
        value |= (byte & 0x7f) << shift
        shift += 7
        if byte < 0x80:
            yield value
            value = shift = 0


class Profile:
    """types: [(type, unit)]; mappings: {id: (start, end, file, build id)}; samples: [(stack of
    addresses, values, {label: text})]; period: (type, unit, number)."""

    def __init__(self, path):
        with gzip.open(path) as file:
            top = list(fields(file.read()))
        strings = [value.decode() for number, value in top if number == 6]
        if strings[0]:
            raise ValueError("the first string is not empty")

        def single(message):
            return dict(fields(message))

        def value_type(message):
            of = single(message)
            return strings[of[1]], strings[of[2]]

        self.types = [value_type(value) for number, value in top if number == 1]
        scalars = {number: value for number, value in top if number in (9, 11, 12, 14)}
        self.period = (*value_type(scalars[11]), scalars[12])
        self.default_type = strings[scalars[14]]
        self.time_ns = scalars[9]
        self.mappings, locations = {}, {}
        for number, value in top:
            if number == 3:
                of = single(value)
                self.mappings[of[1]] = (of[2], of[3], strings[of[5]], strings[of[6]])
            elif number == 4:
                of = single(value)
                locations[of[1]] = (of[3], of.get(2))
        for address, mapping in locations.values():
            if mapping is not None:
                start, end = self.mappings[mapping][:2]
                if not start <= address < end:
                    raise ValueError("an address lies outside of its mapping")
        self.samples = []
        for number, value in top:
            if number != 2:
                continue
            stack, values, labels = [], [], {}
            for part, content in fields(value):
                if part == 1:
                    stack = [locations[i][0] for i in packed(content)]
                elif part == 2:
                    values = list(packed(content))
                elif part == 3:
                    label = single(content)
                    labels[strings[label[1]]] = strings[label[2]]
            self.samples.append((stack, values, labels))
