"""Times the encoder beside the machine's floor, ONNX Runtime and OpenBLAS:
`encoder_bench.py PROGRAM DIRECTORY [--peer FP32.onnx INT8.onnx] [--plot FILE.svg] [--rounds N]`.

PROGRAM is encoder_bench.cpp's, DIRECTORY holds its checkpoint. Every candidate is
a process of its own that answers lines "ROUNDS LENGTH,LENGTH,…" with milliseconds
and otherwise waits; they take turns, round by round, so that what disturbs the
machine disturbs all of them. Printed are medians and ratios of medians."""

import json
import math
import os
import statistics
import subprocess
import sys

# Tokens of 128 paragraphs of textbooks (test data, openstax_paragraphs), every 311th, as the uncased vocabulary cuts them.
MIXED = [
    90, 110, 171, 95, 181, 152, 30, 147, 127, 65, 69, 131, 165, 64, 168, 114, 139, 71, 143, 103, 98, 115, 68, 117, 51, 142, 179, 189, 198,
    204, 165, 81, 163, 66, 35, 72, 64, 64, 52, 37, 23, 147, 39, 56, 79, 147, 20, 59, 104, 82, 27, 113, 31, 77, 38, 62, 149, 46, 69, 41, 44,
    75, 95, 23, 149, 26, 38, 180, 87, 139, 247, 149, 76, 77, 81, 125, 72, 113, 149, 24, 177, 24, 127, 25, 66, 102, 266, 170, 46, 112, 125,
    45, 55, 77, 39, 125, 41, 25, 145, 47, 28, 22, 168, 177, 122, 242, 34, 245, 41, 43, 208, 216, 77, 188, 112, 30, 34, 213, 145, 218, 93,
    129, 165, 114, 296, 185, 22, 109,
]

LAYERS, WIDTH, FEED_FORWARD = 6, 768, 3072
LENGTHS = [8, 16, 32, 64, 128, 256, 512]
SHAPES = {**{str(n): [n] for n in LENGTHS}, "32x128": [128] * 32, "mixed": MIXED}


