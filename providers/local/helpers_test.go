package local

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/keyrotor/keyrotor/core/provider"
)

// childEnv names what the test binary does instead of testing: some tests need a
// process of their own.
const childEnv = "KEYROTOR_LOCAL_TEST_CHILD"

func TestMain(m *testing.M) {
	children := map[string]func(path string) error{
		"fips":   fipsChild,
		"crash":  crashChild,
		"rotate": rotateChild,
	}
	child, ok := children[os.Getenv(childEnv)]
	if !ok {
		os.Exit(m.Run())
	}
	if err := child(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// startChild runs the test binary as one of the children above.
func startChild(t *testing.T, child, path string, env ...string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe, path)
	cmd.Env = append(append(os.Environ(), childEnv+"="+child), env...)
	cmd.Stderr = os.Stderr
	return cmd
}

const testPassphrase = "correct horse battery staple"

// testCosts keep the tests quick.
func testCosts() costs {
	return costs{argonTime: 1, argonMemory: 64, argonThreads: 1, pbkdf2Iterations: 10}
}

func testConfig(path, pass string) provider.Config {
	attrs := map[string]any{attrPath: path}
	if pass != "" {
		attrs[attrPassphrase] = provider.NewSecret([]byte(pass))
	}
	return provider.Config{Instance: "test", Body: provider.Body{Attributes: attrs}}
}

func openTest(path, pass string) (*manager, error) {
	m, err := newFrom(testConfig(path, pass))
	if err != nil {
		return nil, err
	}
	m.costs = testCosts()
	return m, nil
}

// newFrom is New, and what is behind its interface.
func newFrom(cfg provider.Config) (*manager, error) {
	km, err := New(context.Background(), cfg)
	if err != nil {
		return nil, err
	}
	m, ok := km.(*manager)
	if !ok {
		return nil, fmt.Errorf("New answers a %T", km)
	}
	return m, nil
}

// open answers an instance for a file that may not exist yet.
func open(t *testing.T, path, pass string) *manager {
	t.Helper()
	m, err := openTest(path, pass)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	return m
}

// create answers an instance with a new file.
func create(t *testing.T, pass string) *manager {
	t.Helper()
	m := open(t, filepath.Join(t.TempDir(), "kek.json"), pass)
	if _, err := m.CreateKey(t.Context(), provider.CreateKeyRequest{}); err != nil {
		t.Fatal(err)
	}
	return m
}

func rotate(t *testing.T, m *manager, expected string) provider.RotateKeyResponse {
	t.Helper()
	res, err := m.RotateKey(t.Context(), provider.RotateKeyRequest{ExpectedVersion: expected})
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func wrapOne(t *testing.T, m *manager, root, aad []byte) provider.Wrapped {
	t.Helper()
	res, err := m.Wrap(t.Context(), []provider.WrapItem{{Plaintext: provider.NewSecret(root), AAD: aad}})
	if err != nil {
		t.Fatal(err)
	}
	if res[0].Err != nil {
		t.Fatal(res[0].Err)
	}
	return res[0].Wrapped
}

// unwrapOne answers the first error, of the call or of the item.
func unwrapOne(t testing.TB, m *manager, w provider.Wrapped, aad []byte) (provider.UnwrapResult, error) {
	t.Helper()
	res, err := m.Unwrap(context.Background(), []provider.UnwrapItem{{Wrapped: w, AAD: aad}})
	if err != nil {
		return provider.UnwrapResult{}, err
	}
	return res[0], res[0].Err
}

func testRoot() []byte {
	root := make([]byte, provider.RootSize)
	for i := range root {
		root[i] = byte(i)
	}
	return root
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func writeFile(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}
