"""The table of bench/compare.py as a picture (for each model, one bar a work: geist's rate over the peer's) and as Markdown."""
import html

BAR, GAP, LEFT, WIDTH, TOP = 11, 3, 190, 760, 46
COLOURS = ["#2563eb", "#93b4f5"]  # 1 thread, more


def write(rows, path, peer="llama.cpp"):
    rows = [row for row in rows if row["peer"] == peer]
    groups = {}
    for row in rows:
        groups.setdefault((row["shape"], row["type"]), []).append(row)
    top = max([float(row["ratio"]) for row in rows] + [2.0])
    scale = (WIDTH - LEFT - 60) / min(top, 8.0)
    threads = sorted({int(row["threads"]) for row in rows})
    y, body = TOP, []
    for (shape, kind), group in groups.items():
        body.append(f'<text x="8" y="{y + 11}" font-weight="bold">{html.escape(shape)} {html.escape(kind)}</text>')
        for work in dict.fromkeys(row["work"] for row in group):
            bars = sorted((row for row in group if row["work"] == work), key=lambda row: int(row["threads"]))
            height = len(bars) * BAR
            body.append(f'<text x="{LEFT - 6}" y="{y + height / 2 + 4}" text-anchor="end">{html.escape(work)}</text>')
            for row in bars:
                ratio = float(row["ratio"])
                colour = COLOURS[min(threads.index(int(row["threads"])), 1)]
                body.append(f'<rect x="{LEFT}" y="{y}" width="{min(ratio, 8.0) * scale:.1f}" height="{BAR - 1}" '
                            f'fill="{colour}"/><text x="{LEFT + min(ratio, 8.0) * scale + 4:.1f}" y="{y + 9}" '
                            f'font-size="9">{ratio:.2f}</text>')
                y += BAR
            y += GAP
        y += 12
    one = LEFT + scale
    legend = "   ".join(f"{t} thread{'s' if t > 1 else ''}" for t in threads)
    path.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y + 8}" font-family="sans-serif" '
        f'font-size="11"><rect width="100%" height="100%" fill="white"/>'
        f'<text x="8" y="18" font-size="14">geist over {html.escape(peer)}: median of paired ratios, longer is better '
        f'(dark: {legend.replace("   ", ", light: ", 1)})</text>'
        f'<line x1="{one:.1f}" y1="{TOP - 8}" x2="{one:.1f}" y2="{y}" stroke="#999" stroke-dasharray="3 3"/>'
        f'<text x="{one:.1f}" y="{TOP - 12}" text-anchor="middle" fill="#666">1.0</text>{"".join(body)}</svg>\n')


def markdown(rows, peer="llama.cpp"):
    """Ratios, a row for each model, a column for each work; in a cell one figure for each number of threads."""
    rows = [row for row in rows if row["peer"] == peer]
    works = list(dict.fromkeys(row["work"] for row in rows))
    threads = sorted({int(row["threads"]) for row in rows})
    ratio = {(row["shape"], row["type"], int(row["threads"]), row["work"]): f"{float(row['ratio']):.2f}" for row in rows}
    lines = [f"| model | {' | '.join(works)} |", f"| --- |{' --- |' * len(works)}"]
    for shape, kind in dict.fromkeys((row["shape"], row["type"]) for row in rows):
        cells = [" · ".join(ratio.get((shape, kind, t, work), "–") for t in threads) for work in works]
        lines.append(f"| {shape} {kind} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
