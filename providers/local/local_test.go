package local

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyrotor/keyrotor/core/provider"
)

func TestInfo(t *testing.T) {
	info := Info("1.2.3")
	if info.Name != "local" || info.Version != "1.2.3" || info.ProtocolMinor != provider.ProtocolMinor {
		t.Errorf("got %+v", info)
	}
	want := provider.Capabilities{
		provider.CanRotateKey, provider.CanCreateKey, provider.CanSetVersionState, provider.CanBatch,
	}
	if !slices.Equal(info.Capabilities, want) {
		t.Errorf("capabilities %v, want %v", info.Capabilities, want)
	}
}

func TestSchema(t *testing.T) {
	type shape struct {
		typ                 provider.AttributeType
		required, sensitive bool
	}
	want := map[string]shape{
		"path":            {provider.Path, true, false},
		"passphrase":      {provider.String, false, true},
		"passphrase_file": {provider.Path, false, false},
	}
	s := Schema()
	if len(s.Attributes) != len(want) || len(s.Blocks) != 0 {
		t.Fatalf("got %+v", s)
	}
	for _, a := range s.Attributes {
		if got := (shape{a.Type, a.Required, a.Sensitive}); got != want[a.Name] || a.Doc == "" {
			t.Errorf("%s: %+v, want %+v and a doc", a.Name, got, want[a.Name])
		}
	}
}

func TestNewRefuses(t *testing.T) {
	secret := provider.NewSecret([]byte("x"))
	for name, tc := range map[string]struct {
		attrs     map[string]any
		attribute string
	}{
		"no path":               {map[string]any{}, "path"},
		"empty passphrase":      {map[string]any{"path": "/k", "passphrase": provider.NewSecret(nil)}, "passphrase"},
		"empty passphrase file": {map[string]any{"path": "/k", "passphrase_file": ""}, "passphrase_file"},
		"both": {
			map[string]any{"path": "/k", "passphrase": secret, "passphrase_file": "/p"},
			"passphrase_file",
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := New(t.Context(), provider.Config{Body: provider.Body{Attributes: tc.attrs}})
			wantError(t, err, provider.InvalidConfig, nil, tc.attribute)
		})
	}
}

// The host may wipe its configuration once New returned.
func TestNewKeepsItsOwnPassphrase(t *testing.T) {
	cfg := testConfig(filepath.Join(t.TempDir(), "kek.json"), testPassphrase)
	m, err := newFrom(cfg)
	if err != nil {
		t.Fatal(err)
	}
	m.costs = testCosts()
	cfg.Body.Secret(attrPassphrase).Wipe()
	if _, err := m.CreateKey(t.Context(), provider.CreateKeyRequest{}); err != nil {
		t.Fatal(err)
	}
	if _, err := open(t, m.file.path, testPassphrase).DescribeKey(t.Context()); err != nil {
		t.Errorf("the file was sealed with something else: %v", err)
	}
}

func TestPassphraseFile(t *testing.T) {
	long := strings.Repeat("p", maxPassphrase)
	for name, tc := range map[string]struct {
		content, want string
		fails         string
	}{
		"bare":             {content: "p w", want: "p w"},
		"newline":          {content: "p w\n", want: "p w"},
		"CR and newline":   {content: "p w\r\n", want: "p w"},
		"two newlines":     {content: "p w\n\n", want: "p w\n"},
		"CR alone":         {content: "p w\r", want: "p w\r"},
		"longest":          {content: long, want: long},
		"too long":         {content: long + "p", fails: "longer than 4096 bytes"},
		"empty":            {content: "", fails: "is empty"},
		"only a newline":   {content: "\n", fails: "is empty"},
		"only CR, newline": {content: "\r\n", fails: "is empty"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			writeFile(t, filepath.Join(dir, "real"), []byte(tc.content))
			link := filepath.Join(dir, "link")
			if err := os.Symlink("real", link); err != nil {
				t.Fatal(err)
			}
			got, err := passphrase{file: link}.read()
			if tc.fails != "" {
				wantError(t, err, provider.InvalidConfig, nil, attrPassphraseFile)
				if !strings.Contains(err.Error(), tc.fails) {
					t.Errorf("%v does not say %q", err, tc.fails)
				}
				return
			}
			if err != nil || string(got.Reveal()) != tc.want {
				t.Errorf("got %q, %v", got.Reveal(), err)
			}
		})
	}
	for name, path := range map[string]string{"missing": "/does/not/exist", "folder": t.TempDir()} {
		t.Run(name, func(t *testing.T) {
			_, err := passphrase{file: path}.read()
			wantError(t, err, provider.InvalidConfig, nil, attrPassphraseFile)
		})
	}
}

