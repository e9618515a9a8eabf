package catalog

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/keyrotor/keyrotor/core/provider"
)

var update = flag.Bool("update", false, "rewrite the golden files")

const goldenLock = "testdata/plugins.lock.golden"

func hashOf(digit string) string { return "sha256:" + strings.Repeat(digit, 64) }

// sampleLock has every field and every type of default.
func sampleLock() *Lock {
	return &Lock{Format: 1, Plugins: map[string]LockedPlugin{
		"local": {
			Version: "0.1.0", ProtocolMinor: 1, Capabilities: provider.Capabilities{},
			Hashes:  map[string]string{"linux/amd64": hashOf("a")},
			Schemas: map[string]provider.Schema{},
		},
		"vault-transit": {
			Version: "1.4.0", ProtocolMinor: 1,
			Capabilities: provider.Capabilities{provider.CanRotateKey, provider.CanNativeRewrap},
			Hashes:       map[string]string{"linux/amd64": hashOf("1"), "darwin/arm64": hashOf("2")},
			Schemas: map[string]provider.Schema{hashOf("1"): {
				Doc: "Vault's transit engine <https://…> & more.",
				Attributes: []provider.Attribute{
					{Name: "address", Type: provider.String, Required: true, Default: "https://vault", Doc: "URL."},
					{Name: "tries", Type: provider.Int, Default: int64(1 << 60)},
					{Name: "verify", Type: provider.Bool, Default: true, Deprecated: "always on"},
					{Name: "tags", Type: provider.StringList, Default: []string{"a", "b"}},
					{Name: "labels", Type: provider.StringMap, Default: map[string]string{"k": "v"}},
				},
				Blocks: []provider.BlockSchema{{
					Type: "auth", Labels: []string{"approle"}, Repeated: true, Required: true,
					Body: provider.Schema{Attributes: []provider.Attribute{
						{Name: "secret_id", Type: provider.String, Sensitive: true},
						{Name: "secret_id_file", Type: provider.Path, Default: "/run/id"},
						{Name: "ttl", Type: provider.Duration, Default: "30s"},
					}},
				}},
			}},
		},
	}}
}

func TestLockGolden(t *testing.T) {
	data, err := sampleLock().encode()
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(goldenLock, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(goldenLock)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(data, want) {
		t.Errorf("format 1 has changed: lock files of users would be unreadable\ngot\n%s", data)
	}
	l, err := ReadLock(goldenLock)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(l, sampleLock()) {
		t.Errorf("read back\n%#v\nwant\n%#v", l, sampleLock())
	}
	path := filepath.Join(t.TempDir(), "plugins.lock")
	if err := l.Write(path); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
		t.Errorf("Write wrote %q, %v", got, err)
	}
}

func TestLockRefuses(t *testing.T) {
	golden, err := os.ReadFile(goldenLock)
	if err != nil {
		t.Fatal(err)
	}
	good := string(golden)
	for name, c := range map[string]struct{ data, want string }{
		"empty":              {"", "not a lock file"},
		"other JSON":         {"[]", "not a lock file"},
		"no format":          {"{}", `"format" is missing`},
		"newer format":       {`{"format": 2, "anything": 1}`, "format 2 is unknown to this build"},
		"unknown field":      {strings.Replace(good, `"version"`, `"verzion"`, 1), "verzion"},
		"trailing data":      {good + "{}", "not a lock file"},
		"no plugins":         {`{"format": 1, "plugins": null}`, `"plugins" is missing`},
		"type with a path":   {strings.Replace(good, `"local"`, `"../local"`, 1), "no plugin type"},
		"upper-case type":    {strings.Replace(good, `"local"`, `"Local"`, 1), "no plugin type"},
		"short hash":         {strings.Replace(good, "sha256:aa", "sha256:", 1), "64 lower-case hex digits"},
		"another hash":       {strings.Replace(good, "sha256:aaaa", "md5:aaaa", 1), "64 lower-case hex digits"},
		"platform":           {strings.Replace(good, "darwin/arm64", "darwin", 1), "want os/arch"},
		"no hashes":          {`{"format":1,"plugins":{"x":{}}}`, "no hashes"},
		"schema of nothing":  {strings.Replace(good, `"linux/amd64": "`+hashOf("1"), `"linux/amd64": "`+hashOf("3"), 1), "no platform has"},
		"default of a type":  {strings.Replace(good, `"default": "30s"`, `"default": 30`, 1), "does not fit type duration"},
		"fraction":           {strings.Replace(good, "1152921504606846976", "1.5", 1), "tries"},
		"list of numbers":    {strings.Replace(good, `"a",`, `1,`, 1), "list of strings"},
		"map of numbers":     {strings.Replace(good, `"k": "v"`, `"k": 1`, 1), "map of strings"},
		"unknown attr. type": {strings.Replace(good, `"type": "bool"`, `"type": "float"`, 1), "unknown"},
	} {
		t.Run(name, func(t *testing.T) {
			if c.data == good {
				t.Fatal("the case changes nothing")
			}
			_, err := parseLock([]byte(c.data))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want it to say %q", err, c.want)
			}
		})
	}
}

func TestReadLockMissing(t *testing.T) {
	_, err := ReadLock(filepath.Join(t.TempDir(), "plugins.lock"))
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "keyrotor plugin lock") {
		t.Errorf("got %v", err)
	}
}

func TestWriteRefusesAnInvalidLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "plugins.lock")
	l := NewLock()
	l.Plugins["local"] = LockedPlugin{}
	if err := l.Write(path); err == nil {
		t.Error("a lock that cannot be read back was written")
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Error("a file was written")
	}
}

func FuzzParseLock(f *testing.F) {
	golden, err := os.ReadFile(goldenLock)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(golden)
	f.Add([]byte(`{"format":1,"plugins":{}}`))
	f.Add([]byte(`{"format":1,"plugins":{"a":{"hashes":{"b/c":"sha256:"}}}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		l, err := parseLock(data)
		if err != nil {
			return
		}
		once, err := l.encode()
		if err != nil {
			t.Fatalf("a lock that was read cannot be written: %v", err)
		}
		again, err := parseLock(once)
		if err != nil {
			t.Fatalf("a lock that was written cannot be read: %v", err)
		}
		if twice, err := again.encode(); err != nil || !bytes.Equal(once, twice) {
			t.Fatalf("writing is not stable: %v\n%s\n%s", err, once, twice)
		}
	})
}

func TestPin(t *testing.T) {
	faulty := plugins.lock.Plugins["faulty"]
	hash := faulty.Hashes[platform()]
	if faulty.Version != "1.2.3" || faulty.ProtocolMinor != provider.ProtocolMinor ||
		!reflect.DeepEqual(faulty.Capabilities, provider.Capabilities{provider.CanRotateKey, provider.CanGenerateDataKey}) {
		t.Errorf("pinned %+v", faulty)
	}
	if s := faulty.Schemas[hash]; s.Doc != "Misbehaves." || len(s.Attributes) != 4 || s.Attributes[3].Default != int64(3) {
		t.Errorf("pinned the schema %+v", s)
	}
	if got := plugins.lock.Types(); !reflect.DeepEqual(got, []string{"faulty", "local"}) {
		t.Errorf("pinned %q, want all in the directory", got)
	}
	if err := plugins.lock.Verify(plugins.dir, "faulty"); err != nil {
		t.Error(err)
	}
}

func TestPinKeepsOtherPlatformsOfTheSameVersion(t *testing.T) {
	hash := plugins.lock.Plugins["faulty"].Hashes[platform()]
	other := map[string]string{"plan9/mips": hashOf("7"), platform(): hashOf("8")}
	for version, want := range map[string]map[string]string{
		"1.2.3": {"plan9/mips": hashOf("7"), platform(): hash},
		"1.2.2": {platform(): hash},
	} {
		l := NewLock()
		l.Plugins["faulty"] = LockedPlugin{Version: version, Hashes: other, Schemas: map[string]provider.Schema{
			hashOf("7"): {Doc: "of plan9"}, hashOf("8"): {Doc: "stale"},
		}}
		if err := l.Pin(context.Background(), plugins.dir, slog.New(slog.DiscardHandler), "faulty"); err != nil {
			t.Fatal(err)
		}
		got := l.Plugins["faulty"]
		if !reflect.DeepEqual(got.Hashes, want) || len(got.Schemas) != len(want) {
			t.Errorf("over version %s: hashes %v and %d schemas, want %v", version, got.Hashes, len(got.Schemas), want)
		}
	}
}

func TestVerify(t *testing.T) {
	dir := fakePluginDir(t, "replaced")
	var mismatch *MismatchError
	if err := plugins.lock.Verify(dir, "faulty"); !errors.As(err, &mismatch) {
		t.Errorf("a replaced binary: %v", err)
	}
	var notPinned *NotPinnedError
	if err := NewLock().Verify(dir, "faulty"); !errors.As(err, &notPinned) || notPinned.Platform != "" {
		t.Errorf("an unknown plugin: %v", err)
	}
	l := NewLock()
	l.Plugins["faulty"] = LockedPlugin{Hashes: map[string]string{"plan9/mips": hashOf("7")}}
	if err := l.Verify(dir, "faulty"); !errors.As(err, &notPinned) || notPinned.Platform != platform() {
		t.Errorf("pinned for another platform: %v", err)
	}
}

func TestUnpinnedPluginIsRefused(t *testing.T) {
	h := newHost(t, func(c *Config) { c.Lock = nil })
	var notPinned *NotPinnedError
	if err := h.Add("prod", "faulty", provider.Body{}); !errors.As(err, &notPinned) {
		t.Errorf("Add: %v", err)
	}
	if _, err := h.Schema(context.Background(), "faulty"); !errors.As(err, &notPinned) {
		t.Errorf("Schema: %v", err)
	}
}

func TestSchemaComesFromTheLock(t *testing.T) {
	h := newHost(t, nil)
	h.add("prod", "none")
	cached, err := h.Schema(context.Background(), "faulty")
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := h.PID("prod"); ok {
		t.Error("a process was started for a schema that the lock has")
	}
	// A lock that knows the schema of another binary only.
	bare := plugins.lock.Plugins["faulty"]
	bare.Schemas = nil
	h = newHost(t, func(c *Config) { c.Lock = &Lock{Format: 1, Plugins: map[string]LockedPlugin{"faulty": bare}} })
	h.add("prod", "none")
	asked, err := h.Schema(context.Background(), "faulty")
	if err != nil {
		t.Fatal(err)
	}
	a, _ := json.Marshal(cached)
	b, _ := json.Marshal(asked)
	if !bytes.Equal(a, b) || !reflect.DeepEqual(cached, asked) {
		t.Errorf("the lock says\n%s\nthe plugin says\n%s", a, b)
	}
	h.mustPID("prod")
}
