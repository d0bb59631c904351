package policy

import (
	"slices"
	"strings"
	"testing"
)

// vector is one of the vectors of the behaviours catalogue (its section 10) with the presets that it is about, with or without
// choices of their options, blanks between. What is in extra is added to their policy.
type vector struct {
	name, presets, extra, script string
	alone                        bool // no strangers in between: what time causes is compared
}

// session is a connection with data of both ends.
const session = handshake + `
	+1s   c P. 1001:100 5001  => forward/in-window counted=true
	+10ms s .  5001 1101      => forward/in-window counted=true
	+10ms s P. 5001:50 1101   => forward/in-window
	+10ms c .  1101 5051      => forward/in-window
	`

// finished is a session that both ends have closed.
const finished = session + `
	+1    c F. 1101 5051      => forward/fin state=FIN_WAIT
	+1ms  s .  5051 1102      => forward/in-window state=CLOSE_WAIT
	+1ms  s F. 5051 1102      => forward/fin state=LAST_ACK
	+1ms  c .  1102 5052      => forward/in-window state=TIME_WAIT
	`

// mappers are presets that forward by connection and look at no numbers.
const mappers = "cpe-short cloud-natgw-350 azure-lb-4min aws-netfw"

// inside makes every end one of the inside of rfc5382-nat, whatever its address.
const inside = "rules: [{name: all, on: {new: forward}}]"

// vectors returns all of them.
func vectors() []vector {
	return slices.Concat(handshakeVectors, resetVectors, timeVectors, vendorVectors)
}

func TestVectors(t *testing.T) {
	policies := map[string]*Policy{} // by text: an engine does not change its policy
	for _, v := range vectors() {
		for _, preset := range strings.Fields(v.presets) {
			t.Run(v.name+" "+preset, func(t *testing.T) {
				text := "preset: " + preset + "\n" + v.extra
				if policies[text] == nil {
					policies[text] = policyOf(t, text)
				}
				for _, w := range worlds {
					if v.alone && w.interval != nil {
						continue
					}
					x := newScript(policies[text], EngineConfig{NoAdopt: true}, w)
					x.run(t, v.script)
				}
			})
		}
	}
}

// TestVectorsOfPresets: each preset has each vector that any gateway has an answer to.
func TestVectorsOfPresets(t *testing.T) {
	has := map[string]bool{}
	for _, v := range vectors() {
		word, _, _ := strings.Cut(v.name, " ")
		for _, ref := range strings.Fields(v.presets) {
			preset, _, _ := CutReference(ref)
			has[preset+" "+word] = true
		}
	}
	for _, preset := range Presets() {
		for _, word := range []string{"V1", "V2", "V3", "V4", "V5", "V6", "V8", "V9"} {
			if !has[preset+" "+word] {
				t.Errorf("%s has no vector %s", preset, word)
			}
		}
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
