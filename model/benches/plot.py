"""Draws what `labels` and `feedback_loop` print as SVG, with the standard library alone.

    cargo bench -p model --bench labels -- CORPUS | python3 model/benches/plot.py labels > docs/figures/labels.svg
    for way in named clicked; do cargo bench -p registry --bench feedback_loop -- $way CORPUS; done |
        python3 model/benches/plot.py tenths > docs/figures/feedback-loop.svg
"""

import collections
import json
import sys

WIDTH, HEIGHT = 720, 400
LEFT, RIGHT, TOP, BOTTOM = 64, 120, 24, 52
COLOURS = {"random": "#8a6d1f", "chosen": "#2457a6", "clicked": "#8a6d1f", "named": "#2457a6"}
X_TITLES = {"labels": "Labelled sentences", "tenths": "Share of the training commenters whose comments were reviewed (%)"}


def read(x):
    """The PR-AUC of each seed, by way and place on the x axis."""
    found = collections.defaultdict(lambda: collections.defaultdict(list))
    for line in sys.stdin:
        if line.startswith("{"):
            point = json.loads(line)
            found[point["way"]][point[x] * (10 if x == "tenths" else 1)].append(point["pr_auc"])
    return found


def main():
    x = sys.argv[1]
    ways = read(x)
    places = sorted({place for curve in ways.values() for place in curve})
    values = [value for curve in ways.values() for seeds in curve.values() for value in seeds]
    low, high = int(min(values) * 20) / 20, -int(-max(values) * 20 // 1) / 20

    def across(place):
        return LEFT + (place - places[0]) / (places[-1] - places[0]) * (WIDTH - LEFT - RIGHT)

    def up(value):
        return HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - TOP - BOTTOM)

    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="13">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
    ]
    for step in range(round(low * 20), round(high * 20) + 1):
        y = up(step / 20)
        out.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>')
        out.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end" fill="#333">{step / 20:.2f}</text>')
    for place in places[:: max(1, len(places) // 6)]:
        at = f'x="{across(place):.1f}" y="{HEIGHT - BOTTOM + 20}"'
        out.append(f'<text {at} text-anchor="middle" fill="#333">{place:,}</text>')
    out.append(f'<text x="{LEFT}" y="16" fill="#333">PR-AUC on held-out commenters; each seed, and their mean</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    out.append(f'<text x="{middle}" y="{HEIGHT - 10}" text-anchor="middle" fill="#333">{X_TITLES[x]}</text>')
    for way, curve in ways.items():
        colour = COLOURS[way]
        for seed in range(min(len(seeds) for seeds in curve.values())):
            points = " ".join(f"{across(p):.1f},{up(curve[p][seed]):.1f}" for p in sorted(curve))
            out.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-opacity=".25"/>')
        mean = {place: sum(seeds) / len(seeds) for place, seeds in curve.items()}
        points = " ".join(f"{across(p):.1f},{up(mean[p]):.1f}" for p in sorted(mean))
        out.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2.5"/>')
        if len(ways) > 1:
            end = f'x="{WIDTH - RIGHT + 8}" y="{up(mean[places[-1]]) + 4:.1f}"'
            out.append(f'<text {end} fill="{colour}">{way}</text>')
    out.append("</svg>")
    print("\n".join(out))


main()
