package policy

import (
	"strings"
	"testing"
)

// vectorSession is an established connection with data both ways: c's next number is 1101, s's is 5051.
const vectorSession = handshake + `
	+1s   c P. 1001:100 5001  => forward/in-window counted=true
	+10ms s .  5001 1101      => forward/in-window counted=true
	+10ms s P. 5001:50 1101   => forward/in-window
	+10ms c .  1101 5051      => forward/in-window
	`

// vectorClosed is the same connection after both ends have closed.
const vectorClosed = vectorSession + `
	+1    c F. 1101 5051      => forward/fin state=FIN_WAIT
	+1ms  s .  5051 1102      => forward/in-window state=CLOSE_WAIT
	+1ms  s F. 5051 1102      => forward/fin state=LAST_ACK
	+1ms  c .  1102 5052      => forward/in-window state=TIME_WAIT
	`

// vectorForgotten is phase B of the incident: the gateway has forgotten the connection, the client dials again, and the server,
// which holds it, answers with an ACK of its numbers.
const vectorForgotten = vectorSession + `
	+80h  c S  900000         => forward/new tomb=idle +end:idle +new
	`

// probed is the number that the first probe of vectorSession acknowledges.
const probed = "1170566114"

// The vectors of the behaviours catalogue (its section 10) under the presets of commercial firewalls that they are about.
func TestVendorVectors(t *testing.T) {
	for _, v := range []struct{ name, policy, script string }{
		{"V1 remembered: the server has lost the connection", "checkpoint-scr", vectorSession + `
	+25s  c S  900000         => drop/syn-established reply=none state=ESTABLISHED peer=probe-from-syn:s:.,900000,` + probed + `,win=1000
	+1ms  s R  ` + probed + `     => forward/rst-for-probe effect=delete +end:rst
	+1s   c S  900000         => forward/new state=SYN_SENT tomb=rst`},
		{"V1 remembered: the server holds the connection", "checkpoint-scr", vectorSession + `
	+25s  c S  900000         => drop/syn-established peer=probe-from-syn:s:.,900000,` + probed + `,win=1000
	+1ms  s .  5051 1101      => forward/ack-for-probe state=ESTABLISHED
	+1ms  c R  1101           => forward/rst state=CLOSE`},
		{"V1 remembered: the server does not answer", "checkpoint-scr", vectorSession + `
	+25s  c S  900000         => drop/syn-established peer=probe-from-syn:s:.,900000,` + probed + `,win=1000
	+3    -                   => probe-unanswered
	+1ms  c .  1101 5051      => forward/in-window state=ESTABLISHED`},
		{"V1 remembered", "checkpoint-legacy", vectorSession + `
	+25s  c S  900000         => drop/syn-established reply=none peer=none state=ESTABLISHED
	+59m  c S  900000         => drop/syn-established remaining=35s
	+36s  c S  900000         => forward/new tomb=idle`},
		{"V1 remembered", "cisco-asa", vectorSession + `
	+25s  c S  900000         => drop/syn-established reply=none peer=none state=ESTABLISHED`},
		{"V1 remembered", "netdefendos", vectorSession + `
	+25s  c S  1000           => drop/syn-established-duplicate unmet=isn-newer state=ESTABLISHED
	+25s  c S  900000         => forward/syn-established state=SYN_SENT effect=replace +end:replaced +new
	+1ms  s S. 70000 900001   => forward/syn-ack state=SYN_RECV`},
		{"V1 remembered", "netdefendos:TCPSequenceNumbers=ValidateReopen", vectorSession + `
	+25s  c S  900000         => drop/syn-established unmet=isn-in-window
	+1s   c S  1500           => forward/syn-established-in-window effect=replace`},
		{"V1 remembered", "netdefendos:TCPSequenceNumbers=ReopenValidate", vectorSession + `
	+25s  c S  50             => forward/syn-established effect=replace`},

		{"V2 forgotten", "paloalto", vectorForgotten + `
	+1ms  s .  5051 1101      => forward/ack-for-syn state=SYN_SENT
	+1ms  c R  1101           => drop/rst-after-challenge state=SYN_SENT reply=none
	+1    c S  900000         => forward/syn-retransmit
	+1ms  s .  5051 1101      => forward/ack-for-syn`},
		{"V2 forgotten", "paloalto:allow-challenge-ack=yes", vectorForgotten + `
	+1ms  s .  5051 1101      => forward/ack-for-syn state=SYN_SENT
	+1ms  c R  1101           => forward/rst-after-challenge state=CLOSE
	+1    c S  900000         => forward/syn-after-rst +end:replaced +new
	+1ms  s S. 70000 900001   => forward/syn-ack state=SYN_RECV`},
		{"V2 forgotten", "cisco-asa", vectorForgotten + `
	+1ms  s .  5051 1101      => drop/ack-for-syn reply=none`},
		{"V2 forgotten", "netdefendos", vectorForgotten + `
	+1ms  s .  5051 1101      => drop/ack-for-syn reply=none`},

		{"V3 reopen after 0.5 s", "paloalto", vectorClosed + `+500ms c S  900000 => forward/syn-time-wait state=SYN_SENT +end:replaced +new`},
		{"V3 reopen after 2 s", "paloalto", vectorClosed + `+2 c S  900000       => forward/syn-time-wait state=SYN_SENT +end:replaced +new`},
		{"V3 reopen after 16 s", "paloalto", vectorClosed + `+16 c S  900000     => forward/new tomb=fin state=SYN_SENT`},
		{"V3 reopen after 0.5 s", "juniper-srx", vectorClosed + `
	+500ms c S  900000        => forward/syn-time-wait state=TIME_WAIT effect=keep remaining=1.5s
	+1.5  s S. 70000 900001   => drop/late-synack tomb=fin
	+1ms  c S  900000         => forward/new`},
		{"V3 reopen after 2 s", "juniper-srx", vectorClosed + `+2 c S  900000    => forward/new tomb=fin`},
		{"V3 reopen after 0.5 s", "juniper-srx:fin-invalidate-session=on", vectorSession + `
	+1    c F. 1101 5051      => forward/fin effect=delete +end:deleted
	+500ms c S  900000        => forward/new state=SYN_SENT`},
		{"V3 the race of the field report", "juniper-srx:field-report-2s=on", vectorSession + `
	+1    c R  1101           => forward/rst state=CLOSE
	+500ms c S  900000        => forward/syn-after-rst effect=keep state=CLOSE remaining=1.5s
	+1ms  s S. 70000 900001   => forward/synack-established effect=keep
	+1ms  c .  900001 70001   => forward/data-after-rst effect=keep
	+1.5  c P. 900001:10 70001 => drop/late-after-expiry tomb=rst`},
		{"V3 after a RST, by the reference", "juniper-srx", vectorSession + `
	+1    c R  1101           => forward/rst state=ESTABLISHED remaining=29m59s
	+1    c S  900000         => drop/syn-established state=ESTABLISHED`},
		{"V3 reopen after 0.5 s", "fortigate", vectorClosed + `
	+500ms c S  900000        => forward/syn-time-wait effect=keep remaining=500ms
	+500ms s S. 70000 900001  => drop/late-synack tomb=fin`},
		{"V3 reopen after 2 s", "fortigate", vectorClosed + `+2 c S  900000      => forward/new tomb=fin`},
		{"V3 reopen after 0.5 s", "cisco-asa", vectorClosed + `+500ms c S  900000 => forward/new tomb=fin`},
		{"V3 reopen after 16 s", "checkpoint-legacy", vectorClosed + `
	+16   c S  900000         => drop/syn-time-wait
	+4    c S  900000         => forward/new tomb=fin`},
		{"V3 reopen after 0.5 s", "netdefendos", vectorClosed + `+500ms c S  900000 => forward/syn-time-wait effect=replace +end:replaced +new`},

		{"V4 inexact RST", "juniper-srx:rst-sequence-check=on", vectorSession + `
	+1    c R  1201           => drop/rst-inexact state=ESTABLISHED reply=ack-tracked:c:.,5051,1101
	+1    c R  1100           => forward/rst`},
		{"V4 inexact RST", "juniper-srx", vectorSession + `
	+1    c R  1201           => forward/rst state=ESTABLISHED reply=none`},
		{"V4 inexact RST", "paloalto", vectorSession + `
	+1    c R  1201           => forward/rst-inexact state=ESTABLISHED effect=keep
	+20   s R  5051           => remaining=10s state=CLOSE
	+15   -                   => +end:rst`},
		{"V4 inexact RST", "cisco-asa", vectorSession + `
	+1    c R  1201           => drop/rst-inexact state=ESTABLISHED reply=none`},
		{"V4 inexact RST", "fortigate:check-reset-range=strict", vectorSession + `
	+1    c R  1201           => drop/rst-inexact state=ESTABLISHED
	+1    c P. 1101:100 5051  => forward/in-window
	+1    c R  1151           => forward/rst state=CLOSE`},

		{"V5 lower ISN", "cisco-asa", `
	+0    c S  1000000        => forward/new
	+1    c S  990000         => drop/syn-new-isn-lower
	+1ms  s S. 5000 990001    => drop/synack-bad-ack-low`},
		{"V5 lower ISN", "fortigate:anti-replay=loose", `
	+0    c S  1000000        => forward/new
	+1    c S  990000         => forward/syn-new-isn-lower
	+1ms  s S. 5000 990001    => forward/syn-ack state=SYN_RECV`},

		{"V6 data after the idle timer", "cisco-asa:service-resetoutbound=off", vectorSession + `
	+61m  c P. 1101:10 5051   => drop/late-after-expiry tomb=idle reply=none`},
		{"V6 data after the idle timer", "cisco-asa:service-resetinbound=on,service-resetoutbound=off", vectorSession + `
	+61m  s P. 5051:10 1101   => drop/late-after-expiry tomb=idle reply=rst:s:R,1101`},
		{"V6 the ends are asked", "cisco-asa:dcd=on", vectorSession + `
	+59m  -                   =>
	+60   -                   => probe-ack:c:.,5050,1101,win=1000 probe-ack:s:.,1100,5051,win=1000
	+1ms  c .  1101 5051      => forward/ack-for-probe
	+1ms  s .  5051 1101      => forward/ack-for-probe
	+59m  c P. 1101:10 5051   => forward/in-window`},
		{"V6 data after the idle timer", "paloalto", vectorSession + `+61m c P. 1101:10 5051    => drop/late-after-expiry reply=none`},
		{"V6 data after the idle timer", "juniper-srx:tcp-rst=on", vectorSession + `+31m c P. 1101:10 5051 => drop/late-after-expiry reply=rst:c:R,5051`},
		{"V6 data after the idle timer", "fortigate:reset-sessionless-tcp=enable", vectorSession + `+61m c P. 1101:10 5051 => drop/late-after-expiry reply=rst:c:R,5051`},
		{"V6 data after the idle timer", "fortigate:tcp-session-without-syn=all", vectorSession + `+61m c P. 1101:10 5051 => forward/late-after-expiry effect=create-liberal +new`},
		{"V6 data after the idle timer", "checkpoint-scr", vectorSession + `+61m c P. 1101:10 5051  => drop/late-after-expiry reply=none`},

		{"V8 one direction for an hour", "fortigate:refresh-direction=outgoing", vectorSession + `
	+20m  s P. 5051:1 1101    => remaining=40m0s
	+20m  s P. 5052:1 1101    => remaining=20m0s
	+21m  s P. 5053:1 1101    => drop/late-after-expiry tomb=idle`},
		{"V8 one direction for an hour", "fortigate", vectorSession + `
	+59m  s P. 5051:1 1101    => forward/in-window
	+59m  s P. 5052:1 1101    => forward/in-window`},

		{"V10 numbers that the ends accept", "cisco-asa:timeout-idle=reset", vectorSession + `
	+1h   -                   => rst-tracked:c:R,5051 rst-tracked:s:R,1101 +end:idle`},
		{"V10 what was not acknowledged may have arrived or not", "cisco-asa:timeout-idle=reset", vectorSession + `
	+1s   c P. 1101:20 5051   => forward/in-window
	+1h   -                   => rst-tracked:c:R,5051 rst-tracked:s:R,1101+1121 +end:idle`},
		{"V10 numbers that the ends accept", "checkpoint-scr:reject-on-expiry=rst-both", vectorSession + `
	+1h   -                   => rst-tracked:c:R,5051 rst-tracked:s:R,1101 +end:idle`},
		{"V10 numbers that the ends accept", "fortigate:timeout-send-rst=enable", vectorSession + `
	+1h   -                   => rst-tracked:c:R,5051 rst-tracked:s:R,1101 +end:idle`},
		{"V10 the defect: numbers that they ignore", "fortigate:timeout-send-rst=enable-offloaded", vectorSession + `
	+1h   -                   => rst-initial:c:R,5001 rst-initial:s:R,1001 +end:idle`},
		{"V10 silence", "paloalto", vectorSession + `
	+1h   -                   => +end:idle`},

		{"V11 a RST to an end in SYN_SENT", "checkpoint-scr:reject-on-expiry=rst-both", `
	+0    c S  1000           => forward/new
	+25   -                   => rst-tracked:c:R.,0,1001 rst-tracked:s:R,1001 +end:idle`},
		{"V11 a RST for a SYN/ACK without a connection", "juniper-srx:tcp-rst=on", `
	+0    s S. 5000 1001      => drop/synack-no-state reply=rst:s:R,1001`},
	} {
		t.Run(v.name+" "+v.policy, func(t *testing.T) {
			for _, w := range worlds {
				if w.interval != nil && strings.Contains(v.script, " -  ") {
					continue // what time does to strangers is told, too
				}
				newScript(optioned(t, v.policy), EngineConfig{NoAdopt: true}, w).run(t, v.script)
			}
		})
	}
}

// V9: SYN, SYN/ACK, SYN, SYN/ACK and never the third segment is no established connection, under any of them.
func TestVendorVector9(t *testing.T) {
	for _, name := range vendorPresets {
		t.Run(name, func(t *testing.T) {
			for _, w := range worlds[:3] {
				newScript(load(t, name), EngineConfig{NoAdopt: true}, w).run(t, `
	+0    c S  1000           => forward/new
	+1ms  s S. 5000 1001      => forward/syn-ack
	+1    c S  1000           => forward/syn-retransmit
	+1ms  s S. 5000 1001      => forward/synack-retransmit state=SYN_RECV
	+61   -                   => +end:idle`)
			}
		})
	}
}