func TestCheck(t *testing.T) {
	m := create(t, "")
	ticks := time.Unix(1, 0)
	m.now = func() time.Time { ticks = ticks.Add(time.Second); return ticks }
	for _, deep := range []bool{false, true} {
		res, err := m.Check(t.Context(), provider.CheckRequest{Deep: deep})
		if err != nil || res.Latency != time.Second || !strings.HasPrefix(res.Identity, "uid ") {
			t.Errorf("deep %v: %+v, %v", deep, res, err)
		}
	}
}

// Only the deep check spends the time to find a wrong passphrase.
func TestCheckDepth(t *testing.T) {
	m := open(t, create(t, testPassphrase).file.path, "wrong")
	if _, err := m.Check(t.Context(), provider.CheckRequest{}); err != nil {
		t.Errorf("shallow: %v", err)
	}
	_, err := m.Check(t.Context(), provider.CheckRequest{Deep: true})
	wantError(t, err, provider.Unauthenticated, ErrWrongPassphrase, "")
}

func TestClose(t *testing.T) {
	m := create(t, testPassphrase)
	w := wrapOne(t, m, testRoot(), nil)
	key, seal, pass := m.opened.keys[1].Reveal(), m.sealer.seal.Reveal(), m.pass.value.Reveal()
	for range 2 {
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for name, b := range map[string][]byte{"KEK": key, "seal key": seal, "passphrase": pass} {
		if len(b) == 0 || !allZero(b) {
			t.Errorf("Close left the %s in memory", name)
		}
	}
	_, err := unwrapOne(t, m, w, nil)
	wantError(t, err, provider.NotFoundInstance, nil, "")
	_, err = m.CreateKey(t.Context(), provider.CreateKeyRequest{})
	wantError(t, err, provider.NotFoundInstance, nil, "")
}

func TestReloadWipesTheOldKeys(t *testing.T) {
	for _, pass := range []string{"", testPassphrase} {
		m := create(t, pass)
		wrapOne(t, m, testRoot(), nil)
		key := m.opened.keys[1].Reveal()
		rotate(t, open(t, m.file.path, pass), "1")
		if w := wrapOne(t, m, testRoot(), nil); w.KEKVersion != "2" {
			t.Errorf("wrapped under version %s after another process rotated", w.KEKVersion)
		}
		if len(key) != keySize || !allZero(key) {
			t.Error("the old KEK is still in memory")
		}
	}
}

func allZero(b []byte) bool {
	return !slices.ContainsFunc(b, func(x byte) bool { return x != 0 })
}

// wantError checks the code, the cause (unless nil) and the attribute.
func wantError(t *testing.T, err error, code provider.Code, cause error, attribute string) {
	t.Helper()
	var e *provider.Error
	if !errors.As(err, &e) {
		t.Fatalf("got %v, want a provider.Error with %s", err, code)
	}
	if e.Code != code || e.Attribute != attribute || (cause != nil && !errors.Is(err, cause)) {
		t.Errorf("got %v (attribute %q)\nwant %s: %v (attribute %q)", err, e.Attribute, code, cause, attribute)
	}
}
