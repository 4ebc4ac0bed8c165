package tidy

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	module        = "restante"
	functionLimit = 70  // lines
	fileLimit     = 600 // lines; tests may have longer tables
	testLimit     = 900
)

// Exceptions only shrink: each is a file or function that is longer for now.
var exceptions = map[string]bool{}

// mayImport says which of the top-level folders the packages of each may import (design: imports point down only).
var mayImport = map[string][]string{
	"cmd":     {"cmd", "webmail", "relay", "spool", "dns"},
	"webmail": {"webmail", "spool"},
	"relay":   {"relay", "spool", "dns"},
	"spool":   {"spool"},
	"dns":     {"dns"},
}

type source struct {
	path string // slash-separated, from the root of the repository
	file *ast.File
	set  *token.FileSet
}

func parse(t *testing.T) []source {
	t.Helper()
	root := filepath.Join("..", "..", "..")
	var all []source
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".") && d.Name() != "." && d.Name() != "..") {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(p, ".go") {
			return nil
		}
		set := token.NewFileSet()
		f, err := parser.ParseFile(set, p, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, p)
		all = append(all, source{filepath.ToSlash(rel), f, set})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 20 {
		t.Fatalf("only %d files found", len(all))
	}
	return all
}

func TestImportsPointDown(t *testing.T) {
	for _, s := range parse(t) {
		top, _, _ := strings.Cut(s.path, "/")
		allowed, known := mayImport[top]
		if !known {
			t.Errorf("%s: code lives in cmd, relay, spool, dns and webmail", s.path)
			continue
		}
		for _, spec := range s.file.Imports {
			path, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			rest, ours := strings.CutPrefix(path, module+"/")
			if !ours {
				continue
			}
			to, _, _ := strings.Cut(rest, "/")
			// A test may start what stands beside its package.
			if !slices.Contains(allowed, to) && !strings.HasSuffix(s.path, "_test.go") {
				t.Errorf("%s imports %s: %s may import %v only", s.path, path, top, allowed)
			}
		}
	}
}

func TestPackagesSayWhatTheyAreFor(t *testing.T) {
	says := map[string]bool{}
	for _, s := range parse(t) {
		if strings.HasSuffix(s.path, "_test.go") {
			continue
		}
		dir := filepath.Dir(s.path)
		says[dir] = says[dir] || s.file.Doc != nil
	}
	for dir, ok := range says {
		if !ok {
			t.Errorf("%s has no package comment", dir)
		}
	}
}

func TestNothingRegistersItself(t *testing.T) {
	for _, s := range parse(t) {
		for _, d := range s.file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
				t.Errorf("%s has an init function: let app wire it", s.path)
			}
		}
	}
}

func TestLengths(t *testing.T) {
	used := map[string]bool{}
	for _, s := range parse(t) {
		limit := fileLimit
		test := strings.HasSuffix(s.path, "_test.go")
		if test {
			limit = testLimit
		}
		lines := func(n ast.Node) int { return s.set.Position(n.End()).Line - s.set.Position(n.Pos()).Line + 1 }
		if n := s.set.Position(s.file.FileEnd).Line; n > limit {
			if used[s.path] = true; !exceptions[s.path] {
				t.Errorf("%s has %d lines, at most %d", s.path, n, limit)
			}
		}
		for _, d := range s.file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || test || lines(f) <= functionLimit {
				continue
			}
			name := s.path + " " + f.Name.Name
			if used[name] = true; !exceptions[name] {
				t.Errorf("%s has %d lines, at most %d", name, lines(f), functionLimit)
			}
		}
	}
	for name := range exceptions {
		if !used[name] {
			t.Errorf("%s is no exception any more: take it off the list", name)
		}
	}
}

func TestRepositorySpeaksOfTheProductAlone(t *testing.T) {
	top, err := os.ReadDir(filepath.Join("..", "..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	known := " cmd relay spool dns webmail go.mod go.sum Dockerfile README.md Makefile LICENSE .ci .gitignore .dockerignore .git restante mxbench restante-data "
	for _, d := range top {
		if !strings.Contains(known, " "+d.Name()+" ") {
			t.Errorf("%s does not belong at the top level", d.Name())
		}
	}
}