class Candidate:
    """A process that times what it is told."""

    def __init__(self, command, level=None):
        environment = dict(os.environ, **({"PG_SEMANTIC_VECTOR_LEVEL": level} if level else {}))
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)

    def milliseconds(self, lengths):
        self.process.stdin.write("1 " + ",".join(map(str, lengths)) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            sys.exit("a candidate of the benchmark ended")
        return float(answer)

    def stop(self):
        self.process.stdin.close()
        self.process.wait()


class Floor:
    """What no program on this machine goes below: operations at the rate of its multiply-adds, or weights at
    the rate of its memory, whichever takes longer, and attention's operations at the rate of fp32."""

    def __init__(self, rates):
        self.rates = rates

    def milliseconds(self, lengths, precision):
        products = weights = LAYERS * WIDTH * (4 * WIDTH + 2 * FEED_FORWARD)
        products *= 2 * sum(lengths)
        attention = sum(4 * n * n * WIDTH for n in lengths) * LAYERS
        bytes_of = {"fp32": 4, "fp16": 2, "int8": 1}[precision]
        rate = self.rates["int8_operations" if precision == "int8" else "fp32_operations"]
        seconds = max(products / rate, weights * bytes_of / self.rates["bytes"]) + attention / self.rates["fp32_operations"]
        return 1e3 * seconds


def measure(candidates, shapes, rounds):
    """{(candidate, shape): milliseconds}"""
    medians = {}
    for shape, lengths in shapes.items():
        times = {name: [] for name in candidates}
        for _ in range(rounds if sum(lengths) <= 512 else max(3, rounds // 5)):
            for name, candidate in candidates.items():
                times[name].append(candidate.milliseconds(lengths))
        for name, values in times.items():
            medians[name, shape] = statistics.median(values)
    return medians


def table(title, shapes, rows):
    """rows: (label, {shape: number}, format)"""
    print(f"\n{title}")
    print(f"{'':44}" + "".join(f"{shape:>10}" for shape in shapes))
    for label, numbers, form in rows:
        print(f"{label:44}" + "".join(f"{format(numbers[s], form) if s in numbers else '':>10}" for s in shapes))


def plot(path, series):
    """Milliseconds against tokens, both logarithmic. series: (label, colour, dashed, {tokens: milliseconds})"""
    left, top, width, height = 70, 30, 620, 420
    times = [t for *_, points in series for t in points.values()]
    low, high = math.floor(math.log10(min(times))), math.ceil(math.log10(max(times)))

    def x(tokens):
        return left + width * math.log2(tokens / LENGTHS[0]) / math.log2(LENGTHS[-1] / LENGTHS[0])

    def y(milliseconds):
        return top + height * (high - math.log10(milliseconds)) / (high - low)

    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + width + 220}" height="{top + height + 60}" '
           'font-family="sans-serif" font-size="12">', '<rect width="100%" height="100%" fill="white"/>']
    for n in LENGTHS:
        out.append(f'<line x1="{x(n):.1f}" y1="{top}" x2="{x(n):.1f}" y2="{top + height}" stroke="#ddd"/>'
                   f'<text x="{x(n):.1f}" y="{top + height + 18}" text-anchor="middle">{n}</text>')
    for power in range(low, high + 1):
        for step in (1, 2, 5) if power < high else (1,):
            value = step * 10.0**power
            out.append(f'<line x1="{left}" y1="{y(value):.1f}" x2="{left + width}" y2="{y(value):.1f}" stroke="#ddd"/>'
                       f'<text x="{left - 8}" y="{y(value) + 4:.1f}" text-anchor="end">{value:g}</text>')
    for i, (label, colour, dashed, points) in enumerate(series):
        line = " ".join(f"{x(n):.1f},{y(t):.1f}" for n, t in sorted(points.items()))
        style = ' stroke-dasharray="5 4"' if dashed else ""
        out.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"{style}/>')
        at = top + 10 + 20 * i
        out.append(f'<line x1="{left + width + 15}" y1="{at}" x2="{left + width + 45}" y2="{at}" stroke="{colour}" '
                   f'stroke-width="2"{style}/><text x="{left + width + 52}" y="{at + 4}">{label}</text>')
    out.append(f'<text x="{left + width / 2}" y="{top + height + 42}" text-anchor="middle">tokens of one text</text>'
               f'<text x="18" y="{top + height / 2}" text-anchor="middle" '
               f'transform="rotate(-90 18 {top + height / 2})">milliseconds, one thread</text></svg>')
    with open(path, "w", encoding="utf-8") as file:
        file.write("\n".join(out) + "\n")


def ratios(medians, over, under, shapes):
    return {s: medians[over, s] / medians[under, s] for s in shapes if (over, s) in medians and (under, s) in medians}


def main(arguments):
    program, directory = arguments[:2]
    rounds = int(arguments[arguments.index("--rounds") + 1]) if "--rounds" in arguments else 15
    files = {precision: f"{directory}/{precision}.bin" for precision in ("fp32", "fp16", "int8")}
    for precision, file in files.items():
        if not os.path.exists(file):
            subprocess.run([program, "compile", directory, precision, file], check=True)
    floor = Floor(json.loads(subprocess.run([program, "floor"], check=True, capture_output=True, text=True).stdout))
    print("floor: " + ", ".join(f"{name} {rate / 1e9:.1f} G/s" for name, rate in floor.rates.items()))

    candidates = {precision: Candidate([program, "serve", file, "1"]) for precision, file in files.items()}
    peers = {}
    if "--peer" in arguments:
        at = arguments.index("--peer")
        script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "onnx", "peer.mjs")
        for precision, model in zip(("fp32", "int8"), arguments[at + 1 : at + 3]):
            peers[precision] = f"ONNX Runtime {precision}"
            candidates[peers[precision]] = Candidate(["node", script, model, "1"])
    medians = measure(candidates, SHAPES, rounds)
    for candidate in candidates.values():
        candidate.stop()

    rows = [(name, {s: medians[name, s] for s in SHAPES}, ".2f") for name in candidates]
    floors = {p: {s: floor.milliseconds(n, p) for s, n in SHAPES.items()} for p in files if p != "int8" or "int8_operations" in floor.rates}
    rows += [(f"floor {p}", numbers, ".2f") for p, numbers in floors.items()]
    rows += [(f"{p} / floor", {s: medians[p, s] / numbers[s] for s in SHAPES}, ".2f") for p, numbers in floors.items()]
    if peers:
        rows += [(f"{peers['fp32']} / {p}", ratios(medians, peers["fp32"], p, SHAPES), ".2f") for p in ("fp32", "fp16")]
        rows += [(f"{peers['int8']} / int8", ratios(medians, peers["int8"], "int8", SHAPES), ".2f")]
    table("one thread, milliseconds and ratios (columns: tokens of a text, or texts)", SHAPES, rows)

    if "--plot" in arguments:
        path = arguments[arguments.index("--plot") + 1]
        colours = {"fp32": "#1f77b4", "fp16": "#2ca02c", "int8": "#d62728"}
        lines = [(f"pg_semantic {p}", colours[p], False, {n: medians[p, str(n)] for n in LENGTHS}) for p in files]
        lines += [(label, "#7f7f7f" if p == "fp32" else "#ff7f0e", False, {n: medians[label, str(n)] for n in LENGTHS})
                  for p, label in peers.items()]
        lines += [(f"floor {p}", colours[p], True, {n: floors[p][str(n)] for n in LENGTHS}) for p in floors]
        plot(path, lines)
        print(f"plot: {path}")

    # Two threads beside one.
    candidates = {f"{p}, {n} thread{'s' * (n > 1)}": Candidate([program, "serve", files[p], str(n)]) for p in files for n in (1, 2)}
    medians = measure(candidates, SHAPES, rounds)
    rows = [(name, {s: medians[name, s] for s in SHAPES}, ".2f") for name in candidates]
    rows += [(f"{p}: one thread / two", ratios(medians, f"{p}, 1 thread", f"{p}, 2 threads", SHAPES), ".2f") for p in files]
    table("threads, milliseconds", SHAPES, rows)
    for candidate in candidates.values():
        candidate.stop()

    # Lower instruction sets beside an encoder on OpenBLAS's products, of the same instruction set.
    shapes = {s: n for s, n in SHAPES.items() if sum(n) <= 512}
    for level, core in (("avx2", "Haswell"), ("portable", "Nehalem")):
        os.environ["OPENBLAS_CORETYPE"] = core
        candidates = {"on OpenBLAS": Candidate([program, "blas"], level)}
        candidates.update({f"{p}, {level}": Candidate([program, "serve", file, "1"], level) for p, file in files.items()})
        medians = measure(candidates, shapes, max(3, rounds // 3))
        rows = [(name, {s: medians[name, s] for s in shapes}, ".2f") for name in candidates]
        rows += [(f"on OpenBLAS / fp32, {level}", ratios(medians, "on OpenBLAS", f"fp32, {level}", shapes), ".2f")]
        table(f"without AVX-512: {level}", shapes, rows)
        for candidate in candidates.values():
            candidate.stop()


if __name__ == "__main__":
    main(sys.argv[1:])
