package policy

import (
	"strings"
	"testing"
)

// closed is a connection whose both ends have closed: c's next number is 1002, s's 5002; the state is TIME_WAIT.
const closed = handshake + `
	+0    c F. 1001 5001      => forward/fin
	+0    s F. 5001 1002      => forward/fin
	+0    c .  1002 5002      => state=TIME_WAIT`

func TestOnlyIf(t *testing.T) {
	const otherwise = "effect=keep reply=none"
	for _, c := range []struct{ name, on, before, syn, want string }{
		{"closed holds", "syn-time-wait: {packet: forward, state: replace, only_if: closed, else: drop}", closed, "c S 9", "forward/syn-time-wait effect=replace +new"},
		{"closed does not", "syn-half-closed: {packet: forward, state: replace, only_if: closed, else: drop}", handshake + "+0 c F. 1001 5001 =>", "c S 90000", "drop/syn-half-closed unmet=closed " + otherwise},
		{"the number is newer", "syn-time-wait: {packet: forward, state: replace, only_if: isn-newer, else: drop}", closed, "c S 1002", "forward/syn-time-wait effect=replace"},
		{"the number was used", "syn-time-wait: {packet: forward, state: replace, only_if: isn-newer, else: drop}", closed, "c S 1001", "drop/syn-time-wait unmet=isn-newer " + otherwise},
		{"each end has its own numbers", "syn-time-wait: {packet: forward, state: replace, only_if: isn-newer, else: drop}", closed, "s S 5002", "forward/syn-time-wait effect=replace"},
		{"inside the window", "syn-established: {packet: forward, state: replace, only_if: isn-in-window, else: drop}", handshake, "c S 2001", "forward/syn-established-in-window effect=replace"},
		{"not inside", "syn-established: {packet: forward, state: replace, only_if: isn-in-window, else: drop}", handshake, "c S 2002", "drop/syn-established unmet=isn-in-window"},
		{"above the window", "syn-established: {packet: forward, state: replace, only_if: isn-above-window, else: drop}", handshake, "c S 2002", "forward/syn-established effect=replace"},
		{"not above", "syn-established: {packet: forward, state: replace, only_if: isn-above-window, else: drop}", handshake, "c S 2001", "drop/syn-established-in-window unmet=isn-above-window"},
		{"all of several", "syn-established: {packet: forward, state: replace, only_if: [isn-newer, closed], else: drop}", handshake, "c S 90000", "drop/syn-established unmet=closed"},
		{"the answer otherwise", "syn-established: {packet: forward, state: replace, peer: rst-tracked, only_if: closed, else: {packet: drop, reply: ack-tracked}}", handshake, "c S 90000", "drop/syn-established peer=none effect=keep reply=ack-tracked:c:.,5001,1001"},
		{"forwarded otherwise", "syn-established: {packet: drop, state: delete, only_if: closed, else: forward}", handshake, "c S 90000", "forward/syn-established effect=keep state=ESTABLISHED"},
		{"within", "syn-time-wait: {packet: forward, state: replace, within: 15s, else: drop}", closed + "\n+15s c . 1002 5002 =>", "c S 9", "forward/syn-time-wait effect=replace"},
	} {
		t.Run(c.name, func(t *testing.T) {
			play(t, EngineConfig{NoAdopt: true}, "on: {"+c.on+"}", c.before+"\n+1s "+c.syn+" => "+c.want)
		})
	}
}

// RFC 6191 section 2, by its cases: what the old connection had, what the SYN has.
func TestNewer(t *testing.T) {
	const stamped = `
	+0    c S  1000 ts=50     => forward/new
	+0    s S. 5000 1001 ts=9 => forward/syn-ack
	+0    c .  1001 5001 ts=51 =>
	+0    c F. 1001 5001 ts=52 => forward/fin
	+0    s F. 5001 1002 ts=10 => forward/fin
	+0    c .  1002 5002 ts=60 => state=TIME_WAIT
	`
	for _, c := range []struct{ before, only, syn, want string }{
		{stamped, "ts-newer", "c S 9 ts=61", "replace"},
		{stamped, "ts-newer", "c S 90000 ts=60", "keep unmet=ts-newer"},
		{stamped, "ts-newer", "c S 90000", "keep unmet=ts-newer"},
		{closed, "ts-newer", "c S 90000 ts=61", "keep unmet=ts-newer"},
		{stamped, "newer", "c S 9 ts=61", "replace"},
		{stamped, "newer", "c S 90000 ts=60", "replace"},
		{stamped, "newer", "c S 9 ts=60", "keep unmet=newer"},
		{stamped, "newer", "c S 90000 ts=59", "keep unmet=newer"},
		{stamped, "newer", "c S 90000", "replace"},
		{stamped, "newer", "c S 9", "keep unmet=newer"},
		{closed, "newer", "c S 9 ts=1", "replace"},
		{closed, "newer", "c S 90000", "replace"},
		{closed, "newer", "c S 9", "keep unmet=newer"},
	} {
		play(t, EngineConfig{NoAdopt: true}, "on: {syn-time-wait: {packet: forward, state: replace, only_if: "+c.only+", else: drop}}",
			c.before+"\n+1s "+c.syn+" => effect="+c.want)
	}
}

