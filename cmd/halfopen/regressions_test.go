package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"halfopen/policy"
)

// testsOf returns the tests and fuzz targets of a package of this module, whatever their build tags.
func testsOf(t *testing.T, pkg string) map[string]bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", "..", filepath.FromSlash(pkg), "*_test.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no tests in %s (%v)", pkg, err)
	}
	found := map[string]bool{}
	for _, name := range files {
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if ok && fn.Recv == nil && (strings.HasPrefix(fn.Name.Name, "Test") || strings.HasPrefix(fn.Name.Name, "Fuzz")) {
				found[fn.Name.Name] = true
			}
		}
	}
	return found
}

// wrongRegressions returns what is wrong with the table of docs/regressions.md: a number that is missing or comes twice, a row that
// names nothing, or something that is not there.
func wrongRegressions(t *testing.T, text string) (wrong []string) {
	t.Helper()
	const numbers = 38
	row := regexp.MustCompile(`(?m)^\| *(\d+) *\|([^|]+)\|([^|]+)\|([^|]+)\|$`)
	proof := regexp.MustCompile("`([^`]+)`")
	tests := map[string]map[string]bool{}
	seen := map[int]bool{}
	named := map[string]int{} // scenarios, and the row that names them
	for _, m := range row.FindAllStringSubmatch(text, -1) {
		n, _ := strconv.Atoi(m[1])
		if n < 1 || n > numbers || seen[n] {
			wrong = append(wrong, m[1]+" comes twice, or is no number of the list")
		}
		seen[n] = true
		proofs := proof.FindAllStringSubmatch(m[4], -1)
		if len(proofs) == 0 || strings.TrimSpace(m[2]) == "" || strings.TrimSpace(m[3]) == "" {
			wrong = append(wrong, m[1]+" names nothing")
		}
		for _, p := range proofs {
			if name, ok := strings.CutSuffix(p[1], ".scn"); ok {
				files, _ := filepath.Glob(filepath.Join("..", "..", "policy", "testdata", filepath.FromSlash(p[1])))
				if want := map[bool]int{false: 1, true: len(policy.Presets())}[strings.Contains(name, "*")]; len(files) != want {
					wrong = append(wrong, m[1]+": "+strconv.Itoa(len(files))+" files "+p[1])
				}
				named[p[1]] = n
				continue
			}
			i := strings.LastIndex(p[1], ".")
			if i < 0 {
				wrong = append(wrong, m[1]+": "+p[1]+" is no scenario and no test")
				continue
			}
			pkg, name := p[1][:i], p[1][i+1:]
			if tests[pkg] == nil {
				tests[pkg] = testsOf(t, pkg)
			}
			if !tests[pkg][name] {
				wrong = append(wrong, m[1]+": no test "+name+" in "+pkg)
			}
		}
	}
	for n := 1; n <= numbers; n++ {
		if !seen[n] {
			wrong = append(wrong, strconv.Itoa(n)+" is missing")
		}
	}
	files, err := filepath.Glob("../../policy/testdata/regressions/[0-9]*.scn")
	if err != nil || len(files) < 10 {
		t.Fatalf("%d scenarios, %v", len(files), err)
	}
	for _, f := range files {
		name := "regressions/" + filepath.Base(f)
		if n, _ := strconv.Atoi(filepath.Base(f)[:2]); named[name] == 0 || n == 0 || !seen[n] {
			wrong = append(wrong, name+" is in no row")
		}
	}
	return wrong
}

// Every defect of others that is known has something that shows it is not ours, and what the manual names is there.
func TestRegressions(t *testing.T) {
	data, err := os.ReadFile("../../docs/regressions.md")
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	for _, w := range wrongRegressions(t, text) {
		t.Error(w)
	}
	// The test must be able to fail.
	for what, broken := range map[string]string{
		"7 is missing":                      regexp.MustCompile(`(?m)^\| 7 .*\n`).ReplaceAllString(text, ""),
		"comes twice":                       strings.Replace(text, "| 8 |", "| 9 |", 1),
		"no test TestBareResett in proxy":   strings.Replace(text, "proxy.TestBareReset`", "proxy.TestBareResett`", 1),
		"0 files regressions/05-fourth.scn": strings.Replace(text, "05-third-packet.scn", "05-fourth.scn", 1),
		"33-flood.scn is in no row":         strings.Replace(text, "`regressions/33-flood.scn`, ", "", 1),
		"12 names nothing":                  strings.Replace(text, "`regressions/12-picked-up.scn`", "nothing", 1),
	} {
		if got := strings.Join(wrongRegressions(t, broken), "\n"); !strings.Contains(got, what) {
			t.Errorf("no %q in %q", what, got)
		}
	}
}
