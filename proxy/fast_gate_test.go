package proxy

import (
	"errors"
	"log/slog"
	"strings"
	"testing"

	"halfopen/policy"
	"halfopen/proxy/nfqueue"
)

// What an operator wants beside the fast path that needs each packet: auto says so once and goes on without, on and redirect do not start.
func TestFastPathModes(t *testing.T) {
	decisions, _ := policy.Load("a.yaml", []byte(plainPolicy), nil)
	packets, _ := policy.Load("b.yaml", []byte(plainPolicy+"\nlog: {detail: packet}"), nil)
	for _, c := range []struct {
		change func(*Config)
		pol    *policy.Policy
		why    fastOff
		said   string
	}{
		{func(c *Config) { c.DryRun = true }, decisions, fastOffDryRun, "--dry-run"},
		{func(c *Config) { c.Shadows = []string{"observe"} }, decisions, fastOffShadow, "--shadow"},
		{func(c *Config) { c.PcapDir = "/x" }, decisions, fastOffPcap, "--pcap"},
		{func(c *Config) { c.Hooks = nfqueue.Input }, decisions, fastOffHooks, "--hooks"},
		{func(c *Config) { c.Mark = 0xf0f00000 }, decisions, fastOffMask, "mask"},
		{func(c *Config) { c.Mark = 0xe0000000 }, decisions, fastOffMask, "4 bits"},
		{func(c *Config) { c.FastPath = FastPathOff }, decisions, fastOffAsked, ""},
		{func(c *Config) {}, packets, fastOffDetail, "log.detail"},
	} {
		for _, mode := range []FastPathMode{FastPathAuto, FastPathOn, FastPathRedirect} {
			var words strings.Builder
			cfg := Config{FastPath: mode, Mark: DefaultMark, Logger: slog.New(slog.NewTextHandler(&words, nil))}
			c.change(&cfg)
			if c.why == fastOffDetail && mode == FastPathAuto {
				continue // it is made, in case that a reload changes the detail
			}
			f := &fastGate{mode: cfg.FastPath, log: cfg.Logger}
			why, err := f.open(&cfg, c.pol)
			if mode == FastPathAuto || c.why == fastOffAsked {
				if err != nil || why != c.why || !strings.Contains(words.String(), c.said) || strings.Count(words.String(), "\n") > 1 {
					t.Errorf("%s, %v: %v %v, said %q", c.said, cfg.FastPath, why, err, words.String())
				}
				continue
			}
			var conflict *FastPathConflict
			if err == nil || !strings.Contains(err.Error(), c.said) || c.why != fastOffMask && !errors.As(err, &conflict) {
				t.Errorf("%s, %v: %v", c.said, cfg.FastPath, err)
			}
		}
	}
	for m := range numFastPathModes {
		if got, err := ParseFastPathMode(m.String()); err != nil || got != m {
			t.Errorf("%v: %v %v", m, got, err)
		}
	}
}
