package index

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"halfopen/proxy/decisionlog"
)

const logFile = "decisions-20261123T180136.000Z-000001.jsonl"

func writeLog(t testing.TB, name string, text []byte) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// hostile is a log of lines that no gateway writes and that encoding/json takes.
var hostile = []string{
	`{"timestamp":"2026-11-23T18:01:36.0+0000","event_type":"header","header":{"schema_version":1,"run":"<b>R'\"\u0000","file_seq":1}}`,
	`{}`,
	`{"event_type":"decision"}`,
	`{"event_type":"some day","flow_id":7}`,
	`{"timestamp":"1969-12-31T23:59:59.5Z","event_type":"decision","decision":{"verdict":"drop","reason":"before the epoch"}}`,
	`{"timestamp":"2026-11-23T18:01:36.5+01:00","event_type":"decision","flow_id":18446744073709551615,"decision":{"verdict":"drop","reason":"big"}}`,
	`{"timestamp":"2026-11-23T18:01:36.5Z","event_type":"decision","flow_id":9223372036854775808,"src_ip":"10.0.0.1","src_port":65535,"dest_ip":"10.0.0.1","dest_port":65535,"decision":{"verdict":"drop","reason":"same ends"}}`,
	`{"timestamp":"2026-11-23T18:01:36.5Z","event_type":"decision","src_ip":"::ffff:10.0.0.1","src_port":1,"dest_ip":"fe80::1%eth0","dest_port":2,"decision":{"verdict":"<script>","reason":"'; DROP TABLE files; --","rule":"\u001b[2J\u202e\ud83d\ude00","arm":"","policy_rev":"sha256:"}}`,
	`{"timestamp":"2026-11-23T18:01:36.5Z","event_type":"decision","src_ip":"10.0.0.1.","dest_ip":"010.0.0.1","decision":{"verdict":"` + strings.Repeat("long", 10000) + `"}}`,
	`{"timestamp":"2026-11-23T18:01:35.5Z","event_type":"flow","flow_id":8,"src_ip":"10.0.0.9","src_port":9,"dest_ip":"2001:db8::1","dest_port":10,"flow":{"event":"end","outcome":"\u0000","pkts_toserver":18446744073709551615,"counted":18446744073709551615,"start":"0001-01-01T00:00:00Z","handshake_s":1e300}}`,
	`{"timestamp":"2026-11-23T18:01:35.5Z","event_type":"flow","flow_id":8,"flow":{"event":"end","outcome":"second end"}}`,
	`{"timestamp":"2026-11-23T18:01:35.5Z","event_type":"flow","flow_id":8,"flow":{"event":"end","outcome":"of a decision"},"decision":{"verdict":"drop","reason":"two in one"}}`,
	`{"timestamp":"2026-11-23T18:01:36.5Z","event_type":"inject","flow_id":8,"inject":{"id":"x","kind":"rst-<i>","to":"client","error":"` + "\\u2028" + `"},"gap":{"where":"ring","count":3,"bound":"exact"}}`,
	`{"timestamp":"2026-11-23T18:01:36.5Z","event_type":"gap","gap":{"where":"crash","count":5,"bound":"upper","run":"other","from":"2026-11-23T18:01:36.5Z"}}`,
	`{"timestamp":"2026-11-23T18:01:36.5Z","event_type":"reload","reload":{"ok":false,"policy_rev":"x","flows_touched":18446744073709551615,"error":"<img src=x onerror=alert(1)>"}}`,
	`{"timestamp":"2026-11-23T18:01:36.5Z","event_type":"stats","stats":{"final":true,"suppressed":{"a":1}},"decision":{"verdict":"drop","reason":"also"}}`,
	`{"timestamp":"2026-11-23T18:01:36.5Z","event_type":"decision","Flow_ID":12,"DECISION":{"Verdict":"forward","reason":"other letters"}}`,
	`{"timestamp":"2026-11-23T18:01:36.5Z","event_type":"experiment","experiment":{"name":"n","event":"start","arm":"B"}}`,
	`{"timestamp":"2026-11-23T18:01:36.5Z","event_type":"header","header":{"run":"second","file_seq":2}}`,
	`{"timestamp":"2026-11-23T18:01:36.5Z","event_type":"decision","flow_id":8,"decision":{"verdict":"forward","reason":"in another run"}}`,
	`{"timestamp":"2026-11-23T18:01:36.5Z","event_type":"trailer","trailer":{"run":"second"}}`,
}

