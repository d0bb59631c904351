package index

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"halfopen/proxy/decisionlog"
	"halfopen/proxy/review/loggen"
)

// What does not match is made anew; what is somebody else's is left alone.
func TestRebuilt(t *testing.T) {
	for name, c := range map[string]struct {
		harm func(t *testing.T, dir string, files []string)
		say  string
	}{
		"truncated": {func(t *testing.T, dir string, files []string) {
			st, _ := os.Stat(files[1])
			text, _ := os.ReadFile(files[1])
			os.Truncate(files[1], int64(bytes.IndexByte(text[st.Size()/2:], '\n'))+st.Size()/2+1)
		}, "of it were indexed"},
		"replaced": {func(t *testing.T, dir string, files []string) {
			text, _ := os.ReadFile(files[1])
			os.WriteFile(files[1], bytes.Replace(text, []byte("loggen"), []byte("tested"), 1), 0o600)
		}, "begins with other text"},
		"edited at the end": {func(t *testing.T, dir string, files []string) {
			text, _ := os.ReadFile(files[1])
			i := bytes.LastIndex(text, []byte(`"event_type":"decision"`))
			copy(text[i:], `"event_type":"DECISION"`)
			os.WriteFile(files[1], text, 0o600)
		}, "holds other text"},
		"other version": {func(t *testing.T, dir string, files []string) {
			x, err := OpenOnly(dir, Options{})
			if err != nil {
				t.Fatal(err)
			}
			x.write.Exec("PRAGMA user_version = 99")
			x.Close()
		}, "is of version 99"},
		"damaged": {func(t *testing.T, dir string, files []string) {
			name := filepath.Join(dir, FileName)
			b, _ := os.ReadFile(name)
			for i := 100; i < len(b); i += 97 {
				b[i] ^= 0x5a
			}
			os.WriteFile(name, b, 0o600)
		}, "is made anew"},
	} {
		t.Run(name, func(t *testing.T) {
			dir, _ := generate(t, loggen.Config{Seed: 7, Decisions: 2000 / min(breadth, 2), MaxFileBytes: 300 << 10 / min(breadth, 2)})
			open(t, dir).Close()
			files, _ := decisionlog.Files(dir)
			c.harm(t, dir, files)
			said := ""
			x, err := Open(ctx, dir, Options{CacheDir: t.TempDir(), Warn: func(s string) { said += s + "\n" }})
			if err != nil {
				t.Fatal(err)
			}
			defer x.Close()
			if !strings.Contains(said, c.say) || !strings.Contains(said, "made anew") {
				t.Errorf("said %q, want %q", said, c.say)
			}
			if x.Path() != filepath.Join(dir, FileName) {
				t.Errorf("the index is %s", x.Path())
			}
			agrees(t, x, dir)
		})
	}
}

// Where the directory cannot have the index it is elsewhere, and the user is told.
func TestElsewhere(t *testing.T) {
	dir, _ := generate(t, loggen.Config{Seed: 8, Decisions: 1000})
	foreign := []byte("somebody's notes, which nobody may overwrite, whatever their file is called; long enough to look like a database")
	name := filepath.Join(dir, FileName)
	if err := os.WriteFile(name, foreign, 0o600); err != nil {
		t.Fatal(err)
	}
	cache := t.TempDir()
	for _, c := range []struct{ cache, say string }{{cache, "the index is kept in " + cache}, {name, "kept in memory"}} {
		said := ""
		x, err := Open(ctx, dir, Options{CacheDir: c.cache, Warn: func(s string) { said += s }})
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(said, c.say) || !strings.Contains(said, "left alone") {
			t.Errorf("said %q", said)
		}
		agrees(t, x, dir)
		x.Close()
	}
	if b, _ := os.ReadFile(name); !bytes.Equal(b, foreign) {
		t.Error("somebody's file was written to")
	}
	if _, err := Open(ctx, filepath.Join(dir, "none"), Options{}); err == nil {
		t.Error("a directory that is not there was opened")
	}
	x, err := Open(ctx, t.TempDir(), Options{})
	if err == nil || !strings.Contains(err.Error(), "no decision log") || x == nil {
		t.Errorf("an empty directory: %v", err)
	}
	x.Close()
}

// Names of directories that mean something to SQLite or to a URL mean nothing here.
func TestOddDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), `lo g?mode=memory&x=%41#"'`)
	generate(t, loggen.Config{Dir: dir, Decisions: 300})
	x := open(t, dir)
	if _, err := os.Stat(filepath.Join(dir, FileName)); err != nil {
		t.Error(err)
	}
	agrees(t, x, dir)
}

// What retention removes is forgotten, and no more.
func TestRetention(t *testing.T) {
	dir, _ := generate(t, loggen.Config{Seed: 9, Decisions: 4000 / min(breadth, 2), MaxFileBytes: 400 << 10 / min(breadth, 2)})
	x := open(t, dir)
	files, _ := decisionlog.Files(dir)
	if len(files) < 6 {
		t.Fatalf("%d files", len(files))
	}
	begunBefore := false // a flow whose first record is gone
	for _, gone := range []int{0, 1} {
		if err := os.Remove(files[gone]); err != nil {
			t.Fatal(err)
		}
		if err := x.Refresh(ctx); err != nil {
			t.Fatal(err)
		}
		all := facts(t, dir)
		n, err := x.Count(ctx, Filter{})
		if err != nil || n != uint64(len(all)) {
			t.Fatalf("%d records, want %d (%v)", n, len(all), err)
		}
		r, err := x.Rollup(ctx, Filter{}, time.Minute, ByEvent)
		if err != nil || r.Total != n {
			t.Errorf("rolled up %d of %d, %v", r.Total, n, err)
		}
		ids := map[string]bool{}
		for i := range all {
			if all[i].e.FlowID != 0 {
				ids[fmt.Sprint(all[i].e.Run, all[i].e.FlowID)] = true
			}
		}
		var rows, cols, orphans int
		x.SQL().QueryRow("SELECT count(*) FROM flow_rows").Scan(&rows)
		x.SQL().QueryRow("SELECT count(*) FROM columns").Scan(&cols)
		x.SQL().QueryRow("SELECT count(*) FROM columns WHERE id >> 3 NOT IN (SELECT id FROM blocks)").Scan(&orphans)
		if rows != len(ids) || orphans != 0 || cols == 0 {
			t.Errorf("%d flows, want %d; %d of %d columns are of no block", rows, len(ids), orphans, cols)
		}
		f, err := x.Flows(ctx, Filter{}, SortStart, 0, 1<<30)
		if err != nil {
			t.Fatal(err)
		}
		begunBefore = begunBefore || slices.ContainsFunc(f.Flows, func(f Flow) bool { return f.First == Cursor{} && f.Last != Cursor{} })
	}
	if !begunBefore {
		t.Error("no flow whose first record is gone: the test shows little")
	}
}
