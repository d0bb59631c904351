package conntrack

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// pure is what conntrack and policy must not contain, and why. Their tests may.
type pure struct {
	root    string
	imports map[string]string // imports outside the standard library that are allowed, and why
}

func pureTrees() []pure {
	return []pure{
		{".", map[string]string{"github.com/hashicorp/golang-lru/v2/simplelru": "tombstones; it has no goroutine, lock or clock"}},
		{"../policy", map[string]string{
			"github.com/goccy/go-yaml":        "policy files",
			"github.com/goccy/go-yaml/ast":    "line and column of each problem",
			"github.com/goccy/go-yaml/parser": "the same",
			"github.com/goccy/go-yaml/token":  "the same",
			"github.com/goccy/go-yaml/lexer":  "the same",
		}},
	}
}

func bannedImports() map[string]string {
	return map[string]string{
		"net":          "opens sockets; net/netip is enough",
		"net/http":     "opens sockets",
		"os":           "files, environment, process",
		"os/exec":      "starts programs",
		"os/signal":    "signals belong to the command",
		"io/ioutil":    "files",
		"syscall":      "the kernel is the proxy's",
		"unsafe":       "values only",
		"reflect":      "what decides must be readable in the code",
		"runtime":      "behaviour must not depend on the machine",
		"sync":         "a table and an engine belong to one goroutine: no locks",
		"sync/atomic":  "the same",
		"log":          "logging is the owner's: findings go out as values",
		"log/slog":     "the same",
		"math/rand":    "the same input must give the same decision",
		"math/rand/v2": "the same input must give the same decision; who needs a random number is given one",
		"crypto/rand":  "the same",
		"time/tzdata":  "no wall clock",
		"context":      "nothing here waits",
		"database/sql": "no I/O",
		"testing":      "not in the product",
	}
}

// bannedCalls are functions of allowed packages.
func bannedCalls() map[string]string {
	const clock = "time comes in as an Instant"
	return map[string]string{
		"time.Now": clock, "time.Since": clock, "time.Until": clock, "time.Sleep": "nothing here waits", "time.After": clock,
		"time.AfterFunc": clock, "time.NewTimer": clock, "time.NewTicker": clock, "time.Tick": clock,
		"fmt.Print": "no output", "fmt.Println": "no output", "fmt.Printf": "no output",
		"embed.FS.Open": "use ReadFile",
	}
}

func TestPure(t *testing.T) {
	for _, tree := range pureTrees() {
		files := 0
		err := filepath.WalkDir(tree.root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			files++
			fset := token.NewFileSet()
			f, err := parser.ParseFile(fset, path, nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			for _, p := range impurities(fset, f, tree.imports) {
				t.Error(p)
			}
			return nil
		})
		if err != nil || files < 5 {
			t.Errorf("%s: %d files, %v", tree.root, files, err)
		}
	}
}

// impurities returns what is wrong with a file, each with place and reason.
func impurities(fset *token.FileSet, f *ast.File, allowed map[string]string) (found []string) {
	say := func(p token.Pos, format string, args ...any) {
		found = append(found, fmt.Sprintf("%s: %s", fset.Position(p), fmt.Sprintf(format, args...)))
	}
	names := map[string]string{} // local name of each import
	for _, spec := range f.Imports {
		path, _ := strconv.Unquote(spec.Path.Value)
		name := filepath.Base(path)
		if spec.Name != nil {
			name = spec.Name.Name
		}
		names[name] = path
		switch why, banned := bannedImports()[path]; {
		case banned:
			say(spec.Pos(), "import %q: %s", path, why)
		case name == ".":
			say(spec.Pos(), "import %q with a dot hides where names come from", path)
		case strings.HasPrefix(path, "halfopen/") && path != "halfopen/conntrack" && !strings.HasPrefix(path, "halfopen/policy"):
			say(spec.Pos(), "import %q: imports point one way, cmd -> proxy -> policy -> conntrack", path)
		case strings.HasPrefix(path, "halfopen/policy") && f.Name.Name == "conntrack":
			say(spec.Pos(), "import %q: conntrack is the leaf", path)
		case strings.Contains(strings.SplitN(path, "/", 2)[0], ".") && allowed[path] == "":
			say(spec.Pos(), "import %q is not on the list of this tree", path)
		}
	}
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			say(n.Pos(), "go statement: the owner's goroutine is the only one")
		case *ast.ChanType:
			say(n.Pos(), "channel: what must leave goes out as a value")
		case *ast.SelectStmt:
			say(n.Pos(), "select: nothing here waits")
		case *ast.FuncDecl:
			if n.Recv == nil && n.Name.Name == "init" {
				say(n.Pos(), "init function: loading a package does nothing")
			}
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok && names[x.Name] != "" {
				if why, banned := bannedCalls()[names[x.Name]+"."+n.Sel.Name]; banned {
					say(n.Pos(), "%s.%s: %s", names[x.Name], n.Sel.Name, why)
				}
			}
		}
		return true
	})
	return found
}

// TestPureFinds: the test above must be able to fail.
func TestPureFinds(t *testing.T) {
	for _, src := range []string{
		`import "os"`, `import "sync"`, `import . "strings"`, `import "example.com/x"`, `import "halfopen/proxy"`,
		`import "halfopen/policy"`, `import tm "time"; func f() { _ = tm.Now }`, `import "time"; var x = time.Now`,
		`func f() { go f() }`, `var c chan int`, `func f() { select {} }`, `func init() {}`,
	} {
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, "x.go", "package conntrack; "+src, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		if len(impurities(fset, f, nil)) == 0 {
			t.Errorf("%s is found pure", src)
		}
	}
	fset := token.NewFileSet()
	f, _ := parser.ParseFile(fset, "x.go", `package conntrack; import "time"; import "net/netip"; var x time.Duration; var y netip.Addr`, 0)
	if p := impurities(fset, f, nil); len(p) != 0 {
		t.Error(p)
	}
}
