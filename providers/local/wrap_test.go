package local

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"

	"github.com/keyrotor/keyrotor/core/provider"
)

// A wrap opens with its own AAD, under its own version, in its own file, and
// nothing else opens it.
func TestRoundTrip(t *testing.T) {
	m, other := create(t, testPassphrase), create(t, "")
	versions := uint32(1)
	rapid.Check(t, func(rt *rapid.T) {
		if versions < 5 && rapid.Bool().Draw(rt, "rotate") {
			rotate(t, m, versionText(versions))
			versions++
		}
		root := rapid.SliceOfN(rapid.Byte(), provider.RootSize, provider.RootSize).Draw(rt, "root")
		aad := rapid.SliceOf(rapid.Byte()).Draw(rt, "aad")
		wrong := rapid.SliceOf(rapid.Byte()).Filter(func(b []byte) bool { return !bytes.Equal(b, aad) }).Draw(rt, "wrong aad")
		flip := rapid.IntRange(0, wrapSize*8-1).Draw(rt, "flipped bit")

		w := wrapOne(t, m, bytes.Clone(root), aad)
		if w.KEKVersion != versionText(versions) || len(w.Blob) != wrapSize {
			rt.Fatalf("wrapped under %s in %d bytes", w.KEKVersion, len(w.Blob))
		}
		res, err := unwrapOne(t, m, w, aad)
		if err != nil || !bytes.Equal(res.Plaintext.Reveal(), root) {
			rt.Fatalf("did not come back: %v", err)
		}
		if res.KEKID != w.KEKID || res.KEKVersion != w.KEKVersion {
			rt.Fatalf("opened by %s %s, wrapped by %s %s", res.KEKID, res.KEKVersion, w.KEKID, w.KEKVersion)
		}
		_, err = unwrapOne(t, m, w, wrong)
		wantError(t, err, provider.Integrity, nil, "")
		altered := w
		altered.Blob = bytes.Clone(w.Blob)
		altered.Blob[flip/8] ^= 1 << (flip % 8)
		_, err = unwrapOne(t, m, altered, aad)
		wantError(t, err, provider.Integrity, nil, "")
		_, err = unwrapOne(t, other, w, aad)
		wantError(t, err, provider.NotFoundKey, nil, "")
	})
}

// The version in a blob is bound too, where the caller does not name one.
func TestVersionIsBound(t *testing.T) {
	m := create(t, "")
	w := wrapOne(t, m, testRoot(), nil)
	rotate(t, m, "1")
	w.KEKVersion = ""
	res, err := unwrapOne(t, m, w, nil)
	if err != nil || res.KEKVersion != "1" {
		t.Fatalf("opened by %q, %v", res.KEKVersion, err)
	}
	w.Blob[4] = 2
	_, err = unwrapOne(t, m, w, nil)
	wantError(t, err, provider.Integrity, nil, "")
	w.Blob[4] = 3
	_, err = unwrapOne(t, m, w, nil)
	wantError(t, err, provider.NotFoundVersion, nil, "")
}

func TestBatchErrorsArePerItem(t *testing.T) {
	m := create(t, "")
	w := wrapOne(t, m, testRoot(), []byte("a"))
	with := func(edit func(*provider.Wrapped)) provider.UnwrapItem {
		c := w
		c.Blob = bytes.Clone(w.Blob)
		edit(&c)
		return provider.UnwrapItem{Wrapped: c, AAD: []byte("a")}
	}
	items := []provider.UnwrapItem{
		with(func(*provider.Wrapped) {}),
		with(func(w *provider.Wrapped) { w.KEKID = "" }),
		with(func(w *provider.Wrapped) { w.KEKVersion = "2" }),
		with(func(w *provider.Wrapped) { w.KEKVersion = "01" }),
		with(func(w *provider.Wrapped) { w.Blob = nil }),
		with(func(w *provider.Wrapped) { w.Blob = w.Blob[:wrapSize-1] }),
		with(func(w *provider.Wrapped) { w.Blob = append(w.Blob, 0) }),
		with(func(w *provider.Wrapped) { w.Blob[0] = 2 }),
		{Wrapped: w, AAD: []byte("b")},
		with(func(*provider.Wrapped) {}),
	}
	want := []provider.Code{
		"", provider.NotFoundKey, provider.NotFoundVersion, provider.NotFoundVersion, provider.InvalidArgument,
		provider.Integrity, provider.Integrity, provider.Integrity, provider.Integrity, "",
	}
	unwrapped, err := m.Unwrap(t.Context(), items)
	if err != nil {
		t.Fatal(err)
	}
	rewrapped, err := m.Rewrap(t.Context(), items)
	if err != nil {
		t.Fatal(err)
	}
	for i, code := range want {
		if got := provider.CodeOf(unwrapped[i].Err); got != code {
			t.Errorf("unwrap %d: %v, want %q", i, unwrapped[i].Err, code)
		}
		if got := provider.CodeOf(rewrapped[i].Err); got != code {
			t.Errorf("rewrap %d: %v, want %q", i, rewrapped[i].Err, code)
		}
		if code != "" {
			continue
		}
		if !bytes.Equal(unwrapped[i].Plaintext.Reveal(), testRoot()) {
			t.Errorf("unwrap %d: another root", i)
		}
	}
}

func TestWrapRefusesOtherSizes(t *testing.T) {
	m := create(t, "")
	var items []provider.WrapItem
	for _, n := range []int{0, 31, 33, 32} {
		items = append(items, provider.WrapItem{Plaintext: provider.NewSecret(make([]byte, n))})
	}
	res, err := m.Wrap(t.Context(), items)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range res[:3] {
		wantError(t, r.Err, provider.InvalidArgument, nil, "")
		if len(r.Wrapped.Blob) != 0 {
			t.Errorf("item %d has an error and a wrap", i)
		}
	}
	if res[3].Err != nil {
		t.Error(res[3].Err)
	}
}

func TestRewrap(t *testing.T) {
	m := create(t, testPassphrase)
	old := wrapOne(t, m, testRoot(), []byte("a"))
	rotate(t, m, "1")
	res, err := m.Rewrap(t.Context(), []provider.UnwrapItem{{Wrapped: old, AAD: []byte("a")}})
	if err != nil || res[0].Err != nil {
		t.Fatal(err, res[0].Err)
	}
	if res[0].Wrapped.KEKVersion != "2" {
		t.Errorf("rewrapped under version %s", res[0].Wrapped.KEKVersion)
	}
	for _, w := range []provider.Wrapped{old, res[0].Wrapped} {
		back, err := unwrapOne(t, m, w, []byte("a"))
		if err != nil || !bytes.Equal(back.Plaintext.Reveal(), testRoot()) {
			t.Errorf("version %s: %v", w.KEKVersion, err)
		}
	}
}

func TestGenerateDataKey(t *testing.T) {
	m := create(t, "")
	seen := map[string]bool{}
	for range 3 {
		res, err := m.GenerateDataKey(t.Context(), provider.GenerateDataKeyRequest{AAD: []byte("a")})
		if err != nil {
			t.Fatal(err)
		}
		root := res.Plaintext.Reveal()
		if len(root) != provider.RootSize || seen[string(root)] {
			t.Errorf("a root of %d bytes, seen before: %v", len(root), seen[string(root)])
		}
		seen[string(root)] = true
		back, err := unwrapOne(t, m, res.Wrapped, []byte("a"))
		if err != nil || !back.Plaintext.Equal(res.Plaintext) {
			t.Errorf("its wrap holds another root, %v", err)
		}
	}
}
