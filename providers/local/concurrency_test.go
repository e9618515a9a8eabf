package local

import (
	"bytes"
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/keyrotor/keyrotor/core/provider"
)

// rootContext is for children, which have no testing.T.
func rootContext() context.Context { return context.Background() }

const rotationsEach = 5

// rotateTimes rotates until it won that many times.
func rotateTimes(m *manager, times int) error {
	for done := 0; done < times; {
		d, err := m.DescribeKey(rootContext())
		if err != nil {
			return err
		}
		_, err = m.RotateKey(rootContext(), provider.RotateKeyRequest{ExpectedVersion: d.PrimaryVersion})
		switch {
		case err == nil:
			done++
		case !errors.Is(err, provider.VersionChanged):
			return err
		}
	}
	return nil
}

func rotateChild(path string) error {
	m, err := openTest(path, testPassphrase)
	if err != nil {
		return err
	}
	return rotateTimes(m, rotationsEach)
}

// wantVersions checks that the file has versions 1 to n, the last one primary.
func wantVersions(t *testing.T, m *manager, n int) {
	t.Helper()
	d, err := m.DescribeKey(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var got, want []string
	for _, v := range d.Versions {
		got = append(got, v.Version)
	}
	for i := range n {
		want = append(want, strconv.Itoa(i+1))
	}
	if !slices.Equal(got, want) || d.PrimaryVersion != strconv.Itoa(n) {
		t.Errorf("primary %s of %v, want 1 to %d", d.PrimaryVersion, got, n)
	}
}

// No rotation is lost between processes.
func TestProcessesRotate(t *testing.T) {
	m := create(t, testPassphrase)
	old := wrapOne(t, m, testRoot(), nil)
	var g errgroup.Group
	for range 2 {
		g.Go(startChild(t, "rotate", m.file.path).Run)
	}
	g.Go(func() error { return rotateTimes(m, rotationsEach) })
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	wantVersions(t, m, 1+3*rotationsEach)
	if _, err := unwrapOne(t, m, old, nil); err != nil {
		t.Errorf("the first wrap is lost: %v", err)
	}
}

// Two instances on one file, each rotating and wrapping from several goroutines:
// every wrap opens at once in the other one, and still does at the end.
func TestInstancesShareAFile(t *testing.T) {
	a := create(t, testPassphrase)
	b := open(t, a.file.path, testPassphrase)
	var mu sync.Mutex
	var wraps []provider.Wrapped
	var g errgroup.Group
	for _, pair := range [][2]*manager{{a, b}, {b, a}} {
		m, other := pair[0], pair[1]
		for range 2 {
			g.Go(func() error { return rotateTimes(m, rotationsEach) })
			g.Go(func() error {
				for range 50 {
					w, err := wrapThrough(m, other)
					if err != nil {
						return err
					}
					mu.Lock()
					wraps = append(wraps, w)
					mu.Unlock()
				}
				return nil
			})
		}
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	wantVersions(t, open(t, a.file.path, testPassphrase), 1+4*rotationsEach)
	for _, w := range wraps {
		res, err := unwrapOne(t, a, w, []byte("a"))
		if err != nil || !bytes.Equal(res.Plaintext.Reveal(), testRoot()) {
			t.Fatalf("a wrap of version %s is lost: %v", w.KEKVersion, err)
		}
	}
}

// wrapThrough wraps in one instance and unwraps in another.
func wrapThrough(m, other *manager) (provider.Wrapped, error) {
	wrapped, err := m.Wrap(rootContext(), []provider.WrapItem{
		{Plaintext: provider.NewSecret(testRoot()), AAD: []byte("a")},
	})
	if err != nil {
		return provider.Wrapped{}, err
	}
	w := wrapped[0].Wrapped
	opened, err := other.Unwrap(rootContext(), []provider.UnwrapItem{{Wrapped: w, AAD: []byte("a")}})
	if err != nil {
		return provider.Wrapped{}, err
	}
	return w, errors.Join(wrapped[0].Err, opened[0].Err)
}

// One of many creators wins, and the file is the winner's.
func TestCreatorsRace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kek.json")
	var mu sync.Mutex
	var winners []string
	var g errgroup.Group
	for range 8 {
		m := open(t, path, "")
		g.Go(func() error {
			res, err := m.CreateKey(rootContext(), provider.CreateKeyRequest{})
			if errors.Is(err, provider.AlreadyExists) {
				return nil
			}
			mu.Lock()
			defer mu.Unlock()
			winners = append(winners, res.KEKID)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	d, err := open(t, path, "").DescribeKey(t.Context())
	if err != nil || !slices.Equal(winners, []string{d.KEKID}) {
		t.Errorf("the file is %s's, winners %v, %v", d.KEKID, winners, err)
	}
}