// Whatever stands in a log is data: the index answers as the log does.
func TestHostile(t *testing.T) {
	var lines []string
	rng := rand.New(rand.NewPCG(5, 5))
	lines = append(lines, hostile...)
	for range 300 {
		l := hostile[rng.IntN(len(hostile))]
		if rng.IntN(3) == 0 && len(l) > 2 { // some damage
			i := rng.IntN(len(l))
			l = l[:i] + string(rune(rng.IntN(0x250))) + l[i+1:]
		}
		lines = append(lines, strings.ReplaceAll(l, "\n", ""))
	}
	dir := writeLog(t, logFile, []byte(strings.Join(lines, "\n")+"\n"))
	x, err := Open(ctx, dir, Options{blockMax: 50, Warn: func(s string) { t.Error(s) }})
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	all := facts(t, dir)
	for _, f := range []Filter{{}, {Reason: []string{"'; DROP TABLE files; --"}}, {Verdict: []string{"<script>"}}, {Event: []string{"some day"}}, {Flow: []uint64{8}},
		{Flow: []uint64{1<<64 - 1}}, {Outcome: []string{"second end"}}, {Outcome: []string{"\x00"}}, {Rule: []string{"\x1b[2J\u202e\U0001f600"}}, {Port: []uint16{65535}},
		{Until: time.Unix(0, 0)}, {Since: time.Unix(0, 0)}, {Rev: []string{"x"}}, {Arm: []string{"B"}}} {
		want := 0
		for i := range all {
			if all[i].fits(&f) {
				want++
			}
		}
		n, err := x.Count(ctx, f)
		if err != nil || int(n) != want || want == 0 {
			t.Errorf("%q: %d, want %d (%v)", f.String(), n, want, err)
		}
		p, err := x.Page(ctx, f, Cursor{}, 1000, OldestFirst)
		if err != nil || len(p.Rows) != want {
			t.Errorf("%q: page of %d, want %d (%v)", f.String(), len(p.Rows), want, err)
		}
	}
	var tally decisionlog.Tally
	for i := range all {
		tally.Add(all[i].e.Tally())
	}
	for _, n := range []*uint64{&tally.Decisions, &tally.Counted, &tally.Suppressed, &tally.Gaps, &tally.Upper} {
		*n = uint64(number(*n))
	}
	files, err := x.Files(ctx)
	if err != nil || files[0].Explains != tally {
		t.Errorf("explains %+v, want %+v (%v)", files, tally, err)
	}
	problemsAgree(t, x, dir)
	if fs, err := x.FlowsByID(ctx, 8); err != nil || len(fs) != 2 || fs[1].Run != "second" || fs[0].Reasons[0].N == 0 {
		t.Errorf("flow 8: %+v, %v", fs, err)
	}
	for _, list := range []func() (int, error){
		func() (int, error) { v, err := x.Gaps(ctx); return len(v), err }, func() (int, error) { v, err := x.Reloads(ctx); return len(v), err },
		func() (int, error) { v, err := x.Runs(ctx); return len(v), err }, func() (int, error) { v, err := x.Revisions(ctx); return len(v), err },
		func() (int, error) { v, err := x.Words(ctx, "reason"); return len(v), err }, func() (int, error) { v, err := x.Words(ctx, "outcome"); return len(v), err },
	} {
		if n, err := list(); err != nil || n == 0 {
			t.Errorf("%d, %v", n, err)
		}
	}
}

// problemsAgree holds the problems against what reading the log complains of.
func problemsAgree(t *testing.T, x *Index, dir string) {
	t.Helper()
	var want []string
	for _, err := range decisionlog.Read(dir) {
		var bad *decisionlog.BadLine
		if errors.As(err, &bad) {
			want = append(want, bad.Error())
		}
	}
	got, err := x.Problems(ctx)
	if err != nil || len(got) != len(want) {
		t.Fatalf("%d problems, want %d (%v)\n%v\n%v", len(got), len(want), err, got, want)
	}
	for i := range got {
		if got[i].String() != want[i] {
			t.Errorf("got  %s\nwant %s", got[i], want[i])
		}
	}
}