// Within is counted from when the timer was last set: a SYN that was turned away does not begin the time anew.
func TestWithin(t *testing.T) {
	play(t, EngineConfig{NoAdopt: true}, "on: {syn-time-wait: {packet: drop, state: delete, within: 3s, else: drop}}", closed+`
	+3500ms c S 90000         => drop/syn-time-wait unmet=within effect=keep
	+1s   c S  90000          => drop/syn-time-wait unmet=within effect=keep`)
}

func TestConditionProblems(t *testing.T) {
	for on, want := range map[string]string{
		"syn-established: {packet: forward, state: replace, only_if: isn-newer}":                "only_if without else",
		"syn-established: {packet: forward, else: drop}":                                        "else without a condition",
		"in-window: {packet: forward, only_if: closed, else: drop}":                             "about no SYN",
		"new: {packet: forward, only_if: closed, else: drop}":                                   "about no SYN",
		"syn-closing: {packet: forward, state: replace-if-closed, only_if: closed, else: drop}": "replace-if-closed with only_if",
		"syn-closing: {packet: hold, hold: 1s, then: drop, within: 1s, else: drop}":             "with packet: hold",
		"syn-closing: {packet: forward, within: 2d, else: drop}":                                "within: 2d",
		"syn-closing: {packet: forward, within: 0s}":                                            "within: 0s",
		"syn-closing: {packet: forward, only_if: isn-newest, else: drop}":                       `did you mean "isn-newer"?`,
		"syn-closing: {packet: forward, only_if: [], else: drop}":                               "an empty list",
		"syn-closing: {packet: forward, only_if: closed, else: hold}":                           `"hold"`,
		"syn-closing: {packet: forward, only_if: closed, else: {packet: drop, state: delete}}":  `unknown key "state"`,
		"idle-expired: {only_if: closed, else: drop}":                                           "about no SYN",
		"syn-established: {packet: drop, peer: probe-ack, state: delete}":                       "state: delete with peer: probe-ack",
		"in-window: {packet: drop, peer: probe-from-syn}":                                       "which is about no SYN",
		"new: {packet: drop, peer: probe-ack}":                                                  "no numbers are tracked",
		"syn-established: {packet: drop, await: 3s}":                                            "await without a probe",
		"syn-established: {packet: drop, peer: probe-ack, await: 2m}":                           "await: 2m",
		"idle-expired: {peer: probe-ack}":                                                       "the key probes",
		"probe-unanswered: {state: replace}":                                                    "keep or delete",
		"dead-connection: {state: keep}":                                                        "delete",
		"rst-for-probe: {packet: drop, reply: rst}":                                             "no RST answers a RST",
		"probe-unanswered: {packet: drop}":                                                      "about no packet",
	} {
		_, problems := Load("x.yaml", []byte("on:\n  "+on+"\n"), nil)
		if text := problems.Error(); !strings.Contains(text, want) {
			t.Errorf("%s: %q, want %q", on, text, want)
		}
	}
	for text, want := range map[string]string{
		"probes: {tries: 101}":                      "from 0 to 100",
		"probes: {every: 1ms}":                      "every: 1ms",
		"probes: {every: 2h}":                       "every: 2h",
		"probes: {to: original, alive: all}":        "alive: all with to: original",
		"probes: {when: later}":                     "before or after",
		"refresh: always":                           "both-progress",
		"rules: [{name: a, probes: {tries: many}}]": "from 0 to 100",
	} {
		_, problems := Load("x.yaml", []byte(text+"\n"), nil)
		if got := problems.Error(); !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}

// What an action says in other words than its file comes back as a file that means the same.
func TestConditionsInForce(t *testing.T) {
	p := policyOf(t, `
probes: {tries: 3, every: 2s, when: after, alive: all}
refresh: original
on:
  syn-established: {packet: forward, state: replace, only_if: [isn-newer, closed], within: 15s, else: {packet: drop, reply: ack-tracked}, window: tracked}
  syn-closing: {packet: drop, peer: probe-from-syn, await: 7s}
rules:
  - {name: a, match: {dst_port: 1}, refresh: reply, probes: {to: reply, alive: either}}
`)
	q, problems := Load("again.yaml", p.YAML(), nil)
	if q == nil || q.Rev() != p.Rev() {
		t.Errorf("%v\n%s", problems, p.YAML())
	}
	other := policyOf(t, "probes: {tries: 3}\nrules:\n  - {name: a, match: {dst_port: 1}, refresh: reply}\n")
	keys := ""
	for _, d := range Diff(p, other) {
		keys += d.Key + " "
	}
	for _, want := range []string{"probes.every", "probes.when", "probes.alive", "refresh", "on.syn-established", "rules.a.probes.to"} {
		if !strings.Contains(keys, want+" ") {
			t.Errorf("no difference in %s: %s", want, keys)
		}
	}
}
