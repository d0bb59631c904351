package ladder

// CSS is the style sheet of the drawings, for a page that holds them bare. Contrasts of text are at least 4.5 to 1 in both schemes.
const CSS = `
.hol{--paper:#fff;--ink:#1b1f24;--muted:#57606a;--life:#c2c9d1;--sent:#3d4752;--drop:#b3261e;--made:#6d3fc0;--held:#8a5a00;--knows:#dbe9ff;--edge:#5b8def;--note:#f3f5f8;
font-family:system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif;font-size:13px}
@media (prefers-color-scheme:dark){.hol{--paper:#0f1419;--ink:#e6edf3;--muted:#9aa7b4;--life:#3a444f;--sent:#aeb9c4;--drop:#ff8a80;--made:#c9a7ff;--held:#e3b341;--knows:#1d3557;--edge:#6ca8ff;--note:#1a2129}}
.hol-paper{fill:var(--paper)}
.hol text{fill:var(--ink)}
.hol .hol-title{font-size:18px;font-weight:650}
.hol .hol-lead{font-size:14px}
.hol .hol-name{font-size:11px;fill:var(--muted);letter-spacing:.04em;text-transform:uppercase}
.hol .hol-value{font-weight:500}
.hol .hol-party{font-weight:650;font-size:14px}
.hol .hol-time{text-anchor:end;fill:var(--muted);font-variant-numeric:tabular-nums}
.hol .hol-label,.hol .hol-head,.hol .hol-number{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;font-size:12px}
.hol .hol-label{paint-order:stroke;stroke:var(--paper);stroke-width:4px;stroke-linejoin:round}
.hol .hol-head{font-weight:700}
.hol .hol-words,.hol .hol-legend{fill:var(--muted)}
.hol .hol-bad{fill:var(--drop)}
.hol .hol-odd{fill:var(--held)}
.hol .hol-count{font-weight:550}
.hol .hol-event{font-style:italic}
.hol-life{stroke:var(--life);stroke-width:2}
.hol-blank{stroke-dasharray:1 6;stroke-linecap:round}
.hol-knows{fill:var(--knows);stroke:var(--edge)}
.hol-sent{stroke:var(--sent);stroke-width:1.8}
.hol-sent.hol-drop{stroke:var(--drop)}
.hol-sent.hol-made{stroke:var(--made);stroke-dasharray:6 4}
.hol-sent.hol-held{stroke:var(--held)}
.hol-tip{fill:var(--sent)}
.hol-tip.hol-made{fill:var(--made)}
.hol-passed{fill:var(--sent);stroke:var(--paper);stroke-width:1.5}
.hol-changed{fill:var(--held);stroke:var(--paper);stroke-width:1.5}
.hol-stop{fill:var(--paper);stroke:var(--drop);stroke-width:1.8}
.hol-cross{stroke:var(--drop);stroke-width:2;fill:none}
.hol-wait{fill:var(--paper);stroke:var(--held);stroke-width:1.8}
.hol-bars{stroke:var(--held);stroke-width:2}
.hol-many{fill:var(--note);stroke:var(--life)}
.hol-both{fill:var(--muted)}
.hol-note{fill:var(--note)}
.hol-break{stroke:var(--muted);stroke-width:1.6;fill:none}
.hol-mark{fill:var(--made)}
.hol .hol-number{fill:var(--paper);font-weight:700;font-size:11px}
.hol-ghost{fill:var(--paper);stroke:var(--made);stroke-width:1.6;stroke-dasharray:3 2.5}
.hol .hol-would{font-style:italic;fill:var(--made)}
.hol-link{fill:none;stroke:var(--made);stroke-width:1.4;stroke-dasharray:2 3}
`