// Of damaged files what can be read is read: cut ends, torn frames, overlong lines.
func TestDamagedFiles(t *testing.T) {
	noise := rand.NewChaCha8([32]byte{1})
	line := func(i int) string {
		var b [1000]byte
		noise.Read(b[:])
		return fmt.Sprintf(`{"timestamp":"2026-11-23T18:01:36.000000000+0000","event_type":"decision","flow_id":%d,"decision":{"verdict":"drop","reason":"new","rule":"%d","id":"%x"}}`, i+1, i%9, b)
	}
	var text []byte
	for i := range 1300 {
		text = append(append(text, line(i)...), '\n')
	}
	var zst bytes.Buffer
	if err := decisionlog.Compress(&zst, bytes.NewReader(text)); err != nil {
		t.Fatal(err)
	}
	second := bytes.Index(zst.Bytes()[4:], []byte{0x28, 0xb5, 0x2f, 0xfd}) + 4
	torn := bytes.Clone(zst.Bytes())
	clear(torn[second+2000 : second+3000])
	long := append(bytes.Clone(text[:300*len(line(0))]), []byte("\n"+strings.Repeat("x", 10<<20)+"\n"+line(5)+"\n")...)
	for name, c := range map[string]struct {
		file string
		text []byte
	}{
		"cut":             {logFile, append(bytes.Clone(text), `{"cut`...)},
		"overlong":        {logFile, long},
		"binary":          {logFile, []byte("\x00\xff\n\n\n{\n}\n[]\n\"x\"\n1\nnull\n")},
		"empty":           {logFile, nil},
		"compressed":      {logFile + ".zst", zst.Bytes()},
		"torn frame":      {logFile + ".zst", torn},
		"cut frame":       {logFile + ".zst", zst.Bytes()[:zst.Len()-500]},
		"no zstd":         {logFile + ".zst", []byte("not compressed\n" + line(1) + "\n")},
		"plain in name":   {logFile, zst.Bytes()},
		"nothing but one": {logFile + ".zst", zst.Bytes()[:8]},
	} {
		if breadth > 1 && (name == "cut" || name == "compressed" || name == "cut frame") {
			continue // in the full tier: much of it is as in others, or in other packages' tests
		}
		t.Run(name, func(t *testing.T) {
			dir := writeLog(t, c.file, c.text)
			for range 2 { // the second time it is all known
				x, err := Open(ctx, dir, Options{blockMax: 300, Warn: func(s string) { t.Error(s) }})
				if err != nil {
					t.Fatal(err)
				}
				agrees(t, x, dir)
				problemsAgree(t, x, dir)
				x.Close()
			}
		})
	}
}

// Lines behind damage are found where the index says.
func TestEventsOfDamagedFiles(t *testing.T) {
	var text []byte
	for i := range 2500 {
		text = append(text, fmt.Sprintf(`{"timestamp":"2026-11-23T18:01:36.000000000+0000","event_type":"decision","flow_id":%d,"decision":{"verdict":"drop","reason":"new","id":"%0800x"}}`+"\n",
			i+1, rand.Uint64())...)
	}
	var zst bytes.Buffer
	if err := decisionlog.Compress(&zst, bytes.NewReader(text)); err != nil {
		t.Fatal(err)
	}
	torn := bytes.Clone(zst.Bytes())
	second := bytes.Index(torn[4:], []byte{0x28, 0xb5, 0x2f, 0xfd}) + 4
	clear(torn[second+1000 : second+1100])
	dir := writeLog(t, logFile+".zst", append(torn, zst.Bytes()...))
	x := open(t, dir)
	p, err := x.Page(ctx, Filter{}, Cursor{}, 1<<20, NewestFirst)
	if err != nil || len(p.Rows) < 3500 {
		t.Fatalf("%d rows, %v", len(p.Rows), err)
	}
	var at []Cursor
	for i := 0; i < len(p.Rows); i += 137 {
		at = append(at, p.Rows[i].Cursor)
	}
	i := 0
	for e, err := range x.Events(ctx, at) {
		if err != nil || e.FlowID != p.Rows[i*137].FlowID || e.Offset != at[i].Offset {
			t.Fatalf("row %d: %+v, %v", i*137, e, err)
		}
		i++
	}
	for _, c := range []Cursor{{"none", 0}, {at[0].Stem, 1}, {at[0].Stem, 1 << 40}, {at[0].Stem, -1}} {
		if e, err := x.Event(ctx, c); err == nil {
			t.Errorf("%v: %+v", c, e)
		}
	}
}
