package conformance

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/keyrotor/keyrotor/core/catalog"
	"github.com/keyrotor/keyrotor/core/provider"
)

// plugin is the provider's binary, pinned.
type plugin struct {
	typ  string
	dir  string
	lock *catalog.Lock
	want *Harness
}

// newPlugin puts the binary into a plugin directory and trusts it.
func newPlugin(t *testing.T, h *Harness) *plugin {
	t.Helper()
	p := &plugin{typ: h.Info.Name, dir: privateDir(t), lock: catalog.NewLock(), want: h}
	path := filepath.Join(p.dir, catalog.FileName(p.typ))
	if err := h.makeBinary(t.Context(), path); err != nil {
		t.Fatalf("conformance: the plugin's binary: %v", err)
	}
	log := &logBuffer{}
	if err := p.lock.Pin(t.Context(), p.dir, log.logger(), p.typ); err != nil {
		t.Fatalf("conformance: %v\n%s", err, log)
	}
	return p
}

func (h *Harness) makeBinary(ctx context.Context, path string) error {
	if h.Binary != "" {
		return copyBinary(path, h.Binary)
	}
	out, err := exec.CommandContext(ctx, "go", "build", "-ldflags", "-s -w", "-o", path, h.Package).CombinedOutput()
	if err != nil {
		return fmt.Errorf("go build %s: %w\n%s", h.Package, err, out)
	}
	return nil
}

func copyBinary(to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o700)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		_ = out.Close()
		return err
	}
	return out.Close()
}

// privateDir is a directory that nobody else may enter, as plugins and their
// sockets need one, and whose path is short, as sockets need it too.
func privateDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp(shortTempDir(), "kr")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// process reaches the provider as a host does: through a catalog.
type process struct {
	*catalog.Catalog
	typ string
	// sockets is where the connections to the plugin begin.
	sockets string
}

// start makes a catalog of its own. The plugin starts on the first call.
func (p *plugin) start(t testing.TB) *process {
	t.Helper()
	log := &logBuffer{}
	sockets := privateDir(t)
	c, err := catalog.New(catalog.Config{PluginDir: p.dir, Lock: p.lock, Log: log.logger(), SocketRoot: sockets})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Close()
		if t.Failed() {
			t.Logf("the plugin's log:\n%s", log)
		}
	})
	return &process{Catalog: c, typ: p.typ, sockets: sockets}
}

func (p *process) open(_ context.Context, name string, body provider.Body) (provider.KeyManager, error) {
	if err := p.Add(name, p.typ, cloneBody(body)); err != nil {
		return nil, err
	}
	return p.Provider(name)
}

// logBuffer keeps a log that is shown only if something failed.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// cases compare the binary with what the harness says: the other ways would test
// something else than what users run.
func (p *plugin) cases() []testCase {
	return []testCase{
		{name: "plugin/info", test: p.testInfo},
		{name: "plugin/schema", test: p.testSchema},
	}
}

func (p *plugin) testInfo(context.Context, *subject) error {
	said := slices.Clone(p.lock.Plugins[p.typ].Capabilities)
	want := slices.Clone(p.want.Info.Capabilities)
	slices.Sort(said)
	slices.Sort(want)
	if !slices.Equal(said, want) {
		return fmt.Errorf("the binary says that it can %q, Harness.Info that it can %q", said, want)
	}
	return nil
}

func (p *plugin) testSchema(ctx context.Context, s *subject) error {
	schema, err := inMemory(s.t, p.want).client.Schema(ctx)
	if err != nil {
		return err
	}
	want, err := json.Marshal(schema)
	if err != nil {
		return err
	}
	for _, schema := range p.lock.Plugins[p.typ].Schemas {
		said, err := json.Marshal(schema)
		if err != nil {
			return err
		}
		if !bytes.Equal(said, want) {
			return fmt.Errorf("the binary's schema is %s, Harness.Schema is %s", said, want)
		}
	}
	return nil
}
