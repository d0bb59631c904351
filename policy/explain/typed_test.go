package explain

import (
	"strings"
	"testing"
)

// TestTyped: what is left out of typed segments is what a stack would send.
func TestTyped(t *testing.T) {
	for _, c := range []struct {
		text string
		want []string // the lines that the segments are read as
		last string   // reason of the last
	}{
		{"c > s S", []string{"+0s c > s S 0:0(0)"}, "new"},
		{"S c > s; s>c S.; . c > s; P. (100); s > c .", []string{"+0s c > s S 0:0(0)", "+0s s > c S. 0:0(0) ack 1", "+0s c > s . 1:1(0) ack 1",
			"+0s c > s P. 1:101(100) ack 1", "+0s s > c . 1:1(0) ack 101"}, "in-window"},
		{"c > s S; wait 301s; wait 2; S", []string{"+0s c > s S 0:0(0)", "+5m3s c > s S 0:0(0)"}, "new"},
		{"c > s S; s > c S.; c > s .; F.; s > c F.; c > s .", []string{"+0s c > s S 0:0(0)", "+0s s > c S. 0:0(0) ack 1", "+0s c > s . 1:1(0) ack 1",
			"+0s c > s F. 1:1(0) ack 1", "+0s s > c F. 1:1(0) ack 2", "+0s c > s . 2:2(0) ack 2"}, "in-window"},
		{"flow a 10.0.0.1:1 b [2001:db8::1]:2", nil, ""},
		{"flow a 10.0.0.1:1 b 10.0.0.2:2; +5 b > a S 7:7(0) win 100 <mss 1460>", []string{"+5 b > a S 7:7(0) win 100 <mss 1460>"}, "new"},
		{"10.0.0.1:1 > 10.0.0.2:2 S; 10.0.0.2:2>10.0.0.1:1 S.", []string{"+0s e1 > e2 S 0:0(0)", "+0s e2 > e1 S. 0:0(0) ack 1"}, "syn-ack"},
	} {
		xs, err := Typed(c.text, "observe", nil, nil)
		if (err == nil) != (len(c.want) > 0) || len(xs) != len(c.want) {
			t.Errorf("%s: %d segments, %v", c.text, len(xs), err)
			continue
		}
		for i, x := range xs {
			if !strings.HasSuffix(x.Input, ": "+c.want[i]) {
				t.Errorf("%s: segment %d is %q, want %q", c.text, i+1, x.Input, c.want[i])
			}
			if x.Sentence == "" || len(x.Phases) != 6 || x.Text() == "" {
				t.Errorf("%s: %+v", c.text, x)
			}
		}
		if n := len(xs); n > 0 && xs[n-1].Reason != c.last {
			t.Errorf("%s: %s, want %s", c.text, xs[n-1].Reason, c.last)
		}
	}
}

// TestTypedRelative: numbers are told on the wire and relative, with the distance between expected and seen.
func TestTypedRelative(t *testing.T) {
	xs, err := Typed("c > s S; s > c S.; c > s .; c > s P. 200001:200011(10) ack 1", "observe", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	text := xs[3].Text()
	for _, want := range []string{"Result:  seq-above", "(1), seen 1000200008 (200001): 200000 above", "134465 above its end"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}

// TestTypedRewrite: what a segment was to lose, and what it loses.
func TestTypedRewrite(t *testing.T) {
	set := []string{"on.new={packet: rewrite, strip: [wscale, data], mss: 1000}", "on.in-window={packet: rewrite, strip: push}"}
	xs, err := Typed("c > s S 0:0(0) <mss 1460,wscale 7>; c > s S 0:0(0) <mss 1460,wscale 7>; s > c S.; c > s .; s > c .", "observe", nil, set)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range map[int][]string{
		0: {"loses   wscale, mss (of data, wscale, mss)", "1460, lowered to 1000", "The gateway rewrites the SYN"},
		1: {"wscale, mss, as the connection's first SYN did"},
		2: {"The gateway forwards"},
		4: {"nothing: it has none of push", "The gateway forwards"},
	} {
		for _, w := range want {
			if !strings.Contains(xs[i].Text(), w) {
				t.Errorf("segment %d: no %q in\n%s", i+1, w, xs[i].Text())
			}
		}
	}
}

// TestDistances: a number is told from the one expected and from a window, across the wrap of sequence space too.
func TestDistances(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{Off(5, 5), "as expected"}, {Off(7, 5), "2 above"}, {Off(5, 7), "2 below"}, {Off(1, 0xffffffff), "2 above"}, {Off(0xffffffff, 1), "2 below"},
		{Outside(5, 5, 9), "inside"}, {Outside(12, 5, 9), "3 above its end"}, {Outside(2, 5, 9), "3 below its start"},
		{Outside(3, 0xfffffff0, 2), "1 above its end"},
	} {
		if c.got != c.want {
			t.Errorf("%q, want %q", c.got, c.want)
		}
	}
}

// FuzzTyped: no text makes it fail otherwise than with an error, and each segment read has an explanation.
func FuzzTyped(f *testing.F) {
	for _, s := range []string{"c > s S", "S c > s; wait 5s; R", "+1 c>s S.", ";;;", "wait", ">", "a > b S (9", "10.0.0.1:1 > 10.0.0.2:2 S; x", "c > s S; sweep", "set on=x; c > s S"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 2000 {
			return
		}
		xs, err := Typed(text, "linux-default", nil, nil)
		if err == nil && len(xs) == 0 {
			t.Errorf("%q: neither an explanation nor an error", text)
		}
		for _, x := range xs {
			x.Text()
		}
	})
}
