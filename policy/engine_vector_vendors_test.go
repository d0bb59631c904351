package policy

// checkpoints and vendors are the presets of commercial firewalls.
const (
	checkpoints = "checkpoint-scr checkpoint-legacy"
	vendors     = checkpoints + " cisco-asa paloalto juniper-srx fortigate netdefendos"
)

// forgotten is phase B of the incident: the gateway has forgotten the connection, the client dials again, and the server,
// which holds it, answers with an ACK of its numbers.
const forgotten = session + `
	+80h  c S  900000         => forward/new tomb=idle +end:idle +new
	`

// probed is the number that the first probe of a session acknowledges.
const probed = "1170566114"

// vendorVectors are the vectors of commercial firewalls.
var vendorVectors = []vector{
	{name: "V1 remembered: the server has lost the connection", presets: "checkpoint-scr", script: session + `
	+25s  c S  900000         => drop/syn-established reply=none state=ESTABLISHED peer=probe-from-syn:s:.,900000,` + probed + `,win=1000
	+1ms  s R  ` + probed + `     => forward/rst-for-probe effect=delete +end:rst
	+1s   c S  900000         => forward/new state=SYN_SENT tomb=rst`},
	{name: "V1 remembered: the server holds the connection", presets: "checkpoint-scr", script: session + `
	+25s  c S  900000         => drop/syn-established peer=probe-from-syn:s:.,900000,` + probed + `,win=1000
	+1ms  s .  5051 1101      => forward/ack-for-probe state=ESTABLISHED
	+1ms  c R  1101           => forward/rst state=CLOSE`},
	{name: "V1 remembered: the server does not answer", presets: "checkpoint-scr", alone: true, script: session + `
	+25s  c S  900000         => drop/syn-established peer=probe-from-syn:s:.,900000,` + probed + `,win=1000
	+3    -                   => probe-unanswered
	+1ms  c .  1101 5051      => forward/in-window state=ESTABLISHED`},
	{name: "V1 remembered", presets: "checkpoint-legacy", script: session + `
	+25s  c S  900000         => drop/syn-established reply=none peer=none state=ESTABLISHED
	+59m  c S  900000         => drop/syn-established remaining=35s
	+36s  c S  900000         => forward/new tomb=idle`},
	{name: "V1 remembered", presets: "cisco-asa", script: session + `
	+25s  c S  900000         => drop/syn-established reply=none peer=none state=ESTABLISHED`},
	{name: "V1 remembered", presets: "netdefendos", script: session + `
	+25s  c S  1000           => drop/syn-established-duplicate unmet=isn-newer state=ESTABLISHED
	+25s  c S  900000         => forward/syn-established state=SYN_SENT effect=replace +end:replaced +new
	+1ms  s S. 70000 900001   => forward/syn-ack state=SYN_RECV`},
	{name: "V1 remembered", presets: "netdefendos:TCPSequenceNumbers=ValidateReopen", script: session + `
	+25s  c S  900000         => drop/syn-established unmet=isn-in-window
	+1s   c S  1500           => forward/syn-established-in-window effect=replace`},
	{name: "V1 remembered", presets: "netdefendos:TCPSequenceNumbers=ReopenValidate", script: session + `
	+25s  c S  50             => forward/syn-established effect=replace`},
	{name: "V1 remembered", presets: "paloalto juniper-srx fortigate", script: session + `
	+25s  c S  900000         => drop/syn-established reply=none peer=none state=ESTABLISHED
	+1ms  s S  900000         => drop/syn-established-reverse reply=none peer=none`},
	{name: "V2 forgotten", presets: "paloalto", script: forgotten + `
	+1ms  s .  5051 1101      => forward/ack-for-syn state=SYN_SENT
	+1ms  c R  1101           => drop/rst-after-challenge state=SYN_SENT reply=none
	+1    c S  900000         => forward/syn-retransmit
	+1ms  s .  5051 1101      => forward/ack-for-syn`},
	{name: "V2 forgotten", presets: "paloalto:allow-challenge-ack=yes", script: forgotten + `
	+1ms  s .  5051 1101      => forward/ack-for-syn state=SYN_SENT
	+1ms  c R  1101           => forward/rst-after-challenge state=CLOSE
	+1    c S  900000         => forward/syn-after-rst +end:replaced +new
	+1ms  s S. 70000 900001   => forward/syn-ack state=SYN_RECV`},
	{name: "V2 forgotten", presets: "cisco-asa", script: forgotten + `
	+1ms  s .  5051 1101      => drop/ack-for-syn reply=none`},
	{name: "V2 forgotten", presets: "netdefendos", script: forgotten + `
	+1ms  s .  5051 1101      => drop/ack-for-syn reply=none`},
	{name: "V2 forgotten", presets: checkpoints, script: forgotten + `
	+1ms  s .  5051 1101      => drop/ack-for-syn reply=none`},
	{name: "V2 forgotten", presets: "juniper-srx fortigate", script: forgotten + `
	+1ms  s .  5051 1101      => forward/ack-for-syn state=SYN_SENT
	+1ms  c R  1101           => forward/rst-after-challenge`},
	{name: "V3 reopen after 0.5 s", presets: "paloalto", script: finished + `+500ms c S  900000 => forward/syn-time-wait state=SYN_SENT +end:replaced +new`},
	{name: "V3 reopen after 2 s", presets: "paloalto", script: finished + `+2 c S  900000       => forward/syn-time-wait state=SYN_SENT +end:replaced +new`},
	{name: "V3 reopen after 16 s", presets: "paloalto", script: finished + `+16 c S  900000     => forward/new tomb=fin state=SYN_SENT`},
	{name: "V3 reopen after 0.5 s", presets: "juniper-srx", script: finished + `
	+500ms c S  900000        => forward/syn-time-wait state=TIME_WAIT effect=keep remaining=1.5s
	+1.5  s S. 70000 900001   => drop/late-synack tomb=fin
	+1ms  c S  900000         => forward/new`},
	{name: "V3 reopen after 2 s", presets: "juniper-srx", script: finished + `+2 c S  900000    => forward/new tomb=fin`},
	{name: "V3 reopen after 0.5 s", presets: "juniper-srx:fin-invalidate-session=on", script: session + `
	+1    c F. 1101 5051      => forward/fin effect=delete +end:deleted
	+500ms c S  900000        => forward/new state=SYN_SENT`},
	{name: "V3 the race of the field report", presets: "juniper-srx:field-report-2s=on", script: session + `
	+1    c R  1101           => forward/rst state=CLOSE
	+500ms c S  900000        => forward/syn-after-rst effect=keep state=CLOSE remaining=1.5s
	+1ms  s S. 70000 900001   => forward/synack-established effect=keep
	+1ms  c .  900001 70001   => forward/data-after-rst effect=keep
	+1.5  c P. 900001:10 70001 => drop/late-after-expiry tomb=rst`},
	{name: "V3 after a RST, by the reference", presets: "juniper-srx", script: session + `
	+1    c R  1101           => forward/rst state=ESTABLISHED remaining=29m59s
	+1    c S  900000         => drop/syn-established state=ESTABLISHED`},
	{name: "V3 reopen after 0.5 s", presets: "fortigate", script: finished + `
	+500ms c S  900000        => forward/syn-time-wait effect=keep remaining=500ms
	+500ms s S. 70000 900001  => drop/late-synack tomb=fin`},
	{name: "V3 reopen after 2 s", presets: "fortigate", script: finished + `+2 c S  900000      => forward/new tomb=fin`},
	{name: "V3 reopen after 0.5 s", presets: "cisco-asa", script: finished + `+500ms c S  900000 => forward/new tomb=fin`},
	{name: "V3 reopen after 16 s", presets: "checkpoint-legacy", script: finished + `
	+16   c S  900000         => drop/syn-time-wait
	+4    c S  900000         => forward/new tomb=fin`},
	{name: "V3 reopen after 0.5 s", presets: "netdefendos", script: finished + `+500ms c S  900000 => forward/syn-time-wait effect=replace +end:replaced +new`},
	{name: "V3 reopen after 0.5 s: the server is asked", presets: "checkpoint-scr", script: finished + `
	+500ms c S  900000        => drop/syn-time-wait reply=none peer=probe-from-syn:s:.,900000,1424042176,win=1000
	+1ms  s R  1424042176     => forward/rst-for-probe effect=delete
	+1s   c S  900000         => forward/new`},
	{name: "V4 inexact RST", presets: "juniper-srx:rst-sequence-check=on", script: session + `
	+1    c R  1201           => drop/rst-inexact state=ESTABLISHED reply=ack-tracked:c:.,5051,1101
	+1    c R  1100           => forward/rst`},
	{name: "V4 inexact RST", presets: "juniper-srx", script: session + `
	+1    c R  1201           => forward/rst state=ESTABLISHED reply=none`},
	{name: "V4 inexact RST", presets: "paloalto", alone: true, script: session + `
	+1    c R  1201           => forward/rst-inexact state=ESTABLISHED effect=keep
	+20   s R  5051           => remaining=10s state=CLOSE
	+15   -                   => +end:rst`},
	{name: "V4 inexact RST", presets: "cisco-asa", script: session + `
	+1    c R  1201           => drop/rst-inexact state=ESTABLISHED reply=none`},
	{name: "V4 inexact RST", presets: "fortigate:check-reset-range=strict", script: session + `
	+1    c R  1201           => drop/rst-inexact state=ESTABLISHED
	+1    c P. 1101:100 5051  => forward/in-window
	+1    c R  1151           => forward/rst state=CLOSE`},
	{name: "V4 inexact RST ends it as any other", presets: checkpoints + " netdefendos", script: session + `
	+1    c R  1201           => forward/rst state=CLOSE reply=none`},
	{name: "V5 lower ISN", presets: "cisco-asa", script: `
	+0    c S  1000000        => forward/new
	+1    c S  990000         => drop/syn-new-isn-lower
	+1ms  s S. 5000 990001    => drop/synack-bad-ack-low`},
	{name: "V5 lower ISN", presets: "fortigate:anti-replay=loose", script: `
	+0    c S  1000000        => forward/new
	+1    c S  990000         => forward/syn-new-isn-lower
	+1ms  s S. 5000 990001    => forward/syn-ack state=SYN_RECV`},
	{name: "V5 lower ISN", presets: checkpoints + " fortigate netdefendos", script: `
	+0    c S  1000000        => forward/new
	+1    c S  990000         => drop/syn-new-isn-lower
	+1ms  s S. 5000 1000001   => forward/syn-ack state=SYN_RECV`},
	{name: "V5 lower ISN", presets: "paloalto juniper-srx", script: `
	+0    c S  1000000        => forward/new
	+1    c S  990000         => forward/syn-new-isn-lower
	+1ms  s S. 5000 990001    => forward/syn-ack state=SYN_RECV`},
	{name: "V6 data after the idle timer", presets: "cisco-asa:service-resetoutbound=off", script: session + `
	+61m  c P. 1101:10 5051   => drop/late-after-expiry tomb=idle reply=none`},
	{name: "V6 data after the idle timer", presets: "cisco-asa:service-resetinbound=on,service-resetoutbound=off", script: session + `
	+61m  s P. 5051:10 1101   => drop/late-after-expiry tomb=idle reply=rst:s:R,1101`},
	{name: "V6 the ends are asked", presets: "cisco-asa:dcd=on", alone: true, script: session + `
	+59m  -                   =>
	+60   -                   => probe-ack:c:.,5050,1101,win=1000 probe-ack:s:.,1100,5051,win=1000
	+1ms  c .  1101 5051      => forward/ack-for-probe
	+1ms  s .  5051 1101      => forward/ack-for-probe
	+59m  c P. 1101:10 5051   => forward/in-window`},
	{name: "V6 data after the idle timer", presets: "paloalto", script: session + `+61m c P. 1101:10 5051    => drop/late-after-expiry reply=none`},
	{name: "V6 data after the idle timer", presets: "juniper-srx:tcp-rst=on", script: session + `+31m c P. 1101:10 5051 => drop/late-after-expiry reply=rst:c:R,5051`},
	{name: "V6 data after the idle timer", presets: "fortigate:reset-sessionless-tcp=enable", script: session + `+61m c P. 1101:10 5051 => drop/late-after-expiry reply=rst:c:R,5051`},
	{name: "V6 data after the idle timer", presets: "fortigate:tcp-session-without-syn=all", script: session + `+61m c P. 1101:10 5051 => forward/late-after-expiry effect=create-liberal +new`},
	{name: "V6 data after the idle timer", presets: "checkpoint-scr", script: session + `+61m c P. 1101:10 5051  => drop/late-after-expiry reply=none`},
	{name: "V6 data after the idle timer", presets: "checkpoint-legacy fortigate", script: session + `
	+61m  c P. 1101:10 5051   => drop/late-after-expiry tomb=idle reply=none`},
	{name: "V6 data after the idle timer", presets: "juniper-srx", script: session + `
	+31m  c P. 1101:10 5051   => drop/late-after-expiry tomb=idle reply=none`},
	{name: "V6 data after the idle timer", presets: "netdefendos", script: session + `
	+72h  c .  1101 5051      => forward/in-window remaining=49m4s
	+50m  c P. 1101:10 5051   => drop/late-after-expiry tomb=idle reply=none`},
	{name: "V8 one direction for an hour", presets: "fortigate:refresh-direction=outgoing", script: session + `
	+20m  s P. 5051:1 1101    => remaining=40m0s
	+20m  s P. 5052:1 1101    => remaining=20m0s
	+21m  s P. 5053:1 1101    => drop/late-after-expiry tomb=idle`},
	{name: "V8 one direction for an hour", presets: "fortigate", script: session + `
	+59m  s P. 5051:1 1101    => forward/in-window
	+59m  s P. 5052:1 1101    => forward/in-window`},
	{name: "V8 one end's ACK for an hour", presets: checkpoints + " cisco-asa paloalto juniper-srx", script: session + replay},
	{name: "V8 one end's ACK for an hour", presets: "netdefendos", extra: "timeouts: {established: 5m}", script: session + `
	+2m   c .  1101 5051      => forward/in-window
	+2m   c .  1101 5051      => forward/in-window remaining=1m0s
	+2m   c .  1101 5051      => drop/late-after-expiry tomb=idle`},
	{name: "V10 numbers that the ends accept", presets: "cisco-asa:timeout-idle=reset", alone: true, script: session + `
	+1h   -                   => rst-tracked:c:R,5051 rst-tracked:s:R,1101 +end:idle`},
	{name: "V10 what was not acknowledged may have arrived or not", presets: "cisco-asa:timeout-idle=reset", alone: true, script: session + `
	+1s   c P. 1101:20 5051   => forward/in-window
	+1h   -                   => rst-tracked:c:R,5051 rst-tracked:s:R,1101+1121 +end:idle`},
	{name: "V10 numbers that the ends accept", presets: "checkpoint-scr:reject-on-expiry=rst-both", alone: true, script: session + `
	+1h   -                   => rst-tracked:c:R,5051 rst-tracked:s:R,1101 +end:idle`},
	{name: "V10 numbers that the ends accept", presets: "fortigate:timeout-send-rst=enable", alone: true, script: session + `
	+1h   -                   => rst-tracked:c:R,5051 rst-tracked:s:R,1101 +end:idle`},
	{name: "V10 the defect: numbers that they ignore", presets: "fortigate:timeout-send-rst=enable-offloaded", alone: true, script: session + `
	+1h   -                   => rst-initial:c:R,5001 rst-initial:s:R,1001 +end:idle`},
	{name: "V10 silence", presets: "paloalto", alone: true, script: session + `
	+1h   -                   => +end:idle`},
	{name: "V11 a RST to an end in SYN_SENT", presets: "checkpoint-scr:reject-on-expiry=rst-both", alone: true, script: `
	+0    c S  1000           => forward/new
	+25   -                   => rst-tracked:c:R.,0,1001 rst-tracked:s:R,1001 +end:idle`},
	{name: "V11 a RST for a SYN/ACK without a connection", presets: "juniper-srx:tcp-rst=on", script: `
	+0    s S. 5000 1001      => drop/synack-no-state reply=rst:s:R,1001`},

	{name: "V9 no handshake without its third segment", presets: vendors, alone: true, script: `
	+0    c S  1000           => forward/new
	+1ms  s S. 5000 1001      => forward/syn-ack
	+1    c S  1000           => forward/syn-retransmit
	+1ms  s S. 5000 1001      => forward/synack-retransmit state=SYN_RECV
	+61   -                   => +end:idle`},
}
