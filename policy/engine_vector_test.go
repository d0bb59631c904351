package policy

import "testing"

// The vectors of the behaviours catalogue (its section 10), each under the presets that it is about.
func TestVectors(t *testing.T) {
	const session = handshake + `
	+1s   c P. 1001:100 5001  => forward/in-window counted=true
	+10ms s .  5001 1101      => forward/in-window counted=true
	+10ms s P. 5001:50 1101   => forward/in-window
	+10ms c .  1101 5051      => forward/in-window
	`
	for _, v := range []struct{ name, preset, script string }{
		{"V1 remembered", "lpd-case-2015", session + `
	+25s  c S  900000         => drop/syn-established reply=ack-tracked:c:.,5051,1101 state=ESTABLISHED effect=keep idle=25s remaining=59m35s peer=none
	+1s   c S  900000         => drop/syn-established reply=ack-tracked:c:.,5051,1101 remaining=59m34s idle=1s
	+1ms  c R  1101           => forward/rst state=CLOSE
	+1s   c S  900000         => forward/syn-after-rst state=SYN_SENT +end:replaced +new`},
		{"V1 remembered", "openbsd-pf", session + `
	+25s  c S  900000         => drop/syn-established reply=ack-tracked:c:.,5051,1101 state=ESTABLISHED
	+1s   s S  900000         => drop/syn-established-reverse reply=ack-tracked:s:.,1101,5051`},
		{"V1 remembered", "freebsd-pf-classic", session + `
	+25s  c S  900000         => drop/syn-established reply=none peer=none state=ESTABLISHED`},
		{"V1 remembered", "linux-default", session + `
	+25s  c S  900000         => forward/syn-established effect=annotate state=ESTABLISHED reply=none
	+1ms  s .  5051 1101      => forward/in-window
	+1ms  c R  1101           => forward/rst state=CLOSE
	+1ms  c S  900000         => forward/syn-after-rst state=SYN_SENT`},
		{"V1 remembered and the server takes the new connection", "transparent-resync", session + `
	+25s  c S  900000         => forward/syn-established effect=annotate
	+1ms  s S. 70000 900001   => forward/synack-resync state=SYN_RECV effect=resync +end:replaced +new
	+1ms  c .  900001 70001   => forward/handshake state=ESTABLISHED
	+1ms  s P. 70001:10 900001 => forward/in-window counted=true`},
		{"V2 forgotten", "lpd-case-2015", session + `
	+2h   c S  900000         => forward/new tomb=idle +end:idle +new
	+1ms  s .  5051 1101      => forward/ack-for-syn state=SYN_SENT tomb=idle
	+1ms  c R  1101           => forward/rst-after-challenge`},
		{"V2 forgotten", "linux-default", session + `
	+200h c S  900000         => forward/new
	+1ms  s .  5051 1101      => forward/ack-for-syn state=SYN_SENT
	+1ms  c R  1101           => forward/rst-after-challenge`},
		{"V2 forgotten", "openbsd-pf", session + `
	+48h  c S  900000         => forward/new
	+1ms  s .  5051 1101      => drop/ack-for-syn reply=rst:s:R,1101 effect=rearm
	+1s   c S  900000         => forward/syn-retransmit
	+1ms  s S. 70000 900001   => forward/syn-ack state=SYN_RECV`},
		{"V3 reopen after both FINs", "openbsd-pf", session + `
	+1    c F. 1101 5051      => forward/fin state=FIN_WAIT
	+1ms  s .  5051 1102      => forward/in-window state=CLOSE_WAIT
	+1ms  s F. 5051 1102      => forward/fin state=LAST_ACK
	+1ms  c .  1102 5052      => forward/in-window state=TIME_WAIT
	+16   c S  900000         => forward/syn-time-wait state=SYN_SENT +end:replaced +new`},
		{"V4 inexact RST", "linux-default", session + `
	+1    c R  1201           => forward/rst-inexact state=ESTABLISHED
	+9    c .  1101 5051      => remaining=1s`},
		{"V4 inexact RST", "openbsd-pf", session + `
	+1    c R  1201           => drop/rst-inexact state=ESTABLISHED`},
		{"V5 lower ISN", "openbsd-pf", `
	+0    c S  1000000        => forward/new
	+1    c S  999000         => forward/syn-new-isn-lower
	+1    c S  100000         => drop/syn-new-isn-far`},
		{"V5 lower ISN", "linux-default", `
	+0    c S  1000000        => forward/new
	+1    c S  990000         => forward/syn-new-isn-lower state=SYN_SENT
	+1ms  s S. 5000 990001    => forward/synack-bad-ack-low state=SYN_RECV
	+1ms  c .  990001 5001    => forward/seq-below state=SYN_RECV
	+1ms  s .  5001 990001    => forward/in-window state=SYN_RECV`},
		{"V5 ISN lower than an ACK may lag: the kernel keeps the first", "linux-default", `
	+0    c S  1000000        => forward/new
	+1    c S  1000           => forward/syn-new-isn-lower
	+1ms  s S. 5000 1001      => forward/ack-below state=SYN_SENT
	+1ms  c .  1001 5001      => drop/handshake-bad-ack state=SYN_SENT`},
		{"V6 data after the idle timer", "lpd-case-2015", session + `
	+1h5m c P. 1101:10 5051   => forward/late-after-expiry tomb=idle`},
		{"V6 data after the idle timer", "openbsd-pf", session + `
	+24h5m c P. 1101:10 5051   => drop/late-after-expiry tomb=idle`},
		{"V9 no handshake without its third segment", "linux-default", `
	+0    c S  1000           => forward/new
	+1ms  s S. 5000 1001      => forward/syn-ack
	+1    c S  1000           => forward/syn-retransmit
	+1ms  s S. 5000 1001      => forward/synack-retransmit state=SYN_RECV
	+61   -                   => +end:idle`},
	} {
		t.Run(v.name+" "+v.preset, func(t *testing.T) {
			for _, w := range worlds {
				x := newScript(policyOf(t, "preset: "+v.preset), EngineConfig{NoAdopt: true}, w)
				x.run(t, v.script)
			}
		})
	}
}

// worlds must all give the same outcomes: another epoch, numbers that wrap, addresses the other way round and of the other
// family, strangers in between.
var worlds = []world{
	plainWorld,
	{start: 7e17 + 12345, seq: [2]uint32{0xffffffff - 1050, 0xffffffff - 5020}, ends: plainWorld.ends},
	{start: 3, seq: [2]uint32{1<<31 - 1010, 1<<31 + 77}, ends: [2]string{"192.0.2.1:515", "10.2.0.5:721"}},
	{start: 1e15, ends: [2]string{"[2001:db8::1]:515", "[2001:db8::2]:721"}, interval: strangers},
}
