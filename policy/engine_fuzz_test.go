package policy

import "testing"

// Any bytes, taken as traffic: nothing panics, and every outcome is right in itself.
func FuzzStep(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x10\x00\x00\x00\x00\x00\x01\x01"), uint8(0))
	f.Add([]byte("a session of segments, more or less, with time going by and flows that end"), uint8(1))
	policies := []*Policy{policyOf(f, hostile), policyOf(f, hostile+"window: {check: kernel}\n")}
	for _, name := range Presets() {
		policies = append(policies, policyOf(f, "preset: "+name))
	}
	f.Fuzz(func(t *testing.T, data []byte, which uint8) {
		i := 0
		next := func() byte {
			if i++; i > len(data) {
				return 0
			}
			return data[i-1]
		}
		newLedger(t, policies[int(which)%len(policies)]).play(&traffic{next: next, now: 1}, min(len(data)/8+1, 2000), policies)
	})
}
