"""Draws recall against queries a second: `curve.py POINTS FILE.svg`, and prints the rates at recall 0.95 and 0.99.

A line of POINTS: name, setting, recall@10, queries a second, p50, p99 (milliseconds)."""

import math
import sys

WIDTH, HEIGHT, MARGIN = 640, 420, 60
COLOURS = {"ours": "#1f77b4", "hnsw": "#d62728"}


def rate_at(points, recall):
    """Between two points the logarithm of the rate falls about as that of the misses."""
    points = sorted((r, q) for r, q in points if r < 1)
    for (r0, q0), (r1, q1) in zip(points, points[1:]):
        if r0 <= recall <= r1 and r1 > r0:
            share = (math.log(1 - r0) - math.log(1 - recall)) / (math.log(1 - r0) - math.log(1 - r1))
            return math.exp(math.log(q0) + share * (math.log(q1) - math.log(q0)))
    return None


def main(source, target):
    curves = {}
    for line in open(source, encoding="utf-8"):
        name, _, recall, rate, _, _ = line.split()
        curves.setdefault(name, []).append((float(recall), float(rate)))
    for recall in (0.95, 0.99):
        rates = {name: rate_at(points, recall) for name, points in curves.items()}
        text = ", ".join(f"{name} {rate:.0f}" if rate else f"{name} not reached" for name, rate in rates.items())
        if all(rates.get(name) for name in ("ours", "hnsw")):
            text += f", ours / hnsw {rates['ours'] / rates['hnsw']:.2f}"
        print(f"queries/s at recall {recall}: {text}")

    rates = [rate for points in curves.values() for _, rate in points]
    low, high = math.floor(math.log10(min(rates))), math.ceil(math.log10(max(rates)))
    x_of = lambda recall: MARGIN + (min(max(recall, 0.7), 1) - 0.7) / 0.3 * (WIDTH - 2 * MARGIN)
    y_of = lambda rate: HEIGHT - MARGIN - (math.log10(rate) - low) / max(high - low, 1) * (HEIGHT - 2 * MARGIN)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" font-family="sans-serif" font-size="12">',
           f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>']
    for recall in (0.7, 0.8, 0.9, 0.95, 0.99):
        out.append(f'<line x1="{x_of(recall)}" x2="{x_of(recall)}" y1="{MARGIN}" y2="{HEIGHT - MARGIN}" stroke="#ddd"/>'
                   f'<text x="{x_of(recall)}" y="{HEIGHT - MARGIN + 18}" text-anchor="middle">{recall}</text>')
    for power in range(low, high + 1):
        y = y_of(10**power)
        out.append(f'<line x1="{MARGIN}" x2="{WIDTH - MARGIN}" y1="{y}" y2="{y}" stroke="#ddd"/>'
                   f'<text x="{MARGIN - 6}" y="{y + 4}" text-anchor="end">{10**power}</text>')
    for number, (name, points) in enumerate(curves.items()):
        path = " ".join(f"{x_of(recall):.1f},{y_of(rate):.1f}" for recall, rate in sorted(points))
        out.append(f'<polyline points="{path}" fill="none" stroke="{COLOURS.get(name, "black")}" stroke-width="2"/>'
                   f'<text x="{WIDTH - MARGIN - 80}" y="{MARGIN + 18 * number}" fill="{COLOURS.get(name, "black")}">{name}</text>')
    out.append(f'<text x="{WIDTH / 2}" y="{HEIGHT - 12}" text-anchor="middle">recall@10</text>'
               f'<text x="14" y="{HEIGHT / 2}" transform="rotate(-90 14 {HEIGHT / 2})" text-anchor="middle">queries a second</text></svg>')
    with open(target, "w", encoding="utf-8") as file:
        file.write("\n".join(out) + "\n")
    print(f"plot: {target}")


main(*sys.argv[1:])
