package core_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keyrotor/keyrotor/core"
	"github.com/keyrotor/keyrotor/core/doctor"
	"github.com/keyrotor/keyrotor/core/store/sqlite"
)

// patient is a configuration of a test's own, with the key "payments" in two
// versions and a plugin directory that may be broken.
type patient struct {
	config, dir, plugins string
}

func newPatient(t *testing.T) patient {
	t.Helper()
	p := patient{plugins: t.TempDir()}
	copyFile(t, filepath.Join(pluginDir, "keyrotor-plugin-local"), p.plugin("local"), 0o755)
	var err error
	if p.config, err = core.Init(t.Context(), filepath.Join(t.TempDir(), "kr"), core.InitOptions{PluginDir: p.plugins}); err != nil {
		t.Fatal(err)
	}
	p.dir = filepath.Dir(p.config)
	kr, err := core.Open(t.Context(), p.config)
	if err != nil {
		t.Fatal(err)
	}
	_, created := kr.CreateKey(t.Context(), "payments", core.KeyOptions{})
	_, rotated := kr.Rotate(t.Context(), "payments", "manual", "")
	if err := errors.Join(created, rotated, kr.Close()); err != nil {
		t.Fatal(err)
	}
	return p
}

// twin is another patient with the same history. The plugin is one file for both.
func (p patient) twin(t *testing.T) patient {
	t.Helper()
	other := patient{plugins: t.TempDir(), dir: filepath.Join(t.TempDir(), "kr")}
	other.config = other.file(filepath.Base(p.config))
	if err := os.Link(p.plugin("local"), other.plugin("local")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(other.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"keyrotor.db", "keyrotor.kek", "plugins.lock", "keyrotor.hcl"} {
		copyFile(t, p.file(name), other.file(name), 0o600)
	}
	replaceIn(t, other.config, p.plugins, other.plugins)
	return other
}

func (p patient) file(name string) string { return filepath.Join(p.dir, name) }

func (p patient) plugin(typ string) string {
	return filepath.Join(p.plugins, "keyrotor-plugin-"+typ)
}

func copyFile(t *testing.T, from, to string, mode os.FileMode) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, b, mode); err != nil {
		t.Fatal(err)
	}
}

// exec changes the store behind Keyrotor's back.
func (p patient) exec(t *testing.T, statements ...string) {
	t.Helper()
	db, err := sql.Open("sqlite", p.file("keyrotor.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	for _, s := range statements {
		if _, err := db.ExecContext(t.Context(), s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

// onStore works on the store as another process does, whose clock may be off.
func (p patient) onStore(t *testing.T, now func() time.Time, f func(*sqlite.Store) error) {
	t.Helper()
	s, err := sqlite.Open(t.Context(), sqlite.Config{Path: p.file("keyrotor.db"), Now: now})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f(s), s.Close()); err != nil {
		t.Fatal(err)
	}
}

// examine answers the findings that are not in order. What depends on who runs the
// test, and how fast, is left out.
func (p patient) examine(t *testing.T, deep bool) (wrong []doctor.Finding, all doctor.Report) {
	t.Helper()
	report, err := core.Opener{}.Examine(t.Context(), p.config, deep)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range report.Findings {
		slow := f.Check == "provider.reachable" && f.Status == doctor.Warn
		if f.Status != doctor.OK && f.Check != "process.dumps" && !slow {
			wrong = append(wrong, f)
		}
	}
	return wrong, report
}

// expected is a finding of which the evidence is known in part.
type expected struct {
	status   doctor.Status
	check    string
	subject  string
	evidence string // is contained
	next     string
}

func expectFindings(t *testing.T, what string, got []doctor.Finding, want []expected) {
	t.Helper()
	for i, f := range got {
		if i >= len(want) {
			t.Errorf("%s: unexpected: %+v", what, f)
			continue
		}
		w := want[i]
		if f.Status != w.status || f.Check != w.check || f.Subject != w.subject || !strings.Contains(f.Evidence, w.evidence) || f.Next != w.next {
			t.Errorf("%s: got\n%+v\nwant\n%+v", what, f, w)
		}
	}
	for _, w := range want[min(len(got), len(want)):] {
		t.Errorf("%s: not found: %+v", what, w)
	}
}

const (
	restoreIt = "move the file away for examination, then run `keyrotor backup restore FILE` with the newest backup"
	findOut   = "find out who changed the database; " + restoreIt
)

func TestExamineHealthy(t *testing.T) {
	p := newPatient(t)
	before := files(t, p.dir)
	for _, deep := range []bool{false, true} {
		wrong, report := p.examine(t, deep)
		expectFindings(t, "healthy", wrong, nil)
		if n := len(report.Findings); n != 42 {
			t.Errorf("%d findings: %+v", n, report.Findings)
		}
	}
	if after := files(t, p.dir); after != before {
		t.Errorf("looking changed the folder from\n%s\nto\n%s", before, after)
	}
}

// files describes a folder: names, modes, sizes and times.
func files(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(&b, info.Name(), info.Mode(), info.Size(), info.ModTime())
	}
	return b.String()
}

// TestExamineBroken breaks one thing at a time, for real, and expects to be told
// that and nothing else.
func TestExamineBroken(t *testing.T) {
	cases := map[string]func(*testing.T, patient) []expected{}
	for _, group := range []map[string]func(*testing.T, patient) []expected{brokenConfigs(), brokenPlugins(), brokenProviders(), brokenStores(), brokenContents(), brokenRotations()} {
		for name, breakIt := range group {
			if cases[name] != nil {
				t.Fatalf("two cases are named %q", name)
			}
			cases[name] = breakIt
		}
	}
	healthy := newPatient(t)
	for name, breakIt := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := healthy.twin(t)
			want := breakIt(t, p)
			wrong, _ := p.examine(t, true)
			expectFindings(t, name, wrong, want)
		})
	}
}

// TestExamineInterrupted: what was found so far does not pass for a report.
func TestExamineInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := (core.Opener{}).Examine(ctx, configPath, false); !errors.Is(err, context.Canceled) {
		t.Errorf("examine: %v", err)
	}
}
