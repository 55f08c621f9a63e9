"""The looks of a report: light or dark, as the reader's system is set."""

STYLE = """
:root {
  --page: #f4f5f7; --card: #ffffff; --text: #16202c; --muted: #5b6775;
  --line: #dfe3e8; --accent: #1f5fae; --note: #fff6e0; --note-line: #e7b93e;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #12161b; --card: #1b2128; --text: #e6eaef; --muted: #9aa6b4;
    --line: #313a45; --accent: #7fb2f0; --note: #2d2716; --note-line: #a8842b;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--page); color: var(--text);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif;
}
main { max-width: 1180px; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }
h1 { margin: 0; font-size: 2rem; line-height: 1.2; letter-spacing: -0.015em; }
header > p { margin: 0.5rem 0 1.5rem; color: var(--muted); font-size: 1.1rem; }
h2 { margin: 0 0 1rem; font-size: 1.2rem; }
section, header {
  background: var(--card); border: 1px solid var(--line); border-radius: 12px;
  padding: 1.5rem; margin-bottom: 1.25rem;
}
.facts {
  display: grid; grid-template-columns: repeat(auto-fit, minmax(170px, 1fr));
  gap: 0.75rem; margin: 0;
}
.facts > div { border-left: 3px solid var(--accent); padding: 0.1rem 0 0.1rem 0.8rem; }
.facts dt { color: var(--muted); font-size: 0.82rem; }
.facts dd { margin: 0; font-size: 1.05rem; font-weight: 600; }
.notes {
  margin: 1.5rem 0 0; padding: 0.8rem 1rem 0.8rem 2rem; border-radius: 8px;
  background: var(--note); border: 1px solid var(--note-line); font-size: 0.95rem;
}
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td {
  padding: 0.38rem 0.65rem; text-align: right; white-space: nowrap;
  border-bottom: 1px solid var(--line);
}
th:first-child { text-align: left; }
thead th { color: var(--muted); font-size: 0.82rem; font-weight: 600; }
tbody th { font-weight: 500; }
tbody tr:last-child > * { border-bottom: 0; }
.fine { color: var(--muted); font-size: 0.85rem; }
ul.fine { padding-left: 1.1rem; margin: 0; }
figure { margin: 0 0 1.25rem; }
figure:last-child { margin-bottom: 0; }
img { display: block; max-width: 100%; height: auto; border-radius: 8px; background: #ffffff; }
figcaption { margin-top: 0.5rem; color: var(--muted); font-size: 0.9rem; }
details + details { margin-top: 1rem; }
summary { cursor: pointer; font-weight: 600; margin-bottom: 0.5rem; }
pre {
  margin: 0; padding: 1rem; overflow-x: auto; border-radius: 8px; background: var(--page);
  font: 0.82rem/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace;
}
"""
