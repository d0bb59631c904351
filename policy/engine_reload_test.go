package policy

import (
	"net/netip"
	"testing"
)

// What a reload does to live flows: keep leaves their timers alone and decides by the new policy, rematch gives them the new
// timers, drop ends them; the last two by time or by the flow's next segment, whichever comes first.
func TestReload(t *testing.T) {
	old := policyOf(t, "timeouts: {established: 1h}\nrules: [{name: old, match: {dst_port: 515}}]")
	now := policyOf(t, "timeouts: {established: 5m}\nlate: 1h\non: {late-after-expiry: drop}\nrules: [{name: other, match: {dst_port: 80}}, {name: new, match: {dst_port: 515}, timeouts: {established: 20m}, on: {syn-established: drop}}]")
	for _, c := range []struct {
		name string
		live Reload
		then string
	}{
		{"keep", ReloadKeep, `
	+0    -                   =>
	+0    c S  900000         => drop/syn-established rule=new remaining=45m0s
	+0    c .  1001 5001      => forward/in-window rule=new
	+10m  c .  1001 5001      => remaining=50m0s
	+1h   -                   => +end:idle`},
		{"rematch by time", ReloadRematch, `
	+0    -                   =>
	+1m   c .  1001 5001      => rule=new remaining=4m0s
	+20m  -                   => +end:idle`},
		{"rematch by a segment", ReloadRematch, `
	+1m   c .  1001 5001      => rule=new remaining=4m0s`},
		{"rematch ends what is over by the new timer", ReloadRematch, `
	+6m   c .  1001 5001      => drop/late-after-expiry tomb=idle rule=new`},
		{"rematch ends by time what is over by the new timer", ReloadRematch, `
	+6m   -                   => +end:idle`},
		{"drop by time", ReloadDrop, `
	+0    -                   => +end:reload
	+0    c .  1001 5001      => drop/late-after-expiry tomb=reload`},
		{"drop by a segment", ReloadDrop, `
	+0    s .  5001 1001      => drop/late-after-expiry tomb=reload +end:reload dir=reply
	+0    c S  900000         => forward/new +new
	+0    -                   =>`},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, w := range worlds {
				if w.interval != nil {
					continue // strangers have timers of their own
				}
				w.ends = plainWorld.ends
				x := newScript(old, EngineConfig{NoAdopt: true}, w)
				x.run(t, handshake+"+15m - =>")
				x.e.Swap(x.now, now, c.live)
				x.run(t, c.then)
			}
		})
	}
}

// A later keep does not undo what an earlier reload still has to do, and does not touch what came after it.
func TestReloadsInSeries(t *testing.T) {
	p := policyOf(t, "limits: {flows: 100000}")
	x := newScript(p, EngineConfig{NoAdopt: true}, plainWorld)
	flood(x, 1000)
	x.e.Swap(x.now, p, ReloadDrop)
	x.run(t, handshake)
	x.e.Swap(x.now, p, ReloadKeep)
	n := 0
	for more := true; more; n++ {
		more = x.e.Advance(x.now, 100, func(*TimeEvent) {})
		if n > 100 {
			t.Fatal("no end")
		}
	}
	if n < 10 {
		t.Errorf("done in %d chunks", n)
	}
	if x.e.Len() != 1 {
		t.Errorf("%d entries left", x.e.Len())
	}
	x.run(t, "+0 c . 1001 5001 => forward/in-window state=ESTABLISHED")
	// Nor does a later rematch widen an earlier drop.
	x.e.Swap(x.now, p, ReloadDrop)
	x.ends[0] = netip.MustParseAddrPort("10.2.0.5:722")
	x.run(t, handshake)
	x.e.Swap(x.now, p, ReloadRematch)
	x.run(t, "+0 - => +end:reload\n +0 c . 1001 5001 => forward/in-window state=ESTABLISHED")
}

// A reload changes the table's bounds too.
func TestReloadLimits(t *testing.T) {
	x := newScript(policyOf(t, "limits: {flows: 100}\non: {table-full: drop}"), EngineConfig{NoAdopt: true}, plainWorld)
	flood(x, 10)
	x.e.Swap(x.now, policyOf(t, "limits: {flows: 10}\non: {table-full: drop, embryonic-limit: drop}"), ReloadKeep)
	x.run(t, "+0 c S 1 => drop/table-full")
	x.e.Swap(x.now, policyOf(t, "limits: {flows: 50}"), ReloadKeep)
	x.run(t, "+0 c S 1 => forward/new")
}
